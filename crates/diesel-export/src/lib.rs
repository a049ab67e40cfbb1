//! Exports of Diesel queries from PostgreSQL: rows of a declared dataset, as CSV, JSON lines or a workbook, to a sink. Complete, or an error.
//!
//! An [`Export`] says what to export and how; [`run`](fn@run) does it. A strategy knows a database and an encoder, and not where
//! the bytes go.
//!
//! # A tour
//!
//! From the bottom up; a module knows only those above it in this list:
//!
//! * [`units`], [`memory`], [`atomic_file`]: formatting of quantities, the process's memory, files that appear complete or not at all.
//! * [`db`]: connection pools, snapshots, messages of errors; [`db::libpq`], connections for COPY; [`db::servers`], the primary and its replicas.
//! * [`dataset`]: how a dataset is declared: its query, columns, filters. A [`Catalog`](dataset::Catalog) has all of them.
//! * [`tables`]: datasets of tables that no Diesel schema declares, from a file and the catalog.
//! * [`queries`], [`choices`], [`parameters`]: the queries on a dataset, the values of a filter, an export's parameters.
//! * `formats`: [`csv`], JSON lines, workbooks, and the encoder that turns rows into them.
//! * `strategies`: a file for each way to load the rows.
//! * `run`: an export while it runs: [`cancellation`], [`record`] and [`manifest`], [`routing`] to a server, the sink and the observer,
//!   the [`stall_detector`].
//! * [`spool`]: files that wait for their readers; [`store`]: those of prepared exports.
//! * [`ExportRun`]: an export in a thread of its own, with its permits, its stall detector and its cancellation.
//! * [`verify`]: whether a file is complete, by its manifest.

pub mod dataset;
pub mod db;
pub mod queries;

mod files;
mod formats;
mod request;
mod resources;
mod run;
mod strategies;
pub mod tables;
#[cfg(any(test, feature = "example", feature = "fault-injection"))]
mod testing;

use std::sync::Arc;

use diesel::prelude::*;

use self::budget::Reservation;
use self::cancellation::{Backend, Cancellation};
use self::dataset::{Dataset, Filter, Loader, Query, RowOrder, Selection};
use self::encoder::Encoder;
pub use self::error::{Error, SpoolFull};
pub use self::files::{atomic_file, spool, store, verify};
use self::format::FileFormat;
use self::formats::{buffers, cells, encoder, xlsx};
pub use self::formats::{csv, format};
pub use self::lookup::CONNECTIONS;
pub use self::paged::PAGE;
pub use self::request::{choices, parameters};
use self::resources::budget;
pub use self::resources::budget::Budget;
pub use self::resources::limits::Limits;
pub use self::resources::{memory, units};
pub use self::run::{ExportRun, cancellation, manifest, outcome, record, routing, stall_detector};
use self::run::{error, sink};
use self::sink::CancellableSink;
pub use self::sink::{Observer, Plan, Sink, Summary};
use self::strategies::{copy, joined, lookup, paged, strategy, streamed, tuples};
pub use self::strategy::Strategy;
#[cfg(any(test, feature = "example"))]
pub use self::testing::example;
#[cfg(feature = "fault-injection")]
use self::testing::fault;
use crate::db::libpq::{self, CopyOutDsl};
use crate::db::servers::Role;
use crate::db::snapshot::{self, Beginning};
use crate::db::{Database, Freshness, FreshnessProof, HasFreshness};

/// What to export, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// How the rows are loaded.
    pub strategy: Strategy,
    /// Which columns, of which dataset.
    pub columns: Selection,
    /// Which of the dataset's rows.
    pub filter: Filter,
    /// In what order.
    pub order: RowOrder,
    /// How they are written.
    pub format: FileFormat,
    /// What it may cost.
    pub limits: Limits,
}

impl Export {
    /// Returns the export of all rows of a dataset, with the defaults.
    pub fn of(dataset: &Arc<dyn Dataset>) -> Self {
        Self {
            strategy: Strategy::default(),
            columns: Selection::default_of(dataset),
            filter: Filter::all(dataset),
            order: RowOrder::of_key(dataset),
            format: FileFormat::default(),
            limits: Limits::default(),
        }
    }

    /// The dataset.
    pub fn dataset(&self) -> &dyn Dataset {
        &**self.filter.dataset()
    }

    /// Returns the query for its rows: what `copy` asks the server.
    pub fn query(&self) -> Query {
        let select = queries::rows(self);
        self.dataset().joined(select)
    }

    /// The same as SQL.
    pub fn sql(&self) -> Result<String, Error> {
        Ok(self.query().literal_sql()?)
    }
}

/// Opens what the export will most likely need, if anything, while the database is still looked at.
pub fn open_ahead(export: &Export, database: &Database) {
    if export.strategy == Strategy::Lookup {
        lookup::open_ahead(export, database);
    }
}

/// Exports to `sink`. The CSV is complete if, and only if, this returns `Ok`.
pub fn run(
    export: &Export,
    database: &Database,
    cancellation: &Cancellation,
    observer: &dyn Observer,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    let target = Target {
        database,
        freshness: None,
        role: None,
    };
    run_on(&target, export, cancellation, observer, sink)
}

/// The database and server that an export runs on.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) database: &'a Database,
    /// How fresh its server must be, if that is demanded.
    pub(crate) freshness: Option<&'a Freshness>,
    /// The role of its server, if that is known.
    pub(crate) role: Option<Role>,
}

