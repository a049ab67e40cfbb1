//! A running COPY.

use std::fmt;
use std::io::{self, BufRead, Read};
#[cfg(feature = "stream")]
use std::task::Poll;
use std::thread;
use std::time::Duration;

use pq_sys::ExecStatusType;

use crate::raw::{CopyBuffer, CopyData};
use crate::{Cancel, CopyConnection, Error, ErrorKind};

/// A running `COPY … TO STDOUT`. If it is dropped before its end, it cancels the command, and the connection cannot be used again.
///
/// It keeps its first error. [`next_row`](Self::next_row) and [`finish`](Self::finish) return it again, however often they are called.
/// [`Read`] and [`BufRead`] return it once; after that they have no more bytes, so that a loop that skips errors, such as
/// `.lines().flatten()`, ends. So a caller that reads on after an error must ask `finish` whether all rows came.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
/// use std::io::BufRead;
///
/// use diesel_copy_out::{CopyConnection, Options};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = Cluster::start();
/// # let url = cluster.url();
/// let mut connection = CopyConnection::establish(&url)?;
/// let numbers = "select n, n * n from generate_series(1, 3) n";
/// let mut copy = connection.copy_out(numbers, &Options::text())?;
/// let mut sum = 0;
/// while let Some(row) = copy.next_row()? {
///     let text = std::str::from_utf8(row)?.trim_end();
///     let (_, square) = text.split_once('\t').expect("two columns");
///     sum += square.parse::<i64>()?;
/// }
/// assert_eq!(copy.finish()?, 3);
/// assert_eq!(sum, 14);
///
/// // The same by lines.
/// let copy = connection.copy_out(numbers, &Options::csv())?;
/// let lines: Result<Vec<String>, _> = copy.lines().collect();
/// assert_eq!(lines?, ["1,1", "2,4", "3,9"]);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped, it cancels the COPY"]
pub struct CopyOut<'c> {
    connection: &'c mut CopyConnection,
    buffer: Option<CopyBuffer>,
    /// How much of the buffer was read.
    offset: usize,
    messages: u64,
    messages_beside_rows: u64,
    pause: Duration,
    state: State,
}

/// How far a COPY has come.
#[derive(Debug)]
enum State {
    Running,
    /// The server has confirmed that all rows came.
    Whole,
    Failed {
        error: Error,
        /// Whether `Read` or `BufRead` has returned the error.
        is_read: bool,
    },
}

impl<'c> CopyOut<'c> {
    pub(crate) fn new(connection: &'c mut CopyConnection, messages_beside_rows: u64) -> Self {
        Self {
            connection,
            buffer: None,
            offset: 0,
            messages: 0,
            messages_beside_rows,
            pause: Duration::ZERO,
            state: State::Running,
        }
    }

