//! The problems that only the routes of the benchmark have.

use actix_web::http::StatusCode;
use diesel_export_actix::ApplicationProblem;

pub(super) static NO_BENCHMARK: ApplicationProblem = ApplicationProblem {
    status: StatusCode::NOT_FOUND,
    name: "not-found",
    title: "Not found",
    page: (
        "There is no such benchmark",
        "It may have been deleted, or it ended without a result. Choose another one, or run it again.",
    ),
};
pub(super) static BENCHMARK_RUNS: ApplicationProblem = ApplicationProblem {
    status: StatusCode::CONFLICT,
    name: "benchmark-runs",
    title: "Another benchmark is running",
    page: (
        "Another benchmark is running",
        "Two at once would disturb each other. Wait until it ends, or cancel it.",
    ),
};
pub(super) static BENCHMARKS_OFF: ApplicationProblem = ApplicationProblem {
    status: StatusCode::FORBIDDEN,
    name: "benchmarks-off",
    title: "Benchmarks are disabled",
    page: (
        "Benchmarks are off here",
        "Other machines can reach this service. Its administrator can allow them: serve --allow-benchmarks.",
    ),
};

/// All of them that are not problems of the service, too.
#[cfg(test)]
pub(crate) const PROBLEMS: [&ApplicationProblem; 2] = [&BENCHMARK_RUNS, &BENCHMARKS_OFF];
