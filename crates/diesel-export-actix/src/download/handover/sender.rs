//! The export's end of a handover.

use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::download::handover::{EndSender, Message, QUEUE, Shared, Spooled, Waiting};
use crate::monitoring::metrics::{Metrics, SpoolFallback};
use diesel_export::Sink;
use diesel_export::spool::{Spool, SpoolFile};
use diesel_export::stall_detector::StallDetector;

/// Time for which a client may delay an export before the disk is used: a hiccup, as of a busy machine, is not worth a file.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same as a fraction of the export's time, so that a long export has some, too.
const PATIENT_PART: u32 = 10;

/// The end of the export's thread.
pub(crate) struct Sender {
    shared: Arc<Shared>,
    export_id: String,
    /// None if there is no spool, or its disk has failed.
    spool: Option<Arc<Spool>>,
    metrics: Arc<Metrics>,
    flow: Arc<StallDetector>,
    started: Instant,
    /// How long the client has delayed the export.
    held_back: Duration,
    told_full: bool,
}

impl Sender {
    pub(super) fn new(
        shared: Arc<Shared>,
        export_id: &str,
        spool: Option<Arc<Spool>>,
        metrics: Arc<Metrics>,
        flow: Arc<StallDetector>,
    ) -> Self {
        Self {
            shared,
            export_id: export_id.to_owned(),
            spool,
            metrics,
            flow,
            started: Instant::now(),
            held_back: Duration::ZERO,
            told_full: false,
        }
    }

    /// How much longer the client may delay the export before the disk is used.
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
        // For a moment, the body finds nothing to take. It has been slower than the disk anyway.
        let memory = std::mem::take(&mut waiting.memory);
        let begun = waiting.spooled.as_mut().map(|spooled| {
            spooled.growing = true;
            (Arc::clone(&spooled.file), spooled.written)
        });
        drop(waiting);
        // Not under the lock: the threads that poll the body also serve all other requests.
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
        // The body has gone meanwhile: nothing is left to deliver.
        if waiting.receiver_gone {
            waiting.clear();
        }
        waiting.wake();
        (waiting, written)
    }

    /// Records that the client delays the export, because the disk cannot take what the client has not received.
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

    /// Sends how the export has ended. What was handed over before comes first; but if it has failed, what is on disk is useless.
    pub(crate) fn end(self, message: Message) {
        let spooled = match &message {
            Message::File(_, length) => *length,
            _ => 0,
        };
        let mut waiting = self.shared.lock();
        // Otherwise, the file is no longer wanted.
        if !waiting.receiver_gone && waiting.end(message) {
            self.metrics.spooled(spooled);
        }
    }

    /// Returns what reports that the export has failed where its thread cannot.
    pub(crate) fn end_sender(&self) -> EndSender {
        EndSender(Arc::clone(&self.shared))
    }
}

impl Sink for Sender {
    /// Hands a chunk over. Waits for the client if there is no other way; fails once it has gone.
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        // In chunked coding, an empty chunk ends the body: what came after it would be lost, unnoticed.
        if chunk.is_empty() {
            return Ok(());
        }
        self.flow.offered(chunk.len());
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
            // Only checks what has changed meanwhile: freed space in the spool is not signalled.
            let retry = self.spool.is_some().then_some(Duration::from_millis(100));
            if !waiting.receiver_gone && !waiting.has_room() {
                waiting = shared.wait(waiting, retry);
            }
        }
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
        None if !spool.has_room(length) => return Err(NotSpooled::Full),
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
