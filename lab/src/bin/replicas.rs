//! Exports on the primary alone, on one hot standby and on two, and what they cost those who write to the primary meanwhile: a
//! Markdown table.
//!
//! `cargo run --release --bin replicas -- [tasks] [--seconds N] [--rounds N]`; without numbers 100,000 tasks, and three rounds of ten
//! seconds each. Each round measures all, and begins with another one: so what else the machine does meanwhile falls on all of
//! them alike.
use cmms_testkit as support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;

use support::replica_servers::Node;
use support::replicated::{Replicated, roles};
use support::{Server, TestDatabase, eventually, oracle, program};

/// Those who export, one export after the other.
const CLIENTS: usize = 8;
/// Changes of one task, each second: what the primary can do easily when it does nothing else.
const WRITES: &str = "100";

/// Settings of servers at work; the tests' servers are thrown away.
const SETTINGS: &str = "fsync=on full_page_writes=on shared_buffers=256MB";

const WHAT: [&str; 4] = ["no exports", "the primary", "one standby", "two standbys"];

fn main() {
    let (tasks, seconds, rounds) = arguments();
    let replicated = Replicated::start_new(SETTINGS);
    let database = replicated.database();
    let seeded = program(&database.url)
        .args(["seed", "--tasks", &tasks.to_string()])
        .output()
        .expect("the program runs");
    assert!(seeded.status.success(), "{seeded:?}");
    let bench = Bench {
        replicated: &replicated,
        database: &database,
        tasks,
        time: Duration::from_secs(seconds),
    };
    let mut samples: Vec<Sample> = WHAT.iter().map(|_| Sample::default()).collect();
    for first in 0..rounds {
        for what in 0..WHAT.len() {
            let what = (first + what) % WHAT.len();
            bench.measure(what, &mut samples[what]);
        }
    }
    print(&samples, &bench, rounds);
}

fn arguments() -> (u64, u64, usize) {
    let (mut tasks, mut seconds, mut rounds) = (100_000, 10, 3);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let number = arguments.next().and_then(|number| number.parse().ok());
            number.expect("a number follows")
        };
        match argument.as_str() {
            "--seconds" => seconds = number(),
            "--rounds" => rounds = number() as usize,
            number => {
                let number = number.replace(['_', ','], "");
                tasks = number.parse().expect("a number of tasks");
            }
        }
    }
    (tasks, seconds, rounds)
}

/// All that was seen of one thing, in all rounds.
#[derive(Default)]
struct Sample {
    /// Seconds of each export.
    exports: Vec<f64>,
    /// Those that the exports were measured for.
    seconds: f64,
    /// Milliseconds of each write.
    writes: Vec<f64>,
}

struct Bench<'a> {
    replicated: &'a Replicated,
    database: &'a TestDatabase,
    tasks: u64,
    time: Duration,
}

