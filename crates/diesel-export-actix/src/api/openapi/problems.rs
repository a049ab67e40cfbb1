//! Which errors each address can answer with.

use std::sync::Arc;

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, openapi};

use diesel_export::dataset::{Catalog, Dataset};

/// Says of every operation which errors it can answer with.
pub(crate) struct Problems<'c>(pub(crate) &'c Catalog);

/// What any address can answer: status, meaning.
const EVERYWHERE: [(&str, &str); 7] = [
    ("400", "Something in the request is not understood"),
    (
        "403",
        "Another site's page may not do this, or the service is not set up for it",
    ),
    (
        "405",
        "The address does not take the method; Allow says which it takes",
    ),
    ("408", "The request did not arrive in time"),
    ("413", "The request body is too large"),
    (
        "421",
        "The service does not answer to the host that the request names",
    ),
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

impl Modify for Problems<'_> {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [
            ("bearer", HttpAuthScheme::Bearer),
            ("basic", HttpAuthScheme::Basic),
        ] {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
        for (path, item) in &mut document.paths.paths {
            // What is derived for both methods has one id.
            if let (Some(get), Some(head)) = (&item.get, &mut item.head) {
                head.operation_id = get.operation_id.as_ref().map(|id| format!("{id}_head"));
            }
            let open = crate::access::OPEN.contains(&path.as_str());
            let of_dataset = |dataset: &Arc<dyn Dataset>| {
                let path = path.trim_start_matches("/api").trim_start_matches('/');
                path.split(['.', '/']).next() == Some(dataset.name())
            };
            let database = matches!(path.as_str(), "/" | "/readyz" | "/api/filters")
                || self.0.all().any(of_dataset);
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
