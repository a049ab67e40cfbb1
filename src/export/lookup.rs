//! `lookup`: COPY of the columns of the dataset's own table alone, off a covering index, on several connections at once; the names
//! that its rows refer to are looked up in memory.
//!
//! The joins of `copy` are against small tables, and most of a row is not exported. So the names are read once, and the rows' keys
//! are divided into [ranges](ranges). Connections in one and the same snapshot take range after range; the calling thread hands the
//! ranges on in their order. Of the ranges ahead of it only a few are begun, and each waits once it is a few pieces ahead: so a slow
//! reader stops the queries.
//!
//! It is worth it only on a large part of the rows and with tables of names that fit into memory; if it is not, the export is
//! `copy`'s.

mod estimate;
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

use self::estimate::{Estimate, Scan};
use self::names::Names;
use self::rows::{Fields, RowEncoder, Step};
use super::buffers::Buffers;
use super::cancellation::{Backend, Cancellation};
use super::dataset::{ColumnKind, Condition, Fragment, Origin, Query, Question, Selected};
use super::encoder::Encoder;
use super::{Error, Export, Limits, Plan, Source, Strategy, copy};
use crate::db::libpq::{self, CopyOutDsl};
use crate::db::{self, CopyConnection, Database, Process};

/// The most connections that an export takes.
pub const CONNECTIONS: usize = 4;
/// Rows below which any plan of the server's will do.
const FEW: f64 = 10_000.0;
/// How many times the cost of the planner's own plan may be that of a scan in the order of the key. A scan of a table that does not
/// lie in that order, and does not fit into the server's memory, costs far more than that.
const MOST_COST: f64 = 3.0;
/// Ids that a filter by what rows refer to may leave, such as the assets at a location: more are too many to be named in each
/// range's query.
const MOST_IDS: usize = 2_000;
/// Bytes of a piece of a range, and pieces of it that may wait for those before.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 12;
/// Ranges that are begun ahead of the one that is handed on, beyond one for each connection.
const AHEAD: usize = 1;

