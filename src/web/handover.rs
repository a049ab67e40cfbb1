//! How a download's bytes go from the export's thread to the response's body: through memory as long as the client keeps up. If it
//! falls behind, what it has not taken goes to a file of the [spool](crate::spool), and the export goes on at its own speed. If there
//! is no room on the disk, the export waits for the client.
//!
//! At any time, what waits is in memory or in the file, never in both: so it stays in order.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use actix_web::rt;
use actix_web::rt::task::JoinHandle;
use bytes::Bytes;

use super::metrics::{Metrics, SpoolFallback};
use crate::export;
use crate::spool::{Spool, SpoolFile};

/// Chunks that wait for the client in memory.
const QUEUE: usize = 4;
/// Bytes that are read from a file at a time.
const PIECE: u64 = 64 * 1024;
/// Time that a client may hold an export back before the disk is used: a hiccup, as of a busy machine, is not worth a file.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same as a part of the export's time: so that a long one, too, has some.
const PATIENT_PART: u32 = 10;

/// What the export's thread tells the body.
pub(super) enum Message {
    Chunk(Bytes),
    /// All is sent, and it is whole.
    Whole,
    Failed(export::Error),
    /// What was spooled cannot be read.
    Lost(io::Error),
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Tells the export's thread that the body has taken something, or has gone.
    taken: Condvar,
}

#[derive(Default)]
struct Waiting {
    memory: VecDeque<Bytes>,
    spooled: Option<Spooled>,
    /// How the export has ended: the last message.
    end: Option<Message>,
    /// Woken when there is something new.
    body: Option<Waker>,
    /// Whether that was said.
    ended: bool,
    sender_gone: bool,
    receiver_gone: bool,
}

/// A part of a download on disk.
struct Spooled {
    file: Arc<SpoolFile>,
    read: u64,
    written: u64,
    /// Whether more is being written to it now.
    growing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the body takes something, for so long at most.
    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Waiting> {
        match limit {
            None => self
                .taken
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let outcome = self.taken.wait_timeout(waiting, limit);
                outcome.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(body) = self.body.take() {
            body.wake();
        }
    }

    /// Whether all that was spooled is read. Then its file is closed, unless more is being written to it.
    fn close_drained(&mut self) {
        let drained = |spooled: &mut Spooled| !spooled.growing && spooled.read == spooled.written;
        if let Some(spooled) = self.spooled.take_if(drained) {
            close(spooled.file);
        }
    }
}

/// Closes a file without waiting for it: to free the space of a large one takes the system its time.
fn close(file: Arc<SpoolFile>) {
    let thread = std::thread::Builder::new().name("close-spooled".into());
    if let Err(error) = thread.spawn(move || drop(file)) {
        // It is closed here and now instead.
        tracing::debug!(%error, "no thread to close a file");
    }
}

/// The two ends of a handover; without a spool, the export always waits for the client.
pub(super) fn handover(
    export_id: &str,
    spool: Option<Arc<Spool>>,
    metrics: Arc<Metrics>,
) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        taken: Condvar::new(),
    });
    let sender = Sender {
        shared: Arc::clone(&shared),
        export_id: export_id.to_owned(),
        spool,
        metrics,
        started: Instant::now(),
        held_back: Duration::ZERO,
        told_full: false,
    };
    let receiver = Receiver {
        shared,
        reading: None,
    };
    (sender, receiver)
}

/// The end of the export's thread.
pub(super) struct Sender {
    shared: Arc<Shared>,
    export_id: String,
    /// None if there is none, or the disk has failed.
    spool: Option<Arc<Spool>>,
    metrics: Arc<Metrics>,
    started: Instant,
    /// How long the client has held the export back.
    held_back: Duration,
    told_full: bool,
}

