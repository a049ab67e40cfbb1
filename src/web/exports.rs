//! `/api/exports/{id}`: an export's manifest, and how to stop it.

use actix_web::{HttpResponse, web};

use super::App;
use super::problem::{Kind, Problem, ProblemBody};
use crate::export::manifest::Manifest;

/// An export's manifest, while it runs and for an hour after its end.
#[utoipa::path(
    get,
    path = "/api/exports/{id}",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses((status = 200, body = Manifest), (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(super) async fn get(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<web::Json<Manifest>, Problem> {
    let known = app
        .exports
        .get(&id)
        .ok_or_else(|| Problem::new(Kind::NotFound))?;
    Ok(web::Json(known.record.manifest()))
}

/// Stops an export, down to its query on the database. One that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/api/exports/{id}",
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
    let known = app
        .exports
        .get(&id)
        .ok_or_else(|| Problem::new(Kind::NotFound))?;
    known.stop.cancel();
    Ok(HttpResponse::NoContent().finish())
}
