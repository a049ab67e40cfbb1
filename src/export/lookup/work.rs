//! The work of the connections: they read ranges of the rows. The lines are handed on in the ranges' order.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::conditions::Conditions;
use super::own_rows::{Keys, OwnRows};
use super::rows::{self, RowEncoder};
use super::session::{Session, Snapshot};
use crate::db;
use crate::db::libpq::{self, CopyOutDsl};
use crate::export::Error;
use crate::export::buffers::Buffers;
use crate::export::encoder::Encoder;

/// Bytes of a piece of a range, and how many of its pieces may wait for earlier ranges.
pub(super) const PIECE: usize = 128 * 1024;
pub(super) const PIECES: usize = 12;

/// How long a connection lets rows gather before it takes them. The server fills 8 KiB in 50 microseconds, and waking up each time
/// took a twentieth of the processors' time. The pause does not hold the server up: the system keeps 160 KiB of what it has sent.
const PAUSE: Duration = Duration::from_micros(200);

/// A range to read, and where its pieces go.
pub(super) struct Job {
    keys: Keys,
    pieces: SyncSender<Result<Piece, Error>>,
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
    let mut waiting: VecDeque<Receiver<Result<Piece, Error>>> = VecDeque::new();
    loop {
        for keys in ranges.by_ref().take(begun - waiting.len()) {
            let (sender, pieces) = mpsc::sync_channel(PIECES);
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
        loop {
            match pieces.recv() {
                Ok(Ok(Piece::Lines(lines, rows))) => encoder.encoded_lines(lines, rows)?,
                Ok(Ok(Piece::End)) => break,
                Ok(Err(error)) => return Err(error),
                Err(_) => {
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
    pub(super) jobs: Mutex<Receiver<Job>>,
    pub(super) buffers: Buffers,
    pub(super) snapshot: Option<Snapshot<'a>>,
}

impl<'a> Work<'a> {
    /// Reads ranges, on one connection, until there are no more. The first connection is given the conditions, to see whether they still
    /// hold.
    pub(super) fn run(
        &self,
        mut session: Session<'a>,
        conditions: Option<&Conditions>,
    ) -> Result<(), Error> {
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
                // If nobody listens, the export has failed already.
                let _ = job.pieces.send(Err(error));
                return Ok(());
            }
        }
        // One connection has read all rows by one query.
        if let (Some(conditions), Some(_)) = (conditions, &self.snapshot) {
            let dataset = self.rows.export.dataset();
            conditions.hold(&mut session.connection, dataset)?;
        }
        session.end();
        Ok(())
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
        connection: &mut libpq::Connection,
        job: &Job,
        begun: &mut bool,
    ) -> Result<(), Error> {
        let mut send = |piece| {
            *begun = true;
            job.pieces.send(Ok(piece)).map_err(|_| Error::Cancelled)
        };
        let query = self.rows.query(job.keys.clone());
        // A lone connection usually has few rows, for which it does not pay.
        if self.snapshot.is_some() {
            connection.take_large_pieces()?;
        }
        let mut rows = query.copy_out(connection, &rows::COPY_OPTIONS)?;
        if self.snapshot.is_some() {
            rows = rows.with_pauses(PAUSE);
        }
        let new_buffer = || self.buffers.take(PIECE + PIECE / 8);
        let mut lines = new_buffer();
        let mut count = 0;
        while let Some(row) = rows.next_row()? {
            self.encoder.encode(row, &mut lines)?;
            count += 1;
            if lines.len() >= PIECE {
                let full = self
                    .buffers
                    .lend(std::mem::replace(&mut lines, new_buffer()));
                send(Piece::Lines(full, std::mem::take(&mut count)))?;
            }
        }
        if count > 0 {
            send(Piece::Lines(self.buffers.lend(lines), count))?;
        }
        send(Piece::End)
    }
}
