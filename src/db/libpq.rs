//! The raw side of libpq: a connection that speaks `COPY … TO STDOUT`, and nothing else.
//!
//! Diesel hands out no `PGconn`, and its own `copy_to` neither takes a query nor asks for the command's final result. This
//! module holds all of the project's `unsafe` for it: one newtype per C object, which frees the object when it is dropped.
#![expect(unsafe_code, reason = "libpq is a C library")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use diesel::r2d2::ManageConnection;
use pq_sys::{ConnStatusType, ExecStatusType, PGTransactionStatusType};

/// Why libpq, or the server behind it, did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", sqlstate.as_deref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default())]
pub struct Error {
    /// What libpq or the server said, in one line.
    pub message: String,
    /// The server's five-character code, where the error came from the server.
    pub sqlstate: Option<String>,
}

impl Error {
    fn local(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            sqlstate: None,
        }
    }
}

/// The value as C takes it. Neither a connection string nor SQL can hold a NUL.
fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::local("a NUL character cannot be sent to PostgreSQL"))
}

/// # Safety
/// `text` is NULL, or a NUL-terminated string that stays valid and unchanged during the call.
unsafe fn to_text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, and the caller promises the rest.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// # Safety
/// As for [`to_text`].
unsafe fn to_line(text: *const c_char) -> Option<String> {
    // SAFETY: the caller promises it.
    let text = unsafe { to_text(text) }?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text is no connection string. What is wrong with it is not said: that could be a part of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database's URL is not one: postgresql://user:password@host:port/database, special characters percent-encoded"
)]
pub struct InvalidUrl;

/// The options that are set in a connection string, be it a URL or of keywords and values, without connecting.
pub fn options(url: &str) -> Result<Vec<(String, String)>, InvalidUrl> {
    let url = CString::new(url).map_err(|_| InvalidUrl)?;
    let mut message: *mut c_char = ptr::null_mut();
    // SAFETY: a valid C string, and a place for the message.
    let parsed = unsafe { pq_sys::PQconninfoParse(url.as_ptr(), &mut message) };
    let valid = !parsed.is_null();
    let mut options = Vec::new();
    let mut option = parsed;
    // SAFETY: the options are an array that an option without a keyword ends; their texts live as long as they do.
    while valid && unsafe { !(*option).keyword.is_null() } {
        // SAFETY: as above; the texts are copied at once.
        let (keyword, value) = unsafe { (to_text((*option).keyword), to_text((*option).val)) };
        options.extend(keyword.zip(value));
        // SAFETY: not past the end, which was not seen yet.
        option = unsafe { option.add(1) };
    }
    // SAFETY: each is NULL, which is allowed, or was allocated by PQconninfoParse, and is freed only here.
    unsafe {
        pq_sys::PQfreemem(message.cast());
        pq_sys::PQconninfoFree(parsed);
    }
    // The one value that libpq looks into later, and quotes: a password's part after a stray `/` or `:` may be taken for it.
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    let valid = valid
        && options
            .iter()
            .all(|(keyword, value)| keyword != "port" || value.split(',').all(is_port));
    if valid { Ok(options) } else { Err(InvalidUrl) }
}

/// A result of a command (`PGresult`).
struct CommandResult(NonNull<pq_sys::PGresult>);

impl CommandResult {
    fn status(&self) -> ExecStatusType {
        // SAFETY: the pointer is a live PGresult until this value is dropped.
        unsafe { pq_sys::PQresultStatus(self.0.as_ptr()) }
    }

    fn field(&self, code: u8) -> Option<String> {
        // SAFETY: the PGresult is live, and it owns the string, which is copied at once.
        unsafe {
            to_line(pq_sys::PQresultErrorField(
                self.0.as_ptr(),
                c_int::from(code),
            ))
        }
    }

    fn error(&self) -> Error {
        // SAFETY: as above.
        let whole = || unsafe { to_line(pq_sys::PQresultErrorMessage(self.0.as_ptr())) };
        Error {
            message: self
                .field(pq_sys::PG_DIAG_MESSAGE_PRIMARY)
                .or_else(whole)
                .unwrap_or_default(),
            sqlstate: self.field(pq_sys::PG_DIAG_SQLSTATE),
        }
    }

    /// The first row, by the columns' names; `None` if there is no row.
    fn first_row(&self) -> Option<Row> {
        let result = self.0.as_ptr();
        // SAFETY: the PGresult is live, and a column that it has not is not looked at; it owns the strings, which end in NUL, and
        // which are copied at once.
        let value = |column| unsafe {
            let name = to_text(pq_sys::PQfname(result, column))?;
            let is_null = pq_sys::PQgetisnull(result, 0, column) != 0;
            let value = to_text(pq_sys::PQgetvalue(result, 0, column));
            Some((name, value.filter(|_| !is_null)))
        };
        // SAFETY: the PGresult is live.
        let (rows, columns) = unsafe { (pq_sys::PQntuples(result), pq_sys::PQnfields(result)) };
        (rows > 0).then(|| Row((0..columns).filter_map(value).collect()))
    }

