//! How a download's bytes go from the export's thread to the response's body: through memory as long as the client keeps up. If it
//! falls behind, what it has not taken goes to a file of the [spool](diesel_export::spool), and the export goes on at its own speed. If there
//! is no room on the disk, the export waits for the client.
//!
//! At any time, what waits is in memory or in the file, never in both: so it stays in order.

mod receiver;
mod sender;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::receiver::Receiver;
pub(crate) use self::sender::Sender;
use crate::monitoring::metrics::Metrics;
use diesel_export as export;
use diesel_export::spool::{Spool, SpoolFile};
use diesel_export::stall_detector::StallDetector;

/// Chunks that wait for the client in memory.
const QUEUE: usize = 4;

/// What the export's thread tells the body.
pub(crate) enum Message {
    Chunk(Bytes),
    /// All is sent, and the export is complete.
    Whole,
    /// The export is complete, and was made first: its file, and its length.
    File(Arc<SpoolFile>, u64),
    Failed(export::Error),
    /// What was spooled cannot be read.
    Lost(io::Error),
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Tells the export's thread that the body has taken something, or is gone.
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
    /// Whether that message was sent.
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

    /// Waits until the body takes something, for this long at most.
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
        self.spooled.take_if(drained);
    }

    fn end(&mut self, message: Message) -> bool {
        if self.ended {
            return false;
        }
        if matches!(message, Message::Failed(_)) {
            self.give_up_spooled();
        }
        self.end = Some(message);
        self.ended = true;
        self.wake();
        true
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
        self.spooled.take_if(|spooled| !spooled.growing);
    }
}

/// The two ends of a handover; without a spool, the export always waits for the client.
pub(crate) fn handover(
    export_id: &str,
    spool: Option<Arc<Spool>>,
    metrics: Arc<Metrics>,
    flow: Arc<StallDetector>,
) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        taken: Condvar::new(),
    });
    let sender = Sender::new(Arc::clone(&shared), export_id, spool, metrics, flow);
    (sender, Receiver::new(shared))
}

/// Reports the end of an export whose thread is blocked.
pub(crate) struct EndSender(Arc<Shared>);

impl EndSender {
    /// Sends how the export has ended, unless that was sent; returns whether it was not.
    pub(crate) fn end(&self, message: Message) -> bool {
        self.0.lock().end(message)
    }
}
