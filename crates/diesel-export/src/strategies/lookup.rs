//! `lookup`: COPY of columns of the dataset's own table alone, off a covering index, on several connections at once. It looks up in
//! memory the names that the rows refer to.
//!
//! The joins of `copy` are with small tables, and most of a row is not exported. So `lookup` reads the names once, and divides the
//! rows' keys into [ranges](ranges). Connections in one and the same snapshot take range after range; the calling thread hands the
//! ranges on in order. Only a few ranges ahead of it are begun, and each waits once so many of its bytes wait. So a slow reader stops
//! the queries, and memory depends neither on the number of rows nor on the ranges, but on the longest row alone.
//!
//! This pays only for a large part of the rows, and if the tables of names fit into memory. It is right only under
//! [conditions](conditions). Otherwise the export runs as `copy`.

mod conditions;
mod estimate;
mod names;
mod own_rows;
mod queue;
mod ranges;
mod rows;
mod session;
mod work;

use std::borrow::Cow;
use std::panic;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use tracing::Span;

use self::conditions::{Conditions, fitting_key};
pub(crate) use self::estimate::Estimate;
use self::names::Names;
use self::own_rows::{FEW, Keys, OwnRows, Reading};
use self::ranges::Ranges;
use self::rows::RowEncoder;
use self::session::{NoConnection, Session, Snapshot};
use self::work::{PIECE, Work, hand_on};
use crate::buffers::Buffers;
use crate::dataset::Key;
use crate::db::libpq::{self, CopyOutDsl as _};
use crate::db::{self, Database};
use crate::encoder::Encoder;
use crate::{Error, Export, Plan, Source, Strategy, copy};

/// The most connections that an export takes.
pub const CONNECTIONS: usize = 4;
/// The most if values may be longer than a row: libpq keeps up to two or three times the longest one for each connection.
const CONNECTIONS_FOR_LONG: usize = 2;
/// Ranges per connection, if connections are opened for one export only: opening one costs PostgreSQL as much as two ranges.
const RANGES_OF_CONNECTION: usize = 5;
/// Ranges that are under way at the same time, beyond one for each connection.
const AHEAD: usize = 1;

pub(crate) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let key = match fitting_key(source.export) {
        Ok(key) => key,
        Err(because) => {
            plan_copy(source, because);
            return copy::run(source, encoder);
        }
    };
    let (mut leader, answer, locked) = Session::begin(source)?;
    match Lookup::prepare((source, key), &mut leader, answer, locked) {
        Ok(lookup) => {
            source.observer.plan(&lookup.plan());
            lookup.run(leader, source, encoder)
        }
        Err(Unprepared::Failed(error)) => Err(error),
        Err(Unprepared::Unfit(because)) => {
            plan_copy(source, because);
            if !leader.connection.is_in_transaction() {
                drop(leader);
                return copy::run(source, encoder);
            }
            // Starting over would cost as much as a small export.
            leader.set_alone(false).map_err(db::Error::from)?;
            copy::rows(source, &mut leader.connection, encoder)?;
            leader.end();
            Ok(())
        }
    }
}

fn plan_copy(source: &Source<'_>, because: Cow<'static, str>) {
    tracing::info!(%because, "the export is copy's");
    source.observer.plan(&Plan {
        strategy: Strategy::Copy,
        connections: 1,
        because: Some(because),
    });
}

/// Opens the second connection of an export of all rows early, so that the first one need not wait for it. How many rows there are
/// is not known yet.
pub(crate) fn open_ahead(export: &Export, database: &Database) {
    if !export.filter.conditions().is_empty() {
        return;
    }
    let Ok(key) = fitting_key(export) else {
        return;
    };
    let sql = OwnRows::of(export, key).and_then(|rows| Ok(rows.query(Keys::All).literal_sql()?));
    if let Ok(sql) = sql {
        database.open_helper_ahead(&format!("explain {sql}"));
    }
}

/// Returns how many connections pay for this many ranges.
fn connections(ranges: usize, database: &Database) -> usize {
    let worth = if database.is_for_one_export() {
        ranges.div_ceil(RANGES_OF_CONNECTION)
    } else {
        ranges
    };
    worth.clamp(1, CONNECTIONS)
}

