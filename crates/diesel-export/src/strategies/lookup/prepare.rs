//! What an export by `lookup` needs before its first row: that it pays, that it is correct, and names, ranges and connections.

use std::borrow::Cow;
use std::sync::Arc;
use std::thread;

use tracing::Span;

use super::conditions::Conditions;
use super::names::{self, Names};
use super::own_rows::{FEW, Keys, OwnRows, Reading};
use super::ranges::{self, Ranges};
use super::session::{NoConnection, Session, Snapshot};
use super::{CONNECTIONS, Estimate, Lookup, joined};
use crate::dataset::Key;
use crate::db::libpq::{self, CopyConnection, CopyOutDsl as _};
use crate::db::{self, Database};
use crate::{Error, Source};

/// The most if values may be longer than a row: libpq keeps up to two or three times the longest one for each connection.
const CONNECTIONS_FOR_LONG: usize = 2;
/// Ranges per connection, if connections are opened for one export only: opening one costs PostgreSQL as much as two ranges.
const RANGES_OF_CONNECTION: usize = 5;

/// Why there is no lookup.
pub(super) enum Unprepared {
    /// Another strategy does better, or lookup might not be correct.
    Unfit(Cow<'static, str>),
    /// No strategy would do better.
    Failed(Error),
}

impl Unprepared {
    pub(super) fn unfit(because: impl Into<Cow<'static, str>>) -> Self {
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

impl<'a> Lookup<'a> {
    pub(super) fn prepare(
        (source, key): (&Source<'a>, &'a Key),
        leader: &mut Session<'a>,
        answer: libpq::Row,
        locked: bool,
    ) -> Result<Self, Unprepared> {
        let export = source.export;
        let mut rows = OwnRows::of(export, key)?;
        let conditions = Arc::new(conditions(&rows, leader, answer, locked)?);
        leader.set_alone(true)?;
        let (size, reading) = reading(&mut rows, &mut leader.connection)?;
        let expected = match reading {
            Reading::Ranges(_) => connections(ranges::fewest(&size), source.database),
            Reading::AtOnce(_) => 1,
        };
        let query = rows.query(Keys::All).literal_sql()?;
        let export_snapshot =
            |leader: &mut Session<'a>| Snapshot::export(source, &conditions, leader, query.clone());
        let snapshot = (expected > 1).then(|| export_snapshot(leader));
        let snapshot = snapshot.transpose()?;
        let connection = &mut *leader.connection;
        let span = &Span::current();
        let (names, ranges, helpers) = thread::scope(|scope| {
            // The helpers connect while the first connection reads the names.
            let helpers = snapshot.iter().flat_map(|snapshot| {
                (1..expected).map(|_| scope.spawn(|| span.in_scope(|| snapshot.session())))
            });
            let helpers: Vec<_> = helpers.collect();
            let names = names(&rows, connection)?;
            let ranges = match &reading {
                Reading::Ranges(scan) => {
                    let table = (export.dataset().table(), key);
                    ranges::of(connection, table, &rows.columns, (&size, scan))?
                }
                Reading::AtOnce(_) => Ranges::default(),
            };
            let helpers = helpers.into_iter().map(joined);
            let helpers = helpers.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Unprepared>((names, ranges, helpers))
        })?;
        let most = if ranges.may_be_long {
            CONNECTIONS_FOR_LONG
        } else {
            CONNECTIONS
        };
        let (mut ranges, because) = match reading {
            Reading::Ranges(scan) => {
                let ranges: Vec<_> = ranges.keys.into_iter().map(Keys::Range).collect();
                // With one range, it makes no difference.
                let because = (!scan.index_only && ranges.len() > 1).then_some(FROM_TABLE);
                (ranges, because)
            }
            // Each range would cost the server as much as all rows do.
            Reading::AtOnce(because) => (vec![Keys::All], because),
        };
        let wanted = connections(ranges.len(), source.database).min(most);
        if !conditions.has_all_keys && !matches!(ranges[..], [Keys::All]) {
            ranges.push(Keys::Null);
        }
        let helpers = Helpers::new(snapshot, helpers, wanted - 1, || export_snapshot(leader))?;
        Ok(Self {
            rows,
            names,
            conditions,
            ranges,
            helpers,
            because,
        })
    }
}

/// Checks that lookup is correct, and that the export is not too small for it. Leaves the tables locked.
fn conditions(
    rows: &OwnRows<'_>,
    leader: &mut Session<'_>,
    answer: libpq::Row,
    locked: bool,
) -> Result<Conditions, Unprepared> {
    let connection = &mut *leader.connection;
    if rows.are_few(connection)? {
        return Err(Unprepared::unfit("the filter leaves few rows"));
    }
    if !locked {
        return Err(Unprepared::unfit(UNLOCKED));
    }
    let dataset = rows.export.dataset();
    let answer = if rows.export.filter.iter().next().is_some() {
        let select_list = Conditions::select_list(dataset).join(", ");
        let answer = connection.query_row(&format!("select {select_list}"))?;
        answer.unwrap_or_default()
    } else {
        answer
    };
    let conditions = Conditions::of(connection, dataset, &answer)?;
    match &conditions.violated {
        Some(violated) => Err(Unprepared::unfit(violated.clone())),
        None => Ok(conditions),
    }
}

/// Returns how much there is to read, and how, if names are worth looking up.
fn reading(
    rows: &mut OwnRows<'_>,
    connection: &mut CopyConnection,
) -> Result<(Estimate, Reading), Unprepared> {
    let tables = rows.tables.iter();
    let tables = tables.map(|table| Estimate::of(connection, &table.sql));
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    if names::bytes(&tables) > rows.export.limits.lookup_memory as f64 {
        return Err(Unprepared::unfit(TOO_LARGE));
    }
    if !rows.others_have_one_row_each(connection)? {
        return Err(Unprepared::unfit(SEVERAL_ROWS));
    }
    if !rows.find_ids(connection)? {
        return Err(Unprepared::unfit(
            "the filter leaves too many ids to name them",
        ));
    }
    let (size, reading) = rows.reading(connection)?;
    if tables.iter().map(|table| table.rows).sum::<f64>() > size.rows + FEW {
        return Err(Unprepared::unfit("there are more names than rows"));
    }
    Ok((size, reading))
}

fn names(rows: &OwnRows<'_>, connection: &mut CopyConnection) -> Result<Names, Unprepared> {
    let export = rows.export;
    let mut names = Names::new(export.limits.lookup_memory);
    let line = (export.format.lines(), export.columns.columns().len());
    for table in &rows.tables {
        names.load(connection, &table.sql, &table.kinds, line)?;
    }
    Ok(names)
}

/// The connections beside the first one.
pub(super) struct Helpers<'a> {
    pub(super) sessions: Vec<Session<'a>>,
    /// The snapshot for further connections, if there is more than one connection.
    pub(super) snapshot: Option<Snapshot<'a>>,
    /// Why there are fewer connections than would pay for the ranges.
    pub(super) without: Option<NoConnection>,
}

impl<'a> Helpers<'a> {
    /// As many as are wanted: there may be more ranges than the planner expected, or fewer.
    fn new(
        mut snapshot: Option<Snapshot<'a>>,
        connected: Vec<Result<Session<'a>, NoConnection>>,
        wanted: usize,
        mut export_snapshot: impl FnMut() -> Result<Snapshot<'a>, libpq::Error>,
    ) -> Result<Self, Unprepared> {
        let refusals = connected.iter().filter_map(|helper| helper.as_ref().err());
        let mut without = refusals.copied().next();
        let mut sessions: Vec<_> = connected.into_iter().flatten().collect();
        while sessions.len() < wanted && without.is_none() {
            let exported = match snapshot.take() {
                Some(exported) => exported,
                None => export_snapshot()?,
            };
            match exported.session()? {
                Ok(session) => sessions.push(session),
                Err(reason) => without = Some(reason),
            }
            snapshot = Some(exported);
        }
        let superfluous = sessions.drain(wanted.min(sessions.len())..);
        superfluous.for_each(Session::end);
        Ok(Self {
            without: without.filter(|_| sessions.len() < wanted),
            sessions,
            snapshot,
        })
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

const FROM_TABLE: &str = "the rows are read from the table, not from an index alone: no index has all of their columns, the table has changed since its last VACUUM, or PostgreSQL expects the table to cost less";
pub(super) const TOO_LARGE: &str = "the tables of names are too large";
pub(super) const SEVERAL_ROWS: &str =
    "nothing shows that each id that the rows refer to has one row";
const UNLOCKED: &str = "the tables cannot be locked for several connections: the role may not, or one of them is a materialized view";
