//! Stopping an export from another thread, down to its query on the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Span;

use crate::Error;
use crate::db::{Database, TransactionName};

/// Stops an export. Clones stop the same one.
#[derive(Clone, Default)]
pub struct Cancellation {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Outside of the lock, so that checking it does not wait for the server.
    cancelled: AtomicBool,
    backends: Mutex<Backends>,
}

#[derive(Default)]
struct Backends {
    /// The transactions that work for the export now.
    working: HashMap<u64, (TransactionName, Database)>,
    registered: u64,
}

impl Cancellation {
    /// Stops the export: cancels its queries on the server, and prevents further ones. Returns when none is left.
    ///
    /// A cancel request is lost on a process that is between two commands, so it is repeated until the export lets go.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        loop {
            if self.is_idle() {
                return;
            }
            self.cancel_queries();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Does the same in a thread of its own, without waiting.
    pub fn cancel_elsewhere(&self) {
        let cancellation = self.clone();
        let span = Span::current();
        let thread = std::thread::Builder::new().name("cancel-export".into());
        if let Err(error) = thread.spawn(move || span.in_scope(|| cancellation.cancel())) {
            tracing::error!(%error, "no thread to cancel an export: it ends with its next bytes");
        }
    }

    /// Asks the server to cancel all of the export's queries.
    pub(crate) fn cancel_queries(&self) {
        let numbers: Vec<u64> = self.backends().working.keys().copied().collect();
        for number in numbers {
            self.cancel_query(number);
        }
    }

    /// Returns whether no transaction works for the export now.
    pub fn is_idle(&self) -> bool {
        self.backends().working.is_empty()
    }

    fn cancel_query(&self, number: u64) {
        let database = self
            .backends()
            .working
            .get(&number)
            .map(|(_, it)| it.clone());
        let Some(database) = database else { return };
        // Without the lock: a server that does not answer would block the export's own thread, too.
        let cancelled = database.canceller().and_then(|mut canceller| {
            // With the lock: the connection cannot go back to its pool, and on to another export, before it gets the request.
            let backends = self.backends();
            match backends.working.get(&number) {
                Some((transaction, _)) => canceller.cancel(transaction),
                None => Ok(()),
            }
        });
        if let Err(error) = cancelled {
            tracing::warn!(%error, "an export's query could not be cancelled");
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Registers a transaction that will work for the export on the database's server, until the value is dropped. It can be cancelled from
    /// its first statement on.
    pub fn register(&self, database: &Database) -> Result<Backend<'_>, Error> {
        let mut backends = self.backends();
        // With the lock: a cancellation sees what was registered before.
        if self.is_cancelled() {
            return Err(Error::Cancelled);
        }
        backends.registered += 1;
        let number = backends.registered;
        let transaction = database.transaction_name();
        backends
            .working
            .insert(number, (transaction.clone(), database.clone()));
        Ok(Backend {
            cancellation: self,
            transaction,
            number,
        })
    }

    fn backends(&self) -> MutexGuard<'_, Backends> {
        let backends = self.shared.backends.lock();
        backends.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction that works for an export.
pub struct Backend<'c> {
    cancellation: &'c Cancellation,
    transaction: TransactionName,
    number: u64,
}

impl Backend<'_> {
    /// The transaction's name.
    pub fn transaction(&self) -> &TransactionName {
        &self.transaction
    }

    /// Asks the server to cancel the transaction's query.
    pub(crate) fn cancel_query(&self) {
        self.cancellation.cancel_query(self.number);
    }
}

impl Drop for Backend<'_> {
    fn drop(&mut self) {
        self.cancellation.backends().working.remove(&self.number);
    }
}