    /// Makes the COPY pause for this long, each time that all rows that have come are read, before it looks for more. The server sends 8
    /// KiB at a time: reading each piece as it comes makes the system switch between the two programs, which may cost more than the rows.
    /// The server goes on meanwhile, as long as the system buffers what it sends.
    pub fn with_pauses(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Returns the next row, as the server sent it, or `None` once the server has confirmed that it sent them all.
    ///
    /// A header counts as a row here, and so does the end of the binary format.
    ///
    /// The server sends a row per message. The end of the messages proves nothing: an error, too, ends them. Only the command's
    /// final result does, and it must have counted as many rows as came.
    pub fn next_row(&mut self) -> Result<Option<&[u8]>, Error> {
        self.advance(true)?;
        Ok(self.take_row())
    }

    /// Gives the memory of the last row back. The next row does so, too: this is for a caller that waits before it reads on.
    pub fn release_row(&mut self) {
        if self.unread().is_empty() {
            self.buffer = None;
        }
    }

    /// Returns the next row, as [`next_row`](Self::next_row) does, if it is here already.
    #[cfg(feature = "stream")]
    pub(crate) fn poll_row(&mut self) -> Result<Poll<Option<&[u8]>>, Error> {
        if self.advance(false)? {
            Ok(Poll::Ready(self.take_row()))
        } else {
            Ok(Poll::Pending)
        }
    }

    /// Takes the next message, unread, or none at the confirmed end. Returns `false` if none has come, and it is not to wait.
    fn advance(&mut self, wait: bool) -> Result<bool, Error> {
        self.buffer = None;
        match &self.state {
            State::Running => {}
            State::Whole => return Ok(true),
            State::Failed { error, .. } => return Err(error.clone()),
        }
        let outcome = match self.next_data(wait) {
            CopyData::Message(data) => {
                self.messages += 1;
                self.offset = 0;
                self.connection.received(data.bytes().len());
                self.buffer = Some(data);
                return Ok(true);
            }
            CopyData::NotYet if !wait => return Ok(false),
            CopyData::End => self.end(),
            CopyData::NotYet | CopyData::Failed => Err(self.connection.session.last_error()),
        };
        self.state = match &outcome {
            Ok(()) => State::Whole,
            Err(error) => State::Failed {
                error: error.clone(),
                is_read: false,
            },
        };
        outcome.map(|()| true)
    }

    fn next_data(&mut self, wait: bool) -> CopyData {
        let session = &mut self.connection.session;
        if wait && !self.pause.is_zero() {
            match session.copy_data(false) {
                CopyData::NotYet => thread::sleep(self.pause),
                data => return data,
            }
        }
        session.copy_data(wait)
    }

    /// Returns the message that was taken, and marks it as read.
    fn take_row(&mut self) -> Option<&[u8]> {
        let bytes = self.buffer.as_ref().map(CopyBuffer::bytes);
        self.offset = bytes.map_or(0, <[u8]>::len);
        bytes
    }

    /// Returns what was taken and not read.
    fn unread(&self) -> &[u8] {
        let bytes = self.buffer.as_ref().map(CopyBuffer::bytes);
        bytes
            .and_then(|bytes| bytes.get(self.offset..))
            .unwrap_or_default()
    }

    /// Returns how many rows came. It is an error if some were not read, or if the server does not confirm that they are all.
    #[must_use = "only this, or the end of the rows, tells that all rows came"]
    pub fn finish(mut self) -> Result<u64, Error> {
        if self.unread().is_empty() {
            self.advance(true)?;
        }
        if self.buffer.is_some() {
            return Err(Error::new(
                ErrorKind::Incomplete,
                "not all rows of the COPY were read",
            ));
        }
        Ok(self.rows())
    }

    /// Returns a handle that cancels the COPY from another thread. The next row is then an error.
    pub fn cancel_handle(&self) -> Result<Cancel, Error> {
        self.connection.cancel_handle()
    }

    fn rows(&self) -> u64 {
        self.messages.saturating_sub(self.messages_beside_rows)
    }

    fn end(&mut self) -> Result<(), Error> {
        let mut outcome = None;
        while let Some(result) = self.connection.session.next_result() {
            let verdict = match result.status() {
                ExecStatusType::PGRES_COMMAND_OK if result.rows() == Some(self.rows()) => Ok(()),
                ExecStatusType::PGRES_COMMAND_OK => Err(Error::new(
                    ErrorKind::Incomplete,
                    format!(
                        "the server counted {:?} rows, but {} arrived",
                        result.rows(),
                        self.rows()
                    ),
                )),
                // libpq would return it for ever: the connection stays marked as copying, so that it is closed.
                ExecStatusType::PGRES_COPY_OUT
                | ExecStatusType::PGRES_COPY_IN
                | ExecStatusType::PGRES_COPY_BOTH => {
                    return Err(Error::new(ErrorKind::Incomplete, "the COPY has not ended"));
                }
                _ => Err(result.error(&self.connection.session)),
            };
            outcome = Some(outcome.unwrap_or(Ok(())).and(verdict));
        }
        self.connection.copying = false;
        let nothing = || Error::new(ErrorKind::Incomplete, "the COPY ended without a result");
        outcome.unwrap_or_else(|| Err(nothing()))
    }
}

/// Without an error before it, the end of the file says that the server has confirmed that it sent every row. An error holds an
/// [`Error`], and is returned once.
impl BufRead for CopyOut<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let has_failed = matches!(self.state, State::Failed { is_read: true, .. });
        if self.unread().is_empty() && !has_failed {
            self.advance(true).inspect_err(|_| {
                if let State::Failed { is_read, .. } = &mut self.state {
                    *is_read = true;
                }
            })?;
        }
        Ok(self.unread())
    }

    fn consume(&mut self, amount: usize) {
        self.offset += amount;
    }
}

/// As [`BufRead`] does.
impl Read for CopyOut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let length = bytes.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        if self.connection.copying && self.connection.session.is_connected() {
            let cancelled = self
                .connection
                .cancel_handle()
                .and_then(|handle| handle.cancel());
            if let Err(error) = cancelled {
                tracing::warn!(%error, "a COPY could not be cancelled");
            }
        }
    }
}

impl fmt::Debug for CopyOut<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut copy = formatter.debug_struct("CopyOut");
        copy.field("rows", &self.rows())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
