//! The connections of one export, all in one snapshot.

use std::sync::Arc;
use std::time::Duration;

use super::conditions::Conditions;
use crate::cancellation::{Backend, Cancellation};
use crate::dataset::Dataset;
use crate::db::snapshot::{self, Beginning};
use crate::db::{self, Database, PooledCopyConnection, libpq};
use crate::{Error, Export, Source};

/// How long a connection beside the first one waits for a lock. The lock's holder, or another that waits for it, may wait for the first
/// connection, which waits for the others: PostgreSQL sees no deadlock in that. Tables are locked at once or never; this limit is for
/// indexes.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How many connections to try that turn out to be broken: those in the pool may all have been idle for too long.
const ATTEMPTS: usize = 4;

/// How long any connection waits for a lock while several work: for a lock on something new, such as a partition. Its holder may wait for
/// one of the other connections.
const RANGE_LOCK_TIMEOUT: &str = "set local lock_timeout = 1000";

/// The setting for connections that are not the only one: the processes of a parallel query would compete with the others.
const ALONE: &str = "set local max_parallel_workers_per_gather = 0";

/// A connection in the export's snapshot. If it is dropped before its end, it is not used again.
pub(super) struct Session<'a> {
    // Dropped before the connection, so that a request to cancel cannot hit the connection's next user.
    _backend: Backend<'a>,
    pub(super) connection: PooledCopyConnection,
    /// Whether the server uses one process for a query.
    is_alone: bool,
}

/// Why there is no further connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// None is free.
    Free,
    /// It would have to wait for a lock.
    Lock,
    /// It leads to another server, or sees other tables.
    OtherServer,
    /// It cannot join the snapshot, for another reason.
    Snapshot,
}

impl NoConnection {
    /// Why the export has fewer connections.
    pub(super) fn because(self) -> &'static str {
        match self {
            Self::Free => "no more connections were free",
            Self::Lock => {
                "further connections would have had to wait for a lock on a table or an index"
            }
            Self::OtherServer => "further connections led to another server, or to other tables",
            Self::Snapshot => "further connections could not join the snapshot",
        }
    }
}

impl<'a> Session<'a> {
    /// Begins the export's snapshot. Returns also the values of the conditions' select list, if there is no filter, and whether the relations
    /// are locked.
    pub(super) fn begin(source: &Source<'a>) -> Result<(Self, libpq::Row, bool), Error> {
        let mut connection = source.database.copy_connection()?;
        let shown = source.wait_until_fresh(&mut *connection)?;
        let backend = source.cancellation.register(source.database)?;
        let beginning = source.beginning(&backend);
        // With a filter, the rows may be few, and then the answer is not needed.
        let select_list = if source.export.filter.iter().next().is_some() {
            Vec::new()
        } else {
            Conditions::select_list(source.export.dataset())
        };
        let query = |connection: &mut libpq::CopyConnection| {
            libpq::CopyOutDsl::literal_sql_on(source.export.query(), connection)
        };
        let (answer, locked) =
            snapshot::begin_copy(&mut connection, &beginning, &select_list, query)?;
        shown.holds_on(&mut *connection)?;
        let session = Self {
            _backend: backend,
            connection,
            is_alone: false,
        };
        Ok((session, answer, locked))
    }

    /// Makes the server use one process for a query, and wait little for locks; or use as many as it likes, and wait.
    pub(super) fn set_alone(&mut self, is_alone: bool) -> Result<(), libpq::Error> {
        if self.is_alone != is_alone {
            let sql = if is_alone {
                format!("{ALONE}; {RANGE_LOCK_TIMEOUT}")
            } else {
                "set local max_parallel_workers_per_gather to default; set local lock_timeout to default".to_owned()
            };
            self.connection.execute(&sql)?;
            self.is_alone = is_alone;
        }
        Ok(())
    }

    /// Ends the session after its work. A failure does no harm: COPY has confirmed that it sent all rows, and the pool closes the
    /// connection.
    pub(super) fn end(mut self) {
        if let Err(error) = self.connection.commit() {
            let error = db::Error::from(error);
            tracing::warn!(%error, "a connection was lost after its part of an export");
        }
    }

    /// Ends the first connection's session after all work, and demands that the conditions have held.
    pub(super) fn end_under(
        mut self,
        conditions: &Conditions,
        dataset: &dyn Dataset,
    ) -> Result<(), db::Error> {
        self.connection.commit()?;
        conditions.hold(&mut self.connection, dataset)
    }
}

/// The snapshot that the first connection has exported. It exists as long as that connection is in it.
pub(super) struct Snapshot<'a> {
    database: &'a Database,
    cancellation: &'a Cancellation,
    export: &'a Export,
    conditions: Arc<Conditions>,
    name: String,
    /// The query of all rows.
    query: String,
}

impl<'a> Snapshot<'a> {
    pub(super) fn export(
        source: &Source<'a>,
        conditions: &Arc<Conditions>,
        leader: &mut Session<'_>,
        query: String,
    ) -> Result<Self, libpq::Error> {
        Ok(Self {
            database: source.database,
            cancellation: source.cancellation,
            export: source.export,
            conditions: Arc::clone(conditions),
            name: leader.connection.export_snapshot()?,
            query,
        })
    }

    /// Returns one more connection in the snapshot, if one is available without waiting for a lock.
    pub(super) fn session(&self) -> Result<Result<Session<'a>, NoConnection>, Error> {
        for _ in 0..ATTEMPTS {
            let Some(mut connection) = self.database.helper_connection() else {
                return Ok(Err(NoConnection::Free));
            };
            let backend = self.cancellation.register(self.database)?;
            let beginning = Beginning {
                name: backend.transaction(),
                relations: self.export.dataset().relations(),
                role: self.export.dataset().role(),
                user: self.export.dataset().user(),
                proof: self.export.dataset().proof(),
                time_zone: self.database.time_zone(),
                statement_timeout: self.export.limits.statement_timeout,
                lock_timeout: Some(LOCK_TIMEOUT),
            };
            let settings = format!("{ALONE}; {}", self.conditions.settings());
            let joined = snapshot::join_copy(
                &mut connection,
                &beginning,
                &self.name,
                &settings,
                &self.query,
                &format!(
                    "{RANGE_LOCK_TIMEOUT}; {}",
                    Conditions::identity(self.export.dataset())
                ),
            );
            let error = match joined.map_err(db::Error::from) {
                Ok(answer) if self.conditions.are_identical(&answer) => {
                    return Ok(Ok(Session {
                        _backend: backend,
                        connection,
                        is_alone: true,
                    }));
                }
                Ok(_elsewhere) => {
                    tracing::warn!(
                        "an export goes on with fewer connections: one led to another server, or to other tables"
                    );
                    return Ok(Err(NoConnection::OtherServer));
                }
                Err(error) => error,
            };
            if self.cancellation.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if error.is_unavailable() {
                continue;
            }
            if error.is_lock_not_available() {
                return Ok(Err(NoConnection::Lock));
            }
            // Else the first connection is lost, and its own error ends the export.
            if !error.is_snapshot_gone() {
                tracing::warn!(%error, "an export goes on with fewer connections");
            }
            return Ok(Err(NoConnection::Snapshot));
        }
        Ok(Err(NoConnection::Snapshot))
    }
}
