//! Parameters of an address, and what they can be.

use std::sync::Arc;

use serde_json::{Value, json};

use diesel_export::dataset::{
    Column, ColumnKind, Dataset, FilterField, FilterTest, MAX_SEARCH_LENGTH, Selection,
};
use diesel_export::parameters::OPTIONS;

/// In a form or an address, all is text: an id is not 5.0 there, as an integer may be in JSON. Commas separate values.
pub(crate) fn text_filter(field: &FilterField) -> Value {
    text(field, field.has_commas())
}

/// A text that is one value, or several with commas between them. An empty one is as good as none.
pub(crate) fn text(field: &FilterField, has_commas: bool) -> Value {
    let labels = field.labels().iter().map(String::as_str);
    let none = field.takes_none().then_some("none");
    let truth = ["true", "false"].into_iter().filter(|_| field.is_boolean());
    let known: Vec<&str> = labels.chain(truth).collect();
    if !known.is_empty() {
        let known: Vec<&str> = known.into_iter().chain(none).chain([""]).collect();
        return json!({"type": "string", "enum": known});
    }
    let Some(mut value) = pattern(field.kind()) else {
        return text_schema();
    };
    if none.is_some() {
        value = format!("({value}|none)");
    }
    let more = if has_commas {
        format!("(,{value})*")
    } else {
        String::new()
    };
    json!({"type": "string", "pattern": format!("^({value}{more})?$")})
}

/// What a value looks like: each text of this look is one.
fn pattern(kind: &ColumnKind) -> Option<String> {
    /// Those before a year's end that is no leap year's February 29th.
    const DAY: &str = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-\
        ((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
    const LEAP_DAY: &str =
        "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29";
    const TIME: &str = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?";
    const OFFSET: &str = "(Z|[+-](0[0-9]|1[0-5]):[0-5][0-9])?";
    let date = || format!("({DAY}|{LEAP_DAY})");
    match kind {
        ColumnKind::Integer => Some("-?[0-9]{1,18}".to_owned()),
        ColumnKind::Decimal | ColumnKind::Float => {
            let exponent = "([eE][+-]?[0-9]{1,2})?";
            Some(format!(
                r"[+-]?([0-9]{{1,100}}(\.[0-9]{{0,100}})?|\.[0-9]{{1,100}}){exponent}"
            ))
        }
        ColumnKind::Date => Some(date()),
        ColumnKind::Timestamp => Some(format!("{}(T{TIME})?", date())),
        ColumnKind::Timestamptz => Some(format!("{}(T{TIME}{OFFSET})?", date())),
        ColumnKind::Time => Some(TIME.to_owned()),
        ColumnKind::Uuid => {
            let groups = [8, 4, 4, 4, 12].map(|digits| format!("[0-9A-Fa-f]{{{digits}}}"));
            Some(groups.join("-"))
        }
        ColumnKind::Boolean
        | ColumnKind::Label(_)
        | ColumnKind::Text
        | ColumnKind::Json
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
    json!({"anyOf": [schema, {"type": "string", "maxLength": 0}]})
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

#[cfg(test)]
mod tests {
    use std::error::Error;

    use proptest::strategy::{Strategy, ValueTree};
    use proptest::string::string_regex;
    use proptest::test_runner::TestRunner;
    use time::{Date, Month};

    use super::*;
    use diesel_export::example::catalog;

    #[test]
    fn each_text_of_a_values_look_is_one() -> Result<(), Box<dyn Error>> {
        let mut runner = TestRunner::deterministic();
        let catalog = catalog();
        for field in catalog.all().flat_map(|dataset| dataset.filters()) {
            let Some(pattern) = pattern(field.kind()) else {
                continue;
            };
            let texts = string_regex(&pattern)?;
            for _ in 0..100 {
                let text = texts
                    .new_tree(&mut runner)
                    .map_err(|reason| reason.to_string())?;
                let text = text.current();
                assert!(field.parse(&text).is_ok(), "{field:?} {text:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn every_day_looks_like_one_and_no_other_does() -> Result<(), Box<dyn Error>> {
        let pattern = format!("^{}$", pattern(&ColumnKind::Date).unwrap_or_default());
        let pattern = regex_lite::Regex::new(&pattern)?;
        for year in [
            0, 1, 4, 10, 99, 100, 400, 999, 1900, 2000, 2023, 2024, 9996, 9999,
        ] {
            for (month, day) in (1..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                let date = Month::try_from(month).ok();
                let date = date.and_then(|month| Date::from_calendar_date(year, month, day).ok());
                let text = format!("{year:04}-{month:02}-{day:02}");
                assert_eq!(
                    pattern.is_match(&text),
                    date.is_some() && year > 0,
                    "{text}"
                );
            }
        }
        Ok(())
    }
}
