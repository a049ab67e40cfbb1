//! Why something was not done.

/// Why libpq, or the server behind it, did not do what was asked.
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
    /// Where in the statement the server found the error: the number of the character, from 1.
    pub position: Option<u32>,
}

impl Error {
    /// An error that no server has reported.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            sqlstate: None,
            detail: None,
            position: None,
        }
    }
}
