//! The connections of one export, all in one snapshot.

use crate::db::{self, CopyConnection, Database, Process, libpq};
use crate::export::cancellation::{Backend, Cancellation};
use crate::export::{Error, Limits, Source};

/// A connection in the export's snapshot. Dropped before its end, it is not used again.
pub(super) struct Session<'a> {
    // Before the connection, in the order in which they are dropped: what cancels it must not meet whom it is lent to next.
    backend: Backend<'a>,
    pub(super) connection: CopyConnection,
    /// Whether a query has one process.
    is_alone: bool,
}

/// What a transaction of a helper's sets: the processes of a parallel query would be in the way of the other connections'.
const ALONE: &str = "; set local max_parallel_workers_per_gather = 0";

impl<'a> Session<'a> {
    /// Begins the export's snapshot, or takes part in the one of this name.
    pub(super) fn begin(
        (database, cancellation, limits): (&'a Database, &'a Cancellation, Limits),
        mut connection: CopyConnection,
        snapshot: Option<&str>,
    ) -> Result<Self, Error> {
        let is_helper = snapshot.is_some();
        let settings = if is_helper { ALONE } else { "" };
        let process = db::begin_copy_snapshot(
            &mut connection,
            snapshot,
            limits.statement_timeout,
            settings,
        )?;
        Ok(Self {
            backend: cancellation.register(database, process)?,
            connection,
            is_alone: is_helper,
        })
    }

    /// Has the server use one process, or as many as it likes, for a query.
    pub(super) fn set_alone(&mut self, is_alone: bool) -> Result<(), libpq::Error> {
        if self.is_alone != is_alone {
            let processes = if is_alone { "= 0" } else { "to default" };
            self.connection.execute(&format!(
                "set local max_parallel_workers_per_gather {processes}"
            ))?;
            self.is_alone = is_alone;
        }
        Ok(())
    }

    /// Ends it after its work. Nothing depends on that: COPY has said that all rows were sent. A connection that is not as it should
    /// be, its pool closes.
    pub(super) fn end(mut self) {
        if let Err(error) = self.connection.commit() {
            tracing::warn!(%error, "a connection was lost after its part of an export");
        }
    }
}

/// The snapshot that the first connection has exported, which is there as long as that one is in it.
pub(super) struct Snapshot<'a> {
    database: &'a Database,
    cancellation: &'a Cancellation,
    limits: Limits,
    name: String,
    /// The process that has it.
    process: Process,
}

impl<'a> Snapshot<'a> {
    pub(super) fn export(
        source: &Source<'a>,
        leader: &mut Session<'_>,
    ) -> Result<Self, libpq::Error> {
        Ok(Self {
            database: source.database,
            cancellation: source.cancellation,
            limits: source.export.limits,
            name: leader.connection.export_snapshot()?,
            process: leader.backend.process().clone(),
        })
    }

    /// One more connection in the snapshot, if there is one.
    pub(super) fn session(&self) -> Result<Option<Session<'a>>, Error> {
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
