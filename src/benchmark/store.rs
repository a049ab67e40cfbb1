//! The benchmark that runs, and the results that are kept.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use crate::benchmark::problems::BENCHMARK_RUNS;
use crate::benchmark::result::Report;
use crate::benchmark::{self, Options, Progress, Stop};
use diesel_export::db::Database;
use diesel_export::manifest::State;
use diesel_export::{Limits, atomic_file};
use diesel_export_actix::problem::{Kind, Problem};
use diesel_export_actix::{App, is_id};

/// The directory of the results, in the data directory.
const DIRECTORY: &str = "benchmarks";
/// Results that are kept: enough to compare with, and few enough to read all of them for a page.
pub(crate) const KEPT: usize = 50;

/// The state of a benchmark.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Its id.
    pub(crate) id: String,
    /// Its state.
    pub(crate) state: State,
    /// Its progress, once it has begun.
    pub(crate) progress: Option<Progress>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// A benchmark.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Benchmark {
    #[serde(flatten)]
    pub(crate) status: Status,
    /// Its result, once it is complete.
    pub(crate) result: Option<Report>,
}

/// A benchmark in the list of all.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// Its id.
    pub(crate) id: String,
    /// When it ran.
    pub(crate) date: String,
    /// The rows of each export.
    pub(crate) rows: u64,
    /// Runs of each strategy.
    pub(crate) runs: u32,
}

/// All benchmarks: the one that runs or has run last, and the results that are kept.
pub struct Benchmarks {
    /// Whether clients may run it even if other machines can reach the service.
    is_allowed: bool,
    database: Database,
    /// The database of its processes. (The URL may hold a password.)
    database_url: String,
    /// What an export may cost.
    limits: Limits,
    /// The directory of the results; `None` if there is none.
    directory: Option<PathBuf>,
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    benchmark: Arc<Mutex<Benchmark>>,
    stop: Stop,
}

