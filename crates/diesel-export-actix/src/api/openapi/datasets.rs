//! The operations that every dataset has, with the parameters that it declares.

use std::sync::Arc;

use serde_json::{Value, json};
use utoipa::openapi::path::Operation;

use crate::api::choices::{narrowing, of_choices};
use crate::download::media_type;
use diesel_export::Strategy;
use diesel_export::csv::{Delimiter, Preset};
use diesel_export::dataset::{Catalog, ColumnKind, Dataset};
use diesel_export::format::FileType;
use diesel_export::parameters::names_of;

use crate::api::openapi::parameters::{
    columns_parameter, filter_parameter, option_parameter, or_empty, order_parameter, parameter,
    text_schema,
};

/// Returns the operation of `GET /{dataset}`.
pub(crate) fn page(dataset: &Arc<dyn Dataset>) -> Operation {
    let responses = json!({"200": {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}});
    let summary = format!("The export page of the {}", dataset.name());
    operation(dataset, "page", &summary, &[], responses)
}

/// Returns the operation of `GET /{dataset}.{extension}`.
pub(crate) fn download(dataset: &Arc<dyn Dataset>, file_type: FileType) -> Operation {
    let (kind, text) = match file_type {
        FileType::Csv => ("CSV", json!({"type": "string"})),
        FileType::Ndjson => ("JSON lines", json!({"type": "string"})),
        FileType::Xlsx => (
            "an Excel workbook",
            json!({"type": "string", "format": "binary"}),
        ),
    };
    let (sent, too_much, no_room) = match file_type.is_streamed() {
        true => (
            "The file. It is complete only if the response ends with its final chunk or, with `whole=true`, has the length in Content-Length",
            "Too many rows or too much data for this strategy, or an unexpected NULL for `joined`",
            "With `whole=true` or over HTTP/1.0: the spool is full; see Retry-After",
        ),
        false => (
            "The file, with its Content-Length",
            "Too many rows or too much data for this strategy, too many rows for a workbook, a text that is too long for a cell, or an unexpected NULL for `joined`",
            "The spool is full; see Retry-After",
        ),
    };
    let responses = json!({
        "200": file(content_type(file_type), text, sent),
        "303": cross_site(),
        "409": problem("The export ID is already in use, or the export was cancelled before its first byte"),
        "422": problem(too_much),
        "507": problem(no_room),
    });
    let summary = format!("Downloads the {} as {kind}", dataset.name());
    let parameters = file_parameters(dataset, file_type);
    operation(
        dataset,
        file_type.extension(),
        &summary,
        &parameters,
        responses,
    )
}

/// Returns the operation of `HEAD /{dataset}.{extension}`.
pub(crate) fn head(dataset: &Arc<dyn Dataset>, file_type: FileType) -> Operation {
    let no_spool = problem("The file would have to be made first, and the service has no spool");
    let valid = json!({"description": "The parameters are valid", "content": {content_type(file_type): {}}});
    let summary = "Checks a download's parameters without a query on the database";
    operation(
        dataset,
        file_type.extension(),
        summary,
        &file_parameters(dataset, file_type),
        json!({"200": valid, "507": no_spool}),
    )
}

/// The media type without its parameters.
fn content_type(file_type: FileType) -> &'static str {
    media_type(file_type).split(';').next().unwrap_or_default()
}

/// Returns the operation of `GET /api/{dataset}`.
pub(crate) fn preview(dataset: &Arc<dyn Dataset>) -> Operation {
    let count = parameter(
        "count",
        "Whether to count all matching rows, which takes longer the more there are (default: `true`)",
        or_empty(json!({"type": "boolean"})),
    );
    let parameters: Vec<Value> = filters(dataset)
        .chain([columns_parameter(dataset), order_parameter(dataset), count])
        .collect();
    let cut = json!({
        "type": "object",
        "required": ["row", "column"],
        "properties": {
            "row": {"type": "integer", "minimum": 0, "description": "Index of the row, from 0"},
            "column": {"type": "string", "description": "Name of the column in the header"},
        },
    });
    let rows = json!({
        "type": "object",
        "required": ["count", "rows", "cut"],
        "properties": {
            "count": {"type": ["integer", "null"], "format": "int64", "description": "Number of matching rows; null if it was not requested"},
            "rows": {"type": "array", "description": "The first rows, keyed by the names in the header", "items": row_schema(dataset)},
            "cut": {"type": "array", "description": "Texts that were truncated to 200 characters", "items": cut},
        },
    });
    let summary = format!(
        "Previews the {}: their number and the first 20",
        dataset.name()
    );
    operation(dataset, "preview", &summary, &parameters, ok(rows))
}

/// Returns the operation of `GET /api/{dataset}/count`.
pub(crate) fn count(dataset: &Arc<dyn Dataset>) -> Operation {
    let parameters: Vec<Value> = filters(dataset).collect();
    let number = json!({"type": "integer", "format": "int64"});
    let count = json!({"type": "object", "required": ["count"], "properties": {"count": number}});
    let summary = format!("Counts the {}", dataset.name());
    operation(dataset, "count", &summary, &parameters, ok(count))
}

