//! The filters on the page: what each is set to, and what there is to choose from.

use std::sync::Arc;

use actix_web::HttpRequest;
use diesel::{PgConnection, QueryResult};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::access::visible::Visible;
use crate::api::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::service::app::App;
use diesel_export as export;
use diesel_export::choices::{self, Choice, ChoiceId};
use diesel_export::dataset::{
    Catalog, ColumnKind, Dataset, Filter, FilterField, FilterTest, FilterValue, SearchText, Value,
};
use diesel_export::parameters::Parameters;

use crate::pages::export_page::title;

/// What an id has in place of other characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_');

/// A filter on the page, or the two of a range.
pub(crate) struct Control {
    pub(crate) name: String,
    /// Its id on the page, without blanks, and unlike the others there.
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) is: Is,
}

/// How a filter is set.
pub(crate) enum Is {
    Select(Select),
    /// Texts, a field each.
    Texts(Vec<String>),
    /// `true`, `false` or `none`, if it is set.
    Boolean {
        chosen: Option<String>,
        can_be_none: bool,
    },
    /// Values to tick, each with whether it is chosen.
    Labels {
        labels: Vec<(String, bool)>,
        can_be_none: bool,
    },
    Range(Range),
}

/// A filter that is set by choosing from a list.
pub(crate) struct Select {
    /// The dataset that it chooses from.
    pub(crate) of: String,
    /// The other filters that narrow the choice.
    pub(crate) narrowed_by: Vec<String>,
    pub(crate) can_be_none: bool,
    /// The name of the parameter by which the page, without its script, looks for other choices, if there is one.
    pub(crate) search: Option<String>,
    pub(crate) text: SearchText,
    pub(crate) choices: Vec<Choice>,
    pub(crate) more: bool,
    pub(crate) chosen: Vec<String>,
}

impl Select {
    pub(crate) fn is_chosen(&self, choice: &Choice) -> bool {
        self.chosen.contains(&choice.id.to_string())
    }

    pub(crate) fn is_none(&self) -> bool {
        self.chosen.iter().any(|chosen| chosen == "none")
    }

    pub(crate) fn is_searched(&self) -> bool {
        self.more || !self.text.as_str().is_empty()
    }
}

/// The least and the greatest value.
pub(crate) struct Range {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The type of the two fields.
    pub(crate) input: &'static str,
}

/// The filters, with what each is set to and what there is to choose from.
fn controls(
    connection: &mut PgConnection,
    catalog: &Catalog,
    filter: &Filter,
    searches: &[(String, SearchText)],
) -> QueryResult<Vec<Control>> {
    let mut controls = Vec::new();
    for field in filter.dataset().filters() {
        let of = field.of().and_then(|of| catalog.find(of));
        let is = match (of, field.test()) {
            (Some(of), _) => {
                let search = searches.iter().find(|(name, _)| *name == field.name());
                let text = search.map(|(_, text)| text.clone()).unwrap_or_default();
                Some(Is::Select(select(connection, field, of, text, filter)?))
            }
            (None, FilterTest::From) => Some(Is::Range(range(field, filter))),
            // It stands beside the least value.
            (None, FilterTest::To) => None,
            (None, FilterTest::Contains | FilterTest::OneOf) => plain(field, filter),
        };
        controls.extend(is.map(|is| Control {
            name: field.name().to_owned(),
            id: format!("filter-{}", utf8_percent_encode(field.name(), ENCODED)),
            label: label(field),
            is,
        }));
    }
    Ok(controls)
}

/// A filter that needs no look into the database. That for a whole text is there if it is set: most people look for a part.
fn plain(field: &FilterField, filter: &Filter) -> Option<Is> {
    let mut chosen = texts(filter.get(field.name()));
    if field.is_boolean() && chosen.len() < 2 {
        return Some(Is::Boolean {
            chosen: chosen.pop(),
            can_be_none: field.takes_none(),
        });
    }
    let mut labels = field.labels().to_vec();
    if field.is_boolean() {
        labels = ["true", "false"].map(str::to_owned).to_vec();
    }
    if !labels.is_empty() {
        labels.extend(field.takes_none().then(|| "none".to_owned()));
        let ticked = labels.into_iter().map(|label| {
            let is_chosen = chosen.contains(&label);
            (label, is_chosen)
        });
        return Some(Is::Labels {
            labels: ticked.collect(),
            can_be_none: field.takes_none(),
        });
    }
    let is_shown = !chosen.is_empty() || !is_exact(field, filter.dataset());
    if chosen.is_empty() {
        chosen.push(String::new());
    }
    is_shown.then_some(Is::Texts(chosen))
}

