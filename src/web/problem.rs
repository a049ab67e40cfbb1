//! Errors as the client sees them: `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! What the database said goes to the log, never to the client.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::export::manifest::ErrorClass;
use crate::{db, export};

/// Seconds after which it makes sense to try again, if the database is away or busy.
pub(super) const RETRY_SECONDS: u32 = 5;

/// What went wrong, in the client's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A parameter is unknown, repeated, or has a bad value.
    InvalidParameter,
    /// What was sent is larger than it may be.
    TooLarge,
    /// There is nothing at this address.
    NotFound,
    /// The address does not take this method.
    MethodNotAllowed {
        /// Those that it takes.
        allowed: &'static str,
    },
    /// The request names another host than this one, as a page that rebinds its own name to this machine does.
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
    /// The request is of HTTP/1.0, in which a download that is cut short looks whole.
    HttpVersion,
    /// As many exports as are allowed run already.
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
    /// A text is longer than the format takes.
    TextTooLong,
    /// A file that is sent when it is whole has no room in the spool.
    SpoolFull,
    /// The query took longer than the statement timeout.
    StatementTimeout,
    /// The export was stopped before its first byte.
    ExportCancelled,
    /// A benchmark runs already.
    BenchmarkRuns,
    /// The service is bound beyond loopback, and benchmarks were not allowed.
    BenchmarksOff,
    /// The database cannot be reached, or all connections to it are in use.
    DatabaseUnavailable,
    /// No replica will do, and exports may not run on the primary.
    NoReplica,
    /// A replica has twice cancelled the query, because it was in the way of changes from the primary.
    RecoveryConflict,
    /// Somebody has locked a table, as a change of it does.
    TableLocked,
    /// The database has no tables that our role can read.
    TablesMissing,
    /// The database's tables are not as the program has them.
    TablesDiffer,
    /// Anything else; the log says what.
    Internal,
}

impl Kind {
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::InvalidParameter => (
                "invalid-parameter",
                StatusCode::BAD_REQUEST,
                "A parameter is not understood",
            ),
            Self::TooLarge => (
                "too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "What was sent is too large",
            ),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed { .. } => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "This address does not take that method",
            ),
            Self::DatabaseUnavailable => (
                "database-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The database cannot be reached now",
            ),
            Self::TablesMissing => (
                "tables-missing",
                StatusCode::SERVICE_UNAVAILABLE,
                "The database has no tables that can be read",
            ),
            Self::TablesDiffer => (
                "tables-differ",
                StatusCode::SERVICE_UNAVAILABLE,
                "The database's tables are not as expected",
            ),
            Self::TableLocked => (
                "table-locked",
                StatusCode::SERVICE_UNAVAILABLE,
                "A table of the database is being changed",
            ),
            Self::NoReplica => (
                "no-replica",
                StatusCode::SERVICE_UNAVAILABLE,
                "No replica of the database can be used now",
            ),
            Self::RecoveryConflict => (
                "recovery-conflict",
                StatusCode::SERVICE_UNAVAILABLE,
                "The export stood in the way of changes to the data",
            ),
            Self::WrongHost => (
                "wrong-host",
                StatusCode::MISDIRECTED_REQUEST,
                "This service answers to loopback names only",
            ),
            Self::CrossSite => (
                "cross-site",
                StatusCode::FORBIDDEN,
                "Another site's page may not do this",
            ),
            Self::Unauthorized => (
                "unauthorized",
                StatusCode::UNAUTHORIZED,
                "Credentials are needed",
            ),
            Self::TooManyTries { .. } => (
                "too-many-tries",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tries with wrong credentials",
            ),
            Self::HttpVersion => (
                "http-version",
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "A download takes HTTP/1.1 or newer, which can tell whether it is whole",
            ),
            Self::Busy => (
                "busy",
                StatusCode::SERVICE_UNAVAILABLE,
                "As many exports as are allowed run already",
            ),
            Self::ExportIdTaken => (
                "export-id-taken",
                StatusCode::CONFLICT,
                "There is another export of this id",
            ),
            Self::QueueFull => (
                "queue-full",
                StatusCode::SERVICE_UNAVAILABLE,
                "As many exports as are allowed wait already",
            ),
            Self::PreparingOff => (
                "preparing-off",
                StatusCode::FORBIDDEN,
                "This service has no place to prepare exports in",
            ),
            Self::NotFinished => (
                "not-finished",
                StatusCode::CONFLICT,
                "The export is not finished yet",
            ),
            Self::PreconditionFailed => (
                "precondition-failed",
                StatusCode::PRECONDITION_FAILED,
                "The file is another one",
            ),
            Self::RangeNotSatisfiable { .. } => (
                "range-not-satisfiable",
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The file has no such part",
            ),
            Self::TooManyRows => (
                "too-many-rows",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too many rows for this strategy",
            ),
            Self::TextTooLong => (
                "text-too-long",
                StatusCode::UNPROCESSABLE_ENTITY,
                "A text is too long for an Excel workbook",
            ),
            Self::SpoolFull => (
                "spool-full",
                StatusCode::INSUFFICIENT_STORAGE,
                "There is no room to make the file in",
            ),
            Self::StatementTimeout => (
                "statement-timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "The query took longer than it may",
            ),
            Self::ExportCancelled => (
                "export-cancelled",
                StatusCode::CONFLICT,
                "The export was stopped",
            ),
            Self::BenchmarkRuns => (
                "benchmark-runs",
                StatusCode::CONFLICT,
                "Another benchmark runs already",
            ),
            Self::BenchmarksOff => (
                "benchmarks-off",
                StatusCode::FORBIDDEN,
                "Benchmarks were not allowed on this service",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong",
            ),
        }
    }
}

