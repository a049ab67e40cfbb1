//! The addresses that every dataset has.

use std::sync::Arc;

use serde_json::{Value, json};
use utoipa::{Modify, openapi};

use crate::api::choices::{narrowing, of_choices};
use crate::download::media_type;
use diesel_export::Strategy;
use diesel_export::csv::{Delimiter, Preset};
use diesel_export::dataset::{Catalog, ColumnKind, Dataset};
use diesel_export::format::FileType;
use diesel_export::parameters::names_of;

use crate::api::openapi::order::order_body;
use crate::api::openapi::parameters::{
    columns_parameter, filter_parameter, option_parameter, or_empty, order_parameter, parameter,
    text_schema,
};

/// Adds the addresses that every dataset has, with the parameters that it declares.
pub(crate) struct Datasets<'c>(pub(crate) &'c Catalog);

impl Modify for Datasets<'_> {
    fn modify(&self, document: &mut openapi::OpenApi) {
        for (path, item) in self.0.all().flat_map(paths).chain([filters_path(self.0)]) {
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
            post.request_body = serde_json::from_value(order_body(self.0))
                .inspect_err(|error| tracing::error!(%error, "an order is not described"))
                .ok();
        }
    }
}

fn paths(dataset: &Arc<dyn Dataset>) -> [(String, Value); 5] {
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
            "Whether the server must have all that the primary has now, which is a 503 if it cannot be shown; without, up to the largest lag may be missing",
            or_empty(json!({"type": "boolean"})),
        ),
        parameter(
            "whole",
            "Whether the file is made first and sent with its length, by which every client sees whether it has all of it. A workbook always is",
            or_empty(json!({"type": "boolean"})),
        ),
    ];
    let count = parameter(
        "count",
        "Whether to count them too, which takes the longer the more there are: `true` by default",
        or_empty(json!({"type": "boolean"})),
    );
    let workbook: Vec<Value> = filters()
        .chain([columns(), order_parameter(dataset), strategy()])
        .chain(own)
        .collect();
    let download: Vec<Value> = workbook.iter().cloned().chain(of_csv).collect();
    let preview: Vec<Value> = filters()
        .chain([columns(), order_parameter(dataset), count])
        .collect();
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
                "Repr-Digest": header("The SHA-256, as RFC 9530 has it, if the file was made first"),
            },
            "content": {media_type: {"schema": schema}},
            "links": links(&[("manifest", "export"), ("events", "export_events"), ("cancel", "export_cancel")]),
        })
    };
    let csv = file(
        "text/csv",
        json!({"type": "string"}),
        "The CSV. It is complete only if the response ends with its final chunk or, with `whole=true`, has the length that Content-Length says",
    );
    let xlsx = file(
        media_type(FileType::Xlsx),
        json!({"type": "string", "format": "binary"}),
        "The workbook, of the length that Content-Length says",
    );
    let not_understood =
        problem("A parameter is not understood, or a part is asked for with `Range`");
    let unavailable = problem(
        "The service has no place for it now, or the database is not as it must be; see Retry-After",
    );
    let understood = |media_type: &str| {
        let no_spool =
            problem("The file would have to be made first, and the service has no spool");
        json!({"200": {"description": "The parameters are understood", "content": {media_type: {}}}, "507": no_spool})
    };
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
        "required": ["count", "rows", "cut"],
        "properties": {
            "count": {"type": ["integer", "null"], "format": "int64", "description": "How many rows it has; null if that was not asked for"},
            "rows": {"type": "array", "description": "The first of them, by the names of the header", "items": row_schema(dataset)},
            "cut": {
                "type": "array",
                "description": "Which texts of the rows are longer: they are cut at 200 characters",
                "items": {
                    "type": "object",
                    "required": ["row", "column"],
                    "properties": {
                        "row": {"type": "integer", "minimum": 0, "description": "The number of its row, from 0"},
                        "column": {"type": "string", "description": "The name of its column in the header"},
                    },
                },
            },
        },
    });
    let page = json!({"200": {"description": "", "content": {"text/html": {"schema": {"type": "string"}}}}});
    let linked = json!({"description": "For a link of another site's page: to the page of this service, with the choice filled in"});
    [
        (
            format!("/{name}.csv"),
            json!({
                "get": of("csv", &format!("The {name} as CSV, streamed or, with `whole=true`, with its length."), &download, json!({
                    "200": csv,
                    "303": linked,
                    "400": not_understood,
                    "409": problem("There is another export of this id, or it was stopped before its first byte"),
                    "422": problem("Too many rows or too much data for this strategy, or a value is NULL that `joined` cannot do without"),
                    "503": unavailable,
                    "507": problem("With `whole=true` or over HTTP/1.0: there is no room to make the file in; see Retry-After"),
                })),
                "head": of("csv_head", HEAD, &download, understood("text/csv")),
            }),
        ),
        (
            format!("/{name}.xlsx"),
            json!({
                "get": of("xlsx", &format!("The {name} as an Excel workbook, as soon as it is whole."), &workbook, json!({
                    "200": xlsx,
                    "303": linked,
                    "400": not_understood,
                    "409": problem("There is another export of this id, or it was stopped before its first byte"),
                    "422": problem("Too many rows or too much data for this strategy, too many rows for a workbook, a text that is too long for a cell, or a value is NULL that `joined` cannot do without"),
                    "503": unavailable,
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

/// Links to the operations that take the id of an export that has begun.
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

/// `/api/filters`, which is of all datasets that others refer to.
fn filters_path(catalog: &Catalog) -> (String, Value) {
    let names: Vec<&str> = of_choices(catalog).map(|dataset| dataset.name()).collect();
    let mut of = parameter(
        "of",
        "Of which dataset",
        json!({"type": "string", "enum": names}),
    );
    of["required"] = true.into();
    let words =
        "Only those whose name has all of these words in it, in any order, in upper or lower case";
    let mut parameters = vec![of, parameter("q", words, text_schema())];
    for field in narrowing(catalog) {
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

fn row_schema(dataset: &Arc<dyn Dataset>) -> Value {
    let columns = dataset.columns().iter().map(|column| {
        let schema = match column.kind() {
            ColumnKind::Integer => json!({"type": ["integer", "null"], "format": "int64"}),
            ColumnKind::Boolean => json!({"type": ["boolean", "null"]}),
            ColumnKind::Text | ColumnKind::Data => json!({"type": ["string", "null"]}),
            ColumnKind::Label(labels) => json!({"type": "string", "enum": labels}),
        };
        (column.header().to_owned(), schema)
    });
    let columns: serde_json::Map<String, Value> = columns.collect();
    json!({"type": "object", "properties": columns})
}
