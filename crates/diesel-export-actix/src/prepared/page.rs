//! The prepared exports, for people: the latest on every export page, whose script asks for them again, and all on a page of its own.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::access::failures;
use crate::access::visible::Visible;
use crate::pages::export_page::words;
use crate::pages::html;
use crate::pages::layout::Layout;
use crate::prepared::PAGE;
use crate::problem::query_string::{QueryString, invalid};
use crate::problem::{Kind, Problem, ProblemBody};
use crate::service::app::App;
use crate::service::app::blocking;
use crate::service::application::EXPORT;
use diesel_export::csv::Preset;
use diesel_export::format::FileType;
use diesel_export::manifest::{Manifest, State};
use diesel_export::units::{grouped, readable_bytes};

/// How many an export page shows.
const LATEST: usize = 5;

#[derive(Template)]
#[template(path = "exports.html")]
struct Page {
    layout: Layout,
    prepared: List,
}

/// The list.
#[derive(Template)]
#[template(path = "prepared.html")]
pub(crate) struct List {
    /// The path that all addresses begin with.
    base: String,
    items: Vec<Item>,
    /// The address of a page with older ones, and its name, if there are any.
    more: Option<(String, &'static str)>,
}

/// An export in the list.
struct Item {
    id: String,
    state: State,
    /// Of what, and which file format.
    dataset: String,
    format: &'static str,
    filters: Vec<FilterText>,
    requested_at: Option<Moment>,
    /// Its state, in words.
    says: String,
    advice: Option<&'static str>,
    rows: u64,
    file: Option<String>,
    sha256: Option<String>,
    expires_at: Option<Moment>,
}

/// A filter, as a person has set it. A script may know the name of what an id stands for.
struct FilterText {
    name: String,
    value: String,
    text: String,
}

/// A point in time: for programs, and for people.
struct Moment {
    exact: String,
    text: String,
}

impl Moment {
    fn of(time: OffsetDateTime) -> Self {
        let exact = time.format(&Rfc3339).unwrap_or_default();
        let (date, hour, minute) = (time.date(), time.hour(), time.minute());
        Self {
            exact,
            text: format!("{date} {hour:02}:{minute:02} UTC"),
        }
    }
}

impl List {
    /// The latest, for an export page. None if none can be prepared here.
    pub(crate) async fn latest(app: &App, visible: &Visible) -> Result<Option<Self>, Problem> {
        let all = || (app.address("/exports"), "All prepared exports");
        Self::load(app, visible, None, LATEST, |_last| all()).await
    }

    /// A page of all of them: those before the export of this id, or the first ones if it is gone.
    async fn all(
        app: &App,
        visible: &Visible,
        before: Option<String>,
    ) -> Result<Option<Self>, Problem> {
        let older = |last| {
            (
                app.address(format_args!("/exports?before={last}")),
                "Older ones",
            )
        };
        Self::load(app, visible, before, PAGE, older).await
    }

