//! Stopping an export from another thread, down to its query on the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Error;
use crate::db::{Database, Process};

/// By which an export can be stopped. Clones stop the same export.
#[derive(Clone, Default)]
pub struct Cancellation {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// The server's processes that work for the export now.
    backends: HashMap<u64, (Process, Database)>,
    registered: u64,
}

impl Cancellation {
    /// Stops the export: its queries are cancelled on the server, and no further one is started. Returns when none is left.
    ///
    /// A request to cancel is lost on a process that is between two commands, so it is repeated until the export lets go.
    pub fn cancel(&self) {
        self.lock().cancelled = true;
        loop {
            let state = self.lock();
            if state.backends.is_empty() {
                return;
            }
            cancel_queries(&state);
            drop(state);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the server to give up all of the export's queries, because one of them has failed.
    pub(super) fn cancel_queries(&self) {
        cancel_queries(&self.lock());
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Notes that a process of the database's server works for the export, until the value is dropped.
    pub(crate) fn register(
        &self,
        database: &Database,
        process: Process,
    ) -> Result<Backend<'_>, Error> {
        let mut state = self.lock();
        if state.cancelled {
            return Err(Error::Cancelled);
        }
        state.registered += 1;
        let number = state.registered;
        state
            .backends
            .insert(number, (process.clone(), database.clone()));
        Ok(Backend {
            cancellation: self,
            database: database.clone(),
            process,
            number,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To be called with the lock held: no process can go back to its pool, and on to another export, before it gets the request.
fn cancel_queries(state: &State) {
    for (process, database) in state.backends.values() {
        cancel_query(database, process);
    }
}

fn cancel_query(database: &Database, process: &Process) {
    if let Err(error) = database.cancel(process) {
        tracing::warn!(%error, ?process, "an export's query could not be cancelled");
    }
}

/// A process of the server's that works for an export.
pub(crate) struct Backend<'c> {
    cancellation: &'c Cancellation,
    database: Database,
    process: Process,
    number: u64,
}

impl Backend<'_> {
    /// Whether this is a process of the same server.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.process.is_beside(&other.process)
    }

    /// Asks the server to give up the process's query.
    pub(super) fn cancel_query(&self) {
        cancel_query(&self.database, &self.process);
    }
}

impl Drop for Backend<'_> {
    fn drop(&mut self) {
        self.cancellation.lock().backends.remove(&self.number);
    }
}
