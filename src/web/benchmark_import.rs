//! `POST /api/benchmarks/import`: a result of another machine, to be shown beside those of this one.

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;

use super::benchmark::{blocking, entry};
use super::benchmark_store::Entry;
use super::problem::{Kind, Problem, ProblemBody};
use super::{App, html, upload};
use crate::bench::import::{self, MAX_BYTES};
use crate::bench::result::Report;

/// Bytes of a request: of the result, and of a form around it.
pub(super) const MAX_REQUEST: usize = MAX_BYTES + 16 * 1024;

/// What a result is to be known by.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Named {
    /// What the machine is called, in 60 characters at most; without it, its processor
    name: Option<String>,
}

/// Keeps a result of another machine, as `bench --json` or this API returns it. A form is answered with a redirection to the page.
#[utoipa::path(
    post,
    path = "/api/benchmarks/import",
    operation_id = "benchmarks_import",
    params(Named),
    request_body = Report,
    responses(
        (status = 201, description = "It is kept", body = Entry, headers(("Location", description = "Where it is"))),
        (status = 303, description = "It is kept: the page shows it"),
        (status = 403, description = "Bound beyond loopback without --allow-benchmarks, or another site's page asks",
         content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 413, description = "It is too large", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn post(
    request: HttpRequest,
    query: Result<web::Query<Named>, actix_web::Error>,
    body: Result<Bytes, actix_web::Error>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    match keep(&request, query, body, app).await {
        Ok(response) => Ok(response),
        Err(problem) => html::unavailable(&request, problem),
    }
}

async fn keep(
    request: &HttpRequest,
    query: Result<web::Query<Named>, actix_web::Error>,
    body: Result<Bytes, actix_web::Error>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    if !app.benchmarks_allowed() {
        return Err(Problem::new(Kind::BenchmarksOff));
    }
    let named = query
        .map_err(|error| invalid(error.to_string()))?
        .into_inner();
    let body = body.map_err(|error| unread(&error))?;
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| kind.to_str().ok());
    let boundary = content_type.and_then(upload::boundary).map(str::to_owned);
    let is_form = boundary.is_some();
    let (id, report, is_only) = blocking(move || {
        let report = match boundary {
            Some(boundary) => from_form(&body, &boundary)?,
            None => read(&body, named.name.as_deref())?,
        };
        let kept = app.benchmarks.import(&report).map_err(|error| {
            tracing::error!(%error, "an imported result cannot be kept");
            Problem::new(Kind::Internal)
        })?;
        let id = kept.ok_or_else(|| invalid("this service keeps no results"))?;
        // One that was there already may have another name.
        let results = app.benchmarks.results();
        let is_only = results.iter().all(|(_, report)| report.imported.is_some());
        let known = results.into_iter().find(|(known, _)| *known == id);
        Ok::<_, Problem>((id, known.map_or(report, |(_, report)| report), is_only))
    })
    .await??;
    if !is_form {
        return Ok(HttpResponse::Created()
            .insert_header((LOCATION, format!("/api/benchmarks/{id}")))
            .json(entry(&id, &report)));
    }
    // Beside the last one of this machine, if there is any; and nothing is compared with itself.
    let page = if is_only || report.imported.is_none() {
        format!("/benchmark?id={id}#result")
    } else {
        format!("/benchmark?with={id}#compared")
    };
    Ok(HttpResponse::SeeOther()
        .insert_header((LOCATION, page))
        .finish())
}

fn from_form(body: &[u8], boundary: &str) -> Result<Report, Problem> {
    let fields = upload::fields(body, boundary).ok_or_else(|| invalid("the form is not whole"))?;
    let (mut file, mut name) = (None, None);
    for (field, value) in fields {
        match field.as_str() {
            "file" => file = Some(value),
            "name" => {
                name = Some(std::str::from_utf8(value).map_err(|_| invalid("`name`: no UTF-8"))?);
            }
            _ => return Err(invalid(format!("`{field}` is unknown"))),
        }
    }
    // A browser sends a file even if none was chosen.
    let file = file
        .filter(|file| !file.is_empty())
        .ok_or_else(|| invalid("`file`: choose one"))?;
    read(file, name)
}

fn read(json: &[u8], name: Option<&str>) -> Result<Report, Problem> {
    if json.len() > MAX_BYTES {
        return Err(too_large());
    }
    let now = OffsetDateTime::now_utc();
    let (date, (hour, minute, second)) = (now.date(), now.time().as_hms());
    let date = format!("{date}T{hour:02}:{minute:02}:{second:02}Z");
    import::read(json, name, date).map_err(|error| invalid(error.to_string()))
}

fn unread(error: &actix_web::Error) -> Problem {
    match error.as_error() {
        Some(PayloadError::Overflow) => too_large(),
        _ => invalid("the request is not whole"),
    }
}

fn too_large() -> Problem {
    let mebibytes = MAX_BYTES >> 20;
    Problem::with_detail(Kind::TooLarge, format!("{mebibytes} MiB at most"))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::with_detail(Kind::InvalidParameter, detail)
}
