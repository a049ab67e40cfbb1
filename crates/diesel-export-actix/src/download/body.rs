//! A download's body: what the export has handed over, as the server sends it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::connections::client_socket::Unfinished;
use crate::download::handover::{Message, Receiver};
use crate::download::registry::Known;
use crate::download::stall_detector::StallDetector;
use crate::download::supervisor::cancel;
use diesel_export as export;
use diesel_export::cancellation::Cancellation;
use diesel_export::manifest::{ErrorClass, State};

/// Bytes that the body hands on at a time: whether a client takes anything shows no finer.
const PIECE: usize = 64 * 1024;

/// The response's body. Dropped before its end, because the client has gone, it cancels the export.
pub(crate) struct Body {
    pub(crate) receiver: Receiver,
    /// The bytes left, if it was whole from the start.
    pub(crate) left: Option<u64>,
    /// What was received, but not yet handed on.
    pub(crate) next: Option<Message>,
    pub(crate) known: Known,
    /// Cancelled at the end, whatever the reason.
    pub(crate) over: CancellationToken,
    pub(crate) flow: Arc<StallDetector>,
    pub(crate) cancellation: Cancellation,
    pub(crate) app: Arc<App>,
    /// Held until all is handed on: what waits for the client is memory, or disk.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// From the time when there is a response until all of it is handed on.
    pub(crate) unfinished: Option<Unfinished>,
}

impl Body {
    /// Waits until the system has all that was handed on, so that what ends the response goes there, too, as soon as it is handed on:
    /// only then may the connection close in good order, whatever happens to the process.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.unfinished
            .as_mut()
            .map_or(Poll::Ready(()), |unfinished| {
                unfinished.poll_written(context)
            })
    }

    /// Notes how the export has ended: whole, or with an error.
    pub(crate) fn end(&mut self, error: Option<&export::Error>) {
        self.permit = None;
        let unfinished = self.unfinished.take();
        let (state, class) = match error {
            None => {
                if let Some(unfinished) = unfinished {
                    unfinished.finish();
                }
                (State::Complete, None)
            }
            Some(export::Error::Sink(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                // The client has gone.
                (State::Cancelled, None)
            }
            Some(error) => error.end(),
        };
        self.app.export_ended(&self.known, state, class);
        self.over.cancel();
    }

    /// Notes that a part of the file is lost.
    fn end_lost(&mut self, error: &io::Error) {
        self.permit = None;
        self.unfinished = None;
        let record = &self.known.record;
        record.breaks_off(&format_args!("what was spooled cannot be read: {error}"));
        self.app
            .export_ended(&self.known, State::Failed, Some(ErrorClass::Output));
        self.over.cancel();
        cancel(self.cancellation.clone());
    }

    /// Notes that the export's thread has panicked: what was sent may look whole, but is not.
    pub(crate) fn end_without_a_word(&mut self) {
        self.permit = None;
        self.unfinished = None;
        let record = &self.known.record;
        record.breaks_off(&"the export's thread ended without a word");
        self.app
            .export_ended(&self.known, State::Failed, Some(ErrorClass::Internal));
        self.over.cancel();
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.left.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        let body = self.get_mut();
        body.flow.asked();
        let message = match body.next.take() {
            Some(message) => Some(message),
            None => ready!(body.receiver.poll(context)),
        };
        Poll::Ready(match message {
            Some(Message::Chunk(mut chunk)) => {
                let length = chunk.len().min(PIECE);
                if body.left == Some(length as u64) && body.poll_written(context).is_pending() {
                    body.next = Some(Message::Chunk(chunk));
                    return Poll::Pending;
                }
                let piece = chunk.split_to(length);
                body.flow.handed(piece.len());
                body.next = (!chunk.is_empty()).then_some(Message::Chunk(chunk));
                if let Some(left) = &mut body.left {
                    *left = left.saturating_sub(piece.len() as u64);
                    // The client knows now that it has everything, and may go away.
                    if *left == 0 {
                        body.end(None);
                    }
                }
                Some(Ok(piece))
            }
            Some(Message::Whole) => {
                if body.poll_written(context).is_pending() {
                    body.flow.offered_end();
                    body.next = Some(Message::Whole);
                    return Poll::Pending;
                }
                body.end(None);
                None
            }
            Some(Message::Failed(error)) => {
                body.end(Some(&error));
                Some(Err(io::Error::other(error)))
            }
            Some(Message::Lost(error)) => {
                body.end_lost(&error);
                Some(Err(error))
            }
            None => {
                body.end_without_a_word();
                Some(Err(io::Error::other(
                    "the export's thread ended without a word",
                )))
            }
        })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.over.is_cancelled() {
            let _entered = self.known.record.span().clone().entered();
            self.receiver.close();
            self.app.export_ended(&self.known, State::Cancelled, None);
            self.over.cancel();
            cancel(self.cancellation.clone());
        }
    }
}
