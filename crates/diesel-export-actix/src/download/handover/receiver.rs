//! The body's end of a handover.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::download::file_stream::{Reading, read};
use crate::download::handover::{Message, Shared};

/// The end of the response's body.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    /// A piece that is being read from the file.
    reading: Option<Reading>,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            reading: None,
        }
    }

    /// The next message; none if the export's thread has ended without a last one.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(reading) = &mut self.reading {
            let outcome = ready!(reading.as_mut().poll(context));
            self.reading = None;
            return Poll::Ready(Some(match outcome {
                Ok(piece) => {
                    let mut waiting = self.shared.lock();
                    if let Some(spooled) = &mut waiting.spooled {
                        spooled.read += piece.len() as u64;
                    }
                    waiting.close_drained();
                    self.shared.taken.notify_one();
                    Message::Chunk(piece)
                }
                Err(error) => Message::Lost(error),
            }));
        }
        let mut waiting = self.shared.lock();
        if let Some(chunk) = waiting.memory.pop_front() {
            self.shared.taken.notify_one();
            return Poll::Ready(Some(Message::Chunk(chunk)));
        }
        if let Some(spooled) = &waiting.spooled
            && spooled.read < spooled.written
        {
            self.reading = Some(read(&spooled.file, &(spooled.read..spooled.written)));
            drop(waiting);
            return self.poll(context);
        }
        if let Some(end) = waiting.end.take() {
            return Poll::Ready(Some(end));
        }
        if waiting.sender_gone {
            return Poll::Ready(None);
        }
        waiting.body = Some(context.waker().clone());
        Poll::Pending
    }

    /// The same, as a future.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// Accepts nothing more: the export breaks off with its next chunk.
    pub(crate) fn close(&mut self) {
        let mut waiting = self.shared.lock();
        waiting.receiver_gone = true;
        waiting.clear();
        self.shared.taken.notify_one();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}
