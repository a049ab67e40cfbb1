//! Checks again and again that somebody receives what is made, and that the server still answers; and stops a download if not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::connections::client_socket::ClientSocket;
use crate::download::handover::{EndSender, Message};
use crate::download::registry::Known;
use crate::service::app::App;
use diesel_export::ExportRun;
use diesel_export::db;
use diesel_export::db::servers::Servers;
use diesel_export::manifest::{ErrorClass, State};
use diesel_export::stall_detector::StallDetector;

/// Interval between two checks.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is checked. What is not given cannot fail.
pub(crate) struct ObstacleWatch<'a> {
    pub(crate) flow: &'a StallDetector,
    pub(crate) peer: Option<&'a ClientSocket>,
    /// How long the client may receive nothing.
    pub(crate) reader_timeout: Option<Duration>,
    pub(crate) servers: Option<&'a Servers>,
}

/// Why going on is pointless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    ClientGone,
    ClientStalls,
    ServerSilent,
}

impl ObstacleWatch<'_> {
    /// Waits until going on is pointless.
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
            if self
                .servers
                .is_some_and(|it| self.flow.has_silent_server(it))
            {
                return Obstacle::ServerSilent;
            }
        }
    }
}

/// Stops a download when its client disconnects or receives nothing, when its server does not answer, or when it is cancelled.
pub(crate) struct Supervisor {
    pub(crate) known: Known,
    pub(crate) client: Option<ClientSocket>,
    pub(crate) sender: EndSender,
    pub(crate) app: Arc<App>,
}

impl Supervisor {
    pub(crate) async fn over(self, over: CancellationToken) {
        let run = &self.known.run;
        let watch = ObstacleWatch {
            flow: &run.flow,
            peer: self.client.as_ref(),
            reader_timeout: Some(self.app.settings.reader_timeout),
            servers: Some(&self.app.servers),
        };
        let obstacle = tokio::select! {
            biased;
            () = over.cancelled() => return give_back_permits(run, &self.app.servers).await,
            () = self.known.stop.cancelled() => None,
            obstacle = watch.obstacle() => Some(obstacle),
        };
        let (state, error) = match obstacle {
            None | Some(Obstacle::ClientGone) => (State::Cancelled, None),
            Some(Obstacle::ClientStalls) => (State::Failed, Some(ErrorClass::ReaderTimeout)),
            Some(Obstacle::ServerSilent) => (State::Failed, Some(ErrorClass::DatabaseUnavailable)),
        };
        self.app.export_ended(&self.known, state, error);
        if obstacle == Some(Obstacle::ServerSilent) {
            let export_id = run.record.id();
            tracing::warn!(
                export_id,
                "the export's server does not answer: its thread is left behind"
            );
            // The thread keeps its connection, one of a limited number, until the server answers or the system gives the connection up; but
            // nothing else. If it has just ended, its result is still delivered.
            let error = db::Error::silent_server();
            if self.sender.end(Message::Failed(error.into())) {
                run.abandon();
            }
        }
        // Not before the handler has its answer: the thread would say that it was cancelled.
        run.cancellation.cancel_elsewhere();
        // Before there is a response, the handler answers with what has happened.
        if let (Some(client), true) = (&self.client, self.known.begun.load(Ordering::Relaxed)) {
            client.reset();
        }
        if obstacle != Some(Obstacle::ServerSilent) {
            give_back_permits(run, &self.app.servers).await;
        }
    }
}

/// Waits until a run that has failed or was cancelled has given its permits back. Its thread ends when its server has noticed; one that does
/// not answer notices nothing.
pub(crate) async fn give_back_permits(run: &ExportRun, servers: &Servers) {
    // What is complete has a file that somebody wants.
    while run.is_holding() && run.record.manifest().state != State::Complete {
        if run.flow.is_server_silent(servers) {
            run.abandon();
            return;
        }
        sleep(INTERVAL).await;
    }
}
