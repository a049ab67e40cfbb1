//! The work of the connections: they read ranges of the rows. The lines are handed on in the ranges' order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::own_rows::{Keys, OwnRows};
use super::queue::{self, ReceiverGone, queue};
use super::rows::{self, RowEncoder};
use super::session::{Session, Snapshot};
use crate::Error;
use crate::buffers::Buffers;
use crate::db;
use crate::db::libpq::{self, CopyOutDsl};
use crate::encoder::Encoder;

/// Bytes of a piece of a range, to which the rest of its last row is added; and how many bytes of a range may wait for earlier ranges.
pub(super) const PIECE: usize = 128 * 1024;
pub(super) const WAITING: usize = 12 * PIECE;

/// How long a connection lets rows gather before it takes them. The server fills 8 KiB in 50 microseconds, and waking up each time
/// took a twentieth of the processors' time. The pause does not hold the server up: the system keeps 160 KiB of what it has sent.
const PAUSE: Duration = Duration::from_micros(200);

/// A range to read, and where its pieces go.
pub(super) struct Job {
    keys: Keys,
    pieces: queue::Sender<Result<Piece, Error>>,
}

/// A part of a range's lines.
enum Piece {
    Lines(Bytes, u64),
    /// The range is complete. A closed channel does not say so: its sender may have panicked.
    End,
}

/// Hands the ranges' lines on in their order.
pub(super) fn hand_on(
    ranges: &[Keys],
    begun: usize,
    jobs: Sender<Job>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    let mut jobs = Some(jobs);
    let mut ranges = ranges.iter().peekable();
    let mut waiting: VecDeque<queue::Receiver<Result<Piece, Error>>> = VecDeque::new();
    loop {
        for keys in ranges.by_ref().take(begun - waiting.len()) {
            let (sender, pieces) = queue(WAITING);
            waiting.push_back(pieces);
            // `Work` keeps the queue open. If no worker is left to take the job, one before it has failed.
            let _ = jobs.as_ref().map(|jobs| {
                jobs.send(Job {
                    keys: keys.clone(),
                    pieces: sender,
                })
            });
        }
        if ranges.peek().is_none() {
            // Close the queue, so that idle workers commit and return their connections.
            jobs = None;
        }
        let Some(pieces) = waiting.pop_front() else {
            return Ok(());
        };
        pieces.begin();
        loop {
            match pieces.receive() {
                Some(Ok(Piece::Lines(lines, rows))) => encoder.encoded_lines(lines, rows)?,
                Some(Ok(Piece::End)) => break,
                Some(Err(error)) => return Err(error),
                None => {
                    return Err(Error::Database(db::Error::Inconsistent(
                        "a range of rows broke off without an error".into(),
                    )));
                }
            }
        }
    }
}

/// What the connections share.
pub(super) struct Work<'a> {
    pub(super) rows: &'a OwnRows<'a>,
    pub(super) encoder: RowEncoder<'a>,
    pub(super) jobs: Mutex<mpsc::Receiver<Job>>,
    pub(super) buffers: Buffers,
    /// Bytes of the longest row that any connection has read, if it is longer than a piece: the next one may be as long.
    pub(super) longest: AtomicUsize,
    pub(super) snapshot: Option<Snapshot<'a>>,
}

impl<'a> Work<'a> {
    /// Reads ranges, on one connection, until there are no more. Returns the session, unless its work has failed; the error is in the
    /// range's pieces then.
    pub(super) fn run(&self, mut session: Session<'a>) -> Option<Session<'a>> {
        while let Some(job) = self.next_job() {
            let mut begun = false;
            let mut outcome = self.read(&mut session.connection, &job, &mut begun);
            // Lines that were sent cannot be taken back. If none were, another connection can read the same rows.
            if let Err(Error::Database(error)) = &outcome
                && !begun
                && (error.is_unavailable() || error.is_recovery_conflict())
                && let Some(replacement) = self.replacement()
            {
                tracing::warn!(%error, "a connection was lost, and another one goes on in its snapshot");
                session = replacement;
                outcome = self.read(&mut session.connection, &job, &mut begun);
            }
            if let Err(error) = outcome {
                let error = match error {
                    // Something exists that did not when the connections locked what they read.
                    Error::Database(error) if error.is_lock_not_available() => {
                        db::Error::Moved.into()
                    }
                    error => error,
                };
                // Without a receiver, the export has failed already.
                let _ = job.pieces.send(Err(error), 0);
                return None;
            }
        }
        Some(session)
    }

    /// Returns another connection in the export's snapshot. There is none once the first one, which exported it, is lost.
    fn replacement(&self) -> Option<Session<'a>> {
        self.snapshot.as_ref()?.session().ok()?.ok()
    }

    fn next_job(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    /// Reads a range, and sets `begun` once a part of it is sent.
    fn read(
        &self,
        connection: &mut libpq::CopyConnection,
        job: &Job,
        begun: &mut bool,
    ) -> Result<(), Error> {
        let mut send = |piece, bytes| {
            *begun = true;
            job.pieces.send(Ok(piece), bytes)
        };
        // Before the query, too: a row that waits for its range's turn is held by libpq, by itself and as a line.
        self.wait_for_room(job)?;
        let query = self.rows.query(job.keys.clone());
        // A lone connection usually has few rows, for which it does not pay.
        if self.snapshot.is_some() {
            connection.take_large_pieces()?;
        }
        let mut rows = query.copy_out(connection, &rows::COPY_OPTIONS)?;
        if self.snapshot.is_some() {
            rows = rows.with_pauses(PAUSE);
        }
        let mut lines = self.buffers.take();
        let mut count = 0;
        while let Some(row) = rows.next_row()? {
            if row.len() > PIECE {
                self.longest.fetch_max(row.len(), Ordering::Relaxed);
                job.pieces.wait_for_room(row.len())?;
                // A vector that grows by itself would take up to twice as much.
                lines.reserve_exact(row.len() + row.len() / 16);
            }
            self.encoder.encode(row, &mut lines)?;
            count += 1;
            if lines.len() >= PIECE {
                rows.release_row();
                let full = std::mem::replace(&mut lines, self.buffers.take());
                let bytes = full.len();
                let piece = Piece::Lines(self.buffers.lend(full), std::mem::take(&mut count));
                send(piece, bytes)?;
                self.wait_for_room(job)?;
            }
        }
        if count > 0 {
            let bytes = lines.len();
            send(Piece::Lines(self.buffers.lend(lines), count), bytes)?;
        }
        Ok(send(Piece::End, 0)?)
    }

    fn wait_for_room(&self, job: &Job) -> Result<(), ReceiverGone> {
        let next = self.longest.load(Ordering::Relaxed).max(PIECE);
        job.pieces.wait_for_room(next)
    }
}

/// The receiver of the ranges is gone: the export has failed already.
impl From<ReceiverGone> for Error {
    fn from(ReceiverGone: ReceiverGone) -> Self {
        Self::Cancelled
    }
}
