//! How a read-only snapshot begins: with its relations locked, so that they cannot be rewritten between the snapshot and the query.
//!
//! A query takes its snapshot first, and the locks of its relations afterwards. An `ALTER TABLE` that rewrites a table, or a `TRUNCATE`, that
//! commits in between leaves a table in which the snapshot sees no row: a complete and empty result without an error. So the locks come
//! first. Where they cannot (the role has grants on columns only, or there is a materialized view), EXPLAIN takes them as any query does, and
//! the snapshot counts only if no relation has been rewritten since.

use std::fmt;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as Query};
use diesel::sql_types::Bool;

use super::{Error, libpq};

/// What every export's transaction sets. Compiling the export's query costs more than the compiled code saves; a generic plan, made for any
/// value, would ignore how few rows a filter leaves; and all rows of a cursor are read, so the first ones need not come early. A slow
/// reader leaves the transaction idle, and must not lose it. The rest, and the time zone, determine the text of a date, an interval, a
/// `bytea` or a float: it is the same on Diesel's connections, on COPY's and behind poolers, whatever the defaults of the role and the
/// database are. (`datestyle` keeps its order of day and month, by which a view may read texts.)
const SETTINGS: &str = "set local jit = off; set local plan_cache_mode = force_custom_plan; set local cursor_tuple_fraction = 1;
    set local idle_in_transaction_session_timeout = 0;
    set local datestyle = 'ISO'; set local intervalstyle = 'postgres';
    set local bytea_output = 'hex'; set local extra_float_digits = 1";

/// How often a snapshot starts over because a relation was rewritten under it.
const ATTEMPTS: u32 = 5;

/// The name of one transaction in `pg_stat_activity`. A cancel request finds the transaction's process by it: from before its first
/// statement, which may wait for a lock, and behind a pooler, where each transaction may have another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionName(String);

/// The longest name that PostgreSQL keeps, less the transaction's part.
const MAX_BASE: usize = 40;

impl TransactionName {
    /// A new one, which begins with the name of the application.
    pub(super) fn new(application: &str) -> Self {
        let base: String = application
            .chars()
            .filter(|character| matches!(character, ' '..='~') && !matches!(character, '\'' | '\\'))
            .take(MAX_BASE)
            .collect();
        // Random: programs on several machines may use one server.
        Self(format!("{base} {:016x}", rand::random::<u64>()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TransactionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a snapshot begins.
pub struct Beginning<'a> {
    /// The transaction's name.
    pub name: &'a TransactionName,
    /// The relations that it reads, as SQL names them.
    pub relations: &'a [String],
    /// A condition of SQL on the catalog, without which the result would be wrong.
    pub proof: Option<&'a str>,
    /// The time zone in which points in time are printed.
    pub time_zone: &'a str,
    /// The role that reads them, if it is not the connection's own.
    pub role: Option<&'a str>,
    /// The user on whose behalf they are read, whom policies find as `current_setting('request.user', true)`.
    pub user: Option<&'a str>,
    /// How long each of its statements may take.
    pub statement_timeout: Option<Duration>,
    /// How long it may wait for a lock.
    pub lock_timeout: Option<Duration>,
}

impl Beginning<'_> {
    fn settings(&self) -> String {
        // In milliseconds; 0 would mean no timeout.
        let timeout = |name: &str, timeout: Option<Duration>| {
            timeout.map_or_else(String::new, |timeout| {
                format!("; set local {name} = {}", timeout.as_millis().max(1))
            })
        };
        let role = self.role.map_or_else(String::new, |role| {
            format!("set local role {}; ", quoted(role))
        });
        let user = self.user.map_or_else(String::new, |user| {
            format!("set local request.\"user\" = {}; ", quoted(user))
        });
        format!(
            "set local application_name = '{}'; {role}{user}{SETTINGS}; set local timezone = {}{}{}",
            self.name,
            quoted(self.time_zone),
            timeout("statement_timeout", self.statement_timeout),
            timeout("lock_timeout", self.lock_timeout)
        )
    }

    fn lock(&self, how: &str) -> String {
        if self.relations.is_empty() {
            return String::new();
        }
        format!(
            "; lock table {} in access share mode{how}",
            self.relations.join(", ")
        )
    }
}

impl Beginning<'_> {
    /// SQL for whether a relation that is locked is anything but a plain table, which has a file: LOCK TABLE passes over materialized views
    /// and functions that a view reads. (A query of `pg_class` would take ten times as long.) It fails if the proof does: the snapshot then is
    /// of other tables.
    fn has_others(&self) -> String {
        let others = self.relations.iter().map(|name| {
            let name = quoted(name);
            format!(" or pg_relation_filenode(to_regclass({name})) is null")
        });
        let others = format!("(false{})", others.collect::<String>());
        match self.proof {
            None => others,
            Some(proof) => format!(
                "(case when {proof} then {others}::text else 'a step may lead to several rows' end)::boolean"
            ),
        }
    }
}

/// SQL for whether anything that this transaction has locked was made or rewritten after its snapshot: the catalog, read in the snapshot, then
/// has no such relation, or names another file than the function, which reads what the catalog has now.
const WAS_REWRITTEN: &str = "exists (
    select from pg_locks l left join pg_class c on c.oid = l.relation
    where l.pid = pg_backend_pid() and l.locktype = 'relation'
        and l.database = (select oid from pg_database where datname = current_database())
        and (c.oid is null or c.relkind in ('r', 'm') and c.relfilenode not in (0, pg_relation_filenode(c.oid))))";

