//! The raw side of libpq: all of the crate's `unsafe`. One newtype per C object, which frees the object when it is dropped.
#![expect(unsafe_code, reason = "libpq is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use pq_sys::{ConnStatusType, ExecStatusType, PGTransactionStatusType};

use crate::{Error, ErrorKind, Row, Unwritable};

/// Returns the text as C takes it. Neither a connection string nor SQL can hold a NUL.
fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Unwritable::Nul.into())
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

/// Returns the options that a connection string sets; `None` if the text is none.
pub(crate) fn connection_options(url: &str) -> Option<Vec<(String, String)>> {
    let url = CString::new(url).ok()?;
    let mut message: *mut c_char = std::ptr::null_mut();
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
        // SAFETY: this one is not the end, so there is another one.
        option = unsafe { option.add(1) };
    }
    // SAFETY: each is NULL, which is allowed, or was allocated by PQconninfoParse, and is freed only here.
    unsafe {
        pq_sys::PQfreemem(message.cast());
        pq_sys::PQconninfoFree(parsed);
    }
    valid.then_some(options)
}

/// A result of a command (`PGresult`).
pub(crate) struct CommandResult(NonNull<pq_sys::PGresult>);

impl CommandResult {
    pub(crate) fn status(&self) -> ExecStatusType {
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

    /// Returns the result's error. `session` is the session of the result.
    pub(crate) fn error(&self, session: &Session) -> Error {
        self.of_server()
            .unwrap_or_else(|| session.failed(self.message()))
    }

    fn message(&self) -> String {
        // SAFETY: the PGresult is live, and it owns the string, which is copied at once.
        let whole = || unsafe { to_line(pq_sys::PQresultErrorMessage(self.0.as_ptr())) };
        let primary = self.field(pq_sys::PG_DIAG_MESSAGE_PRIMARY);
        primary.or_else(whole).unwrap_or_default()
    }

    /// Returns the error, if the server has sent it: errors of libpq's own have no code.
    fn of_server(&self) -> Option<Error> {
        let sqlstate = self.field(pq_sys::PG_DIAG_SQLSTATE)?;
        let mut error = Error::new(ErrorKind::Server, self.message());
        error.sqlstate = Some(sqlstate);
        error.detail = self.field(pq_sys::PG_DIAG_MESSAGE_DETAIL).map(Into::into);
        error.position = self
            .field(pq_sys::PG_DIAG_STATEMENT_POSITION)
            .and_then(|position| position.parse().ok());
        error.context = self.field(pq_sys::PG_DIAG_CONTEXT).map(Into::into);
        error.name(
            self.field(pq_sys::PG_DIAG_MESSAGE_HINT),
            self.field(pq_sys::PG_DIAG_CONSTRAINT_NAME),
        );
        Some(error)
    }

    /// Returns the first row, by the columns' names; `None` if there is no row.
    pub(crate) fn first_row(&self) -> Option<Row> {
        let result = self.0.as_ptr();
        // SAFETY: the PGresult is live, and has the row and the column; it owns the strings, which end in NUL and are copied at once.
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

    /// Returns what the server calls the command that it has run.
    pub(crate) fn command(&self) -> Option<String> {
        // SAFETY: the PGresult is live, and it owns the string, which is copied at once.
        unsafe { to_line(pq_sys::PQcmdStatus(self.0.as_ptr())) }
    }

    /// Returns how many rows the command has processed, as it says.
    pub(crate) fn rows(&self) -> Option<u64> {
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

/// One message of a COPY, allocated by libpq.
pub(crate) struct CopyBuffer {
    data: NonNull<c_char>,
    length: usize,
}

// SAFETY: the buffer belongs to this value alone, and is only read.
unsafe impl Send for CopyBuffer {}

impl CopyBuffer {
    pub(crate) fn bytes(&self) -> &[u8] {
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

/// What comes next in a COPY.
pub(crate) enum CopyData {
    /// A message.
    Message(CopyBuffer),
    /// No message has come yet.
    NotYet,
    /// No further message comes. The command's result says whether the COPY succeeded.
    End,
    /// The connection failed.
    Failed,
}

/// A session on a server (`PGconn`).
pub(crate) struct Session {
    connection: NonNull<pq_sys::PGconn>,
    end: End,
}

/// Why the server has ended a session that was idle, if it has. libpq takes that for a notice, and says afterwards only that the connection is
/// closed.
type End = Arc<Mutex<Option<Error>>>;

// SAFETY: libpq lets any thread use a connection as long as only one does at a time; every method that talks to the server
// takes `&mut self`, and the type is not `Sync`.
unsafe impl Send for Session {}

/// Takes notices, which libpq would print to stderr, and keeps the one that ends the session.
///
/// # Safety
/// `end` points to the mutex of an [`End`], and `notice` to a PGresult; both stay valid during the call.
unsafe extern "C" fn take_notice(end: *mut c_void, notice: *const pq_sys::PGresult) {
    let Some(notice) = NonNull::new(notice.cast_mut()) else {
        return;
    };
    // libpq frees it.
    let notice = ManuallyDrop::new(CommandResult(notice));
    let severity = notice.field(pq_sys::PG_DIAG_SEVERITY_NONLOCALIZED);
    let is_end = matches!(severity.as_deref(), Some("FATAL" | "PANIC"));
    if let Some(error) = notice.of_server().filter(|_| is_end) {
        // SAFETY: the caller promises it.
        let end = unsafe { &*end.cast::<Mutex<Option<Error>>>() };
        *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl Session {
    /// Opens a session, which may have failed.
    pub(crate) fn connect(url: &str) -> Result<Self, Error> {
        let url = c_string(url)?;
        // SAFETY: a valid C string; the PGconn that comes back is owned by the value made of it.
        let session = unsafe { pq_sys::PQconnectdb(url.as_ptr()) };
        let session = NonNull::new(session)
            .ok_or_else(|| Error::new(ErrorKind::Other, "libpq is out of memory"))?;
        let end = End::default();
        let context = Arc::as_ptr(&end).cast_mut().cast::<c_void>();
        // SAFETY: the PGconn is live, and what the context points to lives until the PGconn is freed, as the session owns both.
        unsafe {
            pq_sys::PQsetNoticeReceiver(session.as_ptr(), Some(take_notice), context);
        }
        Ok(Self {
            connection: session,
            end,
        })
    }

    pub(crate) fn send(&mut self, sql: &str) -> Result<(), Error> {
        let sql = c_string(sql)?;
        // SAFETY: the PGconn is live, the SQL a valid C string.
        if unsafe { pq_sys::PQsendQuery(self.connection.as_ptr(), sql.as_ptr()) } == 0 {
            return Err(self.last_error());
        }
        Ok(())
    }

    /// Sends a command with one parameter, in binary form. Its rows come as text.
    pub(crate) fn send_with(&mut self, sql: &str, oid: u32, value: &[u8]) -> Result<(), Error> {
        let sql = c_string(sql)?;
        let length = c_int::try_from(value.len()).map_err(|_| Unwritable::Length)?;
        let value = value.as_ptr().cast::<c_char>();
        let connection = self.connection.as_ptr();
        // SAFETY: the PGconn is live, the SQL a valid C string. There is one parameter: each pointer is to one element, and `value` to
        // `length` bytes, which libpq copies. Its format, 1, is the binary one; that of the rows, 0, is text.
        let sent = unsafe {
            pq_sys::PQsendQueryParams(connection, sql.as_ptr(), 1, &oid, &value, &length, &1, 0)
        };
        if sent == 0 {
            return Err(self.last_error());
        }
        Ok(())
    }

    pub(crate) fn next_result(&mut self) -> Option<CommandResult> {
        // SAFETY: the PGconn is live; the PGresult is owned by the value made of it.
        let result = unsafe { pq_sys::PQgetResult(self.connection.as_ptr()) };
        NonNull::new(result).map(CommandResult)
    }

    /// Returns the next message of a COPY, and waits for it if `wait` says so.
    pub(crate) fn copy_data(&mut self, wait: bool) -> CopyData {
        let mut data: *mut c_char = std::ptr::null_mut();
        // SAFETY: the PGconn is live; `data` is set to a buffer that we own if the length is positive.
        let length = unsafe {
            pq_sys::PQgetCopyData(self.connection.as_ptr(), &mut data, c_int::from(!wait))
        };
        match (usize::try_from(length), NonNull::new(data)) {
            (Ok(length), Some(data)) => CopyData::Message(CopyBuffer { data, length }),
            _ if length == 0 => CopyData::NotYet,
            _ if length == -1 => CopyData::End,
            _ => CopyData::Failed,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        // SAFETY: the PGconn is live.
        unsafe { pq_sys::PQstatus(self.connection.as_ptr()) == ConnStatusType::CONNECTION_OK }
    }

    /// Returns whether a transaction is open, and whether it has failed or a command runs.
    pub(crate) fn transaction(&self) -> PGTransactionStatusType {
        // SAFETY: the PGconn is live.
        unsafe { pq_sys::PQtransactionStatus(self.connection.as_ptr()) }
    }

    /// What has failed, if libpq has: the connection, or something on this side of it.
    fn failure(&self) -> ErrorKind {
        if self.is_connected() {
            ErrorKind::Other
        } else {
            ErrorKind::Connection
        }
    }

    pub(crate) fn last_error(&self) -> Error {
        // SAFETY: the PGconn is live, and it owns the string, which is copied at once.
        let message = unsafe { to_line(pq_sys::PQerrorMessage(self.connection.as_ptr())) };
        let message = message.filter(|text| !text.is_empty());
        self.failed(message.unwrap_or_else(|| "the connection failed".into()))
    }

    /// Returns the error with this text of libpq or, if the server had ended the session before, that of the server.
    fn failed(&self, message: String) -> Error {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.failure(), &*end) {
            (ErrorKind::Connection, Some(error)) => error.clone(),
            (kind, _) => Error::new(kind, message),
        }
    }

    pub(crate) fn cancel_handle(&self) -> Result<Cancel, Error> {
        // SAFETY: the PGconn is live; the PGcancel is owned by the value made of it. PQcancelCreate, its successor, needs libpq 17.
        let cancel = unsafe { pq_sys::PQgetCancel(self.connection.as_ptr()) };
        NonNull::new(cancel)
            .map(Cancel)
            .ok_or_else(|| Error::new(self.failure(), "the connection has no command to cancel"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the only place that frees it.
        unsafe { pq_sys::PQfinish(self.connection.as_ptr()) }
    }
}

/// A handle that cancels a connection's running command from any thread (`PGcancel`). It may outlive the connection.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
/// use diesel_copy_out::CopyConnection;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = Cluster::start();
/// # let url = cluster.url();
/// let mut connection = CopyConnection::establish(&url)?;
/// let cancel = connection.cancel_handle()?;
/// let waiter = std::thread::spawn(move || connection.execute("select pg_sleep(3600)"));
/// # while !waiter.is_finished() {
/// cancel.cancel()?;
/// # std::thread::sleep(std::time::Duration::from_millis(10));
/// # }
/// let error = waiter.join().expect("no panic").unwrap_err();
/// assert_eq!(error.sqlstate.as_deref(), Some("57014"));
/// # Ok(())
/// # }
/// ```
pub struct Cancel(NonNull<pq_sys::PGcancel>);

// SAFETY: a PGcancel is a copy of what the request needs; nothing changes it, and libpq lets any thread send the request.
unsafe impl Send for Cancel {}
// SAFETY: as above.
unsafe impl Sync for Cancel {}

impl Cancel {
    /// Asks the server to cancel the running command, without waiting for it to do so. If none runs, nothing happens.
    pub fn cancel(&self) -> Result<(), Error> {
        let mut message: [c_char; 256] = [0; 256];
        let length = message.len() as c_int;
        // SAFETY: the PGcancel is live, and `length` is that of the buffer.
        if unsafe { pq_sys::PQcancel(self.0.as_ptr(), message.as_mut_ptr(), length) } == 0 {
            // SAFETY: libpq has terminated the message within the buffer.
            let message = unsafe { to_line(message.as_ptr()) };
            return Err(Error::new(
                ErrorKind::Connection,
                message.unwrap_or_default(),
            ));
        }
        Ok(())
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        // SAFETY: allocated by PQgetCancel, and freed only here.
        unsafe { pq_sys::PQfreeCancel(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its key is a secret.
        formatter.debug_struct("Cancel").finish_non_exhaustive()
    }
}
