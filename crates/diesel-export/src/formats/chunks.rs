//! An export's bytes on their way to the sink.

use bytes::Bytes;

use crate::buffers::Buffers;
use crate::{Error, Observer, Sink, Summary};

/// Bytes that go to the sink at a time.
pub(crate) const CHUNK: usize = 64 * 1024;
/// The most that go to the sink at a time, however long a row is: the receiver counts chunks, not bytes.
pub(super) const MOST: usize = 4 * CHUNK;

/// Hands rows to a sink, in chunks, and counts them.
pub(super) struct Chunks<'s> {
    sink: &'s mut dyn Sink,
    observer: &'s dyn Observer,
    buffers: Buffers,
    /// The beginning of the next chunk.
    pub(super) buffer: Vec<u8>,
    pub(super) summary: Summary,
}

impl<'s> Chunks<'s> {
    pub(super) fn new(sink: &'s mut dyn Sink, observer: &'s dyn Observer) -> Self {
        let buffers = Buffers::new(2 * CHUNK);
        Self {
            sink,
            observer,
            buffer: buffers.take(),
            buffers,
            summary: Summary::default(),
        }
    }

    /// Counts the row that the buffer ends with.
    pub(super) fn end_row(&mut self) -> Result<(), Error> {
        self.summary.rows += 1;
        #[cfg(feature = "fault-injection")]
        crate::fault::panic_at(self.summary.rows);
        if self.buffer.len() >= CHUNK {
            self.hand_over()
        } else {
            Ok(())
        }
    }

    /// Hands over rows after those of the buffer.
    pub(super) fn rows(&mut self, rows: Bytes, count: u64) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.hand_over()?;
        }
        #[cfg(feature = "fault-injection")]
        (1..=count).for_each(|row| crate::fault::panic_at(self.summary.rows + row));
        self.summary.rows += count;
        self.send(rows)
    }

    /// Hands over the remaining bytes.
    pub(super) fn finish(mut self) -> Result<Summary, Error> {
        self.hand_over()?;
        Ok(self.summary)
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        let chunk = std::mem::replace(&mut self.buffer, self.buffers.take());
        self.send(self.buffers.lend(chunk))
    }

    fn send(&mut self, mut chunk: Bytes) -> Result<(), Error> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(MOST));
            self.summary.bytes += piece.len() as u64;
            self.sink.write(piece).map_err(Error::Sink)?;
            self.observer.progress(&self.summary);
        }
        Ok(())
    }
}
