//! Memory for an export's chunks, used again and again. If it went back to the system, the kernel would clear it each time, which
//! took a twelfth of `lookup`'s time.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// The buffers of one export.
#[derive(Clone, Default)]
pub(super) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// An empty buffer; a new one has room for `capacity` bytes.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// Turns a buffer into shared bytes; the buffer comes back once nobody holds them.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            buffer,
            idle: Arc::downgrade(&self.idle),
        })
    }
}

struct Lent {
    buffer: Vec<u8>,
    /// Weak: a chunk that a slow reader has not taken outlives its export, and must not keep all of the export's buffers.
    idle: Weak<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.upgrade() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(buffer);
        }
    }
}
