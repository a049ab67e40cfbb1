//! One run, in a fresh process: its peak memory is its own, and no earlier run has an effect.
//!
//! The job comes on the standard input, the outcome goes to the standard output, each as a line of JSON. The end of the standard
//! input cancels the run, even if the parent was killed.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use diesel::prelude::*;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use super::environment::line;
use super::result::{Run, Sample};
use crate::database::datasets_file;
use crate::datasets;
use crate::process;
use diesel_export::cancellation::Cancellation;
use diesel_export::db::{self, Database};
use diesel_export::manifest::{Facts, State};
use diesel_export::memory;
use diesel_export::record::Record;
use diesel_export::{self as export, Export, Limits, Sink, Strategy};

/// The run's name in PostgreSQL.
const APPLICATION_NAME: &str = "PGAPPNAME";
/// Connections that a strategy may open at once.
const CONNECTIONS: u32 = 8;
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// Interval between two samples of the memory, and how many of them are kept.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
const SAMPLES: usize = 100;
/// Linux counts the processor time of other processes in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is exported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Measured {
    /// The tasks, up to this ID.
    Tasks(Option<i64>),
    /// A dataset of a file.
    OfFile(OfFile),
}

/// A dataset of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfFile {
    /// The file of datasets.
    pub file: PathBuf,
    /// The dataset's name.
    pub dataset: String,
    /// Its tables, as SQL names them.
    pub tables: Vec<String>,
}

/// What a process is to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) strategy: Strategy,
    pub(super) measured: Measured,
    pub(super) limits: Limits,
}

/// The outcome: a run, or why there is none.
pub(super) type Outcome = Result<Run, String>;

/// The environment that a run's process needs besides its parent's own.
pub(super) fn environment(url: &str) -> HashMap<&'static str, String> {
    HashMap::from([
        ("DATABASE_URL", url.to_owned()),
        (
            APPLICATION_NAME,
            format!("cmms-export-bench-{:016x}", rand::random::<u64>()),
        ),
    ])
}

/// Runs the job that is on the standard input on the database `url`, and writes its outcome as a line of JSON.
pub fn run(url: &str) -> io::Result<String> {
    let mut line = String::new();
    let mut stdin = io::stdin().lock();
    stdin.read_line(&mut line)?;
    drop(stdin);
    let job: Job = serde_json::from_str(&line)?;
    let cancellation = Cancellation::default();
    cancel_at_end_of_input(cancellation.clone())?;
    let database = Database::new(url, CONNECTIONS, CONNECTION_WAIT);
    let outcome: Outcome = exported(&job.measured, &database).and_then(|export| {
        measure(&job, export, &database, &cancellation).map_err(|error| {
            tracing::warn!(strategy = job.strategy.name(), %error, "a run failed");
            reason(&error)
        })
    });
    Ok(serde_json::to_string(&outcome)?)
}

fn cancel_at_end_of_input(cancellation: Cancellation) -> io::Result<()> {
    let interrupted = cancellation.clone();
    process::on_interrupt(move || interrupted.cancel())?;
    std::thread::Builder::new()
        .name("end-of-input".into())
        .spawn(move || {
            // Any later input is no job, and an error counts as the end.
            let _ = io::stdin().lock().read_to_end(&mut Vec::new());
            cancellation.cancel();
        })?;
    Ok(())
}

/// Returns what everybody may read of an error; the log has the details.
fn reason(error: &export::Error) -> String {
    match error {
        export::Error::TooManyRows { .. }
        | export::Error::TooManyRowsForXlsx { .. }
        | export::Error::TooLargeToBuffer { .. }
        | export::Error::BufferBusy { .. }
        | export::Error::TextTooLong { .. }
        | export::Error::UnexpectedNull(_)
        | export::Error::Cancelled
        | export::Error::NoReplica(_) => error.to_string(),
        export::Error::Sink(_) | export::Error::Workbook(_) => "the output failed".to_owned(),
        export::Error::Database(error) if error.is_statement_timeout() => {
            "a query took longer than the statement timeout".to_owned()
        }
        export::Error::Database(error) if error.is_unavailable() => {
            "the database could not be reached".to_owned()
        }
        export::Error::Database(_) | export::Error::Tables(_) => {
            "the database refused the query; the log says more".to_owned()
        }
    }
}

/// Returns the export of all that is measured.
fn exported(measured: &Measured, database: &Database) -> Result<Export, String> {
    let of_file = match measured {
        Measured::Tasks(up_to_id) => return Ok(datasets::benchmarked(*up_to_id)),
        Measured::OfFile(of_file) => of_file,
    };
    let read = datasets_file::read(&of_file.file).map_err(|error| error.to_string())?;
    let mut connection = database.probe_connection().map_err(|error| {
        tracing::warn!(%error, "there is no connection");
        "the database could not be reached".to_owned()
    })?;
    let datasets = read.datasets(&mut connection);
    let datasets = datasets.map_err(|error| error.to_string())?;
    let dataset = datasets.catalog().named(&of_file.dataset);
    Ok(Export::of(dataset.map_err(|error| error.to_string())?))
}

