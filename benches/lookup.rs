//! `lookup` beside `copy`, beside psql's COPY and beside the least that PostgreSQL itself needs: Markdown tables of seconds,
//! of CPU seconds, of memory and of ratios.
//!
//! `cargo bench --bench lookup -- [tasks…] [--runs N]`; without numbers 10,000, 100,000 and 1,000,000 tasks, and nine runs. All
//! that is measured runs once in every run, each run begins with another one, and a ratio is that of two times of one run: so
//! what else the machine does meanwhile falls on all of them alike.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program to run by hand"
)]

use cmms_testkit as support;

#[path = "shared/arguments.rs"]
mod arguments;
#[path = "shared/cpu.rs"]
mod cpu;
mod shared;

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmms_export::datasets;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use diesel_export::cancellation::Cancellation;
use diesel_export::db::Database;
use diesel_export::{self as export, Export, Observer, Plan, Sink, Strategy};
use private_postgres::{Durability, PrivatePostgres};

use arguments::{sizes_and_runs, thousands};
use cpu::{cpu, postgres_cpu};
use shared::{median, spread};
use support::cluster::temporary_directory;
use support::{Server, program};

/// What the article runs.
const JOINED: &str = "select t.id, t.title, a.name, l.name, case when t.done then 'Done' else 'Not Done' end, c.username, e.username
    from tasks t join assets a on a.id = t.asset_id join locations l on l.id = a.location_id
    join users c on c.id = t.created_by_id left join users e on e.id = t.updated_by_id";
/// Tasks of a range of the floor, as many as `lookup` has in one.
fn range_of(tasks: u64) -> u64 {
    (tasks / 40).clamp(10_000, 20_000)
}

const WHAT: [&str; 7] = [
    "`copy` over HTTP",
    "`lookup` over HTTP",
    "`copy`, sink alone",
    "`lookup`, sink alone",
    "psql COPY, ordered",
    "psql COPY, unordered",
    "floor",
];

/// States of the table beside that after the seed, the SQL that brings each about from the one before, and the bar for
/// `copy` / `lookup` at 1,000,000 tasks.
const STATES: [(&str, &[&str], &str); 2] = [
    ("without the index", &["drop index tasks_export_idx"], "≥ 2"),
    (
        "updates running: 5 % of the pages not visible to all",
        &[
            "create index tasks_export_idx on tasks (id) include (title, done, asset_id, created_by_id, updated_by_id)",
            "alter table tasks set (autovacuum_enabled = false)",
            "vacuum analyze tasks",
            "update tasks set done = not done
             where (ctid::text::point)[0]::bigint % 20 = 0 and (ctid::text::point)[1] = 1",
        ],
        "≥ 2",
    ),
];

fn main() {
    let (sizes, runs) = sizes_and_runs(&[10_000, 100_000, 1_000_000]);
    let directory = temporary_directory("bench");
    let embedded = PrivatePostgres::start(&directory, "cmms", Durability::Durable)
        .expect("the cluster starts");
    run(program(embedded.database_url()).arg("migrate"));
    for tasks in sizes {
        measure(&embedded, tasks, runs);
    }
    embedded.stop().expect("the cluster stops");
    let _ = fs::remove_dir_all(directory);
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
}

/// One time of one thing.
#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    app_cpu: f64,
    postgres_cpu: f64,
}

fn measure(embedded: &PrivatePostgres, tasks: u64, runs: usize) {
    let url = embedded.database_url();
    let size = tasks.to_string();
    run(program(url).args(["seed", "--reset", "--tasks", &size]));
    let bench = Bench {
        url,
        psql: embedded.bin_dir().join("psql"),
        postmaster: embedded.postmaster_pid().expect("it runs"),
        database: Database::new(url, 8, Duration::from_secs(5)),
        // A server for each, so that each has a peak of its own.
        servers: [Server::start(url), Server::start(url)],
        connections: (0..4).map(|_| Mutex::new(connect(url))).collect(),
        tasks,
    };
    for what in 0..WHAT.len() {
        bench.once(what);
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); WHAT.len()];
    for first in 0..runs {
        for what in 0..WHAT.len() {
            let what = (first + what) % WHAT.len();
            samples[what].push(bench.sample(what));
        }
    }
    bench.print(&samples, runs);
    bench.print_states(runs);
}

