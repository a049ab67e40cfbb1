//! The request body that has an export prepared.

use std::sync::Arc;

use serde_json::{Value, json};
use utoipa::openapi::request_body::RequestBody;

use strum::VariantArray;

use diesel_export::Strategy;
use diesel_export::csv::{Delimiter, Preset};
use diesel_export::dataset::{Catalog, ColumnKind, Dataset, FilterField, FilterTest};
use diesel_export::format::FileType;
use diesel_export::parameters::names_of;

use crate::api::openapi::parameters::{columns_schema, or_empty, orders, text, text_filter};

/// Returns the body of `POST /api/exports`: an export of one of the datasets, in one of the formats.
pub(crate) fn request_body(catalog: &Catalog) -> Option<RequestBody> {
    let any = |filter_of: fn(&FilterField) -> Value, choice: fn(Value) -> Value| {
        let orders = catalog.all().flat_map(|dataset| {
            let is_default = dataset == catalog.default();
            let formats = FileType::VARIANTS.iter().copied();
            let (csv, others): (Vec<_>, Vec<_>) =
                formats.partition(|format| *format == FileType::Csv);
            [csv, others]
                .map(|formats| order_schema((dataset, is_default), &formats, filter_of, choice))
        });
        json!({"schema": {"oneOf": orders.collect::<Vec<_>>()}})
    };
    let body = json!({
        "required": false,
        "content": {
            "application/json": any(json_filter, |schema| schema),
            "application/x-www-form-urlencoded": any(text_filter, or_empty),
        },
    });
    serde_json::from_value(body)
        .inspect_err(|error| tracing::error!(%error, "a request body is not described"))
        .ok()
}

/// An export of a dataset, in one of these formats, with its filters and choices as JSON or a form has them.
fn order_schema(
    (dataset, is_default): (&Arc<dyn Dataset>, bool),
    formats: &[FileType],
    filter_of: fn(&FilterField) -> Value,
    choice: fn(Value) -> Value,
) -> Value {
    let mut columns = columns_schema(dataset);
    let is_form = choice(Value::Null) != Value::Null;
    if is_form {
        // A form cannot say that there are none.
        columns["minItems"] = 0.into();
    }
    let one_of = |names: Vec<&str>| choice(json!({"type": "string", "enum": names}));
    let truth = if is_form {
        json!({"type": "string", "enum": ["true", "false", ""]})
    } else {
        json!({"type": "boolean"})
    };
    let only = |mut names: Vec<&str>, is_default: bool| {
        names.extend((is_form && is_default).then_some(""));
        json!({"type": "string", "enum": names})
    };
    let extensions = formats.iter().map(|format| format.extension());
    let is_csv = formats.contains(&FileType::Csv);
    let mut properties = json!({
        "dataset": only(vec![dataset.name()], is_default),
        "columns": columns,
        "order": choice(json!({"type": "string", "enum": orders(dataset)})),
        "format": only(extensions.collect(), is_csv),
        "strategy": one_of(names_of::<Strategy>()),
        "fresh": truth,
    });
    let mut required = Vec::new();
    if !is_default {
        required.push("dataset");
    }
    if is_csv {
        properties["preset"] = one_of(names_of::<Preset>());
        properties["delimiter"] = one_of(names_of::<Delimiter>());
    } else {
        required.push("format");
    }
    if is_form && !is_csv {
        // As a form sends a field that is left empty.
        properties["preset"] = json!({"type": "string", "maxLength": 0});
        properties["delimiter"] = properties["preset"].clone();
    }
    for field in dataset.filters() {
        properties[field.name()] = filter_of(field);
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A value, or, of a filter of one of several, an array of them.
fn json_filter(field: &FilterField) -> Value {
    let as_text = text(field, false);
    let value = match field.kind() {
        _ if field.is_boolean() => {
            let none = field.takes_none().then(|| json!({"const": "none"}));
            any_of([Some(json!({"type": "boolean"})), none])
        }
        ColumnKind::Integer => {
            let number = json!({"type": "integer", "format": "int64"});
            any_of([Some(number), field.takes_none().then_some(as_text)])
        }
        ColumnKind::Decimal | ColumnKind::Float => {
            any_of([Some(json!({"type": "number"})), Some(as_text)])
        }
        _ => as_text,
    };
    let several = json!({"type": "array", "minItems": 1, "items": value});
    any_of([
        Some(value),
        (field.test() == FilterTest::OneOf).then_some(several),
    ])
}

/// A value of one of these schemas.
fn any_of(schemas: [Option<Value>; 2]) -> Value {
    match schemas {
        [Some(one), None] | [None, Some(one)] => one,
        schemas => json!({"anyOf": schemas}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel_export::example::catalog;

    #[test]
    fn a_number_of_a_body_is_one_and_an_id_beside_none_may_be_a_text() {
        let catalog = catalog();
        let described = |dataset: &str, name: &str| {
            let filters = catalog.find(dataset).map(|dataset| dataset.filters());
            let mut filters = filters.unwrap_or_default().iter();
            let field = filters.find(|field| field.name() == name);
            field.map_or(Value::Null, json_filter)
        };
        let number = described("readers", "pages_from");
        assert_eq!(number["anyOf"][0], json!({"type": "number"}));
        assert_eq!(number["anyOf"][1]["type"], "string");
        let integer = json!({"type": "integer", "format": "int64"});
        assert_eq!(described("books", "pages_from"), integer);
        let id = described("books", "reader_id");
        let text = json!({"type": "string", "pattern": "^((-?[0-9]{1,18}|none))?$"});
        let one = json!({"anyOf": [integer, text]});
        let several = json!({"type": "array", "minItems": 1, "items": one});
        assert_eq!(id, json!({"anyOf": [one, several]}));
    }
}
