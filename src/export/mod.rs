//! The export: tasks from a database, as CSV, to a sink.
//!
//! An [`Export`] says what to export and how; [`run`] does it. A strategy knows a database and an encoder, and nothing of
//! where the bytes go.

pub mod cancellation;
pub mod choices;
pub mod csv;
#[cfg(feature = "fault-injection")]
mod fault;
pub mod filter;
pub mod manifest;
pub mod parameters;
pub mod preview;
pub mod routing;

mod buffers;
mod copy;
mod joined;
mod literal;
mod lookup;
mod paged;
mod query;
mod streamed;
mod tuples;

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::cancellation::{Backend, Cancellation};
use self::csv::{Encoder, Format};
use self::filter::Filter;
use self::literal::Values;
pub use self::lookup::CONNECTIONS;
use self::manifest::ErrorClass;
use crate::db::servers::{NoReplica, Role};
use crate::db::{self, Database, Process, libpq};
use crate::schema::tasks;
use crate::units;

/// How the rows are loaded. Every strategy gives the same bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// full model structs of all five joined tables, all in memory
    Joined,
    /// only the seven values, as tuples, all in memory
    Tuples,
    /// the seven values, row by row as they arrive
    Streamed,
    /// the seven values, in keyset pages of 2,000 in one snapshot
    Paged,
    /// PostgreSQL's own COPY, its bytes passed through
    Copy,
    /// COPY of the tasks alone, on several connections at once, the names looked up in memory; where that does not pay, `copy`
    #[default]
    Lookup,
}

impl Strategy {
    /// All strategies, from the article's first to its last.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The strategies that hold no more than a part of the rows in memory.
    pub fn unbuffered() -> impl Iterator<Item = Self> {
        Self::all()
            .iter()
            .copied()
            .filter(|strategy| !strategy.is_buffered())
    }

    /// Whether it holds all rows in memory.
    pub fn is_buffered(self) -> bool {
        matches!(self, Self::Joined | Self::Tuples)
    }

    /// The name by which the command line and the web know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Tuples => "tuples",
            Self::Streamed => "streamed",
            Self::Paged => "paged",
            Self::Copy => "copy",
            Self::Lookup => "lookup",
        }
    }
}

/// What to export, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// How the rows are loaded.
    pub strategy: Strategy,
    /// Which tasks.
    pub filter: Filter,
    /// How the CSV is written.
    pub format: Format,
    /// What it may cost.
    pub limits: Limits,
}

/// What an export may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
pub struct Limits {
    /// Rows that `joined` and `tuples`, which hold all of them in memory, may load
    #[arg(long, env = "CMMS_MAX_BUFFERED_ROWS", help_heading = "Limits", value_name = "N", default_value_t = Self::default().max_buffered_rows)]
    pub max_buffered_rows: u32,
    /// Time for each of an export's queries, the waiting for its reader included [default: none]
    #[arg(long, env = "CMMS_STATEMENT_TIMEOUT", help_heading = "Limits", value_name = "SECONDS", value_parser = units::seconds)]
    pub statement_timeout: Option<Duration>,
    /// Bytes of names that `lookup` may hold in memory: a number, or one with KiB, MiB or GiB
    #[arg(long, env = "CMMS_LOOKUP_MEMORY", help_heading = "Limits", value_name = "SIZE", default_value = "64MiB", value_parser = units::bytes)]
    pub lookup_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_buffered_rows: 1_000_000,
            statement_timeout: None,
            lookup_memory: 64 << 20,
        }
    }
}

/// How an export is made in fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The strategy: the one that was asked for, or `copy` in place of `lookup`.
    pub strategy: Strategy,
    /// The connections that it has.
    pub connections: usize,
    /// Why that is less than was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Cow<'static, str>>,
}

impl Plan {
    fn of(strategy: Strategy) -> Self {
        Self {
            strategy,
            connections: 1,
            because: None,
        }
    }
}

/// Where the CSV goes.
pub trait Sink {
    /// Is told on what server the export runs: before anything else, and again where it begins anew on another one.
    fn source(&mut self, _role: Role) {}

    /// Is told how the export is made: before the first byte, and again where it begins anew; never, where it fails before.
    fn begin(&mut self, _plan: &Plan) {}

    /// Takes the next bytes, and takes its time: an export never runs ahead of its sink.
    fn write(&mut self, chunk: Bytes) -> io::Result<()>;

    /// Hears what all that it has taken comes to.
    fn wrote(&mut self, _so_far: &Summary) {}
}

/// What a whole export came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines after the header, which are tasks.
    pub rows: u64,
    /// Bytes of CSV.
    pub bytes: u64,
}

/// Why an export is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The sink took no more.
    #[error("the output failed: {0}")]
    Sink(#[source] io::Error),
    /// No server may run it now.
    #[error(transparent)]
    NoReplica(#[from] NoReplica),
    /// Somebody stopped it.
    #[error("the export was cancelled")]
    Cancelled,
    /// The strategy would hold more rows in memory than it may.
    #[error(
        "there are more than {limit} rows, which the strategy {} would hold in memory: choose one of {}",
        strategy.name(),
        Strategy::unbuffered().map(Strategy::name).collect::<Vec<_>>().join(", ")
    )]
    TooManyRows {
        /// The strategy that was chosen.
        strategy: Strategy,
        /// The rows that it may hold.
        limit: u32,
    },
}

