//! Parameters of an address, and what they can be.

use std::sync::Arc;

use serde_json::{Value, json};

use diesel_export::dataset::{
    Column, Dataset, FilterField, FilterKind, MAX_SEARCH_LENGTH, Selection,
};
use diesel_export::parameters::OPTIONS;

/// In a form or an address, all is text: an id is not 5.0 there, as an integer may be in JSON.
pub(crate) fn text_filter(kind: FilterKind) -> Value {
    match kind {
        FilterKind::Boolean => json!({"type": "string", "enum": ["true", "false", ""]}),
        FilterKind::Id => json!({"type": "string", "pattern": "^(-?[0-9]{1,18})?$"}),
        FilterKind::IdOrNone => {
            json!({"type": "string", "pattern": "^(-?[0-9]{1,18}|none)?$"})
        }
        FilterKind::Text => text_schema(),
    }
}

/// A text to look for. PostgreSQL knows no NUL.
pub(crate) fn text_schema() -> Value {
    json!({"type": "string", "pattern": "^[^\\u0000]*$", "maxLength": MAX_SEARCH_LENGTH})
}

pub(crate) fn parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

/// An empty value is as good as none.
pub(crate) fn or_empty(schema: Value) -> Value {
    json!({"oneOf": [schema, {"type": "string", "maxLength": 0}]})
}

pub(crate) fn option_parameter(name: &str, values: &[&str]) -> Value {
    let description = OPTIONS.iter().find(|(option, _)| *option == name);
    let schema = or_empty(json!({"type": "string", "enum": values}));
    parameter(name, description.map_or("", |(_, what)| what), schema)
}

pub(crate) fn filter_parameter(field: &FilterField) -> Value {
    parameter(field.name(), field.help(), text_filter(field.kind()))
}

pub(crate) fn columns_parameter(dataset: &Arc<dyn Dataset>) -> Value {
    json!({
        "name": "columns", "in": "query", "required": false, "style": "form", "explode": false,
        "description": format!("{}. Without: {}", OPTIONS[0].1, Selection::default_of(dataset)),
        "schema": columns_schema(dataset),
    })
}

pub(crate) fn order_parameter(dataset: &Arc<dyn Dataset>) -> Value {
    let names = orders(dataset);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    option_parameter("order", &names)
}

/// The orders by one column. Those by several are left to the description: a schema cannot say that no column may be there twice.
pub(crate) fn orders(dataset: &Arc<dyn Dataset>) -> Vec<String> {
    let columns = dataset
        .columns()
        .iter()
        .filter(|column| column.is_ordered());
    columns
        .flat_map(|column| {
            let name = column.name();
            [name.to_owned(), format!("-{name}")]
        })
        .collect()
}

pub(crate) fn columns_schema(dataset: &Arc<dyn Dataset>) -> Value {
    let names: Vec<&str> = dataset.columns().iter().map(Column::name).collect();
    json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string", "enum": names}})
}
