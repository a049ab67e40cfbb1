//! `/api/benchmarks`: one benchmark at a time, in processes of its own, outside of the limit on running exports.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use utoipa::ToSchema;

use crate::benchmark::Options;
use crate::benchmark::problems::{BENCHMARKS_OFF, NO_BENCHMARK};
use crate::benchmark::result::Report;
use crate::benchmark::store::{Benchmark, Benchmarks, Entry, Status};
use diesel_export::Strategy;
use diesel_export_actix::events::{self, Event};
use diesel_export_actix::pages::html;
use diesel_export_actix::problem::{Kind, Problem, ProblemBody};
use diesel_export_actix::{App, blocking};

/// The fields of an HTML form.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what a browser sends")]
pub(crate) struct OptionsForm {
    /// The strategies (default: all).
    #[schema(required = false)]
    strategies: Vec<Strategy>,
    /// Runs of each strategy.
    #[schema(required = false, minimum = 1, maximum = 100)]
    runs: u32,
    /// The number of tasks, in the order of their IDs (default: all).
    #[schema(required = false, minimum = 1, maximum = 9_223_372_036_854_775_807_i64)]
    rows: u64,
}

/// Starts a benchmark; one at a time.
///
/// An HTML form is redirected to the benchmark page.
#[utoipa::path(
    post,
    path = "/api/benchmarks",
    operation_id = "benchmarks_start",
    request_body(content((Options = "application/json"), (OptionsForm = "application/x-www-form-urlencoded"))),
    responses(
        (status = 201, description = "Started", body = Status, headers(("Location", description = "The address of its progress"))),
        (status = 303, description = "Started; redirects a form to the benchmark page"),
        (status = 403, description = "Benchmarks are disabled, or cross-site request",
         content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 409, description = "Another benchmark is running; `location` has its address", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    body: Bytes,
    app: web::Data<App>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<HttpResponse, Problem> {
    if !benchmarks.are_allowed(&app) {
        return Err(Problem::new(Kind::Application(&BENCHMARKS_OFF)));
    }
    let invalid = |detail: String| Problem::with_detail(Kind::InvalidParameter, detail);
    let is_form = html::has_form(&request);
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
    let benchmarks = benchmarks.into_inner();
    let id = benchmarks.start(options)?;
    if is_form {
        return Ok(see_page_of(&id, &app));
    }
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, app.address(format_args!("/api/benchmarks/{id}"))))
        .json(benchmarks.status()))
}

fn see_page_of(id: &str, app: &App) -> HttpResponse {
    html::see_other(&app.address(format_args!("/benchmark?id={id}")))
}

/// Lists the stored results, newest first.
#[utoipa::path(method(get, head), path = "/api/benchmarks", operation_id = "benchmarks", responses((status = 200, body = Vec<Entry>)))]
pub(crate) async fn list(
    benchmarks: web::Data<Benchmarks>,
) -> Result<web::Json<Vec<Entry>>, Problem> {
    let results = blocking(move || benchmarks.results()).await?;
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

/// Returns a benchmark's progress or result.
#[utoipa::path(
    method(get, head),
    path = "/api/benchmarks/{id}",
    operation_id = "benchmark",
    params(("id" = String, Path, description = "The benchmark's ID")),
    responses((status = 200, body = Benchmark), (status = 404, description = "No such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(crate) async fn get(
    id: web::Path<String>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<web::Json<Benchmark>, Problem> {
    find(id, benchmarks).await.map(web::Json)
}

/// Cancels a benchmark with its query on the database.
///
/// One that has ended keeps its result.
#[utoipa::path(
    delete,
    path = "/api/benchmarks/{id}",
    operation_id = "benchmark_delete",
    params(("id" = String, Path, description = "The benchmark's ID")),
    responses(
        (status = 204, description = "Cancelled, or it had ended before"),
        (status = 403, description = "Cross-site request", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "No such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn delete(
    id: web::Path<String>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<HttpResponse, Problem> {
    stop(id, benchmarks).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Cancels a benchmark from an HTML form.
///
/// Redirects to the benchmark page.
#[utoipa::path(
    post,
    path = "/api/benchmarks/{id}/cancel",
    operation_id = "benchmark_cancel",
    params(("id" = String, Path, description = "The benchmark's ID")),
    responses(
        (status = 303, description = "Redirects to the benchmark page"),
        (status = 403, description = "Cross-site request", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "No such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn cancel(
    id: web::Path<String>,
    app: web::Data<App>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<HttpResponse, Problem> {
    let page = see_page_of(&id, &app);
    stop(id, benchmarks).await?;
    Ok(page)
}

async fn stop(id: web::Path<String>, benchmarks: web::Data<Benchmarks>) -> Result<(), Problem> {
    if !benchmarks.stop(Some(&id)) {
        find(id, benchmarks).await?;
    }
    Ok(())
}

/// Streams a benchmark's progress as server-sent events until it ends.
#[utoipa::path(
    get,
    path = "/api/benchmarks/{id}/events",
    operation_id = "benchmark_events",
    params(("id" = String, Path, description = "The benchmark's ID")),
    responses(
        (status = 200, description = "The data of each event is the progress as JSON", content_type = "text/event-stream", body = Event),
        (status = 404, description = "No such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn follow(
    id: web::Path<String>,
    app: web::Data<App>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<HttpResponse, Problem> {
    if let Some(status) = benchmarks.follow(&id) {
        return events::follow(&app, move || {
            let status = status();
            (status.state, status)
        });
    }
    let ended = find(id, benchmarks).await?.status;
    events::follow(&app, move || (ended.state, ended.clone()))
}

/// The benchmark of this id.
async fn find(
    id: web::Path<String>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<Benchmark, Problem> {
    let benchmark = blocking(move || benchmarks.get(&id)).await?;
    benchmark.ok_or_else(|| Problem::new(Kind::Application(&NO_BENCHMARK)))
}
