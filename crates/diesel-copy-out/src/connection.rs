//! A connection to PostgreSQL, beside Diesel's.

use std::fmt;
use std::time::Duration;

use pq_sys::{ExecStatusType, PGTransactionStatusType};

use crate::literal::{ServerTypes, quoted};
use crate::raw::{CommandResult, Session};
use crate::{Cancel, CopyOut, Error, ErrorKind, Options, Row, connection_options};

/// The SQL before the query of a COPY.
const COPY: &str = "copy (";

/// The settings of each session, whatever the server, the database and the role have: they determine the bytes of a value, and how literals
/// are read. `datestyle` keeps its order of day and month, by which the database's own views may read texts. Notices are not read; the last
/// setting keeps the server from sending them.
const SETTINGS: &str = "set client_encoding = 'UTF8'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC';
    set bytea_output = 'hex'; set extra_float_digits = 1; set standard_conforming_strings = on; set client_min_messages = error";

/// A connection to PostgreSQL that can COPY.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
/// use diesel_copy_out::{CopyConnection, ErrorKind};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = Cluster::start();
/// # let url = cluster.url();
/// let mut connection = CopyConnection::establish(&url)?;
/// connection.execute("create table people (id int, name text)")?;
/// connection.execute("insert into people values (1, 'Ann'), (2, null)")?;
/// let row = connection.query_row("select count(*), min(name) as first from people")?;
/// let row = row.expect("there always is one");
/// assert_eq!((row.read("count"), row.get("first")), (Some(2), Some(Some("Ann"))));
///
/// let error = connection.execute("select age from people").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Server);
/// assert_eq!(error.sqlstate.as_deref(), Some("42703"));
/// assert_eq!(error.position, Some(8));
/// # Ok(())
/// # }
/// ```
pub struct CopyConnection {
    pub(crate) session: Session,
    /// Whether a COPY has started, and its final result has not come: then the connection cannot be used otherwise.
    pub(crate) copying: bool,
    takes_large_pieces: bool,
    /// Whether it has received a row of more than [`LONG_ROW`].
    has_grown: bool,
    pub(crate) types: ServerTypes,
}

/// Bytes of a row from which on a connection is not used again: libpq keeps the memory for its longest row as long as it is open.
const LONG_ROW: usize = 1 << 20;

impl CopyConnection {
    /// Connects to the server that `url` (a libpq URL or key/value string) names.
    ///
    /// A value has the same text on each server: the session sets `client_encoding` UTF8, `datestyle` ISO (its order of day and month
    /// stays), `intervalstyle` postgres, `timezone` UTC, `bytea_output` hex, `extra_float_digits` 1, whatever the defaults of the
    /// server, the database and the role are, and whatever the URL asks for. Diesel's own connections have UTC, too. To have it
    /// otherwise, [`execute`](Self::execute) another `set`. `standard_conforming_strings` is on, and there are no notices.
    pub fn establish(url: &str) -> Result<Self, Error> {
        // libpq's own error would quote the URL, and so perhaps the password.
        connection_options(url).map_err(|error| Error::because(ErrorKind::Other, error))?;
        let session = Session::connect(url)?;
        if !session.is_connected() {
            return Err(session.last_error());
        }
        let mut connection = Self {
            session,
            copying: false,
            takes_large_pieces: false,
            has_grown: false,
            types: ServerTypes::default(),
        };
        connection.execute(SETTINGS)?;
        Ok(connection)
    }

    /// Runs commands, and ignores their rows, if there are any.
    pub fn execute(&mut self, sql: &str) -> Result<(), Error> {
        let result = self.run(sql)?;
        match result.status() {
            ExecStatusType::PGRES_COMMAND_OK
            | ExecStatusType::PGRES_TUPLES_OK
            | ExecStatusType::PGRES_EMPTY_QUERY => Ok(()),
            _ => Err(result.error(&self.session)),
        }
    }

    /// Runs a query, or several, and returns the last one's first row; `None` if there is no row.
    pub fn query_row(&mut self, sql: &str) -> Result<Option<Row>, Error> {
        self.session.send(sql)?;
        self.row()
    }

    /// Runs a query with one parameter, in binary form, and returns its first row.
    pub(crate) fn query_row_with(
        &mut self,
        sql: &str,
        oid: u32,
        value: &[u8],
    ) -> Result<Option<Row>, Error> {
        self.session.send_with(sql, oid, value)?;
        self.row()
    }

    fn row(&mut self) -> Result<Option<Row>, Error> {
        let result = self.last_result()?;
        match result.status() {
            ExecStatusType::PGRES_TUPLES_OK => Ok(result.first_row()),
            _ => Err(result.error(&self.session)),
        }
    }

