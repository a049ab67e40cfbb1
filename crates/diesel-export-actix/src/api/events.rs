//! Progress as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Interval;

use crate::monitoring::metrics::Rejection;
use crate::problem::{Kind, Problem};
use crate::service::app::App;
use diesel_export::manifest::State;

/// An event, as its reader has it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what is sent")]
pub struct Event {
    /// JSON.
    data: String,
}

/// Streams that may be under way at once.
pub(crate) const MAX_STREAMS: usize = 200;

/// Time between two events.
const INTERVAL: Duration = Duration::from_millis(250);

/// Sends `now()` at once and on each tick; the first state that is over is the last.
pub fn follow<T: Serialize>(
    app: &App,
    now: impl FnMut() -> (State, T) + Unpin + 'static,
) -> Result<HttpResponse, Problem> {
    let Ok(permit) = Arc::clone(&app.event_permits).try_acquire_owned() else {
        app.metrics.rejected(Rejection::Events);
        let detail = "too many event streams are open";
        return Err(Problem::with_detail(Kind::Busy, detail));
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(Events {
            now,
            interval: tokio::time::interval(INTERVAL),
            over: false,
            _permit: permit,
        }))
}

struct Events<F> {
    now: F,
    interval: Interval,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl<T: Serialize, F: FnMut() -> (State, T) + Unpin> MessageBody for Events<F> {
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
        let (state, data) = (events.now)();
        events.over = state.is_over();
        let json = serde_json::to_string(&data).unwrap_or_default();
        Poll::Ready(Some(Ok(format!("data: {json}\n\n").into())))
    }
}
