//! `GET /openapi.json`: what the service answers to, made from the code that answers.

mod datasets;
mod order;
mod parameters;
mod problems;

use actix_web::web;
use utoipa::openapi::InfoBuilder;
use utoipa::{Modify, OpenApi, openapi};

use crate::NAME;
use crate::app::App;
use crate::application::Application;
use crate::problem;
use diesel_export::choices::Choices;
use diesel_export::dataset::Catalog;

use self::datasets::Datasets;
use self::problems::Problems;

/// The service.
#[derive(OpenApi)]
#[openapi(
        paths(
        crate::api::exports::post,
        crate::api::exports::list,
        crate::api::exports::get,
        crate::api::exports::delete,
        crate::api::exports::follow,
        crate::monitoring::health::livez,
        crate::monitoring::health::readyz,
        crate::monitoring::metrics::metrics,
        crate::pages::export_page::index,
        crate::prepared::file::get,
        crate::prepared::page::page,
        crate::prepared::page::delete,
        document,
    ),
    components(schemas(problem::ProblemBody<'static>, Choices)),
)]
struct Document;

/// This document.
#[utoipa::path(method(get, head), path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(crate) async fn document(app: web::Data<App>) -> web::Json<openapi::OpenApi> {
    web::Json(of(app.catalog(), &app.settings.application))
}

fn of(catalog: &Catalog, application: &Application) -> openapi::OpenApi {
    let mut document = Document::openapi();
    let description = Some(application.description.to_owned());
    document.info = InfoBuilder::new()
        .title(NAME)
        .version(application.version)
        .description(description)
        .build();
    document.merge((application.openapi)());
    Datasets(catalog).modify(&mut document);
    Problems(catalog).modify(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::application::tests::APPLICATION;
    use diesel_export::example::catalog;

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let paths = of(&catalog(), &APPLICATION).paths.paths;
        let operations = paths
            .values()
            .flat_map(|item| [&item.get, &item.head, &item.post, &item.delete])
            .flatten();
        let mut seen = HashSet::new();
        for operation in operations {
            let id = operation.operation_id.as_deref();
            assert!(id.is_some() && seen.insert(id), "{id:?}");
        }
        assert!(seen.contains(&Some("books_csv_head")));
    }
}
