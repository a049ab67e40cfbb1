//! Why the database cannot be used.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as Query};
use diesel::sql_types::Bool;

use super::wording::{CopyMessage, QueryMessage};
use super::{LOCK_TIMEOUT, NotFresh, libpq};

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection: the server is unreachable or refuses it, or all connections of the pool stayed in use.
    #[error("no connection to the database: {0}")]
    Connect(String),
    /// A query failed.
    #[error("{}", QueryMessage(.0))]
    Query(#[from] diesel::result::Error),
    /// A query exceeded its time limit.
    #[error("the query took too long")]
    StatementTimeout(#[source] Query),
    /// A query waited too long for a table that another transaction has locked.
    #[error("a table is locked")]
    TableLocked(#[source] Query),
    /// A COPY failed.
    #[error("{}", CopyMessage(.0))]
    Copy(#[from] libpq::Error),
    /// The database sent something impossible, such as a row that refers to nothing.
    #[error("the data are inconsistent: {0}")]
    Inconsistent(String),
    /// A relation was rewritten, or got or lost a partition, while its rows were read: the rows may not be of one snapshot.
    #[error("a table was changed while its rows were read")]
    Moved,
    /// The server may lag behind the primary.
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
    /// A migration could not be read or applied.
    #[error("the migrations failed: {0}")]
    Migrate(String),
}

impl Error {
    /// The error of work that was given up because its server does not answer.
    pub fn silent_server() -> Self {
        Self::Connect("the server does not answer".into())
    }

    /// Finds out why a query has failed: Diesel hides most SQLSTATEs, and the message is in the server's language. `connection` is the
    /// query's, which is in no transaction any more; `waited` is the time that the query took, if it had a lock timeout.
    pub fn explained(self, connection: &mut PgConnection, waited: Option<Duration>) -> Self {
        let error = match self {
            Self::Query(error @ Query::DatabaseError(DatabaseErrorKind::Unknown, _)) => error,
            error => return error,
        };
        let message = match &error {
            Query::DatabaseError(_, information) => information.message(),
            _ => "",
        };
        if statement_timeout_message(connection).as_deref() == Some(message) {
            return Self::StatementTimeout(error);
        }
        let has_waited = waited.is_some_and(|waited| waited >= LOCK_TIMEOUT);
        if has_waited && is_any_table_locked(connection).unwrap_or(false) {
            return Self::TableLocked(error);
        }
        Self::Query(error)
    }

    /// Returns whether a query took longer than the statement timeout. Diesel's errors must be [explained](Self::explained) before.
    pub fn is_statement_timeout(&self) -> bool {
        match self {
            Self::StatementTimeout(_) => true,
            Self::Copy(error) => error.sqlstate.as_deref() == Some("57014"),
            _ => false,
        }
    }

    /// Returns whether a hot standby has cancelled the query because of a recovery conflict.
    pub fn is_recovery_conflict(&self) -> bool {
        match self {
            Self::Query(Query::DatabaseError(kind, _)) => {
                matches!(kind, DatabaseErrorKind::SerializationFailure)
            }
            Self::Copy(error) => error.sqlstate.as_deref() == Some("40001"),
            _ => false,
        }
    }

    /// Returns whether a lock was not available, at once or in time.
    pub fn is_lock_not_available(&self) -> bool {
        matches!(self, Self::Copy(error) if error.sqlstate.as_deref() == Some("55P03"))
    }

    /// Returns whether no snapshot has that name (any more), because the connection that exported it has ended.
    pub fn is_snapshot_gone(&self) -> bool {
        // "invalid snapshot identifier"; since PostgreSQL 17 "snapshot … does not exist".
        matches!(self, Self::Copy(error) if matches!(error.sqlstate.as_deref(), Some("22023" | "42704")))
    }

    /// Returns whether the database is unavailable, so that a later attempt may succeed. A refusal does not count.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Query(Query::DatabaseError(kind, _)) => {
                matches!(
                    kind,
                    DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand
                )
            }
            Self::Query(Query::BrokenTransactionManager) => true,
            Self::Copy(error) => match error.kind() {
                libpq::ErrorKind::Connection => true,
                // Class 08: connection exceptions; 57P: the server is shutting down, was shut down or is starting.
                libpq::ErrorKind::Server => error
                    .sqlstate
                    .as_deref()
                    .is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Makes a query take too long, and returns what the server says then, in its language.
fn statement_timeout_message(connection: &mut PgConnection) -> Option<String> {
    let provoked = connection.transaction(|connection| {
        connection.batch_execute("set local statement_timeout = 1")?;
        connection.batch_execute("select pg_sleep(0.5)")
    });
    match provoked {
        Err(Query::DatabaseError(_, information)) => Some(information.message().to_owned()),
        _ => None,
    }
}

/// Returns whether any table of the database is locked against all other access, or a transaction waits for such a lock: later queries
/// wait, too. All tables are checked: ours may be views of others, and indexes can be locked as well.
fn is_any_table_locked(connection: &mut PgConnection) -> QueryResult<bool> {
    let locked = diesel::dsl::sql::<Bool>(
        "exists (select from pg_locks where locktype = 'relation' and mode = 'AccessExclusiveLock'
            and database = (select oid from pg_database where datname = current_database()))",
    );
    diesel::select(locked).get_result(connection)
}

/// Why no export works.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitTables {
    /// The tables are not there, or our role may not read them.
    #[error("the database has no tables that can be read")]
    Missing,
    /// The tables differ from those that the program expects. Each text says what is different, and what would fix it.
    #[error("the database's tables are not as expected: {}", .0.join("; "))]
    Different(Vec<String>),
    /// Only those of some datasets do, by the datasets' names: the others are served.
    #[error("the tables of {} are not as expected", .0.join(", "))]
    Partly(Vec<String>),
}