/// Begins a read-only snapshot on a connection that speaks COPY, and returns the row of `select_list`, a select list, and whether the relations
/// are locked. `query` returns the SQL that the snapshot is for. If the connection is dropped before the snapshot's end, its pool closes it.
pub fn begin_copy(
    connection: &mut libpq::CopyConnection,
    beginning: &Beginning<'_>,
    select_list: &[String],
    query: impl Fn(&mut libpq::CopyConnection) -> Result<String, libpq::Error>,
) -> Result<(libpq::Row, bool), Error> {
    let others = format!("{} as others", beginning.has_others());
    let select_list: Vec<&str> = select_list
        .iter()
        .chain([&others])
        .map(String::as_str)
        .collect();
    let begin = |lock: &str| {
        format!(
            "begin isolation level repeatable read read only; {}{lock}; select {}",
            beginning.settings(),
            select_list.join(", ")
        )
    };
    let mut lock = beginning.lock("");
    for _ in 0..ATTEMPTS {
        let row = match connection.query_row(&begin(&lock)) {
            Err(error) if !lock.is_empty() && is_refused(&error) => {
                tracing::debug!(%error, "the relations cannot be locked");
                lock.clear();
                connection.execute("rollback")?;
                connection.query_row(&begin(""))
            }
            outcome => outcome,
        };
        let row = row?.unwrap_or_default();
        let is_locked = !lock.is_empty();
        if is_locked && !row.is("others") {
            return Ok((row, true));
        }
        let query = query(connection)?;
        connection.execute(&format!("explain {query}"))?;
        let rewritten = connection.query_row(&format!("select {WAS_REWRITTEN} as so"))?;
        if !rewritten.unwrap_or_default().is("so") {
            return Ok((row, is_locked));
        }
        connection.execute("rollback")?;
    }
    Err(Error::Moved)
}

/// Joins the snapshot that another connection has exported under a name, without waiting for any lock; returns the first row of `select_list`.
/// EXPLAIN locks the indexes of `query` now, so that `query` waits for no lock later.
pub fn join_copy(
    connection: &mut libpq::CopyConnection,
    beginning: &Beginning<'_>,
    snapshot: &str,
    settings: &str,
    query: &str,
    select_list: &str,
) -> Result<libpq::Row, libpq::Error> {
    // Nothing may come between `begin` and the import: after its first query, a transaction has a snapshot of its own.
    let row = connection.query_row(&format!(
        "begin isolation level repeatable read read only; set transaction snapshot '{snapshot}'; {}; {settings}{}; explain {query}; {select_list}",
        beginning.settings(),
        beginning.lock(" nowait"),
    ))?;
    Ok(row.unwrap_or_default())
}

