//! `lookup`: COPY of the tasks' own columns alone, off a covering index, on several connections at once; the names that belong
//! to them are looked up in memory.
//!
//! The joins of `copy` are against small tables, and most of a task's row is not exported. So the names are read once, and the
//! tasks' ids are divided into [ranges](ranges). Connections in one and the same snapshot take range after range; the calling
//! thread hands the ranges on in their order. Of the ranges ahead of it only a few are begun, and each waits once it is a few
//! pieces ahead: so a slow reader stops the queries.
//!
//! It is worth it only on a large part of the tasks and with tables of names that fit into memory; where it is not, the export
//! is `copy`'s.

mod names;
mod ranges;
mod rows;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::panic;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use self::names::Names;
use self::rows::RowEncoder;
use super::buffers::Buffers;
use super::cancellation::Backend;
use super::csv::{Encoder, Format};
use super::filter::Filter;
use super::{Error, Plan, Source, Strategy, copy, query};
use crate::db::{self, CopyConnection, libpq};

/// The most connections that an export takes.
pub const CONNECTIONS: usize = 4;
/// Tasks below which any plan of the server's will do.
const FEW: f64 = 10_000.0;
/// Assets at one location, above which their ids are too many to be named in each range's query.
const MOST_ASSETS: usize = 2_000;
/// Bytes of a piece of a range, and pieces of it that may wait for those before.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 12;
/// Ranges that are begun ahead of the one that is handed on, beyond one for each connection.
const AHEAD: usize = 1;

pub(super) fn run(
    filter: &Filter,
    source: &Source<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    match Lookup::prepare(filter, encoder.format(), source) {
        Ok(lookup) => {
            encoder.begin(&lookup.plan());
            lookup.run(source, encoder)
        }
        Err(Unprepared::Failed(error)) => Err(error),
        Err(Unprepared::Unfit(because)) => {
            tracing::info!(because, "lookup does not pay: the export is copy's");
            encoder.begin(&Plan {
                strategy: Strategy::Copy,
                connections: 1,
                because: Some(because.into()),
            });
            copy::run(filter, source, encoder)
        }
    }
}

/// Why there is no lookup.
enum Unprepared {
    /// Another strategy will do better.
    Unfit(&'static str),
    /// No strategy will do better.
    Failed(Error),
}

impl From<libpq::Error> for Unprepared {
    fn from(error: libpq::Error) -> Self {
        let error = db::Error::from(error);
        if error.is_unavailable() || error.is_statement_timeout() || error.is_recovery_conflict() {
            return Self::Failed(error.into());
        }
        // A server that knows no exported snapshots, say, or a role that may not see the catalog.
        tracing::warn!(%error, "lookup cannot be prepared");
        Self::Unfit("the server refused the preparations")
    }
}

impl From<Error> for Unprepared {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<diesel::result::Error> for Unprepared {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// All that is needed to export.
struct Lookup<'a> {
    filter: &'a Filter,
    format: Format,
    names: Names,
    /// The assets at the filter's location, if it has one.
    located: Vec<i64>,
    ranges: Vec<RangeInclusive<i64>>,
    sessions: Vec<Session<'a>>,
    wanted: usize,
}

impl<'a> Lookup<'a> {
    fn prepare(
        filter: &'a Filter,
        format: Format,
        source: &Source<'a>,
    ) -> Result<Self, Unprepared> {
        let mut leader = Session::begin(
            source,
            source.database.copy_connection().map_err(Error::from)?,
            None,
        )?;
        let assets_sql = query::assets_sql(filter, format)?;
        let users_sql = query::users_sql(format)?;
        let connection = &mut *leader.connection;

        let memory = source.export.limits.lookup_memory;
        let assets = Estimate::of(connection, &assets_sql)?;
        let users = Estimate::of(connection, &users_sql)?;
        if names::bytes(&[assets, users]) > memory as f64 {
            return Err(Unprepared::Unfit(TOO_LARGE));
        }
        let mut names = Names::new(format, memory);
        names.load_assets(connection, &assets_sql)?;
        let located: Vec<i64> = match filter.location_id {
            Some(_) => names.asset_ids().collect(),
            None => Vec::new(),
        };
        if located.len() > MOST_ASSETS {
            return Err(Unprepared::Unfit("the location has too many assets"));
        }
        // Not whether the whole table is read faster from end to end and sorted, is the question: it will be read in ranges.
        connection.execute("set local enable_seqscan = off")?;
        let tasks = Estimate::of(
            connection,
            &query::task_columns_sql(filter, &located, None)?,
        )?;
        connection.execute("set local enable_seqscan = on")?;
        if assets.rows + users.rows > tasks.rows + FEW {
            return Err(Unprepared::Unfit("there are more names than tasks"));
        }
        if !tasks.ordered && tasks.rows > FEW {
            return Err(Unprepared::Unfit(NO_SCAN));
        }
        names.load_users(connection, &users_sql)?;
        let ranges = if tasks.ordered {
            let table = ranges::of_tasks(connection)?;
            if !table.index_only {
                return Err(Unprepared::Unfit(NO_SCAN));
            }
            table.ranges
        } else {
            // Each range would cost the server as much as all together.
            vec![i64::MIN..=i64::MAX]
        };

        let wanted = CONNECTIONS.min(ranges.len()).max(1);
        let mut sessions = vec![leader];
        if wanted > 1 {
            let snapshot = sessions[0]
                .connection
                .query_value("select pg_export_snapshot()")?
                .unwrap_or_default();
            while sessions.len() < wanted {
                let Some(helper) = sessions[0].helper(source, &snapshot)? else {
                    break;
                };
                sessions.push(helper);
            }
        }
        Ok(Self {
            filter,
            format,
            names,
            located,
            ranges,
            sessions,
            wanted,
        })
    }

