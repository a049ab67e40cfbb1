//! The connections of one export, all in one snapshot.

use crate::db::{self, CopyConnection, Database, Process, libpq};
use crate::export::cancellation::{Backend, Cancellation};
use crate::export::{Error, Limits, Source};

/// A connection in the export's snapshot. If it is dropped before its end, it is not used again.
pub(super) struct Session<'a> {
    // Dropped before the connection, so that a request to cancel cannot hit the connection's next user.
    backend: Backend<'a>,
    pub(super) connection: CopyConnection,
    /// Whether the server uses one process for a query.
    is_alone: bool,
}

/// The setting for a helper's transaction: the processes of a parallel query would be in the way of the other connections.
const ALONE: &str = "; set local max_parallel_workers_per_gather = 0";

impl<'a> Session<'a> {
    /// Begins the export's snapshot, or joins the one of this name.
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

    /// Makes the server use one process for a query, or as many as it likes.
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

    /// Ends the session after its work. A failure does no harm: COPY has confirmed that it sent all rows, and the pool closes the
    /// connection.
    pub(super) fn end(mut self) {
        if let Err(error) = self.connection.commit() {
            tracing::warn!(%error, "a connection was lost after its part of an export");
        }
    }
}

/// The snapshot that the first connection has exported. It exists as long as that connection is in it.
pub(super) struct Snapshot<'a> {
    database: &'a Database,
    cancellation: &'a Cancellation,
    limits: Limits,
    name: String,
    /// The server process that has exported it.
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

    /// Returns one more connection in the snapshot, if one can be had.
    pub(super) fn session(&self) -> Result<Option<Session<'a>>, Error> {
        let Some(connection) = self.database.helper_connection() else {
            return Ok(None);
        };
        let place = (self.database, self.cancellation, self.limits);
        match Session::begin(place, connection, Some(&self.name)) {
            Ok(helper) if helper.backend.process().is_beside(&self.process) => Ok(Some(helper)),
            // Another server may have another snapshot of the same name.
            Ok(_elsewhere) => {
                tracing::warn!(
                    "an export goes on with fewer connections: one has led to another server"
                );
                Ok(None)
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            // The first connection is lost, and its own error ends the export.
            Err(Error::Database(error)) if error.is_snapshot_gone() => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "an export goes on with fewer connections");
                Ok(None)
            }
        }
    }
}
