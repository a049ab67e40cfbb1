//! `GET /openapi.json`: what the service answers to, made from the code that answers.

use actix_web::web;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi, openapi};

use super::problem;

/// The service.
#[derive(OpenApi)]
#[openapi(
    info(title = "cmms-export", description = "Exports the tasks of a CMMS to CSV"),
    paths(
        super::benchmark::cancel,
        super::benchmark::delete,
        super::benchmark::follow,
        super::benchmark::get,
        super::benchmark::list,
        super::benchmark::post,
        super::benchmark_import::post,
        super::benchmark_page::page,
        super::exports::get,
        super::exports::delete,
        super::exports::follow,
        super::choices::filters,
        super::health::livez,
        super::health::readyz,
        super::metrics::metrics,
        super::pages::index,
        document,
    ),
    components(schemas(problem::ProblemBody<'static>)),
    modifiers(&Problems)
)]
struct Document;

/// Says of every operation which errors it can answer with.
struct Problems;

/// What any address can answer: status, meaning.
const EVERYWHERE: [(&str, &str); 4] = [
    ("400", "Something in the request is not understood"),
    (
        "405",
        "The address does not take the method; Allow says which it takes",
    ),
    ("421", "Bound to loopback: the request names another host"),
    ("500", "Something went wrong; the log says what"),
];
const BEHIND_THE_TOKEN: [(&str, &str); 2] = [
    ("401", "Credentials are needed"),
    (
        "429",
        "Too many tries with wrong credentials; see Retry-After",
    ),
];
const OF_THE_DATABASE: [(&str, &str); 2] = [
    (
        "503",
        "The database cannot be reached, or as many exports as are allowed run already; see Retry-After",
    ),
    ("504", "The query took longer than it may"),
];

impl Modify for Problems {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [
            ("bearer", HttpAuthScheme::Bearer),
            ("basic", HttpAuthScheme::Basic),
        ] {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
        for (path, item) in &mut document.paths.paths {
            let open = super::access::OPEN.contains(&path.as_str());
            let database = matches!(
                path.as_str(),
                "/" | "/tasks.csv" | "/readyz" | "/api/tasks" | "/api/filters"
            );
            let operations = [
                &mut item.get,
                &mut item.delete,
                &mut item.post,
                &mut item.head,
            ];
            for operation in operations.into_iter().filter_map(Option::as_mut) {
                add(operation, &EVERYWHERE);
                if !open {
                    // Nothing, or the token: as the service was started.
                    let either =
                        ["bearer", "basic"].map(|name| SecurityRequirement::new(name, [""; 0]));
                    operation.security =
                        Some([&[SecurityRequirement::default()], &either[..]].concat());
                    add(operation, &BEHIND_THE_TOKEN);
                }
                if database {
                    add(operation, &OF_THE_DATABASE);
                }
            }
        }
    }
}

fn add(operation: &mut Operation, problems: &[(&str, &str)]) {
    for (status, description) in problems {
        operation
            .responses
            .responses
            .insert((*status).to_owned(), problem_response(description));
    }
}

fn problem_response(description: &str) -> RefOr<openapi::Response> {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
        .into()
}

/// This document.
#[utoipa::path(method(get, head), path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn document() -> web::Json<openapi::OpenApi> {
    web::Json(Document::openapi())
}
