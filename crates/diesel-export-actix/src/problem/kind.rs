//! What can go wrong, in the client's terms.

use actix_web::http::StatusCode;

use crate::application::ApplicationProblem;

/// What went wrong, in the client's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// A parameter is unknown, repeated, or has a bad value.
    InvalidParameter,
    /// What was sent is larger than it may be.
    TooLarge,
    /// A request did not arrive in time.
    RequestTimeout,
    /// The service is not ready yet.
    Starting,
    /// There is nothing at this address.
    NotFound,
    /// The address does not take this method.
    MethodNotAllowed {
        /// Those that it takes.
        allowed: &'static str,
    },
    /// The request names another host than this one, as that of a page does that rebinds its own name to this machine.
    WrongHost,
    /// A page of another site has sent the request.
    CrossSite,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The address has sent wrong credentials too often.
    TooManyTries {
        /// After which time it may try again.
        retry_seconds: u64,
    },
    /// A part was asked for of a file that is made for each request.
    RangeNotPossible,
    /// As many exports as are allowed run already, or they hold all of the memory for rows.
    Busy,
    /// The export's id is another one's.
    ExportIdTaken,
    /// As many exports as are allowed wait to be prepared.
    QueueFull,
    /// Exports cannot be prepared on this service.
    PreparingOff,
    /// The export has no file yet.
    NotFinished,
    /// The file is not the one that the client has a part of.
    PreconditionFailed,
    /// The file has no such part.
    RangeNotSatisfiable {
        /// Its length.
        length: u64,
    },
    /// A strategy would hold more rows in memory than it may.
    TooManyRows,
    /// `joined` met a NULL for which its structs have no place.
    UnexpectedNull,
    /// A strategy would hold more bytes in memory than it may.
    TooLargeToBuffer,
    /// A text is longer than the format takes.
    TextTooLong,
    /// A file that is sent when it is whole has no room in the spool.
    SpoolFull,
    /// The query took longer than the statement timeout.
    StatementTimeout,
    /// The export was stopped before its first byte.
    ExportCancelled,
    /// The database cannot be reached, or all connections to it are in use.
    DatabaseUnavailable,
    /// No replica will do, and exports may not run on the primary.
    NoReplica,
    /// No server could be shown to have all that the primary has.
    NotFresh,
    /// A replica has twice cancelled the query, because it was in the way of changes from the primary.
    RecoveryConflict,
    /// Somebody has locked a table, as a change of it does.
    TableLocked,
    /// The database has no tables that our role can read.
    TablesMissing,
    /// The database's tables are not as the program has them.
    TablesDiffer,
    /// What only the application's own routes have.
    #[strum(disabled)]
    Application(&'static ApplicationProblem),
    /// Anything else; the log says what.
    Internal,
}

impl Kind {
    /// Returns its name in problems and docs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Application(kind) => kind.name,
            _ => self.into(),
        }
    }

    /// Returns its status and its title.
    pub fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidParameter => (StatusCode::BAD_REQUEST, "A parameter is not understood"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "What was sent is too large"),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "The request did not arrive in time",
            ),
            Self::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is starting; retry later",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This address does not take that method",
            ),
            Self::DatabaseUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database cannot be reached now",
            ),
            Self::TablesMissing => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database has no tables that can be read",
            ),
            Self::TablesDiffer => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database's tables are not as expected",
            ),
            Self::TableLocked => (
                StatusCode::SERVICE_UNAVAILABLE,
                "A table of the database is being changed",
            ),
            Self::NoReplica => (
                StatusCode::SERVICE_UNAVAILABLE,
                "No replica of the database can be used now",
            ),
            Self::NotFresh => (
                StatusCode::SERVICE_UNAVAILABLE,
                "No server can be shown to have the newest data",
            ),
            Self::RecoveryConflict => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The export stood in the way of changes to the data",
            ),
            Self::WrongHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "This service does not answer to this host name",
            ),
            Self::CrossSite => (StatusCode::FORBIDDEN, "Another site's page may not do this"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Credentials are needed"),
            Self::TooManyTries { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tries with wrong credentials",
            ),
            Self::RangeNotPossible => (
                StatusCode::BAD_REQUEST,
                "This address does not support ranges",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "As many exports as are allowed run already",
            ),
            Self::ExportIdTaken => (StatusCode::CONFLICT, "There is another export of this id"),
            Self::QueueFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "As many exports as are allowed wait already",
            ),
            Self::PreparingOff => (
                StatusCode::FORBIDDEN,
                "This service has no place to prepare exports in",
            ),
            Self::NotFinished => (StatusCode::CONFLICT, "The export is not finished yet"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "The file is another one")
            }
            Self::RangeNotSatisfiable { .. } => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The file has no such part",
            ),
            Self::TooManyRows => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too many rows for this strategy",
            ),
            Self::UnexpectedNull => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "A value is NULL that the strategy joined cannot do without",
            ),
            Self::TooLargeToBuffer => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too much data for this strategy",
            ),
            Self::TextTooLong => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "A text is too long for an Excel workbook",
            ),
            Self::SpoolFull => (
                StatusCode::INSUFFICIENT_STORAGE,
                "There is no room to make the file in",
            ),
            Self::StatementTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "The query took longer than it may",
            ),
            Self::ExportCancelled => (StatusCode::CONFLICT, "The export was stopped"),
            Self::Application(kind) => (kind.status, kind.title),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong"),
        }
    }
}