/// Whether there is another filter for a part of the same text.
fn is_exact(field: &FilterField, dataset: &Arc<dyn Dataset>) -> bool {
    let part = field.name().strip_suffix("_is");
    let mut fields = dataset.filters().iter();
    fields.any(|other| Some(other.name()) == part && other.test() == FilterTest::Contains)
}

fn range(field: &FilterField, filter: &Filter) -> Range {
    let set = |name: &str| filter.get(name).map(ToString::to_string);
    let from = set(field.name()).unwrap_or_default();
    let to = set(&format!("{}to", field.name().trim_end_matches("from"))).unwrap_or_default();
    Range {
        input: input(field.kind(), &[&from, &to]),
        from,
        to,
    }
}

/// The type of the fields of a range: text, if a typed field would lose one of the values.
fn input(kind: &ColumnKind, values: &[&str]) -> &'static str {
    let (input, holds): (_, fn(&str) -> bool) = match kind {
        ColumnKind::Date | ColumnKind::Timestamp | ColumnKind::Timestamptz => ("date", is_day),
        ColumnKind::Time => ("time", is_time),
        _ => ("number", is_number),
    };
    let mut set = values.iter().filter(|value| !value.is_empty());
    if set.all(|value| holds(value)) {
        input
    } else {
        "text"
    }
}

fn is_day(value: &str) -> bool {
    value.split('-').map(str::len).eq([4, 2, 2])
}

/// A time of milliseconds at most.
fn is_time(value: &str) -> bool {
    let is_of_time = |byte: u8| byte.is_ascii_digit() || b":.".contains(&byte);
    value < "24" && value.len() <= "14:30:00.000".len() && value.bytes().all(is_of_time)
}

/// [HTML's number](https://html.spec.whatwg.org/multipage/common-microsyntaxes.html#floating-point-numbers), which has no `+` before it and a
/// digit after its point.
fn is_number(value: &str) -> bool {
    let begins = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    let has_fraction = value.split_once('.').is_none_or(|(_, rest)| begins(rest));
    !value.starts_with('+') && has_fraction && value.parse().is_ok_and(f64::is_finite)
}

fn texts(value: Option<&FilterValue>) -> Vec<String> {
    let values = value.map(FilterValue::values).unwrap_or_default();
    values.iter().map(ToString::to_string).collect()
}

fn select(
    connection: &mut PgConnection,
    field: &FilterField,
    of: &Arc<dyn Dataset>,
    text: SearchText,
    filter: &Filter,
) -> QueryResult<Select> {
    // What narrows the rows narrows the choice, too: of the assets, only those at the location.
    let mut choice = Filter::all(of);
    let mut narrowed_by = Vec::new();
    for shared in choices::narrowing(&**filter.dataset(), field, &**of) {
        narrowed_by.push(shared.name().to_owned());
        if let Some(value) = filter.get(shared.name()) {
            // It is a filter of this dataset.
            let _ = choice.set(shared, value.clone());
        }
    }
    let mut listed = choices::load(connection, &choice, &text)?;
    let values = filter.get(field.name()).map(FilterValue::values);
    let is_listed = |value: &Value| {
        let id = value.to_string();
        listed
            .choices
            .iter()
            .any(|choice| choice.id.to_string() == id)
    };
    let chosen = values.unwrap_or_default().iter();
    let others: Vec<Value> = chosen
        .filter(|value| **value != Value::Null && !is_listed(value))
        .cloned()
        .collect();
    if !others.is_empty() {
        let found = choices::find(connection, of, &others)?;
        let all = others.iter().map(|value| {
            let id = value.to_string();
            let found = found.iter().find(|choice| choice.id.to_string() == id);
            found.cloned().unwrap_or_else(|| Choice {
                name: format!("unknown ({id})"),
                id: ChoiceId::Text(id),
            })
        });
        listed.choices.splice(0..0, all.collect::<Vec<_>>());
    }
    Ok(Select {
        of: of.name().to_owned(),
        narrowed_by,
        can_be_none: field.takes_none(),
        search: search_name(field, filter.dataset()),
        text,
        choices: listed.choices,
        more: listed.more,
        chosen: texts(filter.get(field.name())),
    })
}

