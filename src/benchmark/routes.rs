//! The routes of the benchmark, and its part of the service: its section, problems, files and operations.

use std::sync::{Arc, LazyLock};

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use diesel_export_actix::pages::static_files::StaticFile;
use diesel_export_actix::routes::{read_only, read_only_or, resource};
use diesel_export_actix::{ApplicationProblem, Section};
use serde_json::json;
use utoipa::openapi::{RefOr, Required};
use utoipa::{OpenApi, openapi};

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
    title: "There is nothing here",
    page: (
        "There is no such benchmark",
        "It may have been deleted, or it ended without a result. Choose another one, or run it again.",
    ),
};
pub(crate) static BENCHMARK_RUNS: ApplicationProblem = ApplicationProblem {
    status: StatusCode::CONFLICT,
    name: "benchmark-runs",
    title: "Another benchmark runs already",
    page: (
        "Another benchmark is running",
        "Two at once would disturb each other. Wait until it ends, or cancel it.",
    ),
};
pub(crate) static BENCHMARKS_OFF: ApplicationProblem = ApplicationProblem {
    status: StatusCode::FORBIDDEN,
    name: "benchmarks-off",
    title: "Benchmarks were not allowed on this service",
    page: (
        "Benchmarks are off here",
        "Other machines can reach this service. Whoever runs it can allow them: serve --allow-benchmarks.",
    ),
};

/// What the page adds to the stylesheet.
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

/// Adds the routes.
pub fn configure(config: &mut ServiceConfig, benchmarks: &Arc<Benchmarks>) {
    config
        .app_data(web::Data::from(Arc::clone(benchmarks)))
        .service(read_only(SECTION.path, page::page))
        .service(read_only_or("/api/benchmarks", "GET, HEAD, POST", api::list).post(api::post))
        .service(
            read_only_or("/api/benchmarks/{id}", "GET, HEAD, DELETE", api::get).delete(api::delete),
        )
        .service(resource("/api/benchmarks/{id}/cancel", "POST").post(api::cancel))
        .service(resource("/api/benchmarks/{id}/events", "GET").get(api::follow));
}

#[derive(OpenApi)]
#[openapi(paths(
    api::cancel,
    api::delete,
    api::follow,
    api::get,
    api::list,
    api::post,
    page::page
))]
struct Document;

/// The operations of the routes.
pub fn openapi() -> openapi::OpenApi {
    let mut document = Document::openapi();
    // What it came to, or why it did not: in words that the derived schema has not.
    let result = json!({"allOf": [
        {"type": "object", "required": ["strategy"], "properties": {"strategy": {"$ref": "#/components/schemas/Strategy"}}},
        {"oneOf": [{"$ref": "#/components/schemas/Figures"}, {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}]},
    ]});
    let components = document.components.get_or_insert_default();
    if let Ok(schema) = serde_json::from_value(result) {
        components
            .schemas
            .insert("StrategyResult".to_owned(), schema);
    }
    // Without a word, all strategies are measured.
    if let Some(RefOr::T(body)) = document
        .paths
        .paths
        .get_mut("/api/benchmarks")
        .and_then(|item| item.post.as_mut())
        .and_then(|post| post.request_body.as_mut())
    {
        body.required = Some(Required::False);
    }
    document
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use diesel_export_actix::problem::Kind;
    use regex_lite::Regex;
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn the_docs_list_every_problem_with_its_status_and_title() {
        let docs = include_str!("../../docs/http.md");
        let own = [&BENCHMARK_RUNS, &BENCHMARKS_OFF].map(Kind::Application);
        let kinds: Vec<Kind> = Kind::iter().chain(own).collect();
        for kind in &kinds {
            let (status, title) = kind.parts();
            let row = format!("| {} | `{}` | {title} |", status.as_u16(), kind.name());
            assert!(docs.contains(&row), "docs/http.md lacks: {row}");
        }
        let listed = Regex::new(r"(?m)^\| [45]\d\d \| `[a-z-]+` \| ").expect("ours");
        assert_eq!(listed.find_iter(docs).count(), kinds.len());
    }
}
