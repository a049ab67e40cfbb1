//! The list of routes, and what a route does with methods that it does not take.

use std::future::ready;
use std::sync::Arc;

use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, web};

use crate::api::{choices, exports, openapi, rows};
use crate::app::OfDataset;
use crate::download;
use crate::monitoring::{health, metrics};
use crate::pages::{export_page, static_files};
use crate::prepared::{file as prepared_file, page as prepared_page};
use crate::problem::{Kind, Problem};
use diesel_export::dataset::Catalog;

/// Adds the routes of the service.
pub(crate) fn configure(config: &mut web::ServiceConfig, catalog: &Catalog) {
    for dataset in catalog.all() {
        let name = dataset.name();
        let of_dataset = |resource: Resource| resource.app_data(OfDataset(Arc::clone(dataset)));
        config
            .service(of_dataset(read_only(
                &format!("/{name}"),
                export_page::page,
            )))
            .service(of_dataset(
                resource(&format!("/{name}.csv"), "GET, HEAD")
                    .get(download::csv)
                    .head(download::csv_head),
            ))
            .service(of_dataset(
                resource(&format!("/{name}.xlsx"), "GET, HEAD")
                    .get(download::xlsx)
                    .head(download::xlsx_head),
            ))
            .service(of_dataset(read_only(
                &format!("/api/{name}"),
                rows::preview,
            )))
            .service(of_dataset(read_only(
                &format!("/api/{name}/count"),
                rows::count,
            )));
    }
    config
        .service(read_only("/", export_page::index))
        .service(read_only("/static/{name}", static_files::get))
        .service(read_only("/favicon.ico", static_files::favicon))
        .service(read_only_or("/api/exports", "GET, HEAD, POST", exports::list).post(exports::post))
        .service(
            read_only_or("/api/exports/{id}", "GET, HEAD, DELETE", exports::get)
                .delete(exports::delete),
        )
        .service(resource("/api/exports/{id}/events", "GET").get(exports::follow))
        .service(resource("/api/exports/{id}/delete", "POST").post(prepared_page::delete))
        .service(read_only("/exports", prepared_page::page))
        .service(read_only("/exports/{id}/{name}", prepared_file::get))
        .service(read_only("/api/filters", choices::filters))
        .service(read_only("/livez", health::livez))
        .service(read_only("/readyz", health::readyz))
        .service(read_only("/metrics", metrics::metrics))
        .service(read_only("/openapi.json", openapi::document))
        .default_service(web::to(async || {
            Err::<HttpResponse, _>(Problem::new(Kind::NotFound))
        }));
}

/// An address that takes GET and HEAD, which is GET without the body.
pub fn read_only<F, Arguments>(path: &str, handler: F) -> Resource
where
    F: Handler<Arguments>,
    Arguments: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    read_only_or(path, "GET, HEAD", handler)
}

/// The same, if it takes others, too.
pub fn read_only_or<F, Arguments>(path: &str, allowed: &'static str, handler: F) -> Resource
where
    F: Handler<Arguments>,
    Arguments: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path, allowed).get(handler.clone()).head(handler)
}

/// An address, and what it answers to any method but the `allowed` ones.
pub fn resource(path: &str, allowed: &'static str) -> Resource {
    let problem = move || {
        ready(Err::<HttpResponse, _>(Problem::new(
            Kind::MethodNotAllowed { allowed },
        )))
    };
    web::resource(path).default_service(web::to(problem))
}
