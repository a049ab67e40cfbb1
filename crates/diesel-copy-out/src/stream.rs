//! A COPY as a stream of bytes, for asynchronous code.
//!
//! libpq blocks, so the stream reads on a thread of its own, which hands chunks over through a short queue. That needs no runtime. A
//! slow reader stops the thread, then libpq, then the server.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use crate::{Cancel, CopyConnection, Error, ErrorKind, Options};

/// About how many bytes a chunk has, and how many chunks may wait for the reader.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 4;

/// Time after which the server is asked again to cancel an unwanted command, which may not have begun the first time.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A running COPY, as chunks of complete rows. It ends only after the server has confirmed that it sent every row; whatever else happens
/// is an error, the last item. If it is dropped before its end, it cancels the command.
#[must_use = "dropped, it cancels the COPY"]
pub struct CopyStream(Arc<Shared>);

impl CopyStream {
    /// Starts the thread, which drops the connection once the COPY has ended.
    pub(crate) fn start<C>(
        connection: C,
        sql: impl FnOnce(&mut CopyConnection) -> Result<String, Error> + Send + 'static,
        options: Options,
    ) -> Result<Self, Error>
    where
        C: DerefMut<Target = CopyConnection> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            cancel: connection.cancel_handle()?,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let stream = Arc::clone(&shared);
        spawn(move || {
            // Dropped after `end`, so that a request to cancel cannot hit the connection's next user.
            let mut connection = connection;
            let mut end = End {
                outcome: Err(Error::new(
                    ErrorKind::Other,
                    "the COPY's thread has panicked",
                )),
                shared: &shared,
            };
            end.outcome = sql(&mut connection)
                .and_then(|query| shared.copy(&mut connection, &query, &options));
        })
        .map_err(|error| Error::because(ErrorKind::Other, error))?;
        // Only now that there is a thread: a dropped stream cancels until the thread says that the COPY has ended.
        Ok(Self(stream))
    }

    /// Waits for the first rows, or the end.
    pub(crate) async fn started(self) -> Result<Self, Error> {
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.chunks.is_empty() {
                state.poll_end(context)
            } else {
                Poll::Ready(Ok(()))
            }
        })
        .await?;
        Ok(self)
    }

    /// Returns how many rows came, once all have come and the stream has ended.
    pub fn rows(&self) -> Option<u64> {
        let state = self.0.lock();
        match state.outcome {
            Some(Ok(rows)) if state.chunks.is_empty() => Some(rows),
            _ => None,
        }
    }
}

impl Stream for CopyStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            self.0.changed.notify_all();
            return Poll::Ready(Some(Ok(chunk)));
        }
        state.poll_end(context).map(|end| end.err().map(Err))
    }
}

impl Drop for CopyStream {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_unwanted = true;
        self.0.changed.notify_all();
        if state.outcome.is_some() {
            return;
        }
        drop(state);
        let shared = Arc::clone(&self.0);
        // Cancelling takes a round trip to the server, for which no executor should wait.
        if let Err(error) = spawn(move || shared.cancel_until_ended()) {
            tracing::warn!(%error, "a COPY could not be cancelled");
        }
    }
}

impl fmt::Debug for CopyStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CopyStream").finish_non_exhaustive()
    }
}

/// What the thread and the reader share.
struct Shared {
    cancel: Cancel,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// The reader, if it waits.
    waker: Option<Waker>,
    /// How the COPY has ended: the number of rows, or the error until the reader has it.
    outcome: Option<Result<u64, Option<Error>>>,
    /// Whether the reader is gone.
    is_unwanted: bool,
}

impl State {
    /// Returns the end, or the error, once.
    fn poll_end(&mut self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.outcome {
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(outcome) => Poll::Ready(match outcome {
                Err(error) => error.take().map_or(Ok(()), Err),
                Ok(_) => Ok(()),
            }),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(
        &self,
        connection: &mut CopyConnection,
        query: &str,
        options: &Options,
    ) -> Result<u64, Error> {
        let mut copy = connection.copy_out(query, options)?;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        loop {
            // Sends the rows that are here before it waits for the next one.
            let next = if chunk.is_empty() {
                Poll::Ready(copy.next_row()?)
            } else {
                copy.poll_row()?
            };
            match next {
                Poll::Ready(Some(row)) => {
                    chunk.extend_from_slice(row);
                    if chunk.len() < CHUNK {
                        continue;
                    }
                }
                Poll::Ready(None) if chunk.is_empty() => return copy.finish(),
                Poll::Ready(None) | Poll::Pending => {}
            }
            self.send(chunk.split().freeze())?;
            chunk.reserve(CHUNK);
        }
    }

    /// Waits for room, and hands the chunk over.
    fn send(&self, chunk: Bytes) -> Result<(), Error> {
        let is_full = |state: &mut State| state.chunks.len() >= CHUNKS && !state.is_unwanted;
        let waited = self.changed.wait_while(self.lock(), is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_unwanted {
            return Err(Error::new(ErrorKind::Incomplete, "the stream was dropped"));
        }
        state.chunks.push_back(chunk);
        wake(state);
        Ok(())
    }

    /// Cancels the command until it has ended. The thread needs the lock before it drops the connection, and each request is sent
    /// with the lock: so it never cancels the command of the connection's next user.
    fn cancel_until_ended(&self) {
        let mut state = self.lock();
        while state.outcome.is_none() {
            if let Err(error) = self.cancel.cancel() {
                tracing::warn!(%error, "a COPY could not be cancelled");
            }
            let waited = self.changed.wait_timeout(state, ASK_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Tells the reader, when it is dropped, how the COPY has ended, even by a panic.
struct End<'s> {
    outcome: Result<u64, Error>,
    shared: &'s Shared,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(0));
        let mut state = self.shared.lock();
        state.outcome = Some(outcome.map_err(Some));
        self.shared.changed.notify_all();
        wake(state);
    }
}

/// Releases the lock, which the reader needs next, and wakes the reader, if it waits.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = thread::Builder::new().name("diesel-copy-out".to_owned());
    thread.spawn(work).map(drop)
}