    fn plan(&self) -> Plan {
        let connections = self.sessions.len();
        Plan {
            strategy: Strategy::Lookup,
            connections,
            because: (connections < self.wanted).then(|| "no more connections were free".into()),
        }
    }

    fn run(self, source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
        let begun = self.sessions.len() + AHEAD;
        let (job_sender, jobs) = mpsc::channel();
        let work = Work {
            filter: self.filter,
            rows: RowEncoder::new(&self.names, self.format),
            located: self.located,
            jobs: Mutex::new(jobs),
            buffers: Buffers::default(),
        };
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .sessions
                .into_iter()
                .map(|session| scope.spawn(|| work.run(session)))
                .collect();
            let outcome = hand_on(&self.ranges, begun, job_sender, encoder);
            // What the queries send, nobody takes any more; but one that finds nothing sends nothing, and would not notice.
            while outcome.is_err() && !workers.iter().all(|worker| worker.is_finished()) {
                source.cancellation.cancel_queries();
                thread::sleep(Duration::from_millis(10));
            }
            let ended = workers.into_iter().map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
            });
            let ended: Vec<Result<(), Error>> = ended.collect();
            outcome.and_then(|()| ended.into_iter().collect())
        })
    }
}

const NO_SCAN: &str = "no index-only scan pays";
const TOO_LARGE: &str = "the tables of names are too large";

/// A connection in the export's snapshot. Dropped before its end, it is not used again.
struct Session<'a> {
    // Before the connection, in the order in which they are dropped: what cancels it must not meet whom it is lent to next.
    backend: Backend<'a>,
    connection: CopyConnection,
}

impl<'a> Session<'a> {
    fn begin(
        source: &Source<'a>,
        mut connection: CopyConnection,
        snapshot: Option<&str>,
    ) -> Result<Self, Error> {
        let process = db::begin_copy_snapshot(
            &mut connection,
            snapshot,
            source.export.limits.statement_timeout,
            // The processes of a parallel query would be in the way of the other connections'.
            "; set local max_parallel_workers_per_gather = 0",
        )?;
        Ok(Self {
            backend: source.cancellation.register(source.database, process)?,
            connection,
        })
    }

    /// One more connection in the snapshot, if there is one.
    fn helper(&self, source: &Source<'a>, snapshot: &str) -> Result<Option<Self>, Error> {
        let Some(connection) = source.database.helper_connection() else {
            return Ok(None);
        };
        match Self::begin(source, connection, Some(snapshot)) {
            Ok(helper) if helper.backend.is_beside(&self.backend) => Ok(Some(helper)),
            // Under the same name, a snapshot may be there, too: another one.
            Ok(_elsewhere) => {
                tracing::warn!(
                    "an export goes on with fewer connections: one has led to another server"
                );
                Ok(None)
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => {
                tracing::warn!(%error, "an export goes on with fewer connections");
                Ok(None)
            }
        }
    }
}

/// What the server's planner expects of a query.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    rows: f64,
    /// Bytes of a row.
    width: f64,
    /// Whether all of it is one scan of an index, in the index's order.
    ordered: bool,
}