impl Sender {
    /// Hands a chunk over. Waits for the client if there is no other way; fails once it has gone.
    pub(super) fn chunk(&mut self, chunk: Bytes) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut waiting = shared.lock();
        loop {
            if waiting.receiver_gone {
                return Err(io::Error::new(
                    io::ErrorKind::BrokenPipe,
                    "the client has gone",
                ));
            }
            if waiting.spooled.is_none() {
                if waiting.memory.len() < QUEUE {
                    waiting.memory.push_back(chunk);
                    waiting.wake();
                    return Ok(());
                }
                let patience = self.patience();
                if !patience.is_zero() {
                    let since = Instant::now();
                    waiting = shared.wait(waiting, Some(patience));
                    self.held_back += since.elapsed();
                    continue;
                }
            }
            let spooled;
            (waiting, spooled) = self.spool(&shared, waiting, &chunk);
            if spooled {
                return Ok(());
            }
            // Nothing but a look at what has changed meanwhile: whoever frees space in the spool does not tell us.
            let retry = self.spool.is_some().then_some(Duration::from_millis(100));
            if !waiting.receiver_gone && !waiting.has_room() {
                waiting = shared.wait(waiting, retry);
            }
        }
    }

    /// How much longer the client may hold the export back before the disk is used.
    fn patience(&self) -> Duration {
        let Some(_spool) = &self.spool else {
            return Duration::ZERO;
        };
        (PATIENCE + self.started.elapsed() / PATIENT_PART).saturating_sub(self.held_back)
    }

    /// Writes all that waits in memory, and the chunk after it, to the file; all of it or, if that fails, nothing.
    fn spool<'a>(
        &mut self,
        shared: &'a Shared,
        mut waiting: MutexGuard<'a, Waiting>,
        chunk: &Bytes,
    ) -> (MutexGuard<'a, Waiting>, bool) {
        let Some(spool) = self.spool.clone() else {
            return (waiting, false);
        };
        // The body has nothing to take for a moment. Whoever waits there has waited longer.
        let memory = std::mem::take(&mut waiting.memory);
        let begun = waiting.spooled.as_mut().map(|spooled| {
            spooled.growing = true;
            (Arc::clone(&spooled.file), spooled.written)
        });
        drop(waiting);
        // Not under the lock: the body is polled by those who answer all other requests.
        let outcome = write(&spool, begun, memory.iter().chain([chunk]));
        let mut waiting = shared.lock();
        if let Some(spooled) = &mut waiting.spooled {
            spooled.growing = false;
        }
        let written = match outcome {
            Ok((file, from, to)) => {
                let spooled = waiting.spooled.get_or_insert(Spooled {
                    file,
                    read: 0,
                    written: 0,
                    growing: false,
                });
                spooled.written = to;
                self.metrics.spooled(to - from);
                true
            }
            Err(error) => {
                waiting.memory = memory;
                waiting.close_drained();
                self.falls_back(error);
                false
            }
        };
        // What came to a body that has gone meanwhile is nobody's.
        if waiting.receiver_gone {
            waiting.clear();
        }
        waiting.wake();
        (waiting, written)
    }

    /// Notes that the client holds the export back, because the disk cannot take what it has not taken.
    fn falls_back(&mut self, error: NotSpooled) {
        let export_id = &self.export_id;
        match error {
            NotSpooled::Full if self.told_full => {}
            NotSpooled::Full => {
                self.told_full = true;
                self.metrics.spool_fell_back(SpoolFallback::Full);
                tracing::warn!(
                    export_id,
                    "the spool is full: the export waits for its client"
                );
            }
            NotSpooled::Failed(error) => {
                // Not tried again: a disk that has failed does not get better within a download.
                self.spool = None;
                self.metrics.spool_fell_back(SpoolFallback::Failed);
                tracing::error!(export_id, %error, "the spool cannot be written: the export waits for its client");
            }
        }
    }

    /// Says how the export has ended. What was handed over before comes first; but if it has failed, what is on disk is worth nothing.
    pub(super) fn end(self, message: Message) {
        self.shared.lock().end(message);
    }

    /// Hands over a whole export, which is in a file already.
    pub(super) fn whole(self, file: SpoolFile, length: u64) {
        let mut waiting = self.shared.lock();
        // Else nobody wants it any more.
        if !waiting.ended && !waiting.receiver_gone {
            self.metrics.spooled(length);
            waiting.spooled = Some(Spooled {
                file: Arc::new(file),
                read: 0,
                written: length,
                growing: false,
            });
        }
        waiting.end(Message::Whole);
    }

    /// Who may say that the export has failed where its thread cannot.
    pub(super) fn deputy(&self) -> Deputy {
        Deputy(Arc::clone(&self.shared))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut waiting = self.shared.lock();
        if !waiting.ended {
            // It has panicked.
            waiting.give_up_spooled();
        }
        waiting.sender_gone = true;
        waiting.wake();
    }
}

