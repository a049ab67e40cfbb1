//! The article's measuring middleware: each request is logged with its time and its peak memory, from its start to the last
//! byte of its response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use bytes::Bytes;

use super::App;
use crate::memory::PeakMemory;

/// Measures a request.
pub(super) async fn measure<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<MeasuredBody<B>>, Error> {
    let mut measurement = Measurement {
        started: Instant::now(),
        memory: PeakMemory::start(),
        method: request.method().to_string(),
        path: request.path().to_owned(),
        status: 0,
        bytes: 0,
    };
    let app = request.app_data::<web::Data<App>>().cloned();
    let response = next.call(request).await?;
    measurement.status = response.status().as_u16();
    if let Some(app) = app {
        app.metrics.responded(measurement.status);
    }
    Ok(response.map_body(|_, body| MeasuredBody {
        body: Box::pin(body),
        measurement,
    }))
}

/// What is known of a request; logged when it is dropped, with the response's body.
struct Measurement {
    started: Instant,
    memory: PeakMemory,
    method: String,
    path: String,
    status: u16,
    bytes: u64,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let Self {
            method,
            path,
            status,
            bytes,
            ..
        } = self;
        let seconds = (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let peak_memory_bytes = self.memory.bytes();
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    method,
                    path,
                    status,
                    bytes,
                    seconds,
                    peak_memory_bytes,
                    "request"
                )
            };
        }
        // What is asked for all the time and answered hides what people ask for.
        if *status < 400 && is_routine(path) {
            log!(debug);
        } else {
            log!(info);
        }
    }
}

/// Whether machines ask for it, again and again, or browsers for a page's sake.
fn is_routine(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics" | "/favicon.ico")
        || path.starts_with("/static/")
}

/// A response's body that notes what of it was sent.
pub(super) struct MeasuredBody<B> {
    body: Pin<Box<B>>,
    measurement: Measurement,
}

impl<B: MessageBody> MessageBody for MeasuredBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        let this = self.get_mut();
        let next = std::task::ready!(this.body.as_mut().poll_next(context));
        if let Some(Ok(chunk)) = &next {
            this.measurement.bytes += chunk.len() as u64;
        }
        Poll::Ready(next)
    }
}
