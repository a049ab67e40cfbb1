//! Errors as the client sees them: `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! What the database said goes to the log, never to the client.

pub(crate) mod query_string;

mod kind;

use std::fmt;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::pages::html::or_page;
use crate::service::base_path::BasePath;
use diesel_export::manifest::ErrorClass;
use diesel_export::{self as export, db};

pub use kind::Kind;

/// Seconds of `Retry-After`.
pub(crate) const RETRY_SECONDS: u32 = 5;

/// An error for a client.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Option<String>,
    export_id: Option<String>,
    location: Option<String>,
    /// The methods that the path supports.
    allowed: Option<String>,
}

/// The header that names an export.
pub(crate) const EXPORT_ID: &str = "X-Export-Id";

impl Problem {
    /// Returns a problem without a detail.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            detail: None,
            export_id: None,
            location: None,
            allowed: None,
        }
    }

    /// A method that the path does not support, beside those that it does.
    pub(crate) fn method_not_allowed(allowed: String) -> Self {
        Self {
            allowed: Some(allowed),
            ..Self::new(Kind::MethodNotAllowed)
        }
    }

    /// Adds the path of the conflicting resource, as the list of routes has it.
    pub fn at(self, location: String) -> Self {
        Self {
            location: Some(location),
            ..self
        }
    }

    /// Adds the ID of the export, which has a manifest.
    pub(crate) fn of_export(self, id: &str) -> Self {
        Self {
            export_id: Some(id.to_owned()),
            ..self
        }
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the detail.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Returns a problem with a detail.
    pub fn with_detail(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(kind)
        }
    }
}

/// What the problems of a service have of it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: &'static str,
    pub(crate) base_path: BasePath,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME"),
            base_path: BasePath::default(),
        }
    }
}

/// Names the service in its problems, and shows them to people as pages: what makes a response of them knows neither.
pub(crate) async fn identify<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let response = next.call(request).await?;
    let problem = response.response().error();
    let identity = response.request().app_data::<Identity>();
    let problem = problem.and_then(|error| error.as_error::<Problem>());
    let identified = problem.zip(identity).map(|(problem, identity)| {
        or_page(response.request(), problem, problem.response(identity))
    });
    Ok(match identified {
        Some(identified) => response.into_response(identified).map_into_right_body(),
        None => response.map_into_left_body(),
    })
}

/// A problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `urn:`, the name of the service, `:problem:` and the name of the problem's kind.
    r#type: String,
    /// Title of the problem type.
    title: &'a str,
    /// The HTTP status code.
    status: u16,
    /// Explanation specific to this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The address of the conflicting resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.parts().1)?;
        self.detail
            .iter()
            .try_for_each(|detail| write!(f, ": {detail}"))
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.parts().0
    }

    fn error_response(&self) -> HttpResponse {
        self.response(&Identity::default())
    }
}

impl Problem {
    fn response(&self, Identity { name, base_path }: &Identity) -> HttpResponse {
        let kind = self.kind.name();
        let (status, title) = self.kind.parts();
        let location = self.location.as_ref();
        let location = location.map(|path| format!("{base_path}{path}"));
        let body = ProblemBody {
            r#type: format!("urn:{name}:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: self.detail.as_deref(),
            location: location.as_deref(),
        };
        let mut response = HttpResponse::build(status);
        response
            .content_type("application/problem+json")
            .insert_header((CACHE_CONTROL, "no-store"));
        if let Some(id) = &self.export_id {
            response.insert_header((EXPORT_ID, id.as_str()));
        }
        if let Some(location) = &location {
            response.insert_header((LOCATION, location.as_str()));
        }
        if let Some(allowed) = &self.allowed {
            response.insert_header((ALLOW, allowed.as_str()));
        }
        if let Some(seconds) = self.kind.retry_after() {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        match self.kind {
            Kind::RangeNotSatisfiable { length } => {
                response.insert_header((CONTENT_RANGE, format!("bytes */{length}")))
            }
            Kind::Unauthorized => response
                .append_header((WWW_AUTHENTICATE, format!("Bearer realm=\"{name}\"")))
                .append_header((
                    WWW_AUTHENTICATE,
                    format!("Basic realm=\"{name}\", charset=\"UTF-8\""),
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

impl From<db::UnfitTables> for Problem {
    fn from(error: db::UnfitTables) -> Self {
        export::Error::from(error).into()
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        export::Error::from(error).into()
    }
}

impl From<export::Error> for Problem {
    /// What the database said, and how its tables are, goes to the log.
    fn from(error: export::Error) -> Self {
        let problem = Self::of_failure(&error);
        if !matches!(error, export::Error::NoReplica(_)) && problem.kind.parts().0.is_server_error()
        {
            tracing::error!(%error, "the database or the export failed");
        }
        problem
    }
}

impl Problem {
    /// The problem of a failed export, whose own line in the log says more.
    pub(crate) fn of_failure(error: &export::Error) -> Self {
        use export::Error;
        match error {
            _ if matches!(
                error.class(),
                Some(ErrorClass::SpoolFull | ErrorClass::DiskFull)
            ) =>
            {
                let detail = "try again when others have taken theirs, or have a CSV streamed, which needs none";
                Self::with_detail(Kind::SpoolFull, detail)
            }
            Error::TooManyRows { .. } | Error::TooManyRowsForXlsx { .. } => {
                Self::with_detail(Kind::TooManyRows, error.to_string())
            }
            Error::TooLargeToBuffer { .. } => {
                Self::with_detail(Kind::TooLargeToBuffer, error.to_string())
            }
            Error::BufferBusy { .. } => Self::with_detail(Kind::Busy, error.to_string()),
            Error::UnexpectedNull(_) => Self::with_detail(Kind::UnexpectedNull, error.to_string()),
            Error::TextTooLong { .. } => Self::with_detail(Kind::TextTooLong, error.to_string()),
            Error::Cancelled => Self::new(Kind::ExportCancelled),
            Error::NoReplica(_) => Self::new(Kind::NoReplica),
            Error::Tables(db::UnfitTables::Missing) => Self::new(Kind::TablesMissing),
            Error::Tables(_) => Self::new(Kind::TablesDiffer),
            Error::Database(error) => Self::new(of_database(error)),
            Error::Sink(_) | Error::Workbook(_) => Self::new(Kind::Internal),
        }
    }
}

fn of_database(error: &db::Error) -> Kind {
    if error.is_unavailable() {
        Kind::DatabaseUnavailable
    } else if error.is_statement_timeout() {
        Kind::StatementTimeout
    } else if error.is_recovery_conflict() {
        Kind::RecoveryConflict
    } else if matches!(error, db::Error::TableLocked(_) | db::Error::Moved) {
        Kind::TableLocked
    } else if matches!(error, db::Error::NotFresh(_)) {
        Kind::NotFresh
    } else {
        Kind::Internal
    }
}
