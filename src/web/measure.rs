//! The article's measuring middleware: each request is logged with its time and its peak memory, from its start to the last
//! byte of its response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use bytes::Bytes;

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
    let response = next.call(request).await?;
    measurement.status = response.status().as_u16();
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
        tracing::info!(
            method,
            path,
            status,
            bytes,
            seconds = (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            peak_memory_bytes = self.memory.bytes(),
            "request"
        );
    }
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