/// Why there is no lookup.
enum Unprepared {
    /// Another strategy does better, or lookup might not be correct.
    Unfit(Cow<'static, str>),
    /// No strategy would do better.
    Failed(Error),
}

impl Unprepared {
    fn unfit(because: impl Into<Cow<'static, str>>) -> Self {
        Self::Unfit(because.into())
    }
}

impl From<db::Error> for Unprepared {
    fn from(error: db::Error) -> Self {
        if error.is_unavailable() || error.is_statement_timeout() || error.is_recovery_conflict() {
            return Self::Failed(error.into());
        }
        // For example, the server knows no exported snapshots, or the role may not read the catalog.
        tracing::warn!(%error, "lookup cannot be prepared");
        Self::unfit("the server refused the preparations")
    }
}

impl From<libpq::Error> for Unprepared {
    fn from(error: libpq::Error) -> Self {
        db::Error::from(error).into()
    }
}

impl From<Error> for Unprepared {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A lookup that is ready to run.
struct Lookup<'a> {
    rows: OwnRows<'a>,
    names: Names,
    conditions: Arc<Conditions>,
    ranges: Vec<Keys>,
    /// Connections beside the first one.
    helpers: Vec<Session<'a>>,
    /// The snapshot for further connections, if there is more than one connection.
    snapshot: Option<Snapshot<'a>>,
    /// Why there are fewer connections than would pay for the ranges.
    without: Option<NoConnection>,
    /// Why the rows are not read as fast as they might be.
    because: Option<&'static str>,
}

impl<'a> Lookup<'a> {
    fn prepare(
        (source, key): (&Source<'a>, &'a Key),
        leader: &mut Session<'a>,
        answer: libpq::Row,
        locked: bool,
    ) -> Result<Self, Unprepared> {
        let export = source.export;
        let dataset = export.dataset();
        let mut own = OwnRows::of(export, key)?;
        let connection = &mut *leader.connection;
        if own.are_few(connection)? {
            return Err(Unprepared::unfit("the filter leaves few rows"));
        }
        if !locked {
            return Err(Unprepared::unfit(UNLOCKED));
        }
        let answer = if export.filter.iter().next().is_some() {
            let select_list = Conditions::select_list(dataset).join(", ");
            let answer = connection.query_row(&format!("select {select_list}"))?;
            answer.unwrap_or_default()
        } else {
            answer
        };
        let conditions = Arc::new(Conditions::of(connection, dataset, &answer)?);
        if let Some(violated) = &conditions.violated {
            return Err(Unprepared::unfit(violated.clone()));
        }
        leader.set_alone(true)?;
        let connection = &mut *leader.connection;

        let estimates = own
            .tables
            .iter()
            .map(|table| Estimate::of(connection, &table.sql));
        let estimates: Vec<Estimate> = estimates.collect::<Result<_, _>>()?;
        let memory = export.limits.lookup_memory;
        if names::bytes(&estimates) > memory as f64 {
            return Err(Unprepared::unfit(TOO_LARGE));
        }
        if !own.others_have_one_row_each(connection)? {
            return Err(Unprepared::unfit(SEVERAL_ROWS));
        }
        if !own.find_ids(connection)? {
            return Err(Unprepared::unfit(
                "the filter leaves too many ids to name them",
            ));
        }
        let (rows, reading) = own.reading(connection)?;
        if estimates.iter().map(|table| table.rows).sum::<f64>() > rows.rows + FEW {
            return Err(Unprepared::unfit("there are more names than rows"));
        }
        let expected = match reading {
            Reading::Ranges(_) => connections(ranges::fewest(&rows), source.database),
            Reading::AtOnce(_) => 1,
        };
        let query = own.query(Keys::All).literal_sql()?;
        let export_snapshot =
            |leader: &mut Session<'a>| Snapshot::export(source, &conditions, leader, query.clone());
        let snapshot = (expected > 1).then(|| export_snapshot(leader));
        let mut snapshot = snapshot.transpose()?;
        let connection = &mut *leader.connection;
        let span = &Span::current();
        let (names, ranges, helpers) = thread::scope(|scope| {
            // The helpers connect while the first connection reads the names.
            let helpers = snapshot.iter().flat_map(|snapshot| {
                (1..expected).map(|_| scope.spawn(|| span.in_scope(|| snapshot.session())))
            });
            let helpers: Vec<_> = helpers.collect();
            let mut names = Names::new(memory);
            let line = (export.format.lines(), export.columns.columns().len());
            for table in &own.tables {
                names.load(connection, &table.sql, &table.kinds, line)?;
            }
            let ranges = match &reading {
                Reading::Ranges(scan) => {
                    let columns = &own.columns;
                    ranges::of(connection, (dataset.table(), key), columns, (&rows, scan))?
                }
                Reading::AtOnce(_) => Ranges::default(),
            };
            let helpers = helpers.into_iter().map(joined);
            let helpers: Vec<Result<Session<'_>, NoConnection>> =
                helpers.collect::<Result<_, _>>()?;
            Ok::<_, Unprepared>((names, ranges, helpers))
        })?;
        let most = if ranges.may_be_long {
            CONNECTIONS_FOR_LONG
        } else {
            CONNECTIONS
        };
        let mut ranges: Vec<Keys> = ranges.keys.into_iter().map(Keys::Range).collect();
        if let Reading::AtOnce(_) = &reading {
            // Each range would cost the server as much as all rows do.
            ranges.push(Keys::All);
        }
        let because = match &reading {
            // With one range, it makes no difference.
            Reading::Ranges(scan) => (!scan.index_only && ranges.len() > 1).then_some(FROM_TABLE),
            Reading::AtOnce(because) => *because,
        };

        let wanted = connections(ranges.len(), source.database).min(most);
        if matches!(reading, Reading::Ranges(_)) && !conditions.has_all_keys {
            ranges.push(Keys::Null);
        }
        let mut without = helpers
            .iter()
            .find_map(|helper| helper.as_ref().err().copied());
        let mut helpers: Vec<Session<'_>> = helpers.into_iter().flatten().collect();
        // There may be more ranges than the planner expected, or fewer.
        if wanted > 1 + helpers.len() && without.is_none() {
            let exported = match snapshot {
                Some(exported) => exported,
                None => export_snapshot(leader)?,
            };
            while 1 + helpers.len() < wanted && without.is_none() {
                match exported.session()? {
                    Ok(helper) => helpers.push(helper),
                    Err(reason) => without = Some(reason),
                }
            }
            snapshot = Some(exported);
        }
        helpers
            .drain(wanted.saturating_sub(1).min(helpers.len())..)
            .for_each(Session::end);
        Ok(Self {
            without: without.filter(|_| 1 + helpers.len() < wanted),
            rows: own,
            names,
            conditions,
            ranges,
            helpers,
            snapshot,
            because,
        })
    }

