//! `/api/benchmarks`: the benchmark, one at a time, in processes of its own: it takes none of the exports' places.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{mpsc, watch};

use super::App;
use super::benchmark_store::{Benchmark, Entry, Status};
use super::problem::{Kind, Problem, ProblemBody};
use crate::bench::Options;
use crate::bench::result::Report;
use crate::export::manifest::State;

/// Bytes of a request to run one.
const MAX_REQUEST: usize = 16 * 1024;
/// Time after which a silent stream of events says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Runs the benchmark; one at a time. A form is answered by a redirection to the page.
#[utoipa::path(
    post,
    path = "/api/benchmarks",
    request_body(content((Options = "application/json"), (Options = "application/x-www-form-urlencoded"))),
    responses(
        (status = 201, description = "It has begun", body = Status, headers(("Location", description = "Where it can be followed"))),
        (status = 303, description = "It has begun: the page shows it"),
        (status = 403, description = "Bound beyond loopback without --allow-benchmarks, or another site's page asks",
         content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 409, description = "Another one runs; `location` says where", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn post(
    request: HttpRequest,
    body: Bytes,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    if !app.benchmarks_allowed() {
        return Err(Problem::new(Kind::BenchmarksOff));
    }
    let invalid = |detail: String| Problem::with_detail(Kind::InvalidParameter, detail);
    if body.len() > MAX_REQUEST {
        return Err(invalid("the request is too long".to_owned()));
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let is_form = kind.is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let options = if is_form {
        Options::from_pairs(form_urlencoded::parse(&body))
    } else if body.is_empty() {
        Options::default().checked()
    } else {
        let options: Options =
            serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
        options.checked()
    };
    let options = options.map_err(|error| invalid(error.to_string()))?;
    let app = app.into_inner();
    let id = app.benchmarks.start(options, &app)?;
    if is_form {
        return Ok(HttpResponse::SeeOther()
            .insert_header((LOCATION, format!("/benchmark?id={id}")))
            .finish());
    }
    let status = app.benchmarks.current().map(|current| current.status);
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/benchmarks/{id}")))
        .json(status))
}

/// The results that are kept, the latest first.
#[utoipa::path(get, path = "/api/benchmarks", responses((status = 200, body = Vec<Entry>)))]
pub(super) async fn list(app: web::Data<App>) -> Result<web::Json<Vec<Entry>>, Problem> {
    let results = blocking(move || app.benchmarks.results()).await?;
    Ok(web::Json(
        results
            .iter()
            .map(|(id, report)| entry(id, report))
            .collect(),
    ))
}

fn entry(id: &str, report: &Report) -> Entry {
    Entry {
        id: id.to_owned(),
        date: report.environment.date.clone(),
        rows: report.first().map_or(0, |first| first.rows),
        runs: report.runs,
    }
}

/// A benchmark: how it stands, and its result.
#[utoipa::path(
    get,
    path = "/api/benchmarks/{id}",
    params(("id" = String, Path, description = "The benchmark's id")),
    responses((status = 200, body = Benchmark), (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(super) async fn get(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<web::Json<Benchmark>, Problem> {
    let benchmark = blocking(move || app.benchmarks.get(&id)).await?;
    benchmark
        .map(web::Json)
        .ok_or_else(|| Problem::new(Kind::NotFound))
}

/// Stops the benchmark, down to the query of its run. One that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/api/benchmarks/{id}",
    params(("id" = String, Path, description = "The benchmark's id")),
    responses(
        (status = 204, description = "It has ended, or is about to"),
        (status = 403, description = "Another site's page may not do this", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn delete(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    if !app.benchmarks.stop(Some(&id)) {
        let known = blocking(move || app.benchmarks.get(&id)).await?;
        known.ok_or_else(|| Problem::new(Kind::NotFound))?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// How the benchmark stands, as server-sent events, until it has ended.
#[utoipa::path(
    get,
    path = "/api/benchmarks/{id}/events",
    params(("id" = String, Path, description = "The benchmark's id")),
    responses(
        (status = 200, description = "Each event's data is a status, as JSON", content_type = "text/event-stream", body = String),
        (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn events(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let mut receiver = match app.benchmarks.follow(&id) {
        Some(receiver) => receiver,
        None => {
            let known = blocking(move || app.benchmarks.get(&id)).await?;
            let ended = known.ok_or_else(|| Problem::new(Kind::NotFound))?;
            watch::Sender::new(ended.status).subscribe()
        }
    };
    let (sender, events) = mpsc::channel(1);
    rt::spawn(async move {
        receiver.mark_changed();
        loop {
            let event = match rt::time::timeout(HEARTBEAT, receiver.changed()).await {
                Err(_elapsed) => ": alive\n\n".to_owned(),
                // The last status was seen.
                Ok(Err(_)) => return,
                Ok(Ok(())) => {
                    let status = receiver.borrow_and_update().clone();
                    format!(
                        "data: {}\n\n",
                        serde_json::to_string(&status).unwrap_or_default()
                    )
                }
            };
            let ended = receiver.borrow().state != State::Running;
            if sender.send(event.into()).await.is_err() || ended {
                return;
            }
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(Events(events)))
}

/// Events on their way to a client.
struct Events(mpsc::Receiver<Bytes>);

impl Stream for Events {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut()
            .0
            .poll_recv(context)
            .map(|event| event.map(Ok))
    }
}

/// Does work that reads files.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    web::block(work)
        .await
        .map_err(|_| Problem::new(Kind::Internal))
}
