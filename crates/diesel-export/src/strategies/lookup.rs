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
mod prepare;
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
use self::own_rows::{Keys, OwnRows};
use self::prepare::{Helpers, Unprepared};
use self::rows::RowEncoder;
use self::session::{NoConnection, Session};
use self::work::{PIECE, Work, hand_on};
use crate::buffers::Buffers;
use crate::db::libpq::CopyOutDsl as _;
use crate::db::{self, Database};
use crate::encoder::Encoder;
use crate::{Error, Export, Plan, Source, Strategy, copy};

/// The most connections that an export takes.
pub const CONNECTIONS: usize = 4;
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

/// A lookup that is ready to run.
struct Lookup<'a> {
    rows: OwnRows<'a>,
    names: Names,
    conditions: Arc<Conditions>,
    ranges: Vec<Keys>,
    helpers: Helpers<'a>,
    /// Why the rows are not read as fast as they might be.
    because: Option<&'static str>,
}

impl<'a> Lookup<'a> {
    fn plan(&self) -> Plan {
        let because = [
            self.helpers.without.map(NoConnection::because),
            self.because,
        ];
        let because: Vec<&str> = because.into_iter().flatten().collect();
        Plan {
            strategy: Strategy::Lookup,
            connections: 1 + self.helpers.sessions.len(),
            because: (!because.is_empty()).then(|| because.join("; ").into()),
        }
    }

    fn run(
        self,
        leader: Session<'a>,
        source: &Source<'_>,
        encoder: &mut Encoder<'_>,
    ) -> Result<(), Error> {
        let begun = 1 + self.helpers.sessions.len() + AHEAD;
        let (job_sender, jobs) = mpsc::channel();
        let export = self.rows.export;
        let fields = export.columns.columns().len();
        let work = Work {
            encoder: RowEncoder::new(&self.rows.steps, &self.names, export.format.lines(), fields),
            rows: &self.rows,
            jobs: Mutex::new(jobs),
            buffers: Buffers::new(PIECE + PIECE / 8),
            longest: AtomicUsize::new(0),
            snapshot: self.helpers.snapshot,
        };
        let span = &Span::current();
        thread::scope(|scope| {
            let workers: Vec<_> = std::iter::once(leader)
                .chain(self.helpers.sessions)
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
