//! `GET /openapi.json`: what the service answers to, made from the code that answers.

use actix_web::web;
use serde_json::{Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Required, ResponseBuilder};
use utoipa::{Modify, OpenApi, openapi};

use super::download::media_type;
use super::problem;
use crate::datasets;
use crate::export::Strategy;
use crate::export::choices::Choices;
use crate::export::csv::{Delimiter, Preset};
use crate::export::dataset::{
    Column, ColumnKind, Dataset, FilterField, FilterKind, MAX_SEARCH_LENGTH, Selection,
};
use crate::export::format::FileType;
use crate::export::parameters::{OPTIONS, names_of};

/// The service.
#[derive(OpenApi)]
#[openapi(
    info(title = "cmms-export", description = "Exports the tasks of a CMMS, its assets, locations and users to CSV and to Excel workbooks"),
    paths(
        super::benchmark::cancel,
        super::benchmark::delete,
        super::benchmark::follow,
        super::benchmark::get,
        super::benchmark::list,
        super::benchmark::post,
        super::benchmark_import::post,
        super::benchmark_page::page,
        super::exports::post,
        super::exports::list,
        super::exports::get,
        super::exports::delete,
        super::exports::follow,
        super::health::livez,
        super::health::readyz,
        super::metrics::metrics,
        super::pages::index,
        super::prepared_file::get,
        super::prepared_page::page,
        super::prepared_page::delete,
        document,
    ),
    components(schemas(problem::ProblemBody<'static>, Choices)),
    modifiers(&Datasets, &Problems)
)]
struct Document;

/// Adds the addresses that every dataset has, with the parameters that it declares.
struct Datasets;

impl Modify for Datasets {
    fn modify(&self, document: &mut openapi::OpenApi) {
        for (path, item) in datasets::all().flat_map(paths).chain([filters_path()]) {
            match serde_json::from_value(item) {
                Ok(item) => {
                    document.paths.paths.insert(path, item);
                }
                Err(error) => tracing::error!(path, %error, "an address is not described"),
            }
        }
        if let Some(post) = document
            .paths
            .paths
            .get_mut("/api/exports")
            .and_then(|item| item.post.as_mut())
        {
            post.request_body = serde_json::from_value(order_body())
                .inspect_err(|error| tracing::error!(%error, "an order is not described"))
                .ok();
        }
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
    }
}