/// Returns the operation of `GET /api/filters`, for all datasets that others refer to.
pub(crate) fn filters_of(catalog: &Catalog) -> Operation {
    let names: Vec<&str> = of_choices(catalog).map(|dataset| dataset.name()).collect();
    let mut of = parameter(
        "of",
        "The dataset to choose from",
        json!({"type": "string", "enum": names}),
    );
    of["required"] = true.into();
    let words = "Only those whose name contains all of these words, in any order and case";
    let mut parameters = vec![of, parameter("q", words, text_schema())];
    for field in narrowing(catalog) {
        let parameter = filter_parameter(field);
        let mut known = parameters.iter_mut();
        match known.find(|known| known["name"] == field.name()) {
            None => parameters.push(parameter),
            // Of another type in another dataset.
            Some(known) if known["schema"] != parameter["schema"] => {
                known["schema"] = json!({"anyOf": [known["schema"], parameter["schema"]]});
            }
            Some(_) => {}
        }
    }
    from_json(json!({
        "operationId": "filters",
        "summary": "Lists what a filter can be set to: the first 100, best matches first, then by name",
        "parameters": parameters,
        "responses": ok(json!({"$ref": "#/components/schemas/Choices"})),
    }))
}

fn operation(
    dataset: &Arc<dyn Dataset>,
    id: &str,
    summary: &str,
    parameters: &[Value],
    responses: Value,
) -> Operation {
    let id = format!("{}_{id}", dataset.name());
    from_json(
        json!({"operationId": id, "summary": summary, "parameters": parameters, "responses": responses}),
    )
}

fn from_json(operation: Value) -> Operation {
    serde_json::from_value(operation)
        .inspect_err(|error| tracing::error!(%error, "an operation is not described"))
        .unwrap_or_default()
}

fn filters(dataset: &Arc<dyn Dataset>) -> impl Iterator<Item = Value> {
    dataset.filters().iter().map(filter_parameter)
}

/// The parameters of a download.
fn file_parameters(dataset: &Arc<dyn Dataset>, file_type: FileType) -> Vec<Value> {
    let flag =
        |name, description| parameter(name, description, or_empty(json!({"type": "boolean"})));
    let id = parameter(
        "export_id",
        "An ID for the export: 1 to 64 of A-Z a-z 0-9 - _",
        json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
    );
    let fresh = flag(
        "fresh",
        "Whether the server must have everything that the primary has now, with a 503 if that cannot be shown (default: it may lag by the configured maximum)",
    );
    let whole = flag(
        "whole",
        "Whether to make the complete file first and send it with its length, so that every client detects truncation. A workbook always is",
    );
    let strategy = option_parameter("strategy", &names_of::<Strategy>());
    let of_csv = [
        option_parameter("preset", &names_of::<Preset>()),
        option_parameter("delimiter", &names_of::<Delimiter>()),
    ];
    let of_csv = of_csv.into_iter().filter(|_| file_type == FileType::Csv);
    filters(dataset)
        .chain([
            columns_parameter(dataset),
            order_parameter(dataset),
            strategy,
            id,
            fresh,
            whole,
        ])
        .chain(of_csv)
        .collect()
}

fn ok(schema: Value) -> Value {
    json!({"200": {"description": "", "content": {"application/json": {"schema": schema}}}})
}

fn file(media_type: &str, schema: Value, description: &str) -> Value {
    let header = |description| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "description": description,
        "headers": {
            "X-Export-Id": header("The export's ID"),
            "X-Export-Strategy": header("The strategy that ran"),
            "X-Export-Source": header("`primary` or `replica`"),
            "Repr-Digest": header("The SHA-256 (RFC 9530), if the file was made first"),
        },
        "content": {media_type: {"schema": schema}},
        "links": links(&[("manifest", "export"), ("events", "export_events"), ("cancel", "export_cancel")]),
    })
}

fn problem(description: &str) -> Value {
    let content = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    json!({"description": description, "content": {"application/problem+json": content}})
}

fn cross_site() -> Value {
    json!({"description": "Redirects a link from another site to the export page, with the parameters filled in"})
}

/// Links to the operations that take the ID of an export.
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

fn row_schema(dataset: &Arc<dyn Dataset>) -> Value {
    let columns = dataset.columns().iter().map(|column| {
        let schema = match column.kind() {
            ColumnKind::Integer => json!({"type": ["integer", "null"], "format": "int64"}),
            ColumnKind::Boolean => json!({"type": ["boolean", "null"]}),
            ColumnKind::Label(labels) => json!({"type": "string", "enum": labels}),
            _ => json!({"type": ["string", "null"]}),
        };
        (column.header().to_owned(), schema)
    });
    let columns: serde_json::Map<String, Value> = columns.collect();
    json!({"type": "object", "properties": columns})
}
