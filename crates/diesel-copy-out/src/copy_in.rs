//! A running COPY into a table.

use std::io::{self, Write};

use pq_sys::ExecStatusType;

use crate::{Connection, Error};

/// A running `COPY … FROM STDIN`, which takes what a [`CopyOut`](crate::CopyOut) of the same columns and options has read. If it is
/// dropped before its end, the server keeps none of the rows.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
/// use diesel_copy_out::{Connection, Options};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = Cluster::start();
/// # let url = cluster.url();
/// let mut from = Connection::establish(&url)?;
/// let mut to = Connection::establish(&url)?;
/// to.execute("create table people (id int, name text)")?;
///
/// let options = Options::binary();
/// let mut rows = from.copy_out("select 1, 'Ann' union all select 2, null", &options)?;
/// let mut copy = to.copy_in("people", &["id", "name"], &options)?;
/// std::io::copy(&mut rows, &mut copy)?;
/// assert_eq!(rows.finish()?, 2);
/// assert_eq!(copy.finish()?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CopyIn<'c> {
    connection: &'c mut Connection,
}

impl<'c> CopyIn<'c> {
    pub(crate) fn new(connection: &'c mut Connection) -> Self {
        Self { connection }
    }

    /// Ends the COPY, and returns how many rows the server has taken.
    #[must_use = "only this tells that the server has taken all rows"]
    pub fn finish(self) -> Result<u64, Error> {
        self.connection.session.end_copy_in(None)?;
        let result = self.connection.last_result();
        self.connection.copying = false;
        let result = result?;
        match result.status() {
            ExecStatusType::PGRES_COMMAND_OK => result
                .rows()
                .ok_or_else(|| Error::new("the server did not say how many rows it took")),
            _ => Err(result.error()),
        }
    }
}

impl Write for CopyIn<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.connection.session.put_copy_data(bytes);
        sent.map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        if !self.connection.copying {
            return;
        }
        // If this fails, the connection is broken, and the server gives up, too.
        if self
            .connection
            .session
            .end_copy_in(Some(c"given up"))
            .is_ok()
        {
            // The server's answer is the error that was asked for.
            let _ = self.connection.last_result();
            self.connection.copying = false;
        }
    }
}