    /// Starts to copy the rows of a query in SQL, without parameters. An error's position is one in this query.
    pub fn copy_out(&mut self, query: &str, options: &Options) -> Result<CopyOut<'_>, Error> {
        // The query may end with a comment, which the line break ends.
        let sql = format!("{COPY}{query}\n) to stdout with ({})", options.sql());
        let result = self.run(&sql).map_err(|mut error| {
            let before = COPY.len() as u32;
            error.position = error.position.and_then(|at| at.checked_sub(before));
            error
        })?;
        if result.status() != ExecStatusType::PGRES_COPY_OUT {
            return Err(result.error(&self.session));
        }
        self.copying = true;
        Ok(CopyOut::new(self, options.messages_beside_rows()))
    }

    /// Makes the connection take up to 128 KiB at a time from the server, if so much is there, and not 16 as libpq does at first.
    /// This helps a long COPY with [pauses](CopyOut::with_pauses). The connection keeps the memory until it is closed.
    pub fn take_large_pieces(&mut self) -> Result<(), Error> {
        if !self.takes_large_pieces {
            // libpq has no setting for it, but keeps a buffer that has once grown.
            self.execute("select repeat(' ', 100000)")?;
            self.takes_large_pieces = true;
        }
        Ok(())
    }

    /// Makes the server cancel statements that take longer; without a time, it cancels none.
    pub fn set_statement_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let milliseconds = timeout.map_or(0, |timeout| timeout.as_millis().max(1));
        self.execute(&format!("set statement_timeout = '{milliseconds}ms'"))
    }

    /// Begins a read-only transaction that sees one state of the database.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
    /// use diesel_copy_out::CopyConnection;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start();
    /// # let url = cluster.url();
    /// let mut first = CopyConnection::establish(&url)?;
    /// first.execute("create table people as select n from generate_series(1, 10) n")?;
    /// first.begin_snapshot()?;
    /// let snapshot = first.export_snapshot()?;
    ///
    /// let mut second = CopyConnection::establish(&url)?;
    /// second.execute("delete from people")?;
    /// second.begin_exported_snapshot(&snapshot)?;
    /// let row = second.query_row("select count(*) from people")?.expect("a row");
    /// assert_eq!(row.read("count"), Some(10));
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.execute("begin isolation level repeatable read read only")
    }

    /// Returns a name by which other connections can read the same state, as long as the transaction is open.
    pub fn export_snapshot(&mut self) -> Result<String, Error> {
        let row = self.query_row("select pg_export_snapshot() as name")?;
        row.and_then(|row| row.get("name")?.map(str::to_owned))
            .ok_or_else(|| Error::new(ErrorKind::Other, "the server named no snapshot"))
    }

    /// Begins a transaction that reads the state that another connection has exported.
    pub fn begin_exported_snapshot(&mut self, name: &str) -> Result<(), Error> {
        self.begin_snapshot()?;
        self.execute(&format!("set transaction snapshot {}", quoted(name)))
    }

    /// Ends the transaction. If a command has failed in it, the server rolls it back, and that is an error.
    pub fn commit(&mut self) -> Result<(), Error> {
        match self.run("commit")?.command().as_deref() {
            Some("COMMIT") => Ok(()),
            _ => Err(Error::new(
                ErrorKind::RolledBack,
                "a command of the transaction had failed, so the server has rolled it back",
            )),
        }
    }

    /// Runs the work in a transaction, which is committed if the work succeeds, and rolled back if it fails. If that cannot be done
    /// either, the connection is not [reusable](Self::is_reusable): it is lost, or still in the transaction. It is an error if a
    /// transaction is open already.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
    /// use diesel_copy_out::{CopyConnection, Error};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start();
    /// # let url = cluster.url();
    /// let mut connection = CopyConnection::establish(&url)?;
    /// let failed = connection.transaction(|connection| {
    ///     connection.execute("create table people (id int)")?;
    ///     connection.execute("insert into nowhere values (1)")
    /// });
    /// assert_eq!(failed.unwrap_err().sqlstate.as_deref(), Some("42P01"));
    /// // Nothing is left of the table.
    /// connection.transaction(|connection| connection.execute("create table people (id int)"))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.session.transaction() != PGTransactionStatusType::PQTRANS_IDLE {
            let message = "a transaction is open already, or the connection is in use or lost";
            return Err(Error::new(ErrorKind::Other, message).into());
        }
        self.execute("begin")?;
        match work(self) {
            Ok(value) => {
                self.commit()?;
                Ok(value)
            }
            Err(error) => {
                if let Err(error) = self.execute("rollback") {
                    tracing::warn!(%error, "a transaction could not be rolled back");
                }
                Err(error)
            }
        }
    }

    /// Returns a handle that cancels this connection's running command from another thread.
    pub fn cancel_handle(&self) -> Result<Cancel, Error> {
        self.session.cancel_handle()
    }

    /// Sends commands, and returns the last one's result or the first error. PQexec would return the last error: if the server has
    /// ended the session, that says that the connection is lost, and not why.
    fn run(&mut self, sql: &str) -> Result<CommandResult, Error> {
        self.session.send(sql)?;
        self.last_result()
    }

    /// Returns the result of the last command that was sent, or the first error.
    pub(crate) fn last_result(&mut self) -> Result<CommandResult, Error> {
        let mut last = None;
        while let Some(result) = self.session.next_result() {
            match result.status() {
                ExecStatusType::PGRES_FATAL_ERROR => {
                    let error = result.error(&self.session);
                    while self.session.next_result().is_some() {}
                    return Err(error);
                }
                // No further result comes until the COPY is over.
                ExecStatusType::PGRES_COPY_OUT
                | ExecStatusType::PGRES_COPY_IN
                | ExecStatusType::PGRES_COPY_BOTH => return Ok(result),
                _ => last = Some(result),
            }
        }
        last.ok_or_else(|| self.session.last_error())
    }

    /// Notes that a row of this many bytes has come.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.has_grown |= bytes > LONG_ROW;
    }

    /// Returns whether the connection can be reused: no transaction is open, no COPY was left unfinished, and no row of more than 1 MiB has
    /// come, for which libpq would keep the memory until the connection is closed.
    pub fn is_reusable(&self) -> bool {
        !self.copying
            && !self.has_grown
            && self.session.transaction() == PGTransactionStatusType::PQTRANS_IDLE
    }

    /// Returns whether a transaction is open that can run a command: it has not failed, and no COPY was left unfinished.
    pub fn is_in_transaction(&self) -> bool {
        !self.copying && self.session.transaction() == PGTransactionStatusType::PQTRANS_INTRANS
    }
}

impl fmt::Debug for CopyConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut connection = formatter.debug_struct("CopyConnection");
        connection
            .field("copying", &self.copying)
            .finish_non_exhaustive()
    }
}
