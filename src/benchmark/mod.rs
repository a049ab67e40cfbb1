//! The benchmark: the time and memory that each strategy takes, on this machine and these data.
//!
//! Every run is a fresh process of this same program ([`child`]), so that its peak memory is its own. A round runs each strategy once, in
//! an order of its own, so that changes on the machine favour none; the first round warms up and does not count.

pub mod child;
pub mod environment;
mod problems;
pub mod render;
pub mod result;
mod store;
mod web;

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::prelude::*;
use rand::seq::SliceRandom;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

pub use self::child::OfFile;
use self::child::{Job, Measured, Outcome};
use self::environment::Environment;
#[cfg(test)]
pub(crate) use self::problems::PROBLEMS;
use self::result::{Report, Run, StrategyResult};
pub use self::store::Benchmarks;
pub(crate) use self::store::KEPT;
pub(crate) use self::web::{SCRIPT, STYLE};
pub use self::web::{SECTION, configure, routes, static_files};
use crate::models::TABLES;
use crate::schema::tasks;
use diesel_export::db::{self, Database};
use diesel_export::{Limits, Strategy};

/// The command by which the program runs itself.
pub const CHILD_COMMAND: &str = "bench-run";
/// Maximum number of runs of each strategy.
pub const MAX_RUNS: u32 = 100;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The strategies (default: all).
    pub strategies: Vec<Strategy>,
    /// Runs of each strategy.
    #[serde(deserialize_with = "runs")]
    #[schema(minimum = 1, maximum = 100)]
    pub runs: u32,
    /// The number of tasks, in the order of their IDs (default: all).
    #[serde(deserialize_with = "rows")]
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64)]
    pub rows: Option<u64>,
}

fn runs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let integer = integer(&number).and_then(|number| number.try_into().ok());
    integer.ok_or_else(|| D::Error::custom(format!("`runs`: not between 1 and {MAX_RUNS}")))
}

fn rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<Number>::deserialize(deserializer)?;
    let integer = |number| integer(&number).ok_or_else(|| D::Error::custom("`rows`: 1 at least"));
    number.map(integer).transpose()
}

/// The integer that a number of JSON is, which may be written with a point: to a schema 5.0 is one.
fn integer(number: &Number) -> Option<u64> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..=i64::MAX as f64).contains(number);
    let written_with_a_point = || Some(number.as_f64().filter(whole)? as u64);
    number.as_u64().or_else(written_with_a_point)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strategies: Vec::new(),
            runs: 5,
            rows: None,
        }
    }
}

/// The request cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOptions(String);

impl Options {
    /// Reads a form or a query: `strategies` repeated, or separated by commas; an empty value counts as none.
    pub fn from_pairs<'a>(
        pairs: impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
    ) -> Result<Self, InvalidOptions> {
        let mut options = Self::default();
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            let invalid = || InvalidOptions(format!("`{name}`: `{value}` is not understood"));
            match name.as_ref() {
                "strategies" => {
                    for name in value.split(',') {
                        options
                            .strategies
                            .push(name.parse().map_err(|_| invalid())?);
                    }
                }
                "runs" => options.runs = value.parse().map_err(|_| invalid())?,
                "rows" => options.rows = Some(value.parse().map_err(|_| invalid())?),
                _ => return Err(InvalidOptions(format!("`{name}` is unknown"))),
            }
        }
        options.checked()
    }

    /// Removes repeated strategies and restores their usual order.
    pub fn checked(self) -> Result<Self, InvalidOptions> {
        if !(1..=MAX_RUNS).contains(&self.runs) {
            return Err(InvalidOptions(format!(
                "`runs`: not between 1 and {MAX_RUNS}"
            )));
        }
        if !self
            .rows
            .is_none_or(|rows| (1..=i64::MAX as u64).contains(&rows))
        {
            return Err(InvalidOptions("`rows`: 1 at least".to_owned()));
        }
        let chosen =
            |strategy: &Strategy| self.strategies.is_empty() || self.strategies.contains(strategy);
        Ok(Self {
            strategies: Strategy::all().iter().copied().filter(chosen).collect(),
            ..self
        })
    }
}

/// The progress of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    /// Finished runs, including the warm-up.
    pub done: u32,
    /// Runs in all.
    pub total: u32,
    /// What is running now.
    pub strategy: Option<Strategy>,
    /// The number of the round; 0 is the warm-up.
    pub round: u32,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// There is nothing to measure.
    #[error("there are no tasks to measure: run `cmms-export seed` first")]
    NoTasks,
    /// The program cannot run itself.
    #[error("the program cannot be started for a run: {0}")]
    Start(#[source] io::Error),
    /// It was cancelled.
    #[error("the benchmark was cancelled")]
    Cancelled,
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Stops a benchmark. Clones stop the same one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Mutex<Stopping>>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: bool,
    /// Closing it tells the run's process to stop.
    running: Option<ChildStdin>,
}

