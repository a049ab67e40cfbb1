//! Parameters of an address, and what they can be.

use std::sync::Arc;

use serde_json::{Value, json};

use diesel_export::dataset::{
    Column, ColumnKind, Dataset, FilterField, FilterTest, MAX_SEARCH_LENGTH, Selection,
};
use diesel_export::parameters::OPTIONS;

/// In a form or an address, all is text: an id is not 5.0 there, as an integer may be in JSON.
pub(crate) fn text_filter(field: &FilterField) -> Value {
    let one_of = |names: Vec<&str>| json!({"type": "string", "enum": names});
    let labels: Vec<&str> = field.labels().iter().map(String::as_str).collect();
    let none = field.takes_none().then_some("none");
    match (labels.as_slice(), pattern(field.kind())) {
        ([_, ..], _) => one_of(labels.into_iter().chain(none).chain([""]).collect()),
        ([], _) if field.is_boolean() => one_of(
            ["true", "false"]
                .into_iter()
                .chain(none)
                .chain([""])
                .collect(),
        ),
        ([], Some(value)) => {
            let value = none.map_or(value.to_owned(), |none| format!("({value}|{none})"));
            let more = if field.has_commas() {
                format!("(,{value})*")
            } else {
                String::new()
            };
            json!({"type": "string", "pattern": format!("^({value}{more})?$")})
        }
        ([], None) => text_schema(),
    }
}

/// What a value looks like. Not every text of this look is one: no month has 32 days.
pub(crate) fn pattern(kind: &ColumnKind) -> Option<&'static str> {
    const DATE: &str =
        "(000[1-9]|00[1-9]0|0[1-9]00|[1-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
    match kind {
        ColumnKind::Integer => Some("-?[0-9]{1,18}"),
        ColumnKind::Decimal | ColumnKind::Float => Some(r"-?[0-9]{1,18}(\.[0-9]{1,9})?"),
        ColumnKind::Date | ColumnKind::Timestamp | ColumnKind::Timestamptz => Some(DATE),
        ColumnKind::Time => Some("([01][0-9]|2[0-3]):[0-5][0-9]"),
        ColumnKind::Uuid => Some("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        ColumnKind::Boolean
        | ColumnKind::Label(_)
        | ColumnKind::Text
        | ColumnKind::Data
        | ColumnKind::Typed(_) => None,
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
    if field.test() != FilterTest::OneOf {
        return parameter(field.name(), field.help(), text_filter(field));
    }
    let separated = if field.has_commas() {
        ", or with commas between them"
    } else {
        ""
    };
    let description = format!(
        "{}. Several values: the parameter several times{separated}",
        field.help()
    );
    let items = text_filter(field);
    parameter(
        field.name(),
        &description,
        json!({"type": "array", "items": items}),
    )
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
