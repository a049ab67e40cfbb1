//! Each request before its handler: its body is read to its end, and it gets a permit to be served.

use std::time::Duration;

use actix_http::h1;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{Error, HttpMessage, rt};
use bytes::Bytes;

use crate::connections::client_socket::ClientSocket;
use crate::connections::connection::REQUEST_TIMEOUT;
use crate::monitoring::metrics::Rejection;
use crate::problem::{Kind, Problem};
use crate::service::app::App;

/// Maximum size of a request's body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// A middleware that reads bodies of at most this many bytes.
pub(crate) fn body_limit() -> PayloadConfig {
    PayloadConfig::new(MAX_BODY)
}

/// Reads a request's body before its handler runs, which then never waits for a slow client, and takes a permit, which the request holds
/// until its response is handed on.
pub(crate) async fn admit<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match read_and_admit(&mut request).await {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        // A response, not an error: the metrics, the log and the headers of all responses are for it, too.
        Err(problem) => Ok(request.error_response(problem).map_into_right_body()),
    }
}

async fn read_and_admit(request: &mut ServiceRequest) -> Result<(), Problem> {
    let client = request.conn_data::<ClientSocket>().cloned();
    let set_has_body = |has_body| {
        if let Some(client) = &client {
            client.set_has_body(has_body);
        }
    };
    set_has_body(true);
    let body = read_body(request, REQUEST_TIMEOUT).await;
    set_has_body(false);
    let body = body?;
    let (_, mut payload) = h1::Payload::create(true);
    payload.unread_data(body);
    request.set_payload(Payload::from(payload));
    // Liveness probes are answered however busy the service is.
    let app = request.app_data::<Data<App>>();
    let is_probe = app.is_some_and(|app| app.settings.base_path.strip(request.path()) == "/livez");
    if let Some(client) = client.filter(|_| !is_probe) {
        let Some(served) = client.serve() else {
            if let Some(app) = app {
                app.metrics.rejected(Rejection::Connections);
            }
            let detail = "too many requests are being served";
            return Err(Problem::with_detail(Kind::Busy, detail));
        };
        request.extensions_mut().insert(served);
    }
    Ok(())
}

async fn read_body(request: &mut ServiceRequest, patience: Duration) -> Result<Bytes, Problem> {
    let body = request.extract::<Bytes>();
    let Ok(body) = rt::time::timeout(patience, body).await else {
        return Err(Problem::new(Kind::RequestTimeout));
    };
    body.map_err(|error| match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            Problem::with_detail(Kind::TooLarge, format!("{MAX_BODY} bytes at most"))
        }
        _ => Problem::with_detail(Kind::InvalidParameter, "the request's body cannot be read"),
    })
}
