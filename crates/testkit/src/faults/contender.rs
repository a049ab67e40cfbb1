//! Statements that other connections run on the tables while an export runs, each in a thread of its own, and their locks.

use std::thread::JoinHandle;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};

use crate::in_process::BOUND;
use crate::{TestDatabase, eventually};

/// A connection that begins a transaction and holds what it has locked until this is dropped or released.
pub struct Holder(PgConnection);

impl Holder {
    /// Runs the SQL in a transaction that stays open.
    pub fn of(database: &TestDatabase, sql: &str) -> Self {
        let mut connection = database.connect();
        connection
            .batch_execute(&format!("begin; {sql}"))
            .expect("nobody is in its way");
        Self(connection)
    }

    /// Commits.
    pub fn release(mut self) {
        self.0.batch_execute("commit").expect("it is open");
    }
}

#[derive(QueryableByName)]
struct Pid {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// SQL that runs in a thread of its own. Its lock timeout is below the test's time limit, so that nothing hangs for ever.
pub struct Contender {
    pid: i32,
    thread: JoinHandle<Result<(), String>>,
}

impl Contender {
    /// Starts it. Each string is a message of its own, since some statements must be alone in theirs.
    pub fn start(database: &TestDatabase, messages: &[&str]) -> Self {
        let mut connection = database.connect();
        let limit = BOUND.as_millis() - 5_000;
        connection
            .batch_execute(&format!("set lock_timeout = {limit}"))
            .expect("ours");
        let pid =
            diesel::sql_query("select pg_backend_pid() as pid").get_result::<Pid>(&mut connection);
        let messages: Vec<String> = messages.iter().map(|&message| message.to_owned()).collect();
        Self {
            pid: pid.expect("readable").pid,
            thread: std::thread::spawn(move || {
                messages.iter().try_for_each(|message| {
                    connection
                        .batch_execute(message)
                        .map_err(|error| format!("{message}: {error}"))
                })
            }),
        }
    }

    /// Waits until it waits for a lock, or has ended because no lock is in its way; returns whether it waits.
    pub fn waits(&self, database: &TestDatabase) -> bool {
        let mut connection = database.connect();
        eventually("it waits or has ended", || {
            self.thread.is_finished() || count(&mut connection, &format!("pid = {}", self.pid)) > 0
        });
        !self.thread.is_finished()
    }

    /// Waits for its end, and demands that it succeeded.
    pub fn ends(self, what: &str) {
        if let Err(error) = self.thread.join().expect("it does not panic") {
            panic!("{what}: {error}");
        }
    }
}

fn count(connection: &mut PgConnection, condition: &str) -> i64 {
    let sql = format!("select count(*) from pg_locks where not granted and {condition}");
    let count: Count = diesel::sql_query(sql)
        .get_result(connection)
        .expect("readable");
    count.count
}

/// Waits until this many processes of the database wait for a lock of a relation.
pub fn waiting(database: &TestDatabase, processes: i64) {
    let mut connection = database.connect();
    let ours = "database = (select oid from pg_database where datname = current_database())";
    eventually("they wait", || count(&mut connection, ours) >= processes);
}