/// Reads them from the database.
pub(crate) async fn look_up(
    request: &HttpRequest,
    app: &App,
    visible: &Visible,
    filter: &Filter,
    searches: &[(String, SearchText)],
) -> Result<Vec<Control>, export::Error> {
    let (chosen, searches) = (filter.clone(), searches.to_vec());
    let catalog = Arc::clone(&visible.catalog);
    let controls =
        move |connection: &mut PgConnection| controls(connection, &catalog, &chosen, &searches);
    let dataset = Arc::clone(filter.dataset());
    read(
        request,
        app,
        dataset,
        ReadFrom::Database,
        QUERY_TIMEOUT,
        controls,
    )
    .await
}

/// Sets each filter whose search, without a script, has found exactly one choice: it is what was meant.
pub(crate) async fn choose_found(
    request: &HttpRequest,
    app: &App,
    visible: &Visible,
    parameters: &mut Parameters,
    searches: &[(String, SearchText)],
) -> Result<(), export::Error> {
    if searches.iter().all(|(_, text)| text.as_str().is_empty()) {
        return Ok(());
    }
    let dataset = Arc::clone(parameters.filter.dataset());
    for control in look_up(request, app, visible, &parameters.filter, searches).await? {
        let field = dataset.filters().iter();
        let field = field.into_iter().find(|field| field.name() == control.name);
        if let (Some(field), Is::Select(select)) = (field, control.is)
            && select.chosen.is_empty()
            && !select.text.as_str().is_empty()
            && let [only] = select.choices.as_slice()
            && let Ok(value) = field.parse(&only.id.to_string())
        {
            // It is a filter of this dataset.
            let _ = parameters.filter.set(field, value);
        }
    }
    Ok(())
}

/// The parameter by which the page, without its script, looks for choices of a filter. None if it has another meaning.
pub(crate) fn search_name(field: &FilterField, dataset: &Arc<dyn Dataset>) -> Option<String> {
    let search = |field: &FilterField| {
        let name = field.name().trim_end_matches("_id");
        field.of().map(|_| format!("{name}_q"))
    };
    let name = search(field)?;
    let mut others = dataset.filters().iter();
    let is_taken = others.any(|other| {
        other.name() == name
            || other.name() != field.name() && search(other).as_ref() == Some(&name)
    });
    (!is_taken).then_some(name)
}

/// Returns a filter's label.
fn label(field: &FilterField) -> String {
    let name = field.name();
    let name = match field.test() {
        FilterTest::From => name.trim_end_matches("_from"),
        _ => name.trim_end_matches("_id"),
    };
    let words = title(name);
    match field.test() {
        FilterTest::Contains => format!("{words} contains"),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_of_text_if_a_typed_one_would_lose_its_value() {
        for (kind, typed, kept, lost) in [
            (ColumnKind::Decimal, "number", "-12.5e-3", "5."),
            (ColumnKind::Float, "number", ".5", "+3"),
            (ColumnKind::Integer, "number", "-7", "5.e3"),
            (ColumnKind::Date, "date", "0001-01-01", "infinity"),
            (
                ColumnKind::Timestamptz,
                "date",
                "2026-11-30",
                "2026-11-30T14:30Z",
            ),
            (ColumnKind::Time, "time", "14:30:05.123", "14:30:05.123456"),
            (ColumnKind::Time, "time", "14:30", "24:00"),
        ] {
            assert_eq!(input(&kind, &["", ""]), typed);
            assert_eq!(input(&kind, &[kept, ""]), typed, "{kept}");
            assert_eq!(input(&kind, &[kept, lost]), "text", "{lost}");
        }
    }
}
