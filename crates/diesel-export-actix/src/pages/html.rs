//! Pages as responses, and the page that is shown if there is no other.

use std::borrow::Cow;

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ContentType, HeaderMap, LOCATION, RETRY_AFTER,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;

use crate::pages::layout::Layout;
use crate::problem::{Kind, Problem, RETRY_SECONDS};
use crate::service::app::App;
use crate::service::application::{EXPORT, Section};

#[derive(Template)]
#[template(path = "unavailable.html")]
struct UnavailablePage {
    layout: Layout,
    title: &'static str,
    text: String,
    /// Where to go on, and what that is called.
    next: String,
    link: Cow<'static, str>,
}

/// A page.
pub fn respond(status: StatusCode, page: &impl Template) -> Result<HttpResponse, Problem> {
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Problem::new(Kind::Internal)
    })?;
    Ok(HttpResponse::build(status)
        .content_type(ContentType::html())
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(html))
}

/// A redirection to a page, as what was sent by a form is answered.
pub fn see_other(address: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, address))
        .finish()
}

/// Whether a request's body is a form.
pub fn has_form(request: &HttpRequest) -> bool {
    let form = b"application/x-www-form-urlencoded";
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(form))
}

/// A page among the export pages that says why there is no other.
pub(crate) fn unavailable(
    request: &HttpRequest,
    problem: Problem,
) -> Result<HttpResponse, Problem> {
    unavailable_in(request, EXPORT, problem)
}

/// A page in a section that says why there is no other. A program gets the problem as JSON, as from other addresses.
pub fn unavailable_in(
    request: &HttpRequest,
    section: Section,
    problem: Problem,
) -> Result<HttpResponse, Problem> {
    let app = request.app_data::<web::Data<App>>();
    let has_pages = app.is_none_or(|app| app.settings.has_pages);
    if !(has_pages && accepts_html(request.headers())) {
        return Err(problem);
    }
    // What was sent by a form cannot be followed as a link.
    let is_followed = request.method() == Method::GET;
    let application = app.map(|app| app.settings.application);
    let (title, text) = match problem.kind() {
        Kind::DatabaseUnavailable => (
            "The database cannot be reached",
            format!(
                "Nothing is lost, and nothing can be exported just now. Try again in {RETRY_SECONDS} seconds; \
                 if this lasts, tell the database administrator."
            ),
        ),
        Kind::NoReplica | Kind::RecoveryConflict => (
            "No copy of the database can be read just now",
            format!(
                "Nothing is lost. Try again in {RETRY_SECONDS} seconds; if this lasts, tell the database administrator."
            ),
        ),
        Kind::TableLocked => (
            "A table of the database is being changed",
            format!(
                "Nothing is lost. Try again in {RETRY_SECONDS} seconds; if this lasts, tell the database administrator."
            ),
        ),
        Kind::TablesMissing => (
            "The database has no tables that can be read",
            application.map_or("", |application| application.tables_missing).to_owned(),
        ),
        Kind::TablesDiffer => (
            "The database’s tables are not as expected",
            "Tell the database administrator: the server’s log says what is different, and how to fix it."
                .to_owned(),
        ),
        Kind::InvalidParameter => (
            if is_followed {
                "This address is not understood"
            } else {
                "The form is not understood"
            },
            format!("{problem}."),
        ),
        Kind::StatementTimeout => (
            "The database takes too long to answer",
            "It may be busy. Try again in a moment.".to_owned(),
        ),
        Kind::Application(kind) => (kind.page.0, kind.page.1.to_owned()),
        Kind::QueueFull | Kind::PreparingOff | Kind::SpoolFull => {
            ("It cannot be prepared", format!("{problem}."))
        }
        _ => (
            "Something went wrong",
            "Try again in a moment; if it happens again, tell the server’s administrator: the log says why.".to_owned(),
        ),
    };
    let page = section.path;
    let (next, link) = match problem.kind() {
        Kind::InvalidParameter => (page.to_owned(), "Start again".into()),
        Kind::Application(_) => {
            let link = format!("To the {}", section.title.to_lowercase());
            (page.to_owned(), link.into())
        }
        _ if is_followed => (request.uri().to_string(), "Try again".into()),
        _ => (page.to_owned(), "Back".into()),
    };
    let page = UnavailablePage {
        layout: Layout::new(app.map(|app| &app.settings), section),
        title,
        text,
        next,
        link,
    };
    let status = problem.status_code();
    let mut response = respond(status, &page)?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
    Ok(response)
}

pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