fn measure(
    job: &Job,
    export: Export,
    database: &Database,
    cancellation: &Cancellation,
) -> Result<Run, export::Error> {
    // A server, too, has its connections open before a request arrives.
    drop(database.connection()?);
    drop(database.copy_connection()?);
    let backends_before = backends_cpu(database)?;
    let export = Export {
        strategy: job.strategy,
        limits: job.limits,
        ..export
    };

    let idle = memory::resident_bytes() as u64;
    let started = Instant::now();
    let record = Record::start(String::new(), &export, Facts::new());
    let mut first_byte = FirstByte { started, at: None };
    let curve = Curve::start(started, idle);
    let cpu_before = cpu_seconds();
    let summary = record.of(&mut first_byte, |sink| {
        export::run(&export, database, cancellation, &record, sink)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_before;
    let memory_curve = curve.finish();
    let peak = memory::peak_resident_bytes().unwrap_or_else(|| {
        idle + memory_curve
            .iter()
            .map(|sample| sample.1)
            .max()
            .unwrap_or(0)
    });
    let backends = backends_cpu(database)?;
    record.end(State::Complete, None);
    Ok(Run {
        rows: summary.rows,
        bytes: summary.bytes,
        sha256: record.manifest().sha256.unwrap_or_default(),
        plan: record.plan(),
        seconds,
        first_byte_seconds: first_byte.at.unwrap_or(seconds),
        cpu_seconds: cpu,
        database_cpu_seconds: backends.zip(backends_before).map(|(after, before)| {
            let used = after
                .iter()
                .map(|(pid, ticks)| ticks - before.get(pid).unwrap_or(&0));
            used.sum::<u64>() as f64 / TICKS_PER_SECOND
        }),
        peak_memory_bytes: peak,
        idle_memory_bytes: idle,
        memory_curve,
    })
}

/// Discards all bytes, but notes when the first ones came.
struct FirstByte {
    started: Instant,
    at: Option<f64>,
}

impl Sink for FirstByte {
    fn write(&mut self, _chunk: Bytes) -> io::Result<()> {
        let started = self.started;
        self.at
            .get_or_insert_with(|| started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// The memory over time, while it is being sampled.
struct Curve {
    ended: Arc<AtomicBool>,
    sampler: Option<std::thread::JoinHandle<Vec<Sample>>>,
}

impl Curve {
    fn start(started: Instant, idle: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&ended);
        let sample = move || {
            let mut samples = Vec::new();
            loop {
                let last = watched.load(Ordering::Relaxed);
                let above = (memory::resident_bytes() as u64).saturating_sub(idle);
                samples.push(Sample(started.elapsed().as_secs_f64(), above));
                if last {
                    return samples;
                }
                std::thread::sleep(SAMPLE_INTERVAL);
            }
        };
        let sampler = std::thread::Builder::new()
            .name("memory-curve".into())
            .spawn(sample);
        Self {
            ended,
            sampler: sampler
                .inspect_err(|error| tracing::warn!(%error, "no thread to sample the memory"))
                .ok(),
        }
    }

    /// The curve: the maximum of neighbouring samples, so that no peak is lost.
    fn finish(self) -> Vec<Sample> {
        self.ended.store(true, Ordering::Relaxed);
        let samples = self
            .sampler
            .and_then(|sampler| sampler.join().ok())
            .unwrap_or_default();
        let neighbours = samples.len().div_ceil(SAMPLES).max(1);
        samples
            .chunks(neighbours)
            .filter_map(|chunk| chunk.iter().max_by_key(|sample| sample.1).copied())
            .collect()
    }
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    })
}

/// Processor time of PostgreSQL's processes for our connections, in ticks, by their ids; `None` if the system does not report it, as when
/// PostgreSQL runs on another machine. Parallel workers are not included.
fn backends_cpu(database: &Database) -> Result<Option<HashMap<i32, u64>>, db::Error> {
    #[derive(QueryableByName)]
    struct Backend {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        pid: i32,
    }
    let Ok(name) = std::env::var(APPLICATION_NAME) else {
        return Ok(None);
    };
    let backends: Vec<Backend> = diesel::sql_query(
        "select pid from pg_stat_activity where starts_with(application_name, $1) and pid <> pg_backend_pid()",
    )
    .bind::<diesel::sql_types::Text, _>(name)
    .load(&mut database.control_connection()?)?;
    let ticks = backends
        .iter()
        .map(|backend| Some((backend.pid, ticks(backend.pid)?)));
    Ok(ticks
        .collect::<Option<HashMap<_, _>>>()
        .filter(|ticks| !ticks.is_empty()))
}

fn ticks(pid: i32) -> Option<u64> {
    // A process on this machine may have the id of one on PostgreSQL's machine.
    if line(&format!("/proc/{pid}/status"), "Name")? != "postgres" {
        return None;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let times: Vec<u64> = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    (times.len() == 2).then(|| times.iter().sum())
}
