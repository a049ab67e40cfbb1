//! The request log: a line for each request when its response has ended, with its duration, its bytes and its outcome.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};
use bytes::Bytes;
use tracing::{Instrument, Span};

use crate::access::client_address::client_address;
use crate::connections::Served;
use crate::pages::static_files;
use crate::service::app::App;
use diesel_export::memory::PeakMemory;

/// Characters of a path that are logged.
const MAX_CHARACTERS: usize = 1_000;

/// Logs a request. All that is logged on its behalf has the address of its client.
pub(crate) async fn request_log<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<LoggedBody<B>>, Error> {
    let client = client_address(request.request()).map(tracing::field::display);
    let logged_by_export = LoggedByExport::default();
    let app = request.app_data::<web::Data<App>>().cloned();
    let mut entry = Entry {
        // At the highest level: the span must exist for warnings, too, if nothing less is logged.
        span: tracing::error_span!("request", client),
        started: Instant::now(),
        memory: PeakMemory::start(),
        method: cut(request.method().as_str()),
        path: cut(request.path()),
        is_routine: is_routine(app.as_ref().map_or(request.path(), |app| {
            app.settings.base_path.strip(request.path())
        })),
        status: None,
        bytes: 0,
        outcome: "aborted",
        logged_by_export: logged_by_export.clone(),
    };
    request.extensions_mut().insert(logged_by_export);
    let response = next.call(request).instrument(entry.span.clone()).await?;
    let served = response.request().extensions_mut().remove::<Served>();
    let status = response.status().as_u16();
    entry.status = Some(status);
    if let Some(app) = app {
        app.metrics.responded(status);
    }
    Ok(response.map_body(|_, body| {
        if matches!(body.size(), BodySize::None | BodySize::Sized(0)) {
            entry.outcome = "complete";
        }
        LoggedBody {
            body: Box::pin(body),
            entry,
            _served: served,
        }
    }))
}

/// Whether the line at the end of the request's export covers the request.
#[derive(Clone, Default)]
struct LoggedByExport(Arc<AtomicBool>);

/// Leaves a request to the line of the export that it has started.
pub(crate) fn leave_to_export(request: &HttpRequest) {
    if let Some(logged) = request.extensions().get::<LoggedByExport>() {
        logged.0.store(true, Ordering::Relaxed);
    }
}

/// What is known of a request; logged when it is dropped, with the response's body.
struct Entry {
    span: Span,
    started: Instant,
    memory: PeakMemory,
    method: String,
    path: String,
    is_routine: bool,
    /// `None` if the client has disconnected before there was a response.
    status: Option<u16>,
    bytes: u64,
    /// Whether the response has ended as it should (`complete`), the service has broken it off (`failed`), or its client (`aborted`).
    outcome: &'static str,
    logged_by_export: LoggedByExport,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        let seconds = (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let peak_memory_bytes = self.memory.bytes();
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    method = self.method,
                    path = self.path,
                    status = self.status,
                    bytes = self.bytes,
                    seconds,
                    peak_memory_bytes,
                    outcome = self.outcome,
                    "request"
                )
            };
        }
        // Successful requests that are sent all the time would hide the others.
        let is_routine = self.status.is_some_and(|status| status < 400) && self.is_routine;
        if is_routine || self.logged_by_export.0.load(Ordering::Relaxed) {
            log!(debug);
        } else {
            log!(info);
        }
    }
}

/// The beginning of a text from a client: it may be long, and fill the log.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether machines request it, again and again, or browsers as a part of a page.
fn is_routine(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics") || static_files::is_one(path)
}

/// A response's body that records what was sent of it.
pub(crate) struct LoggedBody<B> {
    // First: what it says when it is dropped belongs to the request, too.
    body: Pin<Box<B>>,
    entry: Entry,
    /// The request's permit, held until then.
    _served: Option<Served>,
}

impl<B: MessageBody> MessageBody for LoggedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        let Self { body, entry, .. } = self.get_mut();
        let _entered = entry.span.clone().entered();
        let next = std::task::ready!(body.as_mut().poll_next(context));
        match &next {
            Some(Ok(chunk)) => entry.bytes += chunk.len() as u64,
            Some(Err(_)) => entry.outcome = "failed",
            None => entry.outcome = "complete",
        }
        if body.size() == BodySize::Sized(0) {
            entry.outcome = "complete";
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_the_beginning_is_logged() {
        let path = "é".repeat(MAX_CHARACTERS);
        assert_eq!(cut(&path), path);
        assert_eq!(cut(&format!("{path}/a")), format!("{path}…"));
    }
}
