//! The kinds of problems.

use actix_web::http::StatusCode;

use crate::problem::RETRY_SECONDS;
use crate::service::application::ApplicationProblem;

/// A kind of problem, with a status, a name and a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// A parameter is unknown, repeated, or has a bad value.
    InvalidParameter,
    /// The request body is too large.
    TooLarge,
    /// A request did not arrive in time.
    RequestTimeout,
    /// The service is not ready yet.
    Starting,
    /// No such path or resource.
    NotFound,
    /// The path does not support the method.
    MethodNotAllowed,
    /// The request names another host than this one, as that of a page does that rebinds its own name to this machine.
    WrongHost,
    /// A page of another site has sent the request.
    CrossSite,
    /// The user may see none of the datasets.
    NoDatasets,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Too many failed authentication attempts from the client's address.
    TooManyTries {
        /// Seconds after which it may retry.
        retry_seconds: u64,
    },
    /// A range of a file that is made for each request.
    RangeNotPossible,
    /// Too many exports are running, or they hold all of the memory for rows.
    Busy,
    /// The export ID is already in use.
    ExportIdTaken,
    /// The preparation queue is full.
    QueueFull,
    /// The service has no spool to prepare exports in.
    PreparingOff,
    /// The export has no file yet.
    NotFinished,
    /// The file has changed since the client read a part of it.
    PreconditionFailed,
    /// The range is beyond the end of the file.
    RangeNotSatisfiable {
        /// Its length.
        length: u64,
    },
    /// More rows than a strategy may hold in memory.
    TooManyRows,
    /// A NULL where the structs of `joined` take none.
    UnexpectedNull,
    /// More bytes than a strategy may hold in memory.
    TooLargeToBuffer,
    /// A text is longer than the format takes.
    TextTooLong,
    /// The spool has no room for a file that has to be made first.
    SpoolFull,
    /// The query took longer than the statement timeout.
    StatementTimeout,
    /// The export was stopped before its first byte.
    ExportCancelled,
    /// The database cannot be reached, or all connections to it are in use.
    DatabaseUnavailable,
    /// No replica is usable, and exports may not run on the primary.
    NoReplica,
    /// No server is known to have everything that the primary has.
    NotFresh,
    /// Replicas have twice cancelled the query because of a recovery conflict.
    RecoveryConflict,
    /// A table is locked, as during a change of its definition.
    TableLocked,
    /// The database has no tables that the role can read.
    TablesMissing,
    /// The database's tables differ from the expected ones.
    TablesDiffer,
    /// A problem of the application's own routes.
    #[strum(disabled)]
    Application(&'static ApplicationProblem),
    /// Any other failure; the log has the cause.
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
            Self::InvalidParameter => (StatusCode::BAD_REQUEST, "Invalid parameter"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Self::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is starting; retry later",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::DatabaseUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database is unavailable; retry later",
            ),
            Self::TablesMissing => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database has no readable tables",
            ),
            Self::TablesDiffer => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database's tables are not as expected",
            ),
            Self::TableLocked => (
                StatusCode::SERVICE_UNAVAILABLE,
                "A table is locked; retry later",
            ),
            Self::NoReplica => (
                StatusCode::SERVICE_UNAVAILABLE,
                "No replica is available; retry later",
            ),
            Self::NotFresh => (
                StatusCode::SERVICE_UNAVAILABLE,
                "No server is known to have the latest data; retry later",
            ),
            Self::RecoveryConflict => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The replica cancelled the query because of a recovery conflict; retry later",
            ),
            Self::WrongHost => (StatusCode::MISDIRECTED_REQUEST, "Unknown host name"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "Cross-site request rejected"),
            Self::NoDatasets => (StatusCode::FORBIDDEN, "You may export none of the datasets"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Authentication required"),
            Self::TooManyTries { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many failed authentication attempts; retry later",
            ),
            Self::RangeNotPossible => (
                StatusCode::BAD_REQUEST,
                "Range requests are not supported here",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many exports are running; retry later",
            ),
            Self::ExportIdTaken => (StatusCode::CONFLICT, "This export ID is already in use"),
            Self::QueueFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The preparation queue is full; retry later",
            ),
            Self::PreparingOff => (StatusCode::FORBIDDEN, "Preparing exports is disabled"),
            Self::NotFinished => (StatusCode::CONFLICT, "The export has not finished"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "The file has changed"),
            Self::RangeNotSatisfiable { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "Range not satisfiable")
            }
            Self::TooManyRows => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too many rows for this strategy",
            ),
            Self::UnexpectedNull => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Unexpected NULL for the strategy joined",
            ),
            Self::TooLargeToBuffer => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too much data for this strategy",
            ),
            Self::TextTooLong => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "A text is too long for an Excel cell",
            ),
            Self::SpoolFull => (
                StatusCode::INSUFFICIENT_STORAGE,
                "The spool is full; retry later",
            ),
            Self::StatementTimeout => (StatusCode::GATEWAY_TIMEOUT, "Query time limit exceeded"),
            Self::ExportCancelled => (StatusCode::CONFLICT, "The export was cancelled"),
            Self::Application(kind) => (kind.status, kind.title),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        }
    }
    /// Returns the seconds after which a client may try again, if that makes sense.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::Busy
            | Self::QueueFull
            | Self::DatabaseUnavailable
            | Self::NoReplica
            | Self::NotFresh
            | Self::RecoveryConflict
            | Self::SpoolFull
            | Self::Starting
            | Self::TableLocked
            | Self::TablesMissing
            | Self::TablesDiffer => Some(RETRY_SECONDS.into()),
            Self::TooManyTries { retry_seconds } => Some(retry_seconds),
            _ => None,
        }
    }
}