/// Does `work` in one read-only snapshot, on a connection of Diesel's. `query` returns the SQL that the snapshot is for.
pub fn snapshot<T, E: From<Query> + From<Error>>(
    connection: &mut PgConnection,
    beginning: &Beginning<'_>,
    query: impl Fn() -> Result<String, E>,
    work: impl FnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let mut work = Some(work);
    let settings = beginning.settings();
    let mut lock = beginning.lock("");
    let started = Instant::now();
    for _ in 0..ATTEMPTS {
        let mut transaction = connection.build_transaction().repeatable_read().read_only();
        let outcome = transaction.run(|connection| {
            let locked = connection.batch_execute(&format!("{settings}{lock}"));
            locked.map_err(Attempt::NotLocked)?;
            let is = |connection: &mut PgConnection, condition: &str| {
                diesel::select(diesel::dsl::sql::<Bool>(condition)).get_result::<bool>(connection)
            };
            if is(connection, &beginning.has_others())? || lock.is_empty() {
                let query = query().map_err(Attempt::Failed)?;
                connection.batch_execute(&format!("explain {query}"))?;
                if is(connection, WAS_REWRITTEN)? {
                    return Err(Attempt::Moved);
                }
            }
            // Only once: whatever it returns is final.
            let work = work.take().ok_or(Attempt::Moved)?;
            work(connection).map_err(Attempt::Failed)
        });
        match outcome {
            Ok(value) => return Ok(value),
            Err(Attempt::Failed(error)) => return Err(error),
            // Diesel does not tell a refusal from a timeout.
            Err(Attempt::NotLocked(Query::DatabaseError(DatabaseErrorKind::Unknown, said)))
                if !lock.is_empty()
                    && [beginning.lock_timeout, beginning.statement_timeout]
                        .into_iter()
                        .flatten()
                        .all(|timeout| started.elapsed() < timeout) =>
            {
                tracing::debug!(error = said.message(), "the relations cannot be locked");
                lock.clear();
            }
            Err(Attempt::NotLocked(error) | Attempt::Query(error)) => return Err(error.into()),
            Err(Attempt::Moved) => {}
        }
    }
    Err(Error::Moved.into())
}

/// Why an attempt has failed.
enum Attempt<E> {
    /// The relations could not be locked.
    NotLocked(Query),
    /// A relation was rewritten under the snapshot.
    Moved,
    /// Another query of the attempt's own failed.
    Query(Query),
    /// The work failed.
    Failed(E),
}

impl<E> From<Query> for Attempt<E> {
    fn from(error: Query) -> Self {
        Self::Query(error)
    }
}

/// Returns whether the role may not lock the relations, or one of them is of a kind that cannot be locked; also if there is no such
/// relation: then the query says so.
fn is_refused(error: &libpq::Error) -> bool {
    // "insufficient privilege", "wrong object type", "undefined table".
    matches!(error.sqlstate.as_deref(), Some("42501" | "42809" | "42P01"))
}

/// A recursive common table expression `reads (oid, relkind)`: these relations, and all that are read with them: what a view reads, and a
/// table's partitions and other descendants.
pub(crate) fn reads(relations: &[String]) -> String {
    format!(
        "reads (oid, relkind) as (
            select oid, relkind from {}
            union
            select c.oid, c.relkind from reads join lateral (
                select d.refobjid as oid from pg_rewrite r
                    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
                where reads.relkind = 'v' and r.ev_class = reads.oid
                union all
                select inhrelid from pg_inherits where inhparent = reads.oid
            ) next on true join pg_class c on c.oid = next.oid)",
        classes(relations)
    )
}

/// SQL for the rows of `pg_class` that are these relations'. Each name is looked up once, and then found by the index: as a list of
/// alternatives, they would be looked up for each row of `pg_class`.
fn classes(relations: &[String]) -> String {
    let names: Vec<String> = relations.iter().map(|name| quoted(name)).collect();
    format!(
        "unnest(array[{}]) as _ (name) join pg_class on pg_class.oid = to_regclass(name)",
        names.join(", ")
    )
}

/// A text as a literal of SQL, whatever `standard_conforming_strings` is: not all connections set it.
pub(crate) fn quoted(text: &str) -> String {
    let text = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\")),
        false => format!("'{text}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_literal_whatever_is_in_it() {
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), "'it''s'");
        // With `standard_conforming_strings` off, the backslash of a plain literal would take the quotation mark.
        assert_eq!(quoted(r"\'; drop"), r"E'\\''; drop'");
    }

    #[test]
    fn a_transactions_name_is_new_each_time_and_fits() {
        let names = ["cmms-export", "it's \\ ü", &"x".repeat(100)].map(|application| {
            let name = TransactionName::new(application);
            assert!(name.as_str().len() < 64, "{name}");
            assert!(!name.as_str().contains(['\'', '\\']), "{name}");
            name
        });
        assert_ne!(names[0], TransactionName::new("cmms-export"));
    }
}