/// An error for a client.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: Option<String>,
    export_id: Option<String>,
    location: Option<String>,
}

/// The header that names an export.
pub(super) const EXPORT_ID: &str = "X-Export-Id";

impl Problem {
    /// A problem that its kind says all about.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            detail: None,
            export_id: None,
            location: None,
        }
    }

    /// The tables are not as they have to be. How they are goes to the log.
    pub(super) fn of_tables(differences: &[String]) -> Self {
        tracing::error!(
            differences = differences.join("; "),
            "the database's tables are not as expected"
        );
        Self::new(Kind::TablesDiffer)
    }

    /// The same problem, which is because of what is at `location`.
    pub(super) fn at(self, location: String) -> Self {
        Self {
            location: Some(location),
            ..self
        }
    }

    /// The same, of an export that has a manifest.
    pub(super) fn of_export(self, id: &str) -> Self {
        Self {
            export_id: Some(id.to_owned()),
            ..self
        }
    }

    /// What went wrong.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// A problem of which the client can be told more.
    pub(super) fn with_detail(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(kind)
        }
    }
}

/// An error, as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:cmms-export:problem:` and the name of the problem's kind.
    r#type: String,
    /// The same for all problems of a kind.
    title: &'a str,
    /// The status code.
    status: u16,
    /// What is wrong with this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The address of what is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.parts().2)?;
        self.detail
            .iter()
            .try_for_each(|detail| write!(f, ": {detail}"))
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.parts().1
    }

    fn error_response(&self) -> HttpResponse {
        let (name, status, title) = self.kind.parts();
        let body = ProblemBody {
            r#type: format!("urn:cmms-export:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: self.detail.as_deref(),
            location: self.location.as_deref(),
        };
        let mut response = HttpResponse::build(status);
        response
            .content_type("application/problem+json")
            .insert_header((CACHE_CONTROL, "no-store"));
        if let Some(id) = &self.export_id {
            response.insert_header((EXPORT_ID, id.as_str()));
        }
        if let Some(location) = &self.location {
            response.insert_header((LOCATION, location.as_str()));
        }
        match self.kind {
            Kind::MethodNotAllowed { allowed } => response.insert_header((ALLOW, allowed)),
            Kind::RangeNotSatisfiable { length } => {
                response.insert_header((CONTENT_RANGE, format!("bytes */{length}")))
            }
            Kind::Busy
            | Kind::QueueFull
            | Kind::DatabaseUnavailable
            | Kind::NoReplica
            | Kind::RecoveryConflict
            | Kind::SpoolFull
            | Kind::TableLocked
            | Kind::TablesMissing
            | Kind::TablesDiffer => {
                response.insert_header((RETRY_AFTER, RETRY_SECONDS.to_string()))
            }
            Kind::TooManyTries { retry_seconds } => {
                response.insert_header((RETRY_AFTER, retry_seconds.to_string()))
            }
            Kind::Unauthorized => response
                .append_header((WWW_AUTHENTICATE, "Bearer realm=\"cmms-export\""))
                .append_header((
                    WWW_AUTHENTICATE,
                    "Basic realm=\"cmms-export\", charset=\"UTF-8\"",
                )),
            _ => &mut response,
        };
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl From<export::parameters::InvalidParameter> for Problem {
    fn from(error: export::parameters::InvalidParameter) -> Self {
        Self::with_detail(Kind::InvalidParameter, error.to_string())
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self::new(if error.is_unavailable() {
            Kind::DatabaseUnavailable
        } else if error.is_statement_timeout() {
            Kind::StatementTimeout
        } else if error.is_recovery_conflict() {
            Kind::RecoveryConflict
        } else if matches!(error, db::Error::TableLocked(_)) {
            Kind::TableLocked
        } else {
            Kind::Internal
        })
    }
}

impl From<export::Error> for Problem {
    fn from(error: export::Error) -> Self {
        if error.class() == Some(ErrorClass::SpoolFull) {
            let detail = "try again when others have taken theirs, or export CSV, which needs none";
            return Self::with_detail(Kind::SpoolFull, detail);
        }
        match error {
            export::Error::TooManyRows { .. } | export::Error::TooManyRowsForXlsx { .. } => {
                Self::with_detail(Kind::TooManyRows, error.to_string())
            }
            export::Error::Cancelled => Self::new(Kind::ExportCancelled),
            export::Error::NoReplica(_) => Self::new(Kind::NoReplica),
            export::Error::Database(error) => error.into(),
            export::Error::TextTooLong { .. } => {
                Self::with_detail(Kind::TextTooLong, error.to_string())
            }
            export::Error::Sink(error) | export::Error::Workbook(error) => {
                tracing::error!(%error, "the export failed");
                Self::new(Kind::Internal)
            }
        }
    }
}