impl Current {
    fn new() -> Self {
        let status = Status {
            id: format!("{:016x}", rand::random::<u64>()),
            state: State::Running,
            progress: None,
            error: None,
        };
        Self {
            benchmark: Arc::new(Mutex::new(Benchmark {
                status,
                result: None,
            })),
            stop: Stop::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Benchmark> {
        self.benchmark
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        self.lock().status.clone()
    }
}

impl Benchmarks {
    /// Benchmarks on a database, at this URL. Results are kept in the data directory.
    pub fn new(
        is_allowed: bool,
        (database, database_url): (Database, String),
        limits: Limits,
        data_dir: Option<&Path>,
    ) -> Self {
        Self {
            is_allowed,
            database,
            database_url,
            limits,
            directory: data_dir.map(|directory| directory.join(DIRECTORY)),
            current: Mutex::default(),
        }
    }

    /// Whether clients may run it.
    pub(crate) fn are_allowed(&self, app: &App) -> bool {
        self.is_allowed || (app.is_loopback() && !app.has_users())
    }

    /// The state of the benchmark that runs, or has run last.
    pub(crate) fn status(&self) -> Option<Status> {
        self.known().map(|current| current.status())
    }

    /// The same, now and later, if it has this id.
    pub(crate) fn follow(&self, id: &str) -> Option<impl Fn() -> Status + use<>> {
        let current = self
            .known()
            .filter(|current| current.lock().status.id == id)?;
        Some(move || current.status())
    }

    /// Stops the benchmark that runs, if it has this id; returns whether it did.
    pub fn stop(&self, id: Option<&str>) -> bool {
        let is_meant = |current: &Current| id.is_none_or(|id| current.lock().status.id == id);
        let current = self.known().filter(is_meant);
        if let Some(current) = &current {
            current.stop.stop();
        }
        current.is_some()
    }

    /// The benchmark of this id.
    pub(crate) fn get(&self, id: &str) -> Option<Benchmark> {
        let current = self.known().map(|current| current.lock().clone());
        current
            .filter(|current| current.status.id == id)
            .or_else(|| {
                let directory = self.directory.as_ref().filter(|_| is_id(id))?;
                let report = read(&directory.join(id).with_extension("json"))?;
                Some(Benchmark {
                    status: Status {
                        id: id.to_owned(),
                        state: State::Complete,
                        progress: None,
                        error: None,
                    },
                    result: Some(report),
                })
            })
    }

    /// All results, the latest first, with their ids.
    pub(crate) fn results(&self) -> Vec<(String, Report)> {
        let files = self
            .directory
            .as_ref()
            .and_then(|path| fs::read_dir(path).ok());
        let mut results: Vec<(String, Report)> = files
            .into_iter()
            .flatten()
            .filter_map(|file| {
                let path = file.ok()?.path();
                let id = path.file_stem()?.to_str().filter(|id| is_id(id))?;
                Some((id.to_owned(), read(&path)?))
            })
            .collect();
        // If results are not kept, there is still the last one.
        if let Some(Benchmark {
            status,
            result: Some(report),
        }) = self.known().map(|current| current.lock().clone())
            && results.iter().all(|(id, _)| *id != status.id)
        {
            results.push((status.id, report));
        }
        results.sort_by(|(_, a), (_, b)| b.environment.date.cmp(&a.environment.date));
        results
    }

    fn known(&self) -> Option<Current> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts a benchmark, unless one runs.
    pub(crate) fn start(self: &Arc<Self>, options: Options) -> Result<String, Problem> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = current.as_ref().map(Current::status)
            && running.state == State::Running
        {
            let location = format!("/api/benchmarks/{}", running.id);
            return Err(Problem::new(Kind::Application(&BENCHMARK_RUNS)).at(location));
        }
        let started = Current::new();
        let id = started.status().id;
        let (thread, all) = (started.clone(), Arc::clone(self));
        std::thread::Builder::new()
            .name("benchmark".into())
            .spawn(move || all.run(&options, &thread))
            .map_err(|error| {
                tracing::error!(%error, "no thread for a benchmark");
                Problem::new(Kind::Internal)
            })?;
        *current = Some(started);
        Ok(id)
    }

    fn run(&self, options: &Options, current: &Current) {
        let outcome = benchmark::run(
            options,
            self.limits,
            None,
            (&self.database, &self.database_url),
            &current.stop,
            |progress| current.lock().status.progress = Some(progress),
        );
        let (state, error, result) = match outcome {
            Ok(report) => {
                if let Err(error) = self.keep(&current.status().id, &report) {
                    tracing::error!(%error, "a benchmark's result cannot be kept");
                }
                (State::Complete, None, Some(report))
            }
            Err(benchmark::Error::Cancelled) => (State::Cancelled, None, None),
            Err(error) => {
                tracing::error!(%error, "the benchmark failed");
                let text = match error {
                    benchmark::Error::NoTasks => "there are no tasks to measure",
                    _ => "something went wrong; the log says what",
                };
                (State::Failed, Some(text.to_owned()), None)
            }
        };
        let mut benchmark = current.lock();
        benchmark.status.state = state;
        benchmark.status.error = error;
        benchmark.result = result;
    }

    fn keep(&self, id: &str, report: &Report) -> std::io::Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        fs::create_dir_all(directory)?;
        let path = directory.join(id).with_extension("json");
        atomic_file::write(&path, ".tmp", &report.to_json()?)?;
        let results = self.results();
        for id in outdated(&results, id) {
            match fs::remove_file(directory.join(id).with_extension("json")) {
                // A deletion by another process does as well.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => tracing::info!(id, "an old benchmark's result is deleted"),
            }
        }
        Ok(())
    }
}

/// The results that are too many: the oldest ones, and never the newest, whatever the clocks say.
fn outdated<'a>(results: &'a [(String, Report)], newest: &str) -> Vec<&'a str> {
    let mut others: Vec<_> = results
        .iter()
        .filter(|(id, _)| id != newest)
        .map(|(id, report)| (report.environment.date.as_str(), id.as_str()))
        .collect();
    others.sort_unstable();
    let too_many = (others.len() + 1).saturating_sub(KEPT);
    others[..too_many].iter().map(|(_, id)| *id).collect()
}

fn read(path: &Path) -> Option<Report> {
    if path.extension()? != "json" {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?)
        .inspect_err(|error| tracing::warn!(?path, %error, "no benchmark's result"))
        .map(Report::compared)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::environment::Environment;

    fn kept(id: usize, date: String) -> (String, Report) {
        let report = Report {
            environment: Environment {
                date,
                ..Environment::default()
            },
            dataset: None,
            rows_limit: None,
            runs: 1,
            order: vec![],
            same_bytes: true,
            results: vec![],
        };
        (format!("{id:02}"), report)
    }

    #[test]
    fn the_oldest_go_and_the_newest_stays_whatever_the_clocks_say() {
        let date = |day: usize| format!("2026-11-{day:02}T00:00:00Z");
        let mut results: Vec<_> = (0..KEPT).map(|id| kept(id, date(id + 10))).collect();
        assert_eq!(outdated(&results, "00"), [""; 0], "there are not too many");
        // The clock was set back.
        results.push(kept(98, date(1)));
        assert_eq!(outdated(&results, "98"), ["00"]);
        results.push(kept(99, date(0)));
        assert_eq!(outdated(&results, "99"), ["98", "00"]);
        assert_eq!(outdated(&results, "49"), ["99", "98"]);
    }
}