    async fn load(
        app: &App,
        visible: &Visible,
        before: Option<String>,
        limit: usize,
        more: impl FnOnce(String) -> (String, &'static str),
    ) -> Result<Option<Self>, Problem> {
        if !app.prepared.is_possible() {
            return Ok(None);
        }
        let prepared = Arc::clone(&app.prepared);
        let scope = visible.scope.clone();
        let list = move || {
            let page = prepared.list(scope.as_deref(), before.as_deref(), limit);
            page.or_else(|| prepared.list(scope.as_deref(), None, limit))
        };
        let (manifests, next) = blocking(list).await?.unwrap_or_default();
        Ok(Some(Self {
            base: app.settings.base_path.to_string(),
            items: manifests.into_iter().map(Item::of).collect(),
            more: next.map(more),
        }))
    }
}

impl Item {
    fn of(manifest: Manifest) -> Self {
        let (rows, bytes) = (rows_of(manifest.rows), readable_bytes(manifest.bytes));
        let says = match (manifest.state, manifest.queued) {
            (State::Queued, Some(1)) => "Waiting, next in line".to_owned(),
            (State::Queued, position) => {
                format!("Waiting, number {} in line", position.unwrap_or_default())
            }
            (State::Running, _) if manifest.rows == 0 => "Waiting for the first rows…".to_owned(),
            (State::Running, _) => format!("{rows}, {bytes} so far"),
            (State::Complete, _) => format!("{rows}, {bytes}, complete"),
            (State::Failed, _) if manifest.rows == 0 => "Failed before its first row".to_owned(),
            (State::Failed, _) => format!("Failed after {rows}"),
            (State::Cancelled, _) if manifest.rows == 0 => {
                "Cancelled before its first row".to_owned()
            }
            (State::Cancelled, _) => format!("Cancelled after {rows}"),
        };
        Self {
            state: manifest.state,
            format: match (manifest.format, manifest.preset) {
                (FileType::Xlsx, _) => "Excel",
                (FileType::Ndjson, _) => "JSON lines",
                (FileType::Csv, Some(Preset::Excel)) => "CSV for Excel",
                (FileType::Csv, _) => "CSV for programs",
            },
            filters: manifest
                .filter
                .into_iter()
                .map(|(name, value)| filter_text(name, &value))
                .collect(),
            dataset: manifest.dataset,
            requested_at: manifest.requested_at.map(Moment::of),
            says,
            advice: manifest.error.map(failures::advice),
            rows: manifest.rows,
            file: manifest.file,
            sha256: manifest.sha256,
            expires_at: manifest.expires_at.map(Moment::of),
            id: manifest.id,
        }
    }
}

fn rows_of(count: u64) -> String {
    let rows = if count == 1 { "row" } else { "rows" };
    format!("{} {rows}", grouped(count))
}

fn filter_text(name: String, value: &Value) -> FilterText {
    let what = words(name.trim_end_matches("_id"));
    let all = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    let printed = all.iter().map(|value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    });
    let printed: Vec<String> = printed.collect();
    let said = printed.iter().zip(all).map(|(text, value)| match value {
        _ if text == "none" => "none".to_owned(),
        _ if name.ends_with("_id") => format!("number {text}"),
        Value::String(_) => format!("“{text}”"),
        _ => text.clone(),
    });
    let text = match value {
        Value::Bool(true) => what,
        Value::Bool(false) => format!("not {what}"),
        _ => format!("{what} {}", said.collect::<Vec<_>>().join(", ")),
    };
    let value = printed.join(",");
    FilterText { name, value, text }
}

/// The page of prepared exports, newest first.
///
/// 100 at a time.
#[utoipa::path(
    method(get, head),
    path = "/exports",
    operation_id = "exports_page",
    params(
        ("before" = Option<String>, Query, description = "Only exports that were requested before the one with this ID"),
        ("latest" = Option<bool>, Query, description = "Whether to list only the latest five, as the export pages do"),
    ),
    responses(
        (status = 200, content_type = "text/html", body = String),
        (status = 403, description = "Preparing exports is disabled", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn page(
    request: HttpRequest,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let mut query = QueryString::parse(request.query_string())?;
    let before = query.take("before")?.map(|id| id.into_owned());
    let is_latest = match query.take("latest")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid("latest", "expected `true` or `false`")),
    };
    if let Some((name, _)) = query.rest().first() {
        return Err(invalid(name, "expected `before` or `latest`"));
    }
    let list = if is_latest {
        List::latest(&app, &visible).await?
    } else {
        List::all(&app, &visible, before).await?
    };
    let Some(prepared) = list else {
        return Err(Problem::new(Kind::PreparingOff));
    };
    let layout = app.layout(EXPORT);
    let page = Page { layout, prepared };
    html::respond(StatusCode::OK, &page)
}

/// Cancels or deletes a prepared export from an HTML form.
///
/// Redirects to the page of prepared exports.
#[utoipa::path(
    post,
    path = "/api/exports/{id}/delete",
    operation_id = "exports_delete",
    params(("id" = String, Path, description = "The export's ID")),
    responses(
        (status = 303, description = "Redirects to the page of prepared exports, also if there was no such export"),
        (status = 403, description = "Cross-site request", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn delete(
    id: web::Path<String>,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let prepared = Arc::clone(&app.prepared);
    blocking(move || prepared.delete(&id, visible.scope.as_deref())).await?;
    Ok(html::see_other(&app.address("/exports")))
}
