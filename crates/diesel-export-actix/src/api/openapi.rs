//! `GET /openapi.json`: the description of all routes.

pub(crate) mod datasets;
mod parameters;
mod problems;
pub(crate) mod request_body;

use actix_web::web;
use utoipa::openapi::Server;
use utoipa::{Modify, OpenApi, openapi};

use crate::access::visible::Visible;
use crate::problem;
use crate::service::app::{App, Settings};
use diesel_export::choices::Choices;
use diesel_export::dataset::Catalog;

use self::problems::Problems;

#[derive(OpenApi)]
#[openapi(components(schemas(problem::ProblemBody<'static>, Choices)))]
struct Document;

/// The OpenAPI 3.1 document of this service.
#[utoipa::path(method(get, head), path = "/openapi.json", responses((status = 200, description = "The document", body = serde_json::Value)))]
pub(crate) async fn document(app: web::Data<App>, visible: Visible) -> web::Json<openapi::OpenApi> {
    let mut document = of(&visible.catalog, &app.settings);
    if !app.settings.base_path.is_root() {
        document.servers = Some(vec![Server::new(app.address(""))]);
    }
    web::Json(document)
}

fn of(catalog: &Catalog, settings: &Settings) -> openapi::OpenApi {
    let application = settings.application;
    let mut document = Document::openapi();
    let info = &mut document.info;
    info.title = application.name.to_owned();
    info.version = application.version.to_owned();
    info.description = Some(application.description.to_owned());
    for route in settings.routes(catalog) {
        route.describe(&mut document);
    }
    Problems(catalog).modify(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::service::application::tests::APPLICATION;
    use diesel_export::example::catalog;

    fn settings() -> Settings {
        Settings::of(catalog(), "", APPLICATION)
    }

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let paths = of(&catalog(), &settings()).paths.paths;
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

    #[test]
    fn the_document_has_the_applications_version_and_a_license() {
        let info = of(&catalog(), &settings()).info;
        assert_eq!(info.version, APPLICATION.version);
        assert_eq!(info.description.as_deref(), Some(APPLICATION.description));
        let license = info.license.map(|license| license.name);
        assert_eq!(license.as_deref(), Some(env!("CARGO_PKG_LICENSE")));
    }
}
