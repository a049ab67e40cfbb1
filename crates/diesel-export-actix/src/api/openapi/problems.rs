//! The errors of each operation.

use std::sync::Arc;

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, openapi};

use diesel_export::dataset::{Catalog, Dataset};

/// Adds to every operation the errors that it can answer with.
pub(crate) struct Problems<'c>(pub(crate) &'c Catalog);

/// Of every operation: status, description.
const EVERYWHERE: [(&str, &str); 7] = [
    (
        "400",
        "Invalid parameter or body, or a `Range`, which downloads do not support",
    ),
    ("403", "Cross-site request, or disabled on this service"),
    ("405", "Method not allowed; see Allow"),
    ("408", "Request timeout"),
    ("413", "Request body too large"),
    ("421", "Unknown host name"),
    ("500", "Internal server error; the log has the cause"),
];
const BEHIND_THE_TOKEN: [(&str, &str); 2] = [
    ("401", "Authentication required"),
    (
        "429",
        "Too many failed authentication attempts; see Retry-After",
    ),
];
const OF_THE_DATABASE: [(&str, &str); 2] = [
    (
        "503",
        "The database is unavailable, or too many exports are running; see Retry-After",
    ),
    ("504", "Query time limit exceeded"),
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
            // A description for both methods has one ID.
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
                    // The token is optional: it depends on how the service was started.
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
