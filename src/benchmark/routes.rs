//! The routes of the benchmark, and what it adds to the service: its section, problems and files.

use std::sync::{Arc, LazyLock};

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use diesel_export_actix::pages::static_files::StaticFile;
use diesel_export_actix::routes::Route;
use diesel_export_actix::{ApplicationProblem, Section, route};
use utoipa::openapi::{RefOr, Required};

use crate::benchmark::store::Benchmarks;
use crate::benchmark::{api, page};

/// The benchmark's page.
pub const SECTION: Section = Section {
    path: "/benchmark",
    title: "Benchmark",
};

pub(crate) static NO_BENCHMARK: ApplicationProblem = ApplicationProblem {
    status: StatusCode::NOT_FOUND,
    name: "not-found",
    title: "Not found",
    page: (
        "There is no such benchmark",
        "It may have been deleted, or it ended without a result. Choose another one, or run it again.",
    ),
};
pub(crate) static BENCHMARK_RUNS: ApplicationProblem = ApplicationProblem {
    status: StatusCode::CONFLICT,
    name: "benchmark-runs",
    title: "Another benchmark is running",
    page: (
        "Another benchmark is running",
        "Two at once would disturb each other. Wait until it ends, or cancel it.",
    ),
};
pub(crate) static BENCHMARKS_OFF: ApplicationProblem = ApplicationProblem {
    status: StatusCode::FORBIDDEN,
    name: "benchmarks-off",
    title: "Benchmarks are disabled",
    page: (
        "Benchmarks are off here",
        "Other machines can reach this service. Whoever runs it can allow them: serve --allow-benchmarks.",
    ),
};

/// The problems that only these routes have.
#[cfg(test)]
pub(crate) const PROBLEMS: [&ApplicationProblem; 2] = [&BENCHMARK_RUNS, &BENCHMARKS_OFF];

/// The page's rules for the stylesheet.
pub(crate) static STYLE: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "benchmark.css",
        include_str!("../../templates/benchmark.css"),
    )
});
/// The page's script.
pub(crate) static SCRIPT: LazyLock<StaticFile> =
    LazyLock::new(|| StaticFile::new("benchmark.js", include_str!("../../templates/benchmark.js")));

/// The files of the page.
pub fn static_files() -> Vec<&'static StaticFile> {
    vec![&STYLE, &SCRIPT]
}

/// Registers the data of the handlers.
pub fn configure(config: &mut ServiceConfig, benchmarks: &Arc<Benchmarks>) {
    config.app_data(web::Data::from(Arc::clone(benchmarks)));
}

/// Returns the routes.
pub fn routes() -> Vec<Route> {
    vec![
        route!(page::page),
        route!(api::list),
        route!(api::post).amend(|operation| {
            // Without a strategy, all strategies are measured.
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                body.required = Some(Required::False);
            }
        }),
        route!(api::get),
        route!(api::follow),
        route!(api::delete),
        route!(api::cancel),
    ]
}
