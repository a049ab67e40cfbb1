//! Backups of a database that has our tables and nothing else: a ZIP file with the rows as CSV, as PostgreSQL's own COPY writes and
//! reads it, and a manifest. It goes into a server of any version.
//!
//! - [`write()`] makes one of a snapshot, while others use the database.
//! - [`read()`] fills an empty database from one.

mod contents;
mod reader;
mod writer;

use serde::{Deserialize, Serialize};

pub use reader::read;
pub use writer::write;

use crate::db::{self, libpq};

/// The version of the format. A reader refuses any other.
const FORMAT: u32 = 1;
/// The manifest's name in the file. It is written last, so a file without it is not whole.
const MANIFEST: &str = "manifest.json";
/// The tables, in an order in which each refers only to those before it.
const TABLES: [&str; 4] = ["locations", "assets", "users", "tasks"];

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to back up.
    #[error("the database has no tables of cmms-export: there is nothing to back up")]
    Empty,
    /// There is more than a backup holds.
    #[error(
        "nothing was backed up: the database has what a backup does not hold ({}); take it back, or use pg_dump and pg_restore", .0.join("; ")
    )]
    Others(Vec<String>),
    /// The file is no backup, or not a whole one.
    #[error("the backup is not whole, or none: {0}")]
    NotWhole(String),
    /// A newer program has made it.
    #[error("the backup was made by a newer cmms-export ({0}): restore it with that one")]
    Newer(String),
    /// A table did not get all of its rows.
    #[error("{table}: the backup has {expected} rows, the database took {taken}")]
    Rows {
        /// Which one.
        table: String,
        /// How many it should have got.
        expected: u64,
        /// How many it got.
        taken: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The file could not be written.
    #[error("cannot write the backup: {0}")]
    Write(#[source] std::io::Error),
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

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The version of the program that made it.
    program: String,
    /// The version of the server that it was made on.
    postgresql: String,
    /// The migrations that the tables had had.
    migrations: Vec<String>,
    tables: Vec<Table>,
    /// Extensions that indexes may need.
    extensions: Vec<String>,
    indexes: Vec<Index>,
}

impl Manifest {
    /// Says how many rows the tables have.
    pub fn summary(&self) -> String {
        let tables = self.tables.iter();
        let counts = tables.map(|table| format!("{} {}", table.rows, table.name));
        counts.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    name: String,
    /// As SQL names them.
    columns: Vec<String>,
    rows: u64,
    /// The id that the next row gets.
    next_id: i64,
}

impl Table {
    /// The name of its rows' entry in the file.
    fn entry(&self) -> String {
        format!("{}.csv", self.name)
    }
}

/// An index that no constraint makes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Index {
    name: String,
    sql: String,
}

/// How the rows are written and read.
fn format() -> libpq::Options {
    libpq::Options::csv().header()
}