/// Speaks for an export's thread that cannot be woken.
pub(super) struct Deputy(Arc<Shared>);

impl Deputy {
    /// Says how the export has ended, unless that is said already.
    pub(super) fn end(&self, message: Message) {
        self.0.lock().end(message);
    }
}

/// Why something was not written to the spool.
enum NotSpooled {
    Full,
    Failed(io::Error),
}

/// Writes chunks to the end of a file, or to a new one; returns the file, where they begin and where they end.
fn write<'a>(
    spool: &Arc<Spool>,
    begun: Option<(Arc<SpoolFile>, u64)>,
    chunks: impl Iterator<Item = &'a Bytes> + Clone,
) -> Result<(Arc<SpoolFile>, u64, u64), NotSpooled> {
    let length = chunks.clone().map(|chunk| chunk.len() as u64).sum();
    let (file, from) = match begun {
        Some(begun) => begun,
        None if !spool.make_room(length) => return Err(NotSpooled::Full),
        None => (Arc::new(spool.unnamed().map_err(NotSpooled::Failed)?), 0),
    };
    if !file.reserve(length) {
        return Err(NotSpooled::Full);
    }
    let mut to = from;
    for chunk in chunks {
        file.write_at(chunk, to).map_err(NotSpooled::Failed)?;
        to += chunk.len() as u64;
    }
    Ok((file, from, to))
}

impl Waiting {
    fn end(&mut self, message: Message) {
        if self.ended {
            return;
        }
        if matches!(message, Message::Failed(_)) {
            self.give_up_spooled();
        }
        self.end = Some(message);
        self.ended = true;
        self.wake();
    }

    /// Whether a chunk can go to memory.
    fn has_room(&self) -> bool {
        self.spooled.is_none() && self.memory.len() < QUEUE
    }

    fn clear(&mut self) {
        self.memory.clear();
        self.give_up_spooled();
    }

    fn give_up_spooled(&mut self) {
        if let Some(spooled) = self.spooled.take_if(|spooled| !spooled.growing) {
            close(spooled.file);
        }
    }
}

/// The end of the response's body.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    /// A piece that is being read from the file.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Receiver {
    /// The next message; none if the export's thread has ended without a word.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(reading) = &mut self.reading {
            let outcome = ready!(Pin::new(reading).poll(context));
            self.reading = None;
            return Poll::Ready(Some(match outcome.map_err(io::Error::other).flatten() {
                Ok(piece) => {
                    let mut waiting = self.shared.lock();
                    if let Some(spooled) = &mut waiting.spooled {
                        spooled.read += piece.len() as u64;
                    }
                    waiting.close_drained();
                    self.shared.taken.notify_one();
                    Message::Chunk(piece.into())
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
            let (file, offset) = (Arc::clone(&spooled.file), spooled.read);
            let length = PIECE.min(spooled.written - offset) as usize;
            drop(waiting);
            // If the system no longer has it in memory, this waits for the disk, and must not hold others up.
            self.reading = Some(rt::task::spawn_blocking(move || {
                file.read_at(length, offset)
            }));
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

    /// The same, to wait for.
    pub(super) async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// Takes nothing any more: the export breaks off with its next chunk.
    pub(super) fn close(&mut self) {
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