    /// How many rows the command says that it has processed.
    fn rows(&self) -> Option<u64> {
        // SAFETY: the PGresult is live, and it owns the string, which is copied at once.
        unsafe { to_line(pq_sys::PQcmdTuples(self.0.as_ptr())) }?
            .parse()
            .ok()
    }
}

impl Drop for CommandResult {
    fn drop(&mut self) {
        // SAFETY: the only place that frees it.
        unsafe { pq_sys::PQclear(self.0.as_ptr()) }
    }
}

/// A row of a query's result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// The value of the column of this name; `None` if it is NULL, or if there is no such column.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(column, _)| column == name)?;
        value.as_deref()
    }

    /// The same as what can be read from its text.
    pub fn read<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Whether the boolean of this name is true.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == Some("t")
    }
}

impl<Name: Into<String>, Value: Into<String>> FromIterator<(Name, Value)> for Row {
    fn from_iter<Values: IntoIterator<Item = (Name, Value)>>(values: Values) -> Self {
        let named = values.into_iter();
        Self(
            named
                .map(|(name, value)| (name.into(), Some(value.into())))
                .collect(),
        )
    }
}

/// One message of a COPY, allocated by libpq.
struct CopyBuffer {
    data: NonNull<c_char>,
    length: usize,
}

impl CopyBuffer {
    fn bytes(&self) -> &[u8] {
        // SAFETY: PQgetCopyData gave a buffer of `length` initialised bytes, owned by this value alone.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast::<u8>(), self.length) }
    }
}

impl Drop for CopyBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated by PQgetCopyData, and the only place that frees it.
        unsafe { pq_sys::PQfreemem(self.data.as_ptr().cast()) }
    }
}

/// A connection to PostgreSQL (`PGconn`).
pub struct Connection {
    raw: NonNull<pq_sys::PGconn>,
    /// A COPY was started and its final result has not been seen: the connection is of no use to anybody else.
    copying: bool,
}

// SAFETY: libpq lets any thread use a connection as long as only one does at a time; every method that talks to the server
// takes `&mut self`, and the type is not `Sync`.
unsafe impl Send for Connection {}

impl Connection {
    /// Connects to the server that `url` (a libpq URL or key/value string) names.
    pub fn establish(url: &str) -> Result<Self, Error> {
        let url = c_string(url)?;
        // SAFETY: a valid C string; the PGconn that comes back is owned by the value made of it.
        let raw = unsafe { pq_sys::PQconnectdb(url.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::local("libpq is out of memory"))?;
        let mut connection = Self {
            raw,
            copying: false,
        };
        if connection.status() != ConnStatusType::CONNECTION_OK {
            return Err(connection.last_error());
        }
        // The literals in a COPY's query rely on the second; without the third, libpq would print notices to stderr.
        connection.execute(
            "set client_encoding = 'UTF8'; set standard_conforming_strings = on; set client_min_messages = error",
        )?;
        Ok(connection)
    }

    /// Runs commands whose rows, if there are any, are of no interest.
    pub fn execute(&mut self, sql: &str) -> Result<(), Error> {
        let result = self.run(sql)?;
        match result.status() {
            ExecStatusType::PGRES_COMMAND_OK | ExecStatusType::PGRES_TUPLES_OK => Ok(()),
            _ => Err(result.error()),
        }
    }

    /// The first row of a query, of the last one if there are several; `None` if there is no row.
    pub fn query_row(&mut self, sql: &str) -> Result<Option<Row>, Error> {
        let result = self.run(sql)?;
        match result.status() {
            ExecStatusType::PGRES_TUPLES_OK => Ok(result.first_row()),
            _ => Err(result.error()),
        }
    }

    /// Starts `COPY … TO STDOUT`.
    pub fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, Error> {
        let result = self.run(sql)?;
        if result.status() != ExecStatusType::PGRES_COPY_OUT {
            return Err(result.error());
        }
        self.copying = true;
        Ok(CopyOut {
            connection: self,
            buffer: None,
            rows: 0,
        })
    }

    /// Sends commands, and gives the last one's result or the first error. PQexec would give the last error: where the server has
    /// ended the session, that is the loss of the connection, and not why.
    fn run(&mut self, sql: &str) -> Result<CommandResult, Error> {
        let sql = c_string(sql)?;
        // SAFETY: the PGconn is live, the SQL a valid C string.
        if unsafe { pq_sys::PQsendQuery(self.raw.as_ptr(), sql.as_ptr()) } == 0 {
            return Err(self.last_error());
        }
        let mut last = None;
        while let Some(result) = self.next_result() {
            match result.status() {
                ExecStatusType::PGRES_FATAL_ERROR => {
                    let error = result.error();
                    while self.next_result().is_some() {}
                    return Err(error);
                }
                // There are none behind it until it is over.
                ExecStatusType::PGRES_COPY_OUT
                | ExecStatusType::PGRES_COPY_IN
                | ExecStatusType::PGRES_COPY_BOTH => return Ok(result),
                _ => last = Some(result),
            }
        }
        last.ok_or_else(|| self.last_error())
    }

    fn next_result(&mut self) -> Option<CommandResult> {
        // SAFETY: the PGconn is live; the PGresult is owned by the value made of it.
        let result = unsafe { pq_sys::PQgetResult(self.raw.as_ptr()) };
        NonNull::new(result).map(CommandResult)
    }

    fn status(&self) -> ConnStatusType {
        // SAFETY: the PGconn is live.
        unsafe { pq_sys::PQstatus(self.raw.as_ptr()) }
    }

    fn last_error(&self) -> Error {
        // SAFETY: the PGconn is live, and it owns the string, which is copied at once.
        let message = unsafe { to_line(pq_sys::PQerrorMessage(self.raw.as_ptr())) };
        Error::local(
            message
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| "the connection failed".into()),
        )
    }

