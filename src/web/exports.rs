//! `/api/exports/{id}`: an export's manifest, how to follow it, and how to stop it.

use actix_web::{HttpResponse, web};

use super::events::Event;
use super::problem::{Kind, Problem, ProblemBody};
use super::registry::Known;
use super::{App, events};
use crate::export::manifest::Manifest;

/// An export's manifest, while it runs and for an hour after its end.
#[utoipa::path(
    method(get, head),
    path = "/api/exports/{id}",
    operation_id = "export",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses((status = 200, body = Manifest), (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(super) async fn get(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<web::Json<Manifest>, Problem> {
    let known = find(&id, &app)?;
    Ok(web::Json(known.record.manifest()))
}

fn find(id: &str, app: &App) -> Result<Known, Problem> {
    app.exports
        .get(id)
        .ok_or_else(|| Problem::new(Kind::NotFound))
}

/// Stops an export, down to its query on the database. One that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/api/exports/{id}",
    operation_id = "export_cancel",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses(
        (status = 204, description = "It has ended, or is about to"),
        (status = 403, description = "Another site's page may not do this", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn delete(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let known = find(&id, &app)?;
    known.stop.cancel();
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
pub(super) async fn follow(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let known = find(&id, &app)?;
    Ok(events::follow(move || {
        let manifest = known.record.manifest();
        (manifest.state, manifest)
    }))
}