fn connect(url: &str) -> PgConnection {
    let mut connection = PgConnection::establish(url).expect("it is up");
    connection
        .batch_execute("set jit = off; set max_parallel_workers_per_gather = 0")
        .expect("known settings");
    connection
}

struct Bench<'a> {
    url: &'a str,
    psql: PathBuf,
    postmaster: u32,
    database: Database,
    servers: [Server; 2],
    /// Those of the floor, kept open as `lookup` keeps its own.
    connections: Vec<Mutex<PgConnection>>,
    tasks: u64,
}

impl Bench<'_> {
    fn sample(&self, what: usize) -> Sample {
        let app = match what {
            0 | 1 => self.servers[what].pid(),
            2 | 3 => std::process::id(),
            // Not ours: psql's own time is not measured.
            _ => 0,
        };
        let before = (cpu(app), postgres_cpu(self.postmaster));
        let started = Instant::now();
        self.once(what);
        Sample {
            seconds: started.elapsed().as_secs_f64(),
            app_cpu: cpu(app) - before.0,
            postgres_cpu: postgres_cpu(self.postmaster) - before.1,
        }
    }

    fn once(&self, what: usize) {
        match what {
            0 => download(&self.servers[0].address, Strategy::Copy),
            1 => download(&self.servers[1].address, Strategy::Lookup),
            2 => self.export(Strategy::Copy),
            3 => self.export(Strategy::Lookup),
            4 => self.psql(" order by t.id"),
            5 => self.psql(""),
            _ => self.floor(),
        }
    }

    fn export(&self, strategy: Strategy) {
        let export = Export {
            strategy,
            ..Export::of(datasets::catalog().default())
        };
        let mut sink = Counter::default();
        let ran = Ran::default();
        let summary = export::run(
            &export,
            &self.database,
            &Cancellation::default(),
            &ran,
            &mut sink,
        );
        let summary = summary.expect("the export is complete");
        assert_eq!((summary.rows, summary.bytes), (self.tasks, sink.bytes));
        assert_eq!(ran.0.get(), Some(strategy));
    }

    fn psql(&self, order: &str) {
        let sql = format!("copy ({JOINED}{order}) to stdout with (format csv, header)");
        let status = Command::new(&self.psql)
            .args(["-X", "-c", &sql, self.url])
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("psql runs").success());
    }

    /// PostgreSQL alone: the same ranges on as many connections, written to nowhere by the server itself.
    fn floor(&self) {
        let next = &AtomicU64::new(1);
        let range = range_of(self.tasks);
        let backends = self
            .tasks
            .div_ceil(range)
            .min(self.connections.len() as u64);
        thread::scope(|scope| {
            for connection in &self.connections[..backends as usize] {
                scope.spawn(move || {
                    let mut connection = connection.lock().expect("nobody panicked");
                    loop {
                        let first = next.fetch_add(range, Ordering::Relaxed);
                        if first > self.tasks {
                            return;
                        }
                        let last = first + range - 1;
                        let sql = format!(
                            "copy (select id, title, done, asset_id, created_by_id, updated_by_id from tasks
                             where id between {first} and {last} order by id) to '/dev/null' with (format csv)"
                        );
                        connection.batch_execute(&sql).expect("the server may write there");
                    }
                });
            }
        });
    }

    /// `lookup` beside `copy` on tables that are not as the seed has left them.
    fn print_states(&self, runs: usize) {
        println!(
            "\n| | `copy`, seconds | `lookup`, seconds | `copy` / `lookup` | the bar |\n|---|---:|---:|---:|---:|"
        );
        let mut connection = connect(self.url);
        for (state, statements, bar) in STATES {
            for sql in statements {
                connection.batch_execute(sql).expect("ours");
            }
            let mut seconds = [Vec::new(), Vec::new()];
            // The first of each is not counted.
            for run in 0..=runs {
                for what in [run % 2, 1 - run % 2] {
                    let sample = self.sample(what);
                    if run > 0 {
                        seconds[what].push(sample.seconds);
                    }
                }
            }
            let [copy, lookup] = &seconds;
            let ratios = copy.iter().zip(lookup).map(|(copy, lookup)| copy / lookup);
            println!(
                "| {state} | {} | {} | {} | {} |",
                spread(copy, 4),
                spread(lookup, 4),
                spread(&ratios.collect::<Vec<_>>(), 2),
                if self.tasks >= 1_000_000 { bar } else { "" },
            );
        }
        connection
            .batch_execute("alter table tasks reset (autovacuum_enabled)")
            .expect("ours");
    }

    fn print(&self, samples: &[Vec<Sample>], runs: usize) {
        println!("\n### {} tasks, {runs} runs\n", thousands(self.tasks));
        println!(
            "| | seconds (min…max) | CPU s, app | CPU s, PostgreSQL | peak MiB, app |\n|---|---:|---:|---:|---:|"
        );
        for (what, samples) in samples.iter().enumerate() {
            let column = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
            let app = match what {
                0..=3 => format!("{:.3}", median(&column(|sample| sample.app_cpu))),
                _ => String::new(),
            };
            let peak = match what {
                0 | 1 => format!(
                    "{:.1}",
                    self.servers[what].peak_memory() as f64 / f64::from(1 << 20)
                ),
                _ => String::new(),
            };
            println!(
                "| {} | {} | {app} | {:.3} | {peak} |",
                WHAT[what],
                spread(&column(|sample| sample.seconds), 4),
                median(&column(|sample| sample.postgres_cpu)),
            );
        }
        println!("\n| ratio of times | median (min…max) | the bar |\n|---|---:|---:|");
        let bar = match self.tasks {
            1_000_000.. => "≥ 4.5",
            100_000.. => "≥ 4",
            _ => "",
        };
        for (over, under, bar) in [
            (0, 1, bar),
            (2, 3, ""),
            (4, 1, ""),
            (5, 1, "≥ 3"),
            (1, 6, "≤ 1.5"),
            (3, 6, ""),
        ] {
            let ratios: Vec<f64> = samples[over]
                .iter()
                .zip(&samples[under])
                .map(|(over, under)| over.seconds / under.seconds)
                .collect();
            println!(
                "| {} / {} | {} | {bar} |",
                WHAT[over],
                WHAT[under],
                spread(&ratios, 2)
            );
        }
    }
}

/// Takes everything, and knows how much.
#[derive(Default)]
struct Counter {
    bytes: u64,
}

/// The strategy that ran in fact.
#[derive(Default)]
struct Ran(Cell<Option<Strategy>>);

impl Observer for Ran {
    fn plan(&self, plan: &Plan) {
        self.0.set(Some(plan.strategy));
    }
}

impl Sink for Counter {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

/// Reads a response to its end and looks only at that: a client that did more would be measured, too.
fn download(address: &str, strategy: Strategy) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(
        stream,
        "GET /tasks.csv?strategy={} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        strategy.name()
    )
    .expect("sent");
    let mut buffer = vec![0; 256 * 1024];
    let mut end = Vec::new();
    loop {
        let length = stream.read(&mut buffer).expect("the transfer goes on");
        if length == 0 {
            break;
        }
        end.extend_from_slice(&buffer[length.saturating_sub(5)..length]);
        end.drain(..end.len().saturating_sub(5));
    }
    assert_eq!(end, b"0\r\n\r\n", "the body is complete");
}