fn paths(dataset: &'static dyn Dataset) -> [(String, Value); 5] {
    let name = dataset.name();
    let filters = || dataset.filters().iter().map(filter_parameter);
    let columns = || columns_parameter(dataset);
    let strategy = || option_parameter("strategy", &names_of::<Strategy>());
    let of_csv = [
        option_parameter("preset", &names_of::<Preset>()),
        option_parameter("delimiter", &names_of::<Delimiter>()),
    ];
    let own = [
        parameter(
            "export_id",
            "An id for the export: 1 to 64 of A-Z a-z 0-9 - _",
            json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
        ),
        parameter(
            "fresh",
            "Whether a replica must have all that the primary has now; without, up to the largest lag may be missing",
            or_empty(json!({"type": "boolean"})),
        ),
    ];
    let count = parameter(
        "count",
        "Whether to count them too, which takes the longer the more there are: `true` by default",
        or_empty(json!({"type": "boolean"})),
    );
    let workbook: Vec<Value> = filters()
        .chain([columns(), strategy()])
        .chain(own)
        .collect();
    let download: Vec<Value> = workbook.iter().cloned().chain(of_csv).collect();
    let preview: Vec<Value> = filters().chain([columns(), count]).collect();
    let counted: Vec<Value> = filters().collect();
    let problem = |description| {
        let content = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
        json!({"description": description, "content": {"application/problem+json": content}})
    };
    let header = |description| json!({"description": description, "schema": {"type": "string"}});
    let ok =
        |schema| json!({"description": "", "content": {"application/json": {"schema": schema}}});
    let file = |media_type: &str, schema: Value, description: &str| {
        json!({
            "description": description,
            "headers": {
                "X-Export-Id": header("The export's id"),
                "X-Export-Strategy": header("The strategy that ran"),
                "X-Export-Source": header("`primary` or `replica`"),
            },
            "content": {media_type: {"schema": schema}},
            "links": links(&[("manifest", "export"), ("events", "export_events"), ("cancel", "export_cancel")]),
        })
    };
    let csv = file(
        "text/csv",
        json!({"type": "string"}),
        "The CSV. It is whole only if the response ends with its final chunk",
    );
    let xlsx = file(
        media_type(FileType::Xlsx),
        json!({"type": "string", "format": "binary"}),
        "The workbook, of the length that Content-Length says",
    );
    let understood = |media_type: &str| json!({"200": {"description": "The parameters are understood", "content": {media_type: {}}}});
    const HEAD: &str =
        "What a download would be, without the export: nothing is asked of the database.";
    let of = |id: &str, what: &str, parameters: &[Value], responses: Value| json!({"operationId": format!("{name}_{id}"), "summary": what, "parameters": parameters, "responses": responses});
    let both = |id: &str, what: &str, parameters: &[Value], responses: Value| {
        let head = of(&format!("{id}_head"), what, parameters, responses.clone());
        json!({"get": of(id, what, parameters, responses), "head": head})
    };
    let number = json!({"type": "integer", "format": "int64"});
    let rows = json!({
        "type": "object",
        "required": ["count", "rows"],
        "properties": {
            "count": {"type": ["integer", "null"], "format": "int64", "description": "How many rows it has; null if that was not asked for"},
            "rows": {"type": "array", "description": "The first of them, by the names of the header", "items": row_schema(dataset)},
        },
    });
    let page = json!({"200": {"description": "", "content": {"text/html": {"schema": {"type": "string"}}}}});
    [
        (
            format!("/{name}.csv"),
            json!({
                "get": of("csv", &format!("The {name} as CSV, streamed."), &download, json!({
                    "200": csv,
                    "409": problem("There is another export of this id, or it was stopped before its first byte"),
                    "422": problem("Too many rows for this strategy"),
                    "505": problem("The request is of HTTP/1.0, in which a download that is cut short looks whole"),
                })),
                "head": of("csv_head", HEAD, &download, understood("text/csv")),
            }),
        ),
        (
            format!("/{name}.xlsx"),
            json!({
                "get": of("xlsx", &format!("The {name} as an Excel workbook, as soon as it is whole."), &workbook, json!({
                    "200": xlsx,
                    "409": problem("There is another export of this id, or it was stopped before its first byte"),
                    "422": problem("Too many rows for this strategy or for a workbook, or a text that is too long for a cell"),
                    "507": problem("There is no room to make the workbook in; see Retry-After"),
                })),
                "head": of("xlsx_head", HEAD, &workbook, understood(media_type(FileType::Xlsx))),
            }),
        ),
        (
            format!("/api/{name}"),
            both(
                "preview",
                &format!("The number of the {name}, and the first of them."),
                &preview,
                json!({"200": ok(rows)}),
            ),
        ),
        (
            format!("/api/{name}/count"),
            both(
                "count",
                &format!("The number of the {name}."),
                &counted,
                json!({"200": ok(json!({"type": "object", "required": ["count"], "properties": {"count": number}}))}),
            ),
        ),
        (
            format!("/{name}"),
            both(
                "page",
                &format!("The export page of the {name}."),
                &[],
                page,
            ),
        ),
    ]
}