    fn plan(&self) -> Plan {
        let because = [self.without.map(NoConnection::because), self.because];
        let because: Vec<&str> = because.into_iter().flatten().collect();
        Plan {
            strategy: Strategy::Lookup,
            connections: 1 + self.helpers.len(),
            because: (!because.is_empty()).then(|| because.join("; ").into()),
        }
    }

    fn run(
        self,
        leader: Session<'a>,
        source: &Source<'_>,
        encoder: &mut Encoder<'_>,
    ) -> Result<(), Error> {
        let begun = 1 + self.helpers.len() + AHEAD;
        let (job_sender, jobs) = mpsc::channel();
        let export = self.rows.export;
        let fields = export.columns.columns().len();
        let work = Work {
            encoder: RowEncoder::new(&self.rows.steps, &self.names, export.format.lines(), fields),
            rows: &self.rows,
            jobs: Mutex::new(jobs),
            buffers: Buffers::new(PIECE + PIECE / 8),
            longest: AtomicUsize::new(0),
            snapshot: self.snapshot,
        };
        let span = &Span::current();
        thread::scope(|scope| {
            let workers: Vec<_> = std::iter::once(leader)
                .chain(self.helpers)
                .map(|session| scope.spawn(|| span.in_scope(|| work.run(session))))
                .collect();
            let outcome = hand_on(&self.ranges, begun, job_sender, encoder);
            // A worker notices the failure only when it sends; one that finds no rows must be cancelled.
            while outcome.is_err() && !workers.iter().all(|worker| worker.is_finished()) {
                source.cancellation.cancel_queries();
                thread::sleep(Duration::from_millis(10));
            }
            let mut sessions = workers.into_iter().map(joined);
            let leader = sessions.next().flatten();
            sessions.flatten().for_each(Session::end);
            outcome?;
            // Only now that all ranges are read. One query has read them all if there is one range.
            match leader {
                Some(leader) if self.ranges.len() > 1 => {
                    Ok(leader.end_under(&self.conditions, export.dataset())?)
                }
                Some(leader) => {
                    leader.end();
                    Ok(())
                }
                None => Err(db::Error::Moved.into()),
            }
        })
    }
}

/// Returns the thread's value, or panics as the thread did.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

const FROM_TABLE: &str = "the rows are read from the table, not from an index alone: no index has all of their columns, the table has changed since its last VACUUM, or PostgreSQL expects the table to cost less";
const TOO_LARGE: &str = "the tables of names are too large";
const SEVERAL_ROWS: &str = "nothing shows that each id that the rows refer to has one row";
const UNLOCKED: &str = "the tables cannot be locked for several connections: the role may not, or one of them is a materialized view";
