//! Pages as responses, and the page that is shown if there is no other.

use std::borrow::Cow;

use actix_web::body::BoxBody;
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ContentType, HeaderMap, LOCATION, TryIntoHeaderValue,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::pages::layout::Layout;
use crate::problem::{Kind, Problem, RETRY_SECONDS};
use crate::service::app::{App, Settings};
use crate::service::application::{Application, EXPORT, Section};

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

/// Returns the response to a problem: a page if a person has followed a link or sent a form, else `json`, whose status and header fields
/// the page has, too.
pub(crate) fn or_page(
    request: &HttpRequest,
    problem: &Problem,
    mut json: HttpResponse,
) -> HttpResponse {
    let app = request.app_data::<web::Data<App>>();
    let settings = app.map(|app| &app.settings);
    // What was sent by a form cannot be followed as a link.
    let is_followed = request.method() == Method::GET;
    let is_persons = accepts_html(request.headers()) && (is_followed || has_form(request));
    if !is_persons || settings.is_some_and(|settings| !settings.has_pages) {
        return json;
    }
    let layout = Layout::new(settings, section(request.path(), settings));
    let start = format!("{}{}", layout.base, layout.section.path);
    let is_transient =
        matches!(problem.kind(), Kind::Internal) || problem.kind().retry_after().is_some();
    let (next, link) = match problem.kind() {
        Kind::Application(_) => {
            let link = format!("To the {}", layout.section.title.to_lowercase());
            (start, link.into())
        }
        _ if is_followed && is_transient => (request.uri().to_string(), "Try again".into()),
        _ if is_followed => (start, "Start again".into()),
        _ => (start, "Back".into()),
    };
    let (title, text) = words(
        problem,
        is_followed,
        settings.map(|settings| settings.application),
    );
    let page = UnavailablePage {
        layout,
        title,
        text,
        next,
        link,
    };
    match page.render() {
        Ok(html) => {
            let kind = ContentType::html().try_into_value();
            if let Ok(kind) = kind {
                json.headers_mut().insert(CONTENT_TYPE, kind);
            }
            json.set_body(BoxBody::new(html))
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            json
        }
    }
}

/// The section that an address is of.
fn section(path: &str, settings: Option<&Settings>) -> Section {
    let base = settings.map(|settings| settings.base_path.to_string());
    let path = path
        .strip_prefix(&*base.unwrap_or_default())
        .unwrap_or(path);
    let path = path.strip_prefix("/api").unwrap_or(path);
    let sections = settings.map_or(&[][..], |settings| settings.application.sections);
    let mut sections = sections.iter().copied();
    sections
        .find(|section| path.starts_with(section.path))
        .unwrap_or(EXPORT)
}

/// What a problem is called on a page, and what one can do.
fn words(
    problem: &Problem,
    is_followed: bool,
    application: Option<Application>,
) -> (&'static str, String) {
    const LASTS: &str = "if this lasts, tell the database administrator";
    let again =
        |lasts: &str| format!("Nothing is lost. Try again in {RETRY_SECONDS} seconds; {lasts}.");
    match problem.kind() {
        Kind::DatabaseUnavailable => (
            "The database cannot be reached",
            format!(
                "Nothing is lost, and nothing can be exported just now. Try again in {RETRY_SECONDS} seconds; {LASTS}."
            ),
        ),
        Kind::NoReplica | Kind::RecoveryConflict => {
            ("No copy of the database can be read just now", again(LASTS))
        }
        Kind::TableLocked => ("A table of the database is being changed", again(LASTS)),
        Kind::TablesMissing => (
            "The database has no tables that can be read",
            application.map_or("", |application| application.tables_missing).to_owned(),
        ),
        Kind::TablesDiffer => (
            "The database’s tables are not as expected",
            "Tell the database administrator: the server’s log says what is different, and how to fix it."
                .to_owned(),
        ),
        Kind::InvalidParameter if is_followed => {
            ("This address is not understood", format!("{problem}."))
        }
        Kind::InvalidParameter => ("The form is not understood", format!("{problem}.")),
        Kind::StatementTimeout => (
            "The database takes too long to answer",
            "It may be busy. Try again in a moment.".to_owned(),
        ),
        Kind::NotFound => (
            "There is nothing at this address",
            "It may be mistyped; or what was there is gone: a prepared export is deleted after a while.".to_owned(),
        ),
        Kind::Unauthorized => match problem.detail() {
            Some(detail) => (
                "It is not known who you are",
                format!("Tell the server’s administrator: {detail}."),
            ),
            None => (
                "The token is missing or wrong",
                "Load this page again, and give the token as the password, under any name.".to_owned(),
            ),
        },
        Kind::Application(kind) => (kind.page.0, kind.page.1.to_owned()),
        Kind::QueueFull | Kind::PreparingOff | Kind::SpoolFull => {
            ("It cannot be prepared", format!("{problem}."))
        }
        Kind::Internal => (
            "Something went wrong",
            "Try again in a moment; if it happens again, tell the server’s administrator: the log says why.".to_owned(),
        ),
        kind => {
            let (_, title) = kind.parts();
            let text = match (problem.detail(), kind.retry_after()) {
                (Some(detail), _) => format!("{detail}."),
                (None, Some(seconds)) => format!("Try again in {seconds} seconds."),
                (None, None) => "Start from the page again.".to_owned(),
            };
            (title.strip_suffix("; retry later").unwrap_or(title), text)
        }
    }
}

pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