pub(super) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    match Lookup::prepare(source) {
        Ok(lookup) => {
            source.observer.plan(&lookup.plan());
            lookup.run(source, encoder)
        }
        Err(Unprepared::Failed(error)) => Err(error),
        Err(Unprepared::Unfit(because)) => {
            tracing::info!(because, "lookup does not pay: the export is copy's");
            source.observer.plan(&Plan {
                strategy: Strategy::Copy,
                connections: 1,
                because: Some(because.into()),
            });
            copy::run(source, encoder)
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

/// What is read of the dataset's own table for an export, and what is made of it.
struct OwnRows<'a> {
    export: &'a Export,
    /// The values of a row: of the columns of its own, and the ids by which it refers to others.
    values: Vec<&'static Fragment>,
    /// The columns that these values are of, each once.
    columns: Vec<&'static str>,
    /// What is made of each value.
    steps: Vec<Step>,
    tables: Vec<NamesQuery>,
    /// Conditions instead of those that are of what the rows refer to: by the ids that these leave.
    ids: Vec<(&'static Fragment, Vec<i64>)>,
}

/// How the rows are read.
enum Reading {
    /// By ranges of the key, each by such a scan.
    Ranges(Scan),
    /// In one query, and why, unless they are few.
    AtOnce(Option<&'static str>),
}

/// The names that a row refers to.
struct NamesQuery {
    sql: String,
    /// The column that refers to them.
    column: &'static str,
    kinds: Vec<ColumnKind>,
}

impl<'a> OwnRows<'a> {
    fn of(export: &'a Export) -> Result<Self, Error> {
        let references = export.dataset().references();
        let mut rows = Self {
            export,
            values: Vec::new(),
            columns: Vec::new(),
            steps: Vec::new(),
            tables: Vec::new(),
            ids: Vec::new(),
        };
        let same_reference = |one: &Origin, other: &Origin| match (one, other) {
            (
                Origin::Referenced { reference: one, .. },
                Origin::Referenced {
                    reference: other, ..
                },
            ) => one == other,
            _ => false,
        };
        // Neighbours that belong to one reference are looked up at once.
        let chosen = export.columns.columns();
        for group in chosen.chunk_by(|one, other| same_reference(one.origin(), other.origin())) {
            for column in group {
                if let Origin::Own {
                    column: name,
                    value,
                } = column.origin()
                {
                    rows.push(name, value, Step::Value(column.kind()));
                }
            }
            let Some(Origin::Referenced { reference, .. }) =
                group.first().map(|column| column.origin())
            else {
                continue;
            };
            let conditions = export.filter.conditions_of_reference(*reference);
            let reference = &references[*reference];
            let names = group.iter().filter_map(|column| match column.origin() {
                Origin::Referenced { value, .. } => Some(Selected::Plain(value)),
                Origin::Own { .. } => None,
            });
            let id = Selected::Plain(&reference.id);
            let question = Question::of(std::iter::once(id).chain(names)).with(conditions);
            let table = rows.table(NamesQuery {
                sql: (reference.query)(question).literal_sql()?,
                column: reference.column,
                kinds: group.iter().map(|column| column.kind()).collect(),
            });
            let count = group.len();
            rows.push(
                reference.column,
                &reference.value,
                Step::Names { table, count },
            );
        }
        Ok(rows)
    }

    fn push(&mut self, column: &'static str, value: &'static Fragment, step: Step) {
        self.values.push(value);
        self.steps.push(step);
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }

    /// The place of the table with these names, which may serve other columns already.
    fn table(&mut self, query: NamesQuery) -> usize {
        let known = self.tables.iter().position(|known| known.sql == query.sql);
        known.unwrap_or_else(|| {
            self.tables.push(query);
            self.tables.len() - 1
        })
    }

    /// Finds the ids that the filter's conditions on what the rows refer to leave; `false` if they are too many.
    fn find_ids(&mut self, connection: &mut libpq::Connection) -> Result<bool, Error> {
        for (index, reference) in self.export.dataset().references().iter().enumerate() {
            let filter = &self.export.filter;
            let conditions = filter.conditions_of_reference(index);
            if conditions.is_empty() {
                continue;
            }
            let question = Question::of([Selected::Plain(&reference.id)]).with(conditions);
            let mut rows = (reference.query)(question).copy_out(connection, &rows::COPY_OPTIONS)?;
            let mut ids = Vec::new();
            while let Some(row) = rows.next_row()? {
                ids.extend(Fields::of(row).next_id().flatten());
                if ids.len() > MOST_IDS {
                    return Ok(false);
                }
            }
            self.ids.push((&reference.value, ids));
        }
        Ok(true)
    }

    /// Finds out how the rows are best read, and what the planner expects of them.
    fn reading(
        &self,
        connection: &mut libpq::Connection,
    ) -> Result<(Estimate, Reading), Unprepared> {
        let sql = self.query(None).literal_sql()?;
        let mut rows = Estimate::of(connection, &sql)?;
        if let Some(scan) = rows.scan.take() {
            return Ok((rows, Reading::Ranges(scan)));
        }
        if rows.rows <= FEW {
            return Ok((rows, Reading::AtOnce(None)));
        }
        // The planner would rather sort. That is one connection's work; a scan in order can be divided, so it may cost more.
        let off = |value| {
            ["seqscan", "bitmapscan", "sort"]
                .map(|name| format!("set local enable_{name} = {value}"))
                .join("; ")
        };
        connection.execute(&off("off"))?;
        let ordered = Estimate::of(connection, &sql)?;
        connection.execute(&off("default"))?;
        let has_filter = !self.ids.is_empty() || !self.export.filter.own_conditions().is_empty();
        match ordered.scan {
            Some(scan) if ordered.cost <= rows.cost * MOST_COST => {
                Ok((rows, Reading::Ranges(scan)))
            }
            _ if has_filter => Ok((rows, Reading::AtOnce(Some(BY_FILTER)))),
            Some(_) => Err(Unprepared::Unfit(SCATTERED)),
            None => Err(Unprepared::Unfit(NO_ORDER)),
        }
    }

    /// The query for the values of the rows, of those with keys in a range.
    fn query(&self, keys: Option<RangeInclusive<i64>>) -> Query {
        let dataset = self.export.dataset();
        let key = &dataset.table().key_value;
        let bound = |operator, id| Condition::compare(key, operator, id);
        let range = keys
            .into_iter()
            .flat_map(|keys| [bound(">=", *keys.start()), bound("<=", *keys.end())]);
        let ids = self
            .ids
            .iter()
            .map(|(value, ids)| Condition::is_any(value, ids.clone()));
        let question = Question::of(self.values.iter().map(|value| Selected::Plain(value)))
            .with(self.export.filter.own_conditions())
            .with(ids)
            .with(range)
            .ordered([key]);
        dataset.own(question)
    }
}

/// All that is needed to export.
struct Lookup<'a> {
    rows: OwnRows<'a>,
    names: Names,
    ranges: Vec<RangeInclusive<i64>>,
    sessions: Vec<Session<'a>>,
    /// What a further connection in the same snapshot needs, if there is more than one.
    snapshot: Option<Snapshot<'a>>,
    wanted: usize,
    /// Why the rows are not read as fast as they might be.
    because: Option<&'static str>,
}

impl<'a> Lookup<'a> {
    fn prepare(source: &Source<'a>) -> Result<Self, Unprepared> {
        let export = source.export;
        let mut own = OwnRows::of(export)?;
        let mut leader = Session::begin(
            (source.database, source.cancellation, export.limits),
            source.database.copy_connection().map_err(Error::from)?,
            None,
        )?;
        let connection = &mut *leader.connection;

        let estimates = own
            .tables
            .iter()
            .map(|table| Estimate::of(connection, &table.sql));
        let estimates: Vec<Estimate> = estimates.collect::<Result<_, _>>()?;
        let memory = export.limits.lookup_memory;
        if names::bytes(&estimates) > memory as f64 {
            return Err(Unprepared::Unfit(TOO_LARGE));
        }
        if !own.find_ids(connection)? {
            return Err(Unprepared::Unfit(
                "the filter leaves too many ids to name them",
            ));
        }
        let (rows, reading) = own.reading(connection)?;
        if estimates.iter().map(|table| table.rows).sum::<f64>() > rows.rows + FEW {
            return Err(Unprepared::Unfit("there are more names than rows"));
        }
        let mut names = Names::new(memory);
        let line = (export.format.lines(), export.columns.columns().len());
        for table in &own.tables {
            names.load(connection, &table.sql, (table.column, &table.kinds), line)?;
        }
        let (ranges, because) = match &reading {
            Reading::Ranges(scan) => {
                let table = export.dataset().table();
                let ranges = ranges::of(connection, table, &own.columns, (&rows, scan))?;
                // Of few rows it makes no difference.
                let because = !scan.index_only && ranges.len() > 1;
                (ranges, because.then_some(FROM_TABLE))
            }
            // Each range would cost the server as much as all together.
            Reading::AtOnce(because) => (vec![i64::MIN..=i64::MAX], *because),
        };

        let wanted = CONNECTIONS.min(ranges.len()).max(1);
        let mut sessions = vec![leader];
        let mut snapshot = None;
        if wanted > 1 {
            let exported = Snapshot::export(source, &mut sessions[0])?;
            while sessions.len() < wanted {
                let Some(helper) = exported.session()? else {
                    break;
                };
                sessions.push(helper);
            }
            snapshot = Some(exported);
        }
        Ok(Self {
            rows: own,
            names,
            ranges,
            sessions,
            snapshot,
            wanted,
            because,
        })
    }

    fn plan(&self) -> Plan {
        let connections = self.sessions.len();
        let fewer = (connections < self.wanted).then_some("no more connections were free");
        let because = match (fewer, self.because) {
            (Some(fewer), Some(because)) => Some(format!("{fewer}; {because}").into()),
            (fewer, because) => fewer.or(because).map(Into::into),
        };
        Plan {
            strategy: Strategy::Lookup,
            connections,
            because,
        }
    }

    fn run(self, source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
        let begun = self.sessions.len() + AHEAD;
        let (job_sender, jobs) = mpsc::channel();
        let export = self.rows.export;
        let fields = export.columns.columns().len();
        let work = Work {
            encoder: RowEncoder::new(&self.rows.steps, &self.names, export.format.lines(), fields),
            rows: &self.rows,
            jobs: Mutex::new(jobs),
            buffers: Buffers::default(),
            snapshot: self.snapshot,
        };
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .sessions
                .into_iter()
                .map(|session| scope.spawn(|| work.run(session)))
                .collect();
            let outcome = hand_on(&self.ranges, begun, job_sender, encoder);
            // A worker notices the failure only when it sends; one that finds no rows must be cancelled.
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

const NO_ORDER: &str = "no index has the rows in the order of their key";
const SCATTERED: &str = "to read the rows in the order of their key would take too long";
const FROM_TABLE: &str = "the rows are read from the table itself: no index has all of their columns, or the table has changed much since its last VACUUM";
const BY_FILTER: &str = "the rows are found by the filter, not in the order of their key";
const TOO_LARGE: &str = "the tables of names are too large";

/// A connection in the export's snapshot. Dropped before its end, it is not used again.
struct Session<'a> {
    // Before the connection, in the order in which they are dropped: what cancels it must not meet whom it is lent to next.
    backend: Backend<'a>,
    connection: CopyConnection,
}

impl<'a> Session<'a> {
    fn begin(
        (database, cancellation, limits): (&'a Database, &'a Cancellation, Limits),
        mut connection: CopyConnection,
        snapshot: Option<&str>,
    ) -> Result<Self, Error> {
        let process = db::begin_copy_snapshot(
            &mut connection,
            snapshot,
            limits.statement_timeout,
            // The processes of a parallel query would be in the way of the other connections'.
            "; set local max_parallel_workers_per_gather = 0",
        )?;
        Ok(Self {
            backend: cancellation.register(database, process)?,
            connection,
        })
    }
}

/// The snapshot that the first connection has exported, which is there as long as that one is in it.
struct Snapshot<'a> {
    database: &'a Database,
    cancellation: &'a Cancellation,
    limits: Limits,
    name: String,
    /// The process that has it.
    process: Process,
}

impl<'a> Snapshot<'a> {
    fn export(source: &Source<'a>, leader: &mut Session<'_>) -> Result<Self, libpq::Error> {
        Ok(Self {
            database: source.database,
            cancellation: source.cancellation,
            limits: source.export.limits,
            name: leader.connection.export_snapshot()?,
            process: leader.backend.process().clone(),
        })
    }

    /// One more connection in the snapshot, if there is one.
    fn session(&self) -> Result<Option<Session<'a>>, Error> {
        let Some(connection) = self.database.helper_connection() else {
            return Ok(None);
        };
        let place = (self.database, self.cancellation, self.limits);
        match Session::begin(place, connection, Some(&self.name)) {
            Ok(helper) if helper.backend.process().is_beside(&self.process) => Ok(Some(helper)),
            // Under the same name, a snapshot may be there, too: another one.
            Ok(_elsewhere) => {
                tracing::warn!(
                    "an export goes on with fewer connections: one has led to another server"
                );
                Ok(None)
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            // The export does not go on: its first connection is lost, whose own error says so.
            Err(Error::Database(error)) if error.is_snapshot_gone() => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "an export goes on with fewer connections");
                Ok(None)
            }
        }
    }
}