/// Exports as [`run`] does, on this target.
pub(crate) fn run_on(
    target: &Target<'_>,
    export: &Export,
    cancellation: &Cancellation,
    observer: &dyn Observer,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    #[cfg(feature = "fault-injection")]
    fault::panic_at(0);
    let mut sink = CancellableSink { sink, cancellation };
    let mut encoder = Encoder::new(export, target, &mut sink, observer, cancellation)?;
    let source = Source {
        database: target.database,
        freshness: target.freshness,
        cancellation,
        observer,
        export,
    };
    let plan = Plan::of_export(export);
    if plan.strategy != Strategy::Lookup {
        observer.plan(&plan);
    }
    let outcome = match plan.strategy {
        Strategy::Joined => joined::run(&source, &mut encoder),
        Strategy::Tuples => tuples::run(&source, &mut encoder),
        Strategy::Streamed => streamed::run(&source, &mut encoder),
        Strategy::Paged => paged::run(&source, &mut encoder),
        Strategy::Copy => copy::run(&source, &mut encoder),
        Strategy::Lookup => lookup::run(&source, &mut encoder),
    };
    // A cancelled export fails in its query or its sink; either way, the cancellation is the reason to report.
    let loaded = outcome.inspect(|()| observer.loaded());
    match loaded.and_then(|()| encoder.finish()) {
        Err(_) if cancellation.is_cancelled() => Err(Error::Cancelled),
        outcome => outcome,
    }
}

/// Where a strategy's rows come from.
struct Source<'a> {
    database: &'a Database,
    freshness: Option<&'a Freshness>,
    cancellation: &'a Cancellation,
    observer: &'a dyn Observer,
    export: &'a Export,
}

impl Source<'_> {
    /// Waits until the connection's server has what the export demands. The snapshot must then be of that server.
    fn wait_until_fresh(
        &self,
        connection: &mut impl HasFreshness,
    ) -> Result<FreshnessProof, db::Error> {
        self.freshness.map_or_else(
            || Ok(FreshnessProof::default()),
            |freshness| freshness.prove_on(connection),
        )
    }

    /// Does `work` in a snapshot, on a connection for Diesel.
    fn snapshot<T>(
        &self,
        work: impl FnOnce(&mut PgConnection, &Backend<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.database.connection()?;
        let shown = self.wait_until_fresh(&mut *connection)?;
        let backend = self.cancellation.register(self.database)?;
        let beginning = self.beginning(&backend);
        let query = || self.export.sql();
        let outcome = snapshot::snapshot(&mut connection, &beginning, query, |connection| {
            shown.holds_on(connection)?;
            if self.export.strategy.is_buffered() {
                self.check_expected_rows(connection)?;
            }
            work(connection, &backend)
        });
        outcome.map_err(|error: Error| error.explained(&mut connection, None))
    }

    /// Does `work` in a snapshot, on a connection that speaks COPY.
    fn copy_snapshot<T>(
        &self,
        work: impl FnOnce(&mut libpq::CopyConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.database.copy_connection()?;
        let shown = self.wait_until_fresh(&mut *connection)?;
        let backend = self.cancellation.register(self.database)?;
        let query =
            |connection: &mut libpq::CopyConnection| self.export.query().literal_sql_on(connection);
        snapshot::begin_copy(&mut connection, &self.beginning(&backend), &[], query)?;
        shown.holds_on(&mut *connection)?;
        // If it fails, the pool sees the open transaction or the broken connection, and closes the connection.
        let value = work(&mut connection)?;
        connection.commit()?;
        Ok(value)
    }

    /// How a transaction of the export begins.
    fn beginning<'b>(&'b self, backend: &'b Backend<'_>) -> Beginning<'b> {
        Beginning {
            name: backend.transaction(),
            relations: self.export.dataset().relations(),
            role: self.export.dataset().role(),
            user: self.export.dataset().user(),
            proof: self.export.dataset().proof(),
            time_zone: self.database.time_zone(),
            statement_timeout: self.export.limits.statement_timeout,
            lock_timeout: None,
        }
    }

    /// Returns what loads the rows of a strategy that holds them all.
    fn loader<'c>(&self, connection: &'c mut PgConnection, backend: &'c Backend<'c>) -> Loader<'c> {
        let reservation = Reservation::of(self.export, self.database.budget());
        Loader::new(connection, backend, reservation)
    }

    /// Returns how many rows to load at most for a strategy that holds them all: one more than it may hold, which shows that there are too many.
    fn most_rows(&self) -> i64 {
        i64::from(self.export.limits.max_buffered_rows) + 1
    }

    /// Refuses to hold more rows than are allowed.
    fn check_rows(&self, rows: usize) -> Result<(), Error> {
        if rows <= self.export.limits.max_buffered_rows as usize {
            Ok(())
        } else {
            Err(self.too_many_rows())
        }
    }

    fn too_many_rows(&self) -> Error {
        Error::TooManyRows {
            strategy: self.export.strategy,
            limit: self.export.limits.max_buffered_rows,
        }
    }

    /// The same before they are loaded, if the planner expects too many. It costs a small export next to nothing, and if the planner
    /// is wrong, the rows are counted as they come.
    fn check_expected_rows(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let limit = self.export.limits.max_buffered_rows;
        let filter = &self.export.filter;
        if queries::expected_rows(connection, filter)? > f64::from(limit)
            && queries::has_more_than(connection, filter, limit.into())?
        {
            return Err(self.too_many_rows());
        }
        Ok(())
    }
}
