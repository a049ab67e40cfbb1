//! `/api/exports`: exports that are prepared for later; and of each export its manifest, how to follow it, and how to stop it.

use std::sync::Arc;

use actix_web::http::header::{LINK, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use time::OffsetDateTime;

use crate::access::visible::Visible;
use crate::api::events;
use crate::api::events::Event;
use crate::download::filename::content_disposition;
use crate::download::is_id;
use crate::download::registry::Known;
use crate::pages::export_page;
use crate::pages::html;
use crate::prepared::PAGE;
use crate::prepared::request::ExportRequest;
use crate::problem::query_string::{QueryString, invalid};
use crate::problem::{EXPORT_ID, Kind, Problem, ProblemBody};
use crate::service::app::App;
use crate::service::app::blocking;
use diesel_export::manifest::{Manifest, State};

/// Queues an export, whose file can be downloaded once it is complete.
///
/// An HTML form is redirected to the export page.
#[utoipa::path(
    post,
    path = "/api/exports",
    operation_id = "exports_prepare",
    responses(
        (status = 202, description = "Queued", body = Manifest, headers(("Location" = String, description = "The address of its manifest"))),
        (status = 303, description = "Queued; redirects a form to the export page"),
        (status = 403, description = "Cross-site request, or preparing exports is disabled", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 503, description = "The preparation queue is full; see Retry-After", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 507, description = "The spool is full, or there are too many prepared exports; see Retry-After", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    body: Bytes,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let order = ExportRequest::read(&request, &body, &visible.catalog)?;
    let fresh = order.is_fresh(app.servers.knows_primary());
    let ExportRequest {
        is_page,
        parameters,
        ..
    } = order;
    let page = export_page::address(&parameters, &app, &visible);
    let disposition = content_disposition(
        &parameters.filter,
        parameters.file_type,
        OffsetDateTime::now_utc(),
    );
    let export = parameters.into_export(app.settings.limits);
    let facts = app.settings.facts.clone();
    let prepared = Arc::clone(&app.prepared);
    let order = move || prepared.order(export, fresh, disposition, facts);
    let manifest = blocking(order).await??;
    if is_page {
        return Ok(html::see_other(&format!("{page}#prepared")));
    }
    Ok(HttpResponse::Accepted()
        .insert_header((
            LOCATION,
            app.address(format_args!("/api/exports/{}", manifest.id)),
        ))
        .insert_header((EXPORT_ID, manifest.id.as_str()))
        .json(manifest))
}

/// Lists the manifests of prepared exports, newest first.
///
/// Up to 100 at a time; `Link` has the address of the next page.
#[utoipa::path(
    method(get, head),
    path = "/api/exports",
    operation_id = "exports",
    params(("before" = Option<String>, Query, description = "Only exports that were requested before the one with this ID")),
    responses((status = 200, body = Vec<Manifest>), (status = 404, description = "No such export", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let mut query = QueryString::parse(request.query_string())?;
    let before = query.take("before")?.map(|id| id.into_owned());
    if let Some((name, _)) = query.rest().first() {
        return Err(invalid(name, "expected `before` alone"));
    }
    let prepared = Arc::clone(&app.prepared);
    let page = blocking(move || {
        let before = before.as_deref().filter(|id| !id.is_empty());
        prepared.list(visible.scope.as_deref(), before, PAGE)
    })
    .await?;
    let (manifests, next) = page.ok_or_else(|| Problem::new(Kind::NotFound))?;
    let mut response = HttpResponse::Ok();
    if let Some(last) = next {
        let next = app.address(format_args!("/api/exports?before={last}"));
        let link = format!("<{next}>; rel=\"next\"");
        response.insert_header((LINK, link));
    }
    Ok(response.json(manifests))
}

/// Returns an export's manifest.
///
/// While it runs and for an hour after its end; that of a prepared export for as long as it is kept.
#[utoipa::path(
    method(get, head),
    path = "/api/exports/{id}",
    operation_id = "export",
    params(("id" = String, Path, description = "The export's ID, as in `X-Export-Id`")),
    responses((status = 200, body = Manifest), (status = 404, description = "No such export", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(crate) async fn get(
    id: web::Path<String>,
    app: web::Data<App>,
    visible: Visible,
) -> Result<web::Json<Manifest>, Problem> {
    match find(&id, &app, &visible).await? {
        Found::Prepared(manifest) => Ok(web::Json(*manifest)),
        Found::Download(known) => Ok(web::Json(known.run.record.manifest())),
    }
}

enum Found {
    Prepared(Box<Manifest>),
    Download(Known),
}

async fn find(id: &str, app: &App, visible: &Visible) -> Result<Found, Problem> {
    let not_found = || Problem::new(Kind::NotFound);
    if !is_id(id) {
        return Err(not_found());
    }
    let (prepared, wanted) = (Arc::clone(&app.prepared), id.to_owned());
    let scope = visible.scope.clone();
    // What is due is removed, which takes the disk's time.
    if let Some(manifest) = blocking(move || prepared.manifest(&wanted, scope.as_deref())).await? {
        return Ok(Found::Prepared(Box::new(manifest)));
    }
    let known = app.exports.get(id, visible.scope.as_deref());
    known.map(Found::Download).ok_or_else(not_found)
}

/// Cancels an export with its query on the database, or deletes a prepared one.
///
/// A download that has ended keeps its manifest. The file of a prepared export is deleted; downloads of it that are under way continue.
#[utoipa::path(
    delete,
    path = "/api/exports/{id}",
    operation_id = "export_cancel",
    params(("id" = String, Path, description = "The export's ID, as in `X-Export-Id`")),
    responses(
        (status = 204, description = "Cancelled or deleted, or it had ended before"),
        (status = 403, description = "Cross-site request", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "No such export", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn delete(
    id: web::Path<String>,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    match find(&id, &app, &visible).await? {
        Found::Download(known) => known.stop.cancel(),
        Found::Prepared(manifest) => {
            let prepared = Arc::clone(&app.prepared);
            blocking(move || prepared.delete(&manifest.id, visible.scope.as_deref())).await?;
        }
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Streams an export's manifest as server-sent events until it ends.
///
/// Every quarter of a second.
#[utoipa::path(
    get,
    path = "/api/exports/{id}/events",
    operation_id = "export_events",
    params(("id" = String, Path, description = "The export's ID, as in `X-Export-Id`")),
    responses(
        (status = 200, description = "The data of each event is the manifest as JSON", content_type = "text/event-stream", body = Event),
        (status = 404, description = "No such export", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn follow(
    id: web::Path<String>,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    match find(&id, &app, &visible).await? {
        Found::Download(known) => events::follow(&app, move || {
            let manifest = known.run.record.manifest();
            (manifest.state, manifest)
        }),
        Found::Prepared(mut last) => events::follow(&app.clone(), move || {
            match app.prepared.peek(&last.id, visible.scope.as_deref()) {
                Some(now) => *last = now,
                // Removed: there is nothing more to come.
                None => return (State::Cancelled, last.as_ref().clone()),
            }
            (last.state, last.as_ref().clone())
        }),
    }
}