impl Error {
    /// Finds out why the database has failed, as [`db::Error::explained`] does.
    pub(crate) fn explained(self, connection: &mut PgConnection, waited: Option<Duration>) -> Self {
        match self {
            Self::Database(error) => Self::Database(error.explained(connection, waited)),
            error => error,
        }
    }

    /// How a manifest names it; `None` where it is no failure, but was cancelled.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Cancelled => None,
            Self::TooManyRows { .. } => Some(ErrorClass::TooManyRows),
            Self::Sink(_) => Some(ErrorClass::Output),
            Self::NoReplica(_) => Some(ErrorClass::NoReplica),
            Self::Database(error) if error.is_recovery_conflict() => {
                Some(ErrorClass::RecoveryConflict)
            }
            Self::Database(error) if error.is_unavailable() => {
                Some(ErrorClass::DatabaseUnavailable)
            }
            Self::Database(error) if error.is_statement_timeout() => {
                Some(ErrorClass::StatementTimeout)
            }
            Self::Database(_) => Some(ErrorClass::Database),
        }
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<libpq::Error> for Error {
    fn from(error: libpq::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Exports to `sink`. The CSV is whole if, and only if, this returns `Ok`.
pub fn run(
    export: &Export,
    database: &Database,
    cancellation: &Cancellation,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    #[cfg(feature = "fault-injection")]
    fault::panic_at(0);
    let mut sink = CancellableSink { sink, cancellation };
    let mut encoder = Encoder::new(export.format, &mut sink);
    let source = Source {
        database,
        cancellation,
        export,
    };
    if export.strategy != Strategy::Lookup {
        encoder.begin(&Plan::of(export.strategy));
    }
    let outcome = match export.strategy {
        Strategy::Joined => joined::run(&export.filter, &source, &mut encoder),
        Strategy::Tuples => tuples::run(&export.filter, &source, &mut encoder),
        Strategy::Streamed => streamed::run(&export.filter, &source, &mut encoder),
        Strategy::Paged => paged::run(&export.filter, &source, &mut encoder),
        Strategy::Copy => copy::run(&export.filter, &source, &mut encoder),
        Strategy::Lookup => lookup::run(&export.filter, &source, &mut encoder),
    };
    // A cancelled query fails, or its sink does; either way the reason is that it was cancelled.
    match outcome.and_then(|()| encoder.finish()) {
        Err(_) if cancellation.is_cancelled() => Err(Error::Cancelled),
        outcome => outcome,
    }
}

/// Takes no more once the export is cancelled: a strategy may have all of its rows already, and no query to cancel.
struct CancellableSink<'a> {
    sink: &'a mut dyn Sink,
    cancellation: &'a Cancellation,
}

impl Sink for CancellableSink<'_> {
    fn begin(&mut self, plan: &Plan) {
        self.sink.begin(plan);
    }

    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        if self.cancellation.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.sink.write(chunk)
    }

    fn wrote(&mut self, so_far: &Summary) {
        self.sink.wrote(so_far);
    }
}

/// The SQL for all tasks: what every strategy but `joined`, which selects all columns, asks the server.
pub fn query_text() -> Result<String, Error> {
    Ok(query::rows_sql(&Filter::default(), Format::default())?)
}

/// Where a strategy's rows come from.
struct Source<'a> {
    database: &'a Database,
    cancellation: &'a Cancellation,
    export: &'a Export,
}

impl Source<'_> {
    /// Does `work` in a snapshot, on a connection of Diesel's.
    fn snapshot<T>(
        &self,
        work: impl FnOnce(&mut PgConnection, &Backend<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.database.connection()?;
        let limits = self.export.limits;
        let outcome = db::snapshot(&mut connection, limits.statement_timeout, |connection| {
            let backend = self
                .cancellation
                .register(self.database, Process::of(connection)?)?;
            if self.export.strategy.is_buffered() {
                self.check_rows(connection)?;
            }
            work(connection, &backend)
        });
        outcome.map_err(|error: Error| error.explained(&mut connection, None))
    }

    /// Does `work` in a snapshot, on a connection that speaks COPY.
    fn copy_snapshot<T>(
        &self,
        work: impl FnOnce(&mut libpq::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.database.copy_connection()?;
        let timeout = self.export.limits.statement_timeout;
        let process = db::begin_copy_snapshot(&mut connection, None, timeout, "")?;
        let _backend = self.cancellation.register(self.database, process)?;
        // Where it fails, the pool sees the open transaction or the broken connection, and closes it.
        let value = work(&mut connection)?;
        connection.execute("commit")?;
        Ok(value)
    }

    /// Refuses to hold more rows than are allowed.
    fn check_rows(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let limit = self.export.limits.max_buffered_rows;
        // The whole table first: to count it, off an index, is cheap beside the join that the filter may need.
        let all: i64 = tasks::table.count().get_result(connection)?;
        if all <= i64::from(limit) {
            return Ok(());
        }
        let query = query::tasks(&self.export.filter, Values::Bound)
            .select(tasks::id)
            .offset(limit.into())
            .limit(1);
        match query.get_result::<i64>(connection).optional()? {
            Some(_one_too_many) => Err(Error::TooManyRows {
                strategy: self.export.strategy,
                limit,
            }),
            None => Ok(()),
        }
    }
}
