//! `GET /openapi.json`: what the service answers to, made from the code that answers.

mod datasets;
mod order;
mod parameters;
mod problems;

use actix_web::web;
use utoipa::{Modify, OpenApi, openapi};

use crate::web::app::App;
use crate::web::problem;
use diesel_export::choices::Choices;
use diesel_export::dataset::Catalog;

use self::datasets::Datasets;
use self::problems::Problems;

/// The service.
#[derive(OpenApi)]
#[openapi(
    info(title = "cmms-export", description = "Exports the tasks of a CMMS, its assets, locations and users to CSV and to Excel workbooks"),
    paths(
        crate::web::benchmark::api::cancel,
        crate::web::benchmark::api::delete,
        crate::web::benchmark::api::follow,
        crate::web::benchmark::api::get,
        crate::web::benchmark::api::list,
        crate::web::benchmark::api::post,
        crate::web::benchmark::page::page,
        crate::web::api::exports::post,
        crate::web::api::exports::list,
        crate::web::api::exports::get,
        crate::web::api::exports::delete,
        crate::web::api::exports::follow,
        crate::web::monitoring::health::livez,
        crate::web::monitoring::health::readyz,
        crate::web::monitoring::metrics::metrics,
        crate::web::pages::export_page::index,
        crate::web::prepared::file::get,
        crate::web::prepared::page::page,
        crate::web::prepared::page::delete,
        document,
    ),
    components(schemas(problem::ProblemBody<'static>, Choices)),
)]
struct Document;

/// This document.
#[utoipa::path(method(get, head), path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(crate) async fn document(app: web::Data<App>) -> web::Json<openapi::OpenApi> {
    web::Json(of(&app.settings.catalog))
}

fn of(catalog: &Catalog) -> openapi::OpenApi {
    let mut document = Document::openapi();
    Datasets(catalog).modify(&mut document);
    Problems(catalog).modify(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let paths = of(&crate::datasets::catalog()).paths.paths;
        let operations = paths
            .values()
            .flat_map(|item| [&item.get, &item.head, &item.post, &item.delete])
            .flatten();
        let mut seen = HashSet::new();
        for operation in operations {
            let id = operation.operation_id.as_deref();
            assert!(id.is_some() && seen.insert(id), "{id:?}");
        }
        assert!(seen.contains(&Some("tasks_csv_head")));
    }
}
