//! The crate's error.

use crate::Unwritable;

/// An error of libpq, of the server, or of this crate.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", sqlstate.as_deref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default())]
#[non_exhaustive]
pub struct Error {
    /// What libpq or the server said, in one line.
    pub message: String,
    /// The server's five-character code, if the error came from the server.
    pub sqlstate: Option<String>,
    /// What the server added to its message, in one line.
    pub detail: Option<String>,
    /// Where in the SQL the server found the error: the number of the character, from 1.
    pub position: Option<u32>,
    #[source]
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl From<Unwritable> for Error {
    fn from(error: Unwritable) -> Self {
        Self::because(error)
    }
}

impl Error {
    /// Creates an error that no server has reported.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            sqlstate: None,
            detail: None,
            position: None,
            source: None,
        }
    }

    pub(crate) fn because(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        let mut outer = Self::new(error.to_string());
        outer.source = Some(Box::new(error));
        outer
    }

    /// Creates the error that Diesel could not write the query.
    pub(crate) fn from_diesel(error: diesel::result::Error) -> Self {
        Self::because(error)
    }
}
