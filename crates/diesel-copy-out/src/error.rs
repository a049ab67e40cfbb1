//! The crate's error.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Unwritable;

/// An error of libpq, of the server, or of this crate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Error {
    kind: ErrorKind,
    /// What libpq or the server said, in one line.
    pub message: String,
    /// The server's five-character code, if the error came from the server.
    pub sqlstate: Option<String>,
    /// What the server added to its message, in one line.
    pub detail: Option<Box<str>>,
    /// Where in the SQL the server found the error: the number of the character, from 1.
    pub position: Option<u32>,
    /// What the server was doing, in one line: `PL/pgSQL function …` if a function has failed. An error of the statement itself has none.
    /// A function may raise an error with any message and any SQLSTATE.
    pub context: Option<Box<str>>,
    more: Option<Box<More>>,
}

/// What few errors have: in a box, so that the others stay small.
#[derive(Debug, Clone, Default)]
struct More {
    hint: Option<String>,
    constraint: Option<String>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What has failed. A missing SQLSTATE does not tell: only one of these kinds is a reason to ask another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no connection, or it is lost: the same may succeed on a new one, or on another server. A server that ends the session
    /// may say why; then the kind is [`Server`](Self::Server), with an SQLSTATE of the class 08, or that begins with 57P.
    Connection,
    /// The server has refused the command or given it up. The error has the SQLSTATE.
    Server,
    /// The command could not be written, so no server has seen it: a value has no literal, a text has a NUL, or Diesel could not
    /// build the query.
    Unwritable,
    /// A transaction was committed in which a command had failed: the server has rolled it back.
    RolledBack,
    /// A COPY has ended without the server's confirmation that all rows came, or before all of them were read.
    Incomplete,
    /// Anything else on this side of the connection, such as a lack of memory or of threads.
    Other,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.sqlstate {
            Some(code) => write!(formatter, " (SQLSTATE {code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.more.as_ref()?.cause.as_deref()?;
        Some(cause)
    }
}

impl From<Unwritable> for Error {
    fn from(error: Unwritable) -> Self {
        Self::because(ErrorKind::Unwritable, error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl Error {
    /// Creates an error that no server has reported.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            sqlstate: None,
            detail: None,
            position: None,
            context: None,
            more: None,
        }
    }

    /// What has failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the server suggests to do, in one line.
    pub fn hint(&self) -> Option<&str> {
        self.more.as_ref()?.hint.as_deref()
    }

    /// The name of the constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.more.as_ref()?.constraint.as_deref()
    }

    pub(crate) fn name(&mut self, hint: Option<String>, constraint: Option<String>) {
        if hint.is_some() || constraint.is_some() {
            self.more = Some(Box::new(More {
                hint,
                constraint,
                cause: None,
            }));
        }
    }

    /// Returns the error of this crate that an [`io::Error`] holds, such as those that [`CopyOut`](crate::CopyOut) returns as a reader.
    ///
    /// ```
    /// use std::io;
    ///
    /// use diesel_copy_out::{Error, ErrorKind};
    ///
    /// let error = io::Error::from(Error::new(ErrorKind::Incomplete, "the COPY has not ended"));
    /// assert_eq!(Error::from_io(&error).map(Error::kind), Some(ErrorKind::Incomplete));
    /// ```
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn because(
        kind: ErrorKind,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let mut outer = Self::new(kind, error.to_string());
        outer.more = Some(Box::new(More {
            cause: Some(Arc::new(error)),
            ..More::default()
        }));
        outer
    }

    /// Creates the error that Diesel could not write the query.
    pub(crate) fn from_diesel(error: diesel::result::Error) -> Self {
        Self::because(ErrorKind::Unwritable, error)
    }
}
