//! Reused memory for an export's chunks. If it went back to the system, the kernel would clear it each time, which took a twelfth of
//! `lookup`'s time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

/// The buffers of one export.
#[derive(Clone)]
pub(crate) struct Buffers {
    idle: Arc<Idle>,
}

struct Idle {
    buffers: Mutex<Vec<Vec<u8>>>,
    capacity: usize,
}

/// A buffer that has grown to more than this many times its first capacity, because of a long row, is not reused: otherwise one buffer
/// after the other would grow.
const MOST_GROWN: usize = 2;

impl Buffers {
    /// Buffers that have room for `capacity` bytes at first.
    pub(crate) fn new(capacity: usize) -> Self {
        let buffers = Mutex::default();
        Self {
            idle: Arc::new(Idle { buffers, capacity }),
        }
    }

    /// Returns an empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| Vec::with_capacity(self.idle.capacity))
    }

    /// Turns a buffer into shared bytes; the buffer comes back when all of them are dropped.
    pub(crate) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(SharedBuffer {
            buffer,
            idle: Arc::downgrade(&self.idle),
        })
    }
}

struct SharedBuffer {
    buffer: Vec<u8>,
    /// Weak: a chunk that a slow reader has not taken outlives its export, and must not keep all of the export's buffers.
    idle: Weak<Idle>,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for SharedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.upgrade()
            && self.buffer.capacity() <= MOST_GROWN * idle.capacity
        {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            idle.lock().push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_it_has_grown_much() {
        let buffers = Buffers::new(100);
        let mut buffer = buffers.take();
        buffer.resize(200, 1);
        let place = buffer.as_ptr();
        let lent = buffers.lend(buffer);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), place, "it is in use");
        drop(lent);
        let mut buffer = buffers.take();
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 0));
        buffer.resize(1_000, 1);
        drop(buffers.lend(buffer));
        assert_eq!(buffers.take().capacity(), 100);
    }
}
