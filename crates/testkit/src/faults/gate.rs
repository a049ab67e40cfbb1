//! A gate in the middle of an export's query, where the query waits while the test causes a failure.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::cluster::{PASSWORD_VERIFIER, as_role};
use crate::{TestDatabase, eventually};

/// Rows of the gated table. Enough for several chunks before and after the middle one.
pub const ROWS: u64 = 6_000;

/// A database with a gate. A view of a table (of the tasks, unless another is named) calls the gate's function for each row, and the
/// planner can only take the rows in order, one by one. The function is declared immutable: otherwise, and with row security, `lookup`
/// would be `copy`.
pub struct Gated {
    /// The database.
    pub database: TestDatabase,
    /// Its URL for a role that may only read.
    pub url: String,
}

impl Gated {
    /// Creates a database with a gate.
    pub fn new() -> Self {
        Self::install(TestDatabase::new())
    }

    /// Creates one in a cluster of its own, which can be killed.
    pub fn alone() -> Self {
        Self::install(TestDatabase::alone())
    }

    /// Creates one without a row.
    pub fn install(database: TestDatabase) -> Self {
        Self::install_before(database, "tasks", ROWS)
    }

    /// Creates one with the gate on this many tasks.
    pub fn before_tasks(rows: u64) -> Self {
        Self::install_before(TestDatabase::new(), "tasks", rows)
    }

    /// Creates one with the gate on this table, with this many rows; the other tables have the rows that these refer to.
    pub fn of(table: &str) -> Self {
        Self::install_before(TestDatabase::new(), table, ROWS)
    }

    fn install_before(database: TestDatabase, table: &str, rows: u64) -> Self {
        let role = format!("gated_{}", database.name());
        let [locations, users, assets, tasks] = ["locations", "users", "assets", "tasks"]
            .map(|name| if name == table { rows } else { 1 });
        let sql = format!(
        "create function named(n bigint, name text, rows bigint) returns text language sql
             as 'select case rows when 1 then name else lpad(n::text, 100, name || '' '') end';
         insert into locations select n, named(n, 'Here', {locations}) from generate_series(1, {locations}) n;
         insert into users select n, named(n, 'somebody', {users}) from generate_series(1, {users}) n;
         insert into assets select n, named(n, 'Thing', {assets}), '', 1 from generate_series(1, {assets}) n;
         -- Without a check of each row's foreign keys, which would take most of the time.
         set session_replication_role = replica;
         insert into tasks select n, named(n, 'title', {tasks}), '', true, 1, 1, null from generate_series(1, {tasks}) n;
         reset session_replication_role;
         create function passes_gate(id bigint) returns boolean language plpgsql immutable as 'begin return true; end';
         alter table {table} rename to gated_{table};
         create view {table} as select * from gated_{table} where passes_gate(id);
         create role {role} login password '{PASSWORD_VERIFIER}'; grant select on locations, users, assets, tasks to {role};
         do $$ begin
             execute format('alter database %I set enable_sort = off', current_database());
             execute format('alter database %I set enable_hashjoin = off', current_database());
             execute format('alter database %I set enable_mergejoin = off', current_database());
             execute format('alter database %I set enable_seqscan = off', current_database());
             execute format('alter database %I set enable_bitmapscan = off', current_database());
         end $$"
    );
        let mut connection = database.connect();
        connection.batch_execute(&sql).expect("the SQL runs");
        connection.batch_execute("vacuum analyze").expect("ours");
        let mut gated = Self {
            url: String::new(),
            database,
        };
        gated.url = gated.as_role(&gated.database.url);
        gated
    }

    /// Returns the URL for the role that may only read.
    pub fn as_role(&self, url: &str) -> String {
        as_role(url, &format!("gated_{}", self.database.name()))
    }
}

/// The processes that wait at the gate.
const WAITING: &str = "pg_stat_activity
    where wait_event_type = 'Lock' and wait_event = 'advisory' and datname = current_database()";