impl Estimate {
    fn of(connection: &mut libpq::Connection, sql: &str) -> Result<Self, libpq::Error> {
        let plan = connection.query_value(&format!("explain {sql}"))?;
        Ok(Self::read(&plan.unwrap_or_default()))
    }

    /// Reads the first line of a plan: `Index Only Scan using … on …  (cost=0.42..47912.43 rows=1000000 width=44)`.
    fn read(plan: &str) -> Self {
        let number = |name: &str| {
            let digits = plan.rsplit_once(name)?.1;
            let end = digits.find(|character: char| !character.is_ascii_digit());
            digits[..end.unwrap_or(digits.len())].parse().ok()
        };
        Self {
            // Where there is no number, too many rows to go on.
            rows: number("rows=").unwrap_or(f64::INFINITY),
            width: number("width=").unwrap_or(f64::INFINITY),
            ordered: plan.starts_with("Index"),
        }
    }
}

/// A range to read, and where its pieces go.
struct Job {
    ids: RangeInclusive<i64>,
    pieces: SyncSender<Result<Piece, Error>>,
}

/// A part of a range's lines.
enum Piece {
    Lines(Bytes, u64),
    /// There are no more. Said by name: a channel that just closes may have lost its sender to a panic.
    End,
}

/// Hands the ranges' lines on in their order.
fn hand_on(
    ranges: &[RangeInclusive<i64>],
    begun: usize,
    jobs: Sender<Job>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    let mut jobs = Some(jobs);
    let mut ranges = ranges.iter().peekable();
    let mut waiting: VecDeque<Receiver<Result<Piece, Error>>> = VecDeque::new();
    loop {
        for ids in ranges.by_ref().take(begun - waiting.len()) {
            let (sender, pieces) = mpsc::sync_channel(PIECES);
            waiting.push_back(pieces);
            // Where nobody takes it, its channel is closed, which is found out in its turn.
            let _ = jobs.as_ref().map(|jobs| {
                jobs.send(Job {
                    ids: ids.clone(),
                    pieces: sender,
                })
            });
        }
        if ranges.peek().is_none() {
            // A connection that finds no more goes home, and does not sit in its transaction until the last reader is done.
            jobs = None;
        }
        let Some(pieces) = waiting.pop_front() else {
            return Ok(());
        };
        loop {
            match pieces.recv() {
                Ok(Ok(Piece::Lines(lines, rows))) => encoder.encoded_lines(lines, rows)?,
                Ok(Ok(Piece::End)) => break,
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    return Err(Error::Database(db::Error::Inconsistent(
                        "a range of tasks ended without a word".into(),
                    )));
                }
            }
        }
    }
}

/// What the connections share.
struct Work<'a> {
    filter: &'a Filter,
    rows: RowEncoder<'a>,
    located: Vec<i64>,
    jobs: Mutex<Receiver<Job>>,
    buffers: Buffers,
}

impl Work<'_> {
    /// Reads ranges, on one connection, until there are no more.
    fn run(&self, mut session: Session<'_>) -> Result<(), Error> {
        while let Some(job) = self.next_job() {
            if let Err(error) = self.read(&mut session.connection, &job) {
                // Where nobody listens, the export has failed already.
                let _ = job.pieces.send(Err(error));
                return Ok(());
            }
        }
        // Nothing depends on it: COPY has said that all rows were sent. A connection that is not as it should be, its pool closes.
        if let Err(error) = session.connection.execute("commit") {
            tracing::warn!(%error, "a connection was lost after its part of an export");
        }
        Ok(())
    }

    fn next_job(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    fn read(&self, connection: &mut libpq::Connection, job: &Job) -> Result<(), Error> {
        let send = |piece| job.pieces.send(Ok(piece)).map_err(|_| Error::Cancelled);
        let mut rows = connection.copy_out(&format!(
            "copy ({}) to stdout with ({})",
            query::task_columns_sql(self.filter, &self.located, Some(job.ids.clone()))?,
            rows::COPY_OPTIONS
        ))?;
        let new_buffer = || self.buffers.take(PIECE + PIECE / 8);
        let mut lines = new_buffer();
        let mut count = 0;
        while let Some(row) = rows.next_row()? {
            self.rows.encode(row, &mut lines)?;
            count += 1;
            if lines.len() >= PIECE {
                let full = self
                    .buffers
                    .lend(std::mem::replace(&mut lines, new_buffer()));
                send(Piece::Lines(full, std::mem::take(&mut count)))?;
            }
        }
        if count > 0 {
            send(Piece::Lines(self.buffers.lend(lines), count))?;
        }
        send(Piece::End)
    }
}