/// Which operations take the id of an export that has begun.
fn links(operations: &[(&str, &str)]) -> Value {
    let link = |(name, operation): &(&str, &str)| {
        let link =
            json!({"operationId": operation, "parameters": {"id": "$response.header.X-Export-Id"}});
        ((*name).to_owned(), link)
    };
    operations
        .iter()
        .map(link)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What `POST /api/exports` takes: an export of one of the datasets, in one of the formats.
fn order_body() -> Value {
    let any = |filter_of: fn(FilterKind) -> Value, choice: fn(Value) -> Value| {
        let orders = datasets::all().flat_map(|dataset| {
            [FileType::Csv, FileType::Xlsx]
                .map(|file_type| order_schema(dataset, file_type, filter_of, choice))
        });
        json!({"schema": {"oneOf": orders.collect::<Vec<_>>()}})
    };
    json!({
        "required": false,
        "content": {
            "application/json": any(json_filter, |schema| schema),
            "application/x-www-form-urlencoded": any(text_filter, or_empty),
        },
    })
}

/// An export of a dataset, with its filters and choices as JSON or a form has them.
fn order_schema(
    dataset: &'static dyn Dataset,
    file_type: FileType,
    filter_of: fn(FilterKind) -> Value,
    choice: fn(Value) -> Value,
) -> Value {
    let mut columns = columns_schema(dataset);
    if choice(Value::Null) != Value::Null {
        // A form cannot say that there are none.
        columns["minItems"] = 0.into();
    }
    let one_of = |names: Vec<String>| choice(json!({"type": "string", "enum": names}));
    let truth = filter_of(FilterKind::Boolean);
    let only = |name: &str| json!({"type": "string", "enum": [name]});
    let mut properties = json!({
        "dataset": only(dataset.name()),
        "columns": columns,
        "format": only(file_type.extension()),
        "strategy": one_of(names_of::<Strategy>()),
        "fresh": truth,
    });
    let mut required = Vec::new();
    if *dataset != *datasets::default() {
        required.push("dataset");
    }
    match file_type {
        FileType::Csv => {
            properties["preset"] = one_of(names_of::<Preset>());
            properties["delimiter"] = one_of(names_of::<Delimiter>());
        }
        FileType::Xlsx => required.push("format"),
    }
    for field in dataset.filters() {
        properties[field.name()] = filter_of(field.kind());
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn json_filter(kind: FilterKind) -> Value {
    let id = json!({"type": "integer", "format": "int64"});
    match kind {
        FilterKind::Boolean => json!({"type": "boolean"}),
        FilterKind::Id { .. } => id,
        FilterKind::IdOrNone { .. } => json!({"oneOf": [id, {"type": "string", "enum": ["none"]}]}),
        FilterKind::Text => text_schema(),
    }
}

/// In a form or an address, all is text: an id is not 5.0 there, as an integer may be in JSON.
fn text_filter(kind: FilterKind) -> Value {
    match kind {
        FilterKind::Boolean => json!({"type": "string", "enum": ["true", "false", ""]}),
        FilterKind::Id { .. } => json!({"type": "string", "pattern": "^(-?[0-9]{1,18})?$"}),
        FilterKind::IdOrNone { .. } => {
            json!({"type": "string", "pattern": "^(-?[0-9]{1,18}|none)?$"})
        }
        FilterKind::Text => text_schema(),
    }
}

/// `/api/filters`, which is of all datasets that others refer to.
fn filters_path() -> (String, Value) {
    let known = || datasets::all().filter(|dataset| dataset.label().is_some());
    let names: Vec<&str> = known().map(Dataset::name).collect();
    let mut of = parameter(
        "of",
        "Of which dataset",
        json!({"type": "string", "enum": names}),
    );
    of["required"] = true.into();
    let words =
        "Only those whose name has all of these words in it, in any order, in upper or lower case";
    let mut parameters = vec![of, parameter("q", words, text_schema())];
    for field in super::choices::narrowing() {
        if parameters.iter().all(|known| known["name"] != field.name()) {
            parameters.push(filter_parameter(field));
        }
    }
    let content = json!({"schema": {"$ref": "#/components/schemas/Choices"}});
    let responses = json!({"200": {"description": "", "content": {"application/json": content}}});
    let summary = "What a filter can be set to: the first 200, in the order of their names.";
    let operation = |id: &str| json!({"operationId": id, "summary": summary, "parameters": parameters, "responses": responses});
    (
        "/api/filters".to_owned(),
        json!({"get": operation("filters"), "head": operation("filters_head")}),
    )
}

/// PostgreSQL knows no NUL.
fn text_schema() -> Value {
    json!({"type": "string", "pattern": "^[^\\u0000]*$", "maxLength": MAX_SEARCH_LENGTH})
}

fn parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

/// An empty value is as good as none.
fn or_empty(schema: Value) -> Value {
    json!({"oneOf": [schema, {"type": "string", "maxLength": 0}]})
}

fn option_parameter(name: &str, values: &[String]) -> Value {
    let description = OPTIONS.iter().find(|(option, _)| *option == name);
    let schema = or_empty(json!({"type": "string", "enum": values}));
    parameter(name, description.map_or("", |(_, what)| what), schema)
}

fn filter_parameter(field: &FilterField) -> Value {
    parameter(field.name(), field.help(), text_filter(field.kind()))
}

fn columns_parameter(dataset: &'static dyn Dataset) -> Value {
    json!({
        "name": "columns", "in": "query", "required": false, "style": "form", "explode": false,
        "description": format!("{}. Without: {}", OPTIONS[0].1, Selection::default_of(dataset)),
        "schema": columns_schema(dataset),
    })
}

fn columns_schema(dataset: &'static dyn Dataset) -> Value {
    let names: Vec<&str> = dataset.columns().iter().map(Column::name).collect();
    json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string", "enum": names}})
}

fn row_schema(dataset: &'static dyn Dataset) -> Value {
    let columns = dataset.columns().iter().map(|column| {
        let schema = match column.kind() {
            ColumnKind::Integer => json!({"type": ["integer", "null"], "format": "int64"}),
            ColumnKind::Text => json!({"type": ["string", "null"]}),
            ColumnKind::Label(labels) => json!({"type": "string", "enum": labels}),
        };
        (column.header().to_owned(), schema)
    });
    let columns: serde_json::Map<String, Value> = columns.collect();
    json!({"type": "object", "properties": columns})
}

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
            // What is derived for both methods has one id.
            if let (Some(get), Some(head)) = (&item.get, &mut item.head) {
                head.operation_id = get.operation_id.as_ref().map(|id| format!("{id}_head"));
            }
            let open = super::access::OPEN.contains(&path.as_str());
            let of_dataset = |dataset: &dyn Dataset| {
                let path = path.trim_start_matches("/api").trim_start_matches('/');
                path.split(['.', '/']).next() == Some(dataset.name())
            };
            let database = matches!(path.as_str(), "/" | "/readyz" | "/api/filters")
                || datasets::all().any(of_dataset);
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let paths = Document::openapi().paths.paths;
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