/// A closed gate; dropped, it opens.
pub struct Gate {
    connection: Option<PgConnection>,
}

/// A process that waits at a gate.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Waiter {
    #[diesel(sql_type = Integer)]
    pid: i32,
    #[diesel(sql_type = Text)]
    since: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

impl Gate {
    /// Closes the gate before the row of this id.
    pub fn close(gated: &Gated, row: u64) -> Self {
        Self::close_where(gated, &format!("id = {row}"))
    }

    /// Does the same for the runs of a benchmark, and not for the count before them.
    pub fn close_to_runs(gated: &Gated, row: u64) -> Self {
        let name = "current_setting('application_name')";
        Self::close_where(
            gated,
            &format!("id = {row} and {name} like 'cmms-export-bench-%'"),
        )
    }

    fn close_where(gated: &Gated, condition: &str) -> Self {
        Self::place_where(gated, condition);
        Self::lock(gated.database.connect())
    }

    /// Moves the gate to the row of this id, and leaves it open.
    pub fn place(gated: &Gated, row: u64) {
        Self::place_where(gated, &format!("id = {row}"));
    }

    /// The lock timeout does not end the wait: at a gate, no table is locked.
    fn place_where(Gated { database, .. }: &Gated, condition: &str) {
        database
            .connect()
            .batch_execute(&format!(
                "create or replace function passes_gate(id bigint) returns boolean language plpgsql immutable set lock_timeout = 0 as
                 $$begin if {condition} then perform pg_advisory_xact_lock_shared(4242); end if; return true; end$$"
            ))
            .expect("the SQL runs");
    }

    /// Closes the gate where it is, on the connection's server alone: a standby has locks of its own.
    pub fn lock(mut connection: PgConnection) -> Self {
        connection
            .batch_execute("select pg_advisory_lock(4242)")
            .expect("nobody else does");
        Self {
            connection: Some(connection),
        }
    }

    /// Waits until an export waits at the gate, and returns the process that does.
    pub fn reached(&mut self) -> i32 {
        let mut waiter = None;
        eventually("an export reaches the gate", || {
            waiter = self.waiter();
            waiter.is_some()
        });
        waiter.expect("just seen").pid
    }

    /// The process that has been waiting at the gate for longest: behind an export, a page's count may wait.
    pub fn waiter(&mut self) -> Option<Waiter> {
        let sql = format!(
            "select pid, query_start::text as since from {WAITING} order by query_start limit 1"
        );
        let waiter = diesel::sql_query(sql).get_result(self.connection.as_mut().expect("closed"));
        match waiter {
            Ok(waiter) => Some(waiter),
            Err(diesel::result::Error::NotFound) => None,
            // A standby may cancel this query, too, when it is in the way of the primary's changes.
            Err(diesel::result::Error::DatabaseError(
                DatabaseErrorKind::SerializationFailure,
                _,
            )) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until this many processes wait at the gate.
    pub fn reached_by(&mut self, exports: usize) {
        let sql = format!("select count(*) from {WAITING}");
        eventually("all exports reach the gate", || {
            let connection = self.connection.as_mut().expect("closed");
            let waiting: Count = diesel::sql_query(&sql)
                .get_result(connection)
                .expect("readable");
            waiting.count == exports as i64
        });
    }

    /// Terminates the process that waits at the gate.
    pub fn terminate(&mut self) {
        let pid = self.reached();
        let connection = self.connection.as_mut().expect("closed");
        diesel::sql_query(format!("select pg_terminate_backend({pid})"))
            .execute(connection)
            .expect("allowed");
    }
}

/// Counts the database's processes that run an export's query.
pub fn running_queries(database: &TestDatabase) -> i64 {
    running_queries_at(&mut database.connect())
}

/// The same, on the connection's server.
pub fn running_queries_at(connection: &mut PgConnection) -> i64 {
    let sql = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and backend_type = 'client backend' and state <> 'idle' and query like '%tasks%'";
    diesel::sql_query(sql)
        .get_result::<Count>(connection)
        .expect("readable")
        .count
}