    /// Whether the connection can be given to somebody else.
    fn is_reusable(&self) -> bool {
        // SAFETY: the PGconn is live.
        let transaction = unsafe { pq_sys::PQtransactionStatus(self.raw.as_ptr()) };
        !self.copying
            && self.status() == ConnStatusType::CONNECTION_OK
            && transaction == PGTransactionStatusType::PQTRANS_IDLE
    }

    /// Asks the server to give up the running command, without waiting for it to do so.
    fn cancel(&mut self) {
        // SAFETY: the PGconn is live.
        let cancel = unsafe { pq_sys::PQgetCancel(self.raw.as_ptr()) };
        if cancel.is_null() {
            return;
        }
        let mut message: [c_char; 256] = [0; 256];
        // SAFETY: `cancel` is a live PGcancel, and the buffer is as long as is said. PQcancelCreate, its successor, needs libpq 17.
        if unsafe { pq_sys::PQcancel(cancel, message.as_mut_ptr(), message.len() as c_int) } == 0 {
            // SAFETY: libpq has terminated the message within the buffer.
            let message = unsafe { to_line(message.as_ptr()) }.unwrap_or_default();
            tracing::warn!(message, "a COPY could not be cancelled");
        }
        // SAFETY: allocated by PQgetCancel, and freed only here.
        unsafe { pq_sys::PQfreeCancel(cancel) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the only place that frees it.
        unsafe { pq_sys::PQfinish(self.raw.as_ptr()) }
    }
}

/// A running `COPY … TO STDOUT`. Dropped before its end, it cancels the command, and the connection is not used again.
pub struct CopyOut<'c> {
    connection: &'c mut Connection,
    buffer: Option<CopyBuffer>,
    rows: u64,
}

impl CopyOut<'_> {
    /// The next row, as the server sent it, or `None` once the server has confirmed that it sent them all.
    ///
    /// The server sends a row per message. That no message is left says nothing: an error, too, ends the messages. Only the
    /// command's final result tells, and how many rows it counted must be how many came.
    pub fn next_row(&mut self) -> Result<Option<&[u8]>, Error> {
        self.buffer = None;
        let mut data: *mut c_char = ptr::null_mut();
        // SAFETY: the PGconn is live and in a COPY; `data` is set to a buffer that we own if the length is positive.
        let length = unsafe { pq_sys::PQgetCopyData(self.connection.raw.as_ptr(), &mut data, 0) };
        match (usize::try_from(length), NonNull::new(data)) {
            (Ok(length), Some(data)) => {
                self.rows += 1;
                Ok(Some(
                    self.buffer.insert(CopyBuffer { data, length }).bytes(),
                ))
            }
            _ if length == -1 => self.finish().map(|()| None),
            _ => Err(self.connection.last_error()),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let mut outcome = None;
        while let Some(result) = self.connection.next_result() {
            let verdict = match result.status() {
                ExecStatusType::PGRES_COMMAND_OK if result.rows() == Some(self.rows) => Ok(()),
                ExecStatusType::PGRES_COMMAND_OK => Err(Error {
                    message: format!(
                        "the server counted {:?} rows, but {} arrived",
                        result.rows(),
                        self.rows
                    ),
                    // Not a lost connection: internal_error.
                    sqlstate: Some("XX000".into()),
                }),
                // It would be handed out for ever: leave the connection marked as copying, for it to be closed.
                ExecStatusType::PGRES_COPY_OUT => {
                    return Err(Error::local("the COPY has not ended"));
                }
                _ => Err(result.error()),
            };
            outcome = Some(outcome.unwrap_or(Ok(())).and(verdict));
        }
        self.connection.copying = false;
        outcome.unwrap_or_else(|| Err(Error::local("the COPY ended without a result")))
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        if self.connection.copying && self.connection.status() == ConnStatusType::CONNECTION_OK {
            self.connection.cancel();
        }
    }
}

/// Opens connections for an r2d2 pool.
#[derive(Debug)]
pub struct Manager {
    url: String,
}

impl Manager {
    /// A manager of connections to `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection, Error> {
        Connection::establish(&self.url)
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.execute("select 1")
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !connection.is_reusable()
    }
}
