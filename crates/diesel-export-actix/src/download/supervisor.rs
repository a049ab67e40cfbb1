//! Who looks again and again whether there is still somebody who takes what is made, and a server that makes it; and what follows for a
//! download if not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::connections::client_socket::ClientSocket;
use crate::download::handover::{Deputy, Message};
use crate::download::registry::Known;
use diesel_export::db;
use diesel_export::db::servers::Servers;
use diesel_export::manifest::{ErrorClass, State};
use diesel_export::stall_detector::StallDetector;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is looked at. What is not given cannot fail.
pub(crate) struct Watch<'a> {
    pub(crate) flow: &'a StallDetector,
    pub(crate) peer: Option<&'a ClientSocket>,
    /// How long the client may take nothing.
    pub(crate) reader_timeout: Option<Duration>,
    pub(crate) servers: Option<&'a Servers>,
}

/// Why there is no point in going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    ClientGone,
    ClientStalls,
    ServerSilent,
}

impl Watch<'_> {
    /// Waits until there is no point in going on.
    pub(crate) async fn obstacle(&self) -> Obstacle {
        loop {
            sleep(INTERVAL).await;
            if self.peer.is_some_and(ClientSocket::is_gone) {
                return Obstacle::ClientGone;
            }
            let is_over = |limit| self.flow.stalled_for() > limit;
            if self.reader_timeout.is_some_and(is_over) {
                return Obstacle::ClientStalls;
            }
            if self.servers.is_some_and(|it| self.flow.is_dried_up(it)) {
                return Obstacle::ServerSilent;
            }
        }
    }
}

/// Stops a download when its client goes away or takes nothing, when its server does not answer, or when somebody says so.
pub(crate) struct Supervisor {
    pub(crate) known: Known,
    pub(crate) peer: Option<ClientSocket>,
    pub(crate) sender: Deputy,
    pub(crate) app: Arc<App>,
}

impl Supervisor {
    pub(crate) async fn over(self, over: CancellationToken) {
        let run = &self.known.run;
        let watch = Watch {
            flow: &run.flow,
            peer: self.peer.as_ref(),
            reader_timeout: Some(self.app.settings.reader_timeout),
            servers: Some(&self.app.servers),
        };
        let obstacle = tokio::select! {
            biased;
            () = over.cancelled() => return,
            () = self.known.stop.cancelled() => None,
            obstacle = watch.obstacle() => Some(obstacle),
        };
        let (state, error) = match obstacle {
            None | Some(Obstacle::ClientGone) => (State::Cancelled, None),
            Some(Obstacle::ClientStalls) => (State::Failed, Some(ErrorClass::ReaderTimeout)),
            Some(Obstacle::ServerSilent) => (State::Failed, Some(ErrorClass::DatabaseUnavailable)),
        };
        self.app.export_ended(&self.known, state, error);
        run.cancellation.cancel_elsewhere();
        if obstacle == Some(Obstacle::ServerSilent) {
            let export_id = run.record.id();
            tracing::warn!(
                export_id,
                "the export's server does not answer: its thread is left behind"
            );
            // It keeps its connection, and with it one of so many, until the server answers or the system gives the connection up; but
            // nothing else. Unless it has just ended, and may be read.
            let error = db::Error::silent_server();
            if self.sender.end(Message::Failed(error.into())) {
                run.abandon();
            }
        }
        // Before there is a response, the handler answers with what has happened.
        if let (Some(peer), true) = (&self.peer, self.known.begun.load(Ordering::Relaxed)) {
            peer.reset();
        }
    }
}
