//! `/api/exports`: exports that are prepared for later; and of each export its manifest, how to follow it, and how to stop it.

use std::sync::Arc;

use actix_web::http::header::{LINK, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use time::OffsetDateTime;

use crate::api::events;
use crate::api::events::Event;
use crate::app::App;
use crate::app::blocking;
use crate::download::filename::content_disposition;
use crate::download::is_id;
use crate::download::registry::Known;
use crate::pages::export_page;
use crate::pages::html;
use crate::prepared::PAGE;
use crate::prepared::request::Order;
use crate::problem::query_string::{QueryString, invalid};
use crate::problem::{EXPORT_ID, Kind, Problem, ProblemBody};
use diesel_export::manifest::{Manifest, State};

/// Prepares an export for later: it waits for a place, runs, and its file is there when it is whole. A browser's form is answered by a
/// redirection to the page.
#[utoipa::path(
    post,
    path = "/api/exports",
    operation_id = "exports_prepare",
    responses(
        (status = 202, description = "It waits, or runs", body = Manifest, headers(("Location" = String, description = "Where it can be followed"))),
        (status = 303, description = "It waits, or runs: the page shows it"),
        (status = 403, description = "Another site's page asks, or there is no place for files", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 503, description = "As many exports as are allowed wait already; see Retry-After", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 507, description = "There is no room for another file, or there are as many prepared exports as there may be; see Retry-After", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    body: Bytes,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    match prepare(&request, &body, app).await {
        Ok(response) => Ok(response),
        Err(problem) => html::unavailable(&request, problem),
    }
}

async fn prepare(
    request: &HttpRequest,
    body: &[u8],
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let order = Order::read(request, body, &app.settings.catalog)?;
    let fresh = order.is_fresh(app.servers.knows_primary());
    let Order {
        is_page,
        parameters,
        ..
    } = order;
    let page = export_page::address(&parameters, &app.settings.catalog);
    let disposition = content_disposition(
        &parameters.filter,
        parameters.file_type,
        OffsetDateTime::now_utc(),
    );
    let export = parameters.into_export(app.settings.limits);
    let is_demonstration = app.settings.is_demonstration;
    let prepared = Arc::clone(&app.prepared);
    let order = move || prepared.order(export, fresh, disposition, is_demonstration);
    let manifest = blocking(order).await??;
    if is_page {
        let mut response = HttpResponse::SeeOther();
        return Ok(response
            .insert_header((LOCATION, format!("{page}#prepared")))
            .finish());
    }
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, format!("/api/exports/{}", manifest.id)))
        .insert_header((EXPORT_ID, manifest.id.as_str()))
        .json(manifest))
}

/// The exports that were prepared for later, the newest first, up to 100 at a time; `Link` says where there are more.
#[utoipa::path(
    method(get, head),
    path = "/api/exports",
    operation_id = "exports",
    params(("before" = Option<String>, Query, description = "Only those that were asked for before the one of this id")),
    responses((status = 200, body = Vec<Manifest>), (status = 404, description = "There is no such export any more", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let mut query = QueryString::parse(request.query_string())?;
    let before = query.take("before")?.map(|id| id.into_owned());
    if let Some((name, _)) = query.rest().first() {
        return Err(invalid(name, "expected `before` alone"));
    }
    let prepared = Arc::clone(&app.prepared);
    let page = blocking(move || {
        let before = before.as_deref().filter(|id| !id.is_empty());
        prepared.list(before, PAGE)
    })
    .await?;
    let (manifests, next) = page.ok_or_else(|| Problem::new(Kind::NotFound))?;
    let mut response = HttpResponse::Ok();
    if let Some(last) = next {
        let link = format!("</api/exports?before={last}>; rel=\"next\"");
        response.insert_header((LINK, link));
    }
    Ok(response.json(manifests))
}

/// An export's manifest: while it runs and for an hour after its end, or for as long as it is kept, if it was prepared for later.
#[utoipa::path(
    method(get, head),
    path = "/api/exports/{id}",
    operation_id = "export",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses((status = 200, body = Manifest), (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(crate) async fn get(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<web::Json<Manifest>, Problem> {
    match find(&id, &app).await? {
        Found::Prepared(manifest) => Ok(web::Json(*manifest)),
        Found::Download(known) => Ok(web::Json(known.record.manifest())),
    }
}

enum Found {
    Prepared(Box<Manifest>),
    Download(Known),
}

async fn find(id: &str, app: &App) -> Result<Found, Problem> {
    let not_found = || Problem::new(Kind::NotFound);
    if !is_id(id) {
        return Err(not_found());
    }
    let (prepared, wanted) = (Arc::clone(&app.prepared), id.to_owned());
    // What is due is removed, which takes the disk's time.
    if let Some(manifest) = blocking(move || prepared.manifest(&wanted)).await? {
        return Ok(Found::Prepared(Box::new(manifest)));
    }
    let known = app.exports.get(id);
    known.map(Found::Download).ok_or_else(not_found)
}

/// Stops an export, down to its query on the database. One that has ended stays as it is, or, if it was prepared for later, is removed
/// with its file; who reads the file reads on.
#[utoipa::path(
    delete,
    path = "/api/exports/{id}",
    operation_id = "export_cancel",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses(
        (status = 204, description = "It has ended, or is about to, or is removed"),
        (status = 403, description = "Another site's page may not do this", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn delete(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    match find(&id, &app).await? {
        Found::Download(known) => known.stop.cancel(),
        Found::Prepared(manifest) => {
            let prepared = Arc::clone(&app.prepared);
            blocking(move || prepared.delete(&manifest.id)).await?;
        }
    }
    Ok(HttpResponse::NoContent().finish())
}

/// An export's manifest as server-sent events, until it has ended.
#[utoipa::path(
    get,
    path = "/api/exports/{id}/events",
    operation_id = "export_events",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses(
        (status = 200, description = "Each event's data is the manifest, as JSON", content_type = "text/event-stream", body = Event),
        (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn follow(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    match find(&id, &app).await? {
        Found::Download(known) => events::follow(&app, move || {
            let manifest = known.record.manifest();
            (manifest.state, manifest)
        }),
        Found::Prepared(mut last) => events::follow(&app.clone(), move || {
            match app.prepared.peek(&last.id) {
                Some(now) => *last = now,
                // Removed: there is nothing more to come.
                None => return (State::Cancelled, last.as_ref().clone()),
            }
            (last.state, last.as_ref().clone())
        }),
    }
}
