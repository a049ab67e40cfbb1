//! The export: tasks from a database, as CSV, to a sink.
//!
//! An [`Export`] says what to export and how; [`run`] does it. A strategy knows a database and an encoder, and nothing of
//! where the bytes go.

pub mod cancellation;
pub mod csv;
pub mod filter;
pub mod parameters;

mod copy;
mod joined;
mod literal;
mod paged;
mod query;
mod streamed;
mod tuples;

use std::io;

use bytes::Bytes;
use clap::ValueEnum;
use diesel::PgConnection;
use serde::{Deserialize, Serialize};

use self::cancellation::{Backend, Cancellation};
use self::csv::{Encoder, Format};
use self::filter::Filter;
use crate::db::{self, Database, libpq};

/// How the rows are loaded. Every strategy gives the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum, Serialize, Deserialize)]
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
    #[default]
    Copy,
}

impl Strategy {
    /// All strategies, from the article's first to its last.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The name by which the command line and the web know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Tuples => "tuples",
            Self::Streamed => "streamed",
            Self::Paged => "paged",
            Self::Copy => "copy",
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
}

/// Where the CSV goes.
pub trait Sink {
    /// Takes the next bytes, and takes its time: an export never runs ahead of its sink.
    fn write(&mut self, chunk: Bytes) -> io::Result<()>;
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
    /// Somebody stopped it.
    #[error("the export was cancelled")]
    Cancelled,
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
    let mut encoder = Encoder::new(export.format, sink);
    let source = Source {
        database,
        cancellation,
    };
    let outcome = match export.strategy {
        Strategy::Joined => joined::run(&export.filter, &source, &mut encoder),
        Strategy::Tuples => tuples::run(&export.filter, &source, &mut encoder),
        Strategy::Streamed => streamed::run(&export.filter, &source, &mut encoder),
        Strategy::Paged => paged::run(&export.filter, &source, &mut encoder),
        Strategy::Copy => copy::run(&export.filter, &source, &mut encoder),
    };
    // A cancelled query fails, or its sink does; either way the reason is that it was cancelled.
    match outcome.and_then(|()| encoder.finish()) {
        Err(_) if cancellation.is_cancelled() => Err(Error::Cancelled),
        outcome => outcome,
    }
}

/// Where a strategy's rows come from.
struct Source<'a> {
    database: &'a Database,
    cancellation: &'a Cancellation,
}

impl Source<'_> {
    /// Does `work` in a snapshot, on a connection of Diesel's.
    fn snapshot<T>(
        &self,
        work: impl FnOnce(&mut PgConnection, &Backend<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.database.connection()?;
        let backend_pid = db::backend_pid(&mut connection)?;
        let backend = self.cancellation.register(self.database, backend_pid)?;
        db::snapshot(&mut connection, |connection| work(connection, &backend))
    }

    /// Does `work` in a snapshot, on a connection that speaks COPY.
    fn copy_snapshot<T>(
        &self,
        work: impl FnOnce(&mut libpq::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.database.copy_connection()?;
        let _backend = self
            .cancellation
            .register(self.database, connection.backend_pid())?;
        db::copy_snapshot(&mut connection, work)
    }
}
