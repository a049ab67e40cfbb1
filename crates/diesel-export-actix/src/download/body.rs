//! A download's body: what the export has handed over, as the server sends it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::connections::client_socket::{ClientSocket, Unfinished};
use crate::download::file_stream::{FileStream, PIECE};
use crate::download::handover::{Message, Receiver};
use crate::download::registry::Known;
use crate::service::app::App;
use diesel_export as export;
use diesel_export::manifest::{ErrorClass, State};
use diesel_export::spool::SpoolFile;

/// The response's body, while the export is made.
pub(crate) struct Body {
    // Closed before the download ends: the export breaks off with its next chunk.
    pub(crate) receiver: Receiver,
    /// What was received, but not yet handed on.
    pub(crate) next: Option<Message>,
    pub(crate) download: Download,
    /// From the time when there is a response until all of it is handed on.
    pub(crate) unfinished: Option<Unfinished>,
}

/// A download until it has ended. Dropped before, because the client has disconnected, it cancels the export.
pub(crate) struct Download {
    pub(crate) known: Known,
    /// Cancelled at the end, whatever the reason.
    pub(crate) over: CancellationToken,
    pub(crate) app: Arc<App>,
    /// Held until all is handed on: what waits for the client is memory, or disk.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Download {
    fn end(&mut self, state: State, error: Option<ErrorClass>) {
        self.permit = None;
        self.app.export_ended(&self.known, state, error);
        self.over.cancel();
    }

    /// Records that the export has failed.
    pub(crate) fn fail(&mut self, error: &export::Error) {
        let (state, class) = match error {
            export::Error::Sink(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // The client has disconnected.
                (State::Cancelled, None)
            }
            error => error.end(),
        };
        self.end(state, class);
    }

    /// Records that a part of the file is lost.
    fn lose(&mut self, error: &io::Error) {
        let run = &self.known.run;
        let reason = format_args!("what was spooled cannot be read: {error}");
        run.record.breaks_off(&reason);
        run.cancellation.cancel_elsewhere();
        self.end(State::Failed, Some(ErrorClass::Output));
    }

    /// Records that the export's thread has panicked: what was sent may look complete, but is not.
    pub(crate) fn end_without_a_word(&mut self) {
        let reason = &"the export's thread ended without a word";
        self.known.run.record.breaks_off(reason);
        self.end(State::Failed, Some(ErrorClass::Internal));
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if !self.over.is_cancelled() {
            let _entered = self.known.run.record.span().clone().entered();
            self.end(State::Cancelled, None);
            self.known.run.cancellation.cancel_elsewhere();
        }
    }
}

impl Body {
    /// The body that sends what was made first.
    pub(crate) fn of_file(
        self,
        file: Arc<SpoolFile>,
        length: u64,
        client: Option<ClientSocket>,
    ) -> impl MessageBody {
        let Self { mut download, .. } = self;
        let flow = Arc::clone(&download.known.run.flow);
        FileStream::begin(
            file,
            0..length,
            flow,
            client,
            move |outcome| match outcome {
                Ok(()) => download.end(State::Complete, None),
                Err(error) => download.lose(error),
            },
        )
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        let body = self.get_mut();
        let flow = &body.download.known.run.flow;
        flow.asked();
        let message = match body.next.take() {
            Some(message) => Some(message),
            None => ready!(body.receiver.poll(context)),
        };
        let error = match message {
            Some(Message::Chunk(mut chunk)) => {
                let piece = chunk.split_to(chunk.len().min(PIECE as usize));
                flow.handed(piece.len());
                body.next = (!chunk.is_empty()).then_some(Message::Chunk(chunk));
                return Poll::Ready(Some(Ok(piece)));
            }
            Some(Message::Whole) => {
                if let Some(mut unfinished) = body.unfinished.take() {
                    // The end goes to the system as soon as it is handed on, if that has all before it: only then may the connection
                    // close in good order, whatever happens to the process.
                    if unfinished.poll_written(context).is_pending() {
                        flow.offered_end();
                        body.unfinished = Some(unfinished);
                        body.next = Some(Message::Whole);
                        return Poll::Pending;
                    }
                    unfinished.finish();
                }
                body.download.end(State::Complete, None);
                return Poll::Ready(None);
            }
            Some(Message::Failed(error)) => {
                body.download.fail(&error);
                io::Error::other(error)
            }
            Some(Message::Lost(error)) => {
                body.download.lose(&error);
                error
            }
            None | Some(Message::File(..)) => {
                body.download.end_without_a_word();
                io::Error::other("the export's thread ended without a word")
            }
        };
        body.unfinished = None;
        Poll::Ready(Some(Err(error)))
    }
}
