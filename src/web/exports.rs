//! `/api/exports/{id}`: an export's manifest, how to follow it, and how to stop it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use tokio::time::Interval;

use super::App;
use super::problem::{Kind, Problem, ProblemBody};
use super::registry::Known;
use crate::export::manifest::{Manifest, State};

/// Time between two events.
const EVENT_INTERVAL: Duration = Duration::from_millis(250);

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

/// An export's manifest as server-sent events, until it has ended.
#[utoipa::path(
    get,
    path = "/api/exports/{id}/events",
    params(("id" = String, Path, description = "The export's id, as `X-Export-Id` has it")),
    responses(
        (status = 200, description = "Each event's data is the manifest, as JSON", content_type = "text/event-stream", body = String),
        (status = 404, description = "There is no such export", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn events(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let known = app
        .exports
        .get(&id)
        .ok_or_else(|| Problem::new(Kind::NotFound))?;
    let events = Events {
        known,
        interval: tokio::time::interval(EVENT_INTERVAL),
        over: false,
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(events))
}

/// A response's body: an event at each tick, the last one at the export's end.
struct Events {
    known: Known,
    interval: Interval,
    over: bool,
}

impl MessageBody for Events {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let events = self.get_mut();
        if events.over {
            return Poll::Ready(None);
        }
        ready!(events.interval.poll_tick(context));
        let manifest = events.known.record.manifest();
        events.over = manifest.state != State::Running;
        let json = serde_json::to_string(&manifest).unwrap_or_default();
        Poll::Ready(Some(Ok(format!("data: {json}\n\n").into())))
    }
}
