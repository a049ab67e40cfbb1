//! The watch over a download's export: it stops the export when its client goes away or takes nothing, when its server does not
//! answer, or when somebody says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use actix_web::rt;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::app::App;
use crate::connections::client_socket::ClientSocket;
use crate::download::handover::{Deputy, Message};
use crate::download::registry::Known;
use crate::download::stall_detector::StallDetector;
use diesel_export::cancellation::Cancellation;
use diesel_export::db;
use diesel_export::manifest::{ErrorClass, State};
use diesel_export::spool::{SpoolFile, free_elsewhere};

/// Time between two looks at the client.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// What an export takes from others: its place among those that may run at once, and space in the spool.
pub(crate) struct Place {
    permits: Mutex<Vec<OwnedSemaphorePermit>>,
    file: OnceLock<Weak<SpoolFile>>,
}

impl Place {
    pub(crate) fn of(permits: Vec<OwnedSemaphorePermit>) -> Self {
        Self {
            permits: Mutex::new(permits),
            file: OnceLock::new(),
        }
    }

    /// Notes the file that the export fills. Only the first call counts.
    pub(crate) fn fills(&self, file: &Arc<SpoolFile>) {
        let _ = self.file.set(Arc::downgrade(file));
    }

    /// Lets another export run.
    pub(crate) fn free(&self) {
        self.permits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Leaves all to others: the export's thread waits for its server, maybe for ever, and cannot be woken.
    pub(crate) fn abandon(&self) {
        self.free();
        if let Some(file) = self.file.get().and_then(Weak::upgrade) {
            free_elsewhere(move || {
                if let Err(error) = file.give_up() {
                    tracing::error!(%error, "a file that nobody wants cannot be emptied");
                }
            });
        }
    }
}

/// All that it looks at, and whom it tells.
pub(crate) struct Supervisor {
    pub(crate) known: Known,
    pub(crate) flow: Arc<StallDetector>,
    pub(crate) peer: Option<ClientSocket>,
    pub(crate) cancellation: Cancellation,
    pub(crate) sender: Deputy,
    /// Weak: it goes with the export's thread.
    pub(crate) place: Weak<Place>,
    pub(crate) app: Arc<App>,
}

impl Supervisor {
    pub(crate) async fn over(self, over: CancellationToken) {
        let (state, error) = loop {
            tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = self.known.stop.cancelled() => break (State::Cancelled, None),
                () = rt::time::sleep(WATCH_INTERVAL) => {}
            }
            if self.peer.as_ref().is_some_and(ClientSocket::is_gone) {
                break (State::Cancelled, None);
            }
            if self.flow.stalled_for() > self.app.settings.reader_timeout {
                break (State::Failed, Some(ErrorClass::ReaderTimeout));
            }
            if !self.known.record.is_loaded() && self.flow.is_dried_up(&self.app.servers) {
                break (State::Failed, Some(ErrorClass::DatabaseUnavailable));
            }
        };
        self.app.export_ended(&self.known, state, error);
        cancel(self.cancellation.clone());
        if error == Some(ErrorClass::DatabaseUnavailable) {
            self.abandon();
        }
        // Before there is a response, the handler answers with what has happened.
        if let (Some(peer), true) = (&self.peer, self.known.begun.load(Ordering::Relaxed)) {
            peer.reset();
        }
    }

    /// Speaks for the export's thread, which waits for its server: it keeps its connection, and with it one of so many, until the
    /// server answers or the system gives the connection up; but nothing else.
    fn abandon(&self) {
        tracing::warn!(
            export_id = self.known.record.id(),
            "the export's server does not answer: its thread is left behind"
        );
        let error = db::Error::silent_server();
        let is_stuck = self.sender.end(Message::Failed(error.into()));
        // Else it has just ended, and may be read.
        if let (true, Some(place)) = (is_stuck, self.place.upgrade()) {
            place.abandon();
        }
    }
}

/// Stops an export without waiting until it has stopped.
pub(crate) fn cancel(cancellation: Cancellation) {
    // A plain thread: when the server shuts down, this happens where no runtime is left.
    let thread = std::thread::Builder::new().name("cancel-export".into());
    let span = Span::current();
    if let Err(error) = thread.spawn(move || span.in_scope(|| cancellation.cancel())) {
        tracing::error!(%error, "no thread to cancel an export: it ends with its next bytes");
    }
}
