//! A running COPY.

use pq_sys::ExecStatusType;

use crate::raw::{CopyBuffer, CopyData};
use crate::{Connection, Error};

/// A running `COPY … TO STDOUT`. Dropped before its end, it cancels the command, and the connection is not used again.
pub struct CopyOut<'c> {
    connection: &'c mut Connection,
    buffer: Option<CopyBuffer>,
    rows: u64,
}

impl<'c> CopyOut<'c> {
    pub(crate) fn new(connection: &'c mut Connection) -> Self {
        Self {
            connection,
            buffer: None,
            rows: 0,
        }
    }

    /// The next row, as the server sent it, or `None` once the server has confirmed that it sent them all.
    ///
    /// The server sends a row per message. That no message is left says nothing: an error, too, ends the messages. Only the
    /// command's final result tells, and how many rows it counted must be how many came.
    pub fn next_row(&mut self) -> Result<Option<&[u8]>, Error> {
        self.buffer = None;
        match self.connection.session.copy_data() {
            CopyData::Message(data) => {
                self.rows += 1;
                Ok(Some(self.buffer.insert(data).bytes()))
            }
            CopyData::End => self.end().map(|()| None),
            CopyData::Failed => Err(self.connection.session.last_error()),
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        let mut outcome = None;
        while let Some(result) = self.connection.session.next_result() {
            let verdict = match result.status() {
                ExecStatusType::PGRES_COMMAND_OK if result.rows() == Some(self.rows) => Ok(()),
                ExecStatusType::PGRES_COMMAND_OK => {
                    let mut error = Error::new(format!(
                        "the server counted {:?} rows, but {} arrived",
                        result.rows(),
                        self.rows
                    ));
                    // Not a lost connection: internal_error.
                    error.sqlstate = Some("XX000".into());
                    Err(error)
                }
                // It would be handed out for ever: leave the connection marked as copying, for it to be closed.
                ExecStatusType::PGRES_COPY_OUT => {
                    return Err(Error::new("the COPY has not ended"));
                }
                _ => Err(result.error()),
            };
            outcome = Some(outcome.unwrap_or(Ok(())).and(verdict));
        }
        self.connection.copying = false;
        outcome.unwrap_or_else(|| Err(Error::new("the COPY ended without a result")))
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