/// A range to read, and where its pieces go.
struct Job {
    keys: RangeInclusive<i64>,
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
        for keys in ranges.by_ref().take(begun - waiting.len()) {
            let (sender, pieces) = mpsc::sync_channel(PIECES);
            waiting.push_back(pieces);
            // Where nobody takes it, its channel is closed, which is found out in its turn.
            let _ = jobs.as_ref().map(|jobs| {
                jobs.send(Job {
                    keys: keys.clone(),
                    pieces: sender,
                })
            });
        }
        if ranges.peek().is_none() {
            // Close the queue, so that idle workers commit and return their connections.
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
                        "a range of rows ended without a word".into(),
                    )));
                }
            }
        }
    }
}

/// What the connections share.
struct Work<'a> {
    rows: &'a OwnRows<'a>,
    encoder: RowEncoder<'a>,
    jobs: Mutex<Receiver<Job>>,
    buffers: Buffers,
    snapshot: Option<Snapshot<'a>>,
}

impl<'a> Work<'a> {
    /// Reads ranges, on one connection, until there are no more.
    fn run(&self, mut session: Session<'a>) -> Result<(), Error> {
        while let Some(job) = self.next_job() {
            let mut begun = false;
            let mut outcome = self.read(&mut session.connection, &job, &mut begun);
            // What was sent cannot be taken back; of a range that is not begun, another connection knows the same rows.
            if let Err(Error::Database(error)) = &outcome
                && !begun
                && (error.is_unavailable() || error.is_recovery_conflict())
                && let Some(replacement) = self.replacement()
            {
                tracing::warn!(%error, "a connection was lost, and another one goes on in its snapshot");
                session = replacement;
                outcome = self.read(&mut session.connection, &job, &mut begun);
            }
            if let Err(error) = outcome {
                // Where nobody listens, the export has failed already.
                let _ = job.pieces.send(Err(error));
                return Ok(());
            }
        }
        // Nothing depends on it: COPY has said that all rows were sent. A connection that is not as it should be, its pool closes.
        if let Err(error) = session.connection.commit() {
            tracing::warn!(%error, "a connection was lost after its part of an export");
        }
        Ok(())
    }

    /// A further connection in the export's snapshot. There is none once the first one is lost, which had it exported.
    fn replacement(&self) -> Option<Session<'a>> {
        self.snapshot.as_ref()?.session().ok().flatten()
    }

    fn next_job(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    /// Reads a range; `begun` is true once any of it was sent.
    fn read(
        &self,
        connection: &mut libpq::Connection,
        job: &Job,
        begun: &mut bool,
    ) -> Result<(), Error> {
        let mut send = |piece| {
            *begun = true;
            job.pieces.send(Ok(piece)).map_err(|_| Error::Cancelled)
        };
        let query = self.rows.query(Some(job.keys.clone()));
        let mut rows = query.copy_out(connection, &rows::COPY_OPTIONS)?;
        let new_buffer = || self.buffers.take(PIECE + PIECE / 8);
        let mut lines = new_buffer();
        let mut count = 0;
        while let Some(row) = rows.next_row()? {
            self.encoder.encode(row, &mut lines)?;
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