impl Bench<'_> {
    fn measure(&self, what: usize, sample: &mut Sample) {
        self.tidy_up();
        let name = self.database.name();
        let (export_url, expected) = match what {
            0 | 1 => (None, vec!["primary"]),
            2 => (
                Some(self.replicated.url(Node::Standby1, name)),
                vec!["primary", "replica"],
            ),
            _ => (
                Some(self.replicated.export_url(name)),
                vec!["primary", "replica", "replica"],
            ),
        };
        let mut command = program(&self.database.url);
        // An export counts for a moment longer than its reader has to wait for.
        let exports = format!("--max-exports={}", 2 * CLIENTS);
        command.args(["serve", "--log=error", &exports]);
        if let Some(url) = export_url {
            command.env("EXPORT_DATABASE_URL", url);
        }
        let server = Server::spawn(&mut command);
        eventually("the servers are known", || roles(&server) == expected);
        let source = if what < 2 { "primary" } else { "replica" };
        // The pools fill, and each server reads its files.
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| download(&server.address, source));
            }
        });

        let exports = Mutex::new(Vec::new());
        let start = Instant::now();
        thread::scope(|scope| {
            let writes = scope.spawn(|| self.write());
            for _ in 0..if what == 0 { 0 } else { CLIENTS } {
                scope.spawn(|| {
                    while start.elapsed() < self.time {
                        let began = Instant::now();
                        download(&server.address, source);
                        let seconds = began.elapsed().as_secs_f64();
                        exports.lock().expect("nobody panicked").push(seconds);
                    }
                });
            }
            sample.writes.extend(writes.join().expect("it writes"));
        });
        sample.seconds += start.elapsed().as_secs_f64();
        sample.exports.extend(exports.into_inner().expect("ended"));
    }

    /// Each measurement begins with all rows visible to all, as autovacuum has it sooner or later. (Without the clean-up, a few
    /// dead ones would keep their pages from it.)
    fn tidy_up(&self) {
        let sql = "select relallvisible >= relpages from pg_class where oid = 'tasks'::regclass";
        eventually("all rows are visible to all", || {
            let mut connection = self.database.connect();
            connection
                .batch_execute("vacuum (analyze, index_cleanup on) tasks")
                .expect("ours");
            oracle::psql(self.database, sql) == b"t\n"
        });
        self.replicated.catch_up();
    }

    /// Changes a task now and then, and returns the milliseconds that each change took, from when it was due.
    fn write(&self) -> Vec<f64> {
        let directory = tempfile::tempdir().expect("a directory");
        let script = format!(
            "\\set id random(1, {})\nupdate tasks set done = not done where id = :id;\n",
            self.tasks
        );
        fs::write(directory.path().join("write.sql"), script).expect("ours");
        let output = Command::new(self.database.bin_dir().join("pgbench"))
            .current_dir(directory.path())
            .args(["--no-vacuum", "--client=1", "--protocol=prepared", "--log"])
            .args(["--rate", WRITES, "--file=write.sql", "--time"])
            .arg(self.time.as_secs().to_string())
            .arg(&self.database.url)
            .stdin(Stdio::null())
            .output()
            .expect("pgbench runs");
        assert!(output.status.success(), "{output:?}");
        let files = fs::read_dir(directory.path()).expect("ours");
        let log = files
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("pgbench_log")
            });
        let log = fs::read_to_string(log.expect("it logs")).expect("text");
        // Client, number, microseconds, …
        log.lines()
            .filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok())
            .map(|microseconds| microseconds / 1e3)
            .collect()
    }
}

/// Reads an export to its end and looks only at that: a client that did more would be measured, too.
fn download(address: &str, source: &str) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(
        stream,
        "GET /tasks.csv HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut buffer = vec![0; 256 * 1024];
    let (mut start, mut end) = (Vec::new(), Vec::new());
    loop {
        let length = stream.read(&mut buffer).expect("the transfer goes on");
        if length == 0 {
            break;
        }
        if start.is_empty() {
            start.extend_from_slice(&buffer[..length.min(2_000)]);
        }
        end.extend_from_slice(&buffer[length.saturating_sub(5)..length]);
        end.drain(..end.len().saturating_sub(5));
    }
    assert_eq!(end, b"0\r\n\r\n", "the body is whole");
    let head = String::from_utf8_lossy(&start).to_lowercase();
    assert!(
        head.contains(&format!("x-export-source: {source}\r\n")),
        "{head}"
    );
}

fn print(samples: &[Sample], bench: &Bench, rounds: usize) {
    println!(
        "\n### {} tasks, {CLIENTS} clients that export, {WRITES} writes a second, {rounds} rounds of {} s\n",
        bench.tasks,
        bench.time.as_secs()
    );
    println!(
        "| exports run on | exports a minute | seconds of an export: median | p95 | milliseconds of a write: median | p95 | p99 |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    );
    for (what, sample) in WHAT.iter().zip(samples) {
        let [rate, median, p95] = if sample.exports.is_empty() {
            Default::default()
        } else {
            [
                format!("{:.0}", sample.exports.len() as f64 * 60.0 / sample.seconds),
                format!("{:.2}", percentile(&sample.exports, 0.5)),
                format!("{:.2}", percentile(&sample.exports, 0.95)),
            ]
        };
        let writes = [0.5, 0.95, 0.99].map(|part| percentile(&sample.writes, part));
        println!(
            "| {what} | {rate} | {median} | {p95} | {:.1} | {:.1} | {:.1} |",
            writes[0], writes[1], writes[2]
        );
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\nAll three servers, the program, its clients and the writer share the same {cores} cores: standbys take work off the \
         primary, but here they can add no cores of their own, and replay costs some. On machines of their own they do."
    );
}

fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    values
        .get(place.clamp(1, values.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}