impl Stop {
    /// Stops the benchmark, down to the query of its run.
    pub fn stop(&self) {
        let mut stopping = self.lock();
        stopping.stopped = true;
        stopping.running = None;
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn lock(&self) -> MutexGuard<'_, Stopping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the benchmark on `database`, which is at `url`: of the tasks, or of a file's dataset.
pub fn run(
    options: &Options,
    limits: Limits,
    of_file: Option<&OfFile>,
    (database, url): (&Database, &str),
    stop: &Stop,
    mut progress: impl FnMut(Progress),
) -> Result<Report, Error> {
    let own_tables = TABLES.map(str::to_owned);
    let tables = of_file.map_or(own_tables.as_slice(), |of_file| &of_file.tables);
    let environment = Environment::read(database, tables)?;
    let measured = match of_file {
        Some(of_file) => Measured::OfFile(of_file.clone()),
        None => Measured::Tasks(last_id(options.rows, database)?),
    };
    let mut outcomes: Vec<(Strategy, Result<Vec<Run>, String>)> = options
        .strategies
        .iter()
        .map(|strategy| (*strategy, Ok(Vec::new())))
        .collect();
    let mut state = Progress {
        done: 0,
        total: (options.runs + 1) * options.strategies.len() as u32,
        strategy: None,
        round: 0,
    };
    let mut rounds = Vec::new();
    for round in 0..=options.runs {
        let mut order = options.strategies.clone();
        order.shuffle(&mut rand::rng());
        for strategy in &order {
            let outcome = outcomes.iter_mut().find(|(known, _)| known == strategy);
            if let Some((_, outcome @ Ok(_))) = outcome {
                state = Progress {
                    strategy: Some(*strategy),
                    round,
                    ..state
                };
                progress(state);
                let job = Job {
                    strategy: *strategy,
                    measured: measured.clone(),
                    limits,
                };
                match (run_once(&job, url, stop)?, outcome.as_mut()) {
                    (Ok(run), Ok(runs)) if round > 0 => runs.push(run),
                    (Ok(_warm_up), _) => {}
                    (Err(reason), _) => *outcome = Err(reason),
                }
            }
            state.done += 1;
        }
        if round > 0 {
            rounds.push(order);
        }
    }
    progress(Progress {
        strategy: None,
        ..state
    });
    let results = outcomes
        .into_iter()
        .map(|(strategy, runs)| StrategyResult::of(strategy, runs))
        .collect();
    let dataset = of_file.map(|of_file| of_file.dataset.clone());
    Ok(Report {
        dataset,
        ..Report::new(environment, options.rows, options.runs, rounds, results)
    })
}

/// The id of the last of this many tasks; `None` if there are not more.
fn last_id(rows: Option<u64>, database: &Database) -> Result<Option<i64>, Error> {
    let mut connection = database.control_connection()?;
    let nth = |nth: i64, connection: &mut PgConnection| {
        let ids = tasks::table.select(tasks::id).order(tasks::id.asc());
        ids.offset(nth).first::<i64>(connection).optional()
    };
    if nth(0, &mut connection)?.is_none() {
        return Err(Error::NoTasks);
    }
    Ok(match rows {
        Some(rows) => nth((rows as i64).max(1) - 1, &mut connection)?,
        None => None,
    })
}

/// Runs a job in a fresh process.
fn run_once(job: &Job, url: &str, stop: &Stop) -> Result<Outcome, Error> {
    let line = serde_json::to_string(job).map_err(|error| Error::Start(error.into()))?;
    let mut child = {
        // With the lock held: either the process is not started, or it is told to stop.
        let mut stopping = stop.lock();
        if stopping.stopped {
            return Err(Error::Cancelled);
        }
        let mut child = Command::new(std::env::current_exe().map_err(Error::Start)?)
            .arg(CHILD_COMMAND)
            // Not as an argument: it may hold a password, and everybody on the machine sees arguments.
            .envs(child::environment(url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::Start)?;
        stopping.running = child.stdin.take();
        if let Some(stdin) = &mut stopping.running {
            // If a process accepts no job, its exit says what is wrong.
            let _ = writeln!(stdin, "{line}");
        }
        child
    };
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut answer);
    }
    let status = child.wait().map_err(Error::Start)?;
    let mut stopping = stop.lock();
    stopping.running = None;
    if stopping.stopped {
        return Err(Error::Cancelled);
    }
    Ok(serde_json::from_str(&answer)
        .unwrap_or_else(|_| Err(format!("its process ended without a result: {status}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_may_be_written_with_a_point_and_a_fraction_may_not() {
        let read = |json: &str| serde_json::from_str::<Options>(json).ok();
        let options = read(r#"{"runs": 91.0, "rows": 2251799813685247.0}"#);
        assert_eq!(
            options.map(|options| (options.runs, options.rows)),
            Some((91, Some(2_251_799_813_685_247)))
        );
        assert_eq!(
            read(r#"{"rows": null}"#).map(|options| options.rows),
            Some(None)
        );
        for json in [
            r#"{"runs": 1.5}"#,
            r#"{"runs": null}"#,
            r#"{"rows": -1}"#,
            r#"{"rows": 1e30}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
