//! The benchmark in the service: its routes, and its section and files on the pages.

mod api;
mod charts;
mod explanation;
mod page;

use std::sync::{Arc, LazyLock};

use actix_web::web::{self, ServiceConfig};
use diesel_export_actix::pages::static_files::StaticFile;
use diesel_export_actix::routes::Route;
use diesel_export_actix::{Section, route};
use utoipa::openapi::{RefOr, Required};

use crate::benchmark::store::Benchmarks;

/// The benchmark's page.
pub const SECTION: Section = Section {
    path: "/benchmark",
    title: "Benchmark",
};

/// The page's rules for the stylesheet.
pub(crate) static STYLE: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "benchmark.css",
        include_str!("../../../templates/benchmark.css"),
    )
});
/// The page's script.
pub(crate) static SCRIPT: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "benchmark.js",
        include_str!("../../../templates/benchmark.js"),
    )
});

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
