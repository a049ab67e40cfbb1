//! Which rows of a dataset to export.

mod field;
mod search_text;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

pub use self::field::{FilterField, FilterTest, InvalidFilter};
pub use self::search_text::{InvalidText, MAX_SEARCH_LENGTH, SearchText};
pub(super) use self::search_text::{like_literal, like_pattern};
pub(super) use self::value::is_date;
pub(crate) use self::value::value_of_key;
pub use self::value::{FilterValue, Value, parse_boolean};

use super::Dataset;
use super::condition::Condition;

/// Which rows of a dataset to export: those that meet the condition of every filter that is set.
#[derive(Clone)]
pub struct Filter {
    dataset: Arc<dyn Dataset>,
    /// By the filters' indexes among those of the dataset.
    set: BTreeMap<usize, FilterValue>,
}

impl Filter {
    /// The filter that all rows pass.
    pub fn all(dataset: &Arc<dyn Dataset>) -> Self {
        Self {
            dataset: Arc::clone(dataset),
            set: BTreeMap::new(),
        }
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// Sets the dataset's filter of this name and kind: the field may have come from another dataset.
    pub fn set(&mut self, field: &FilterField, value: FilterValue) -> Result<(), InvalidFilter> {
        let is_it = |own: &FilterField| {
            own.name == field.name && own.test == field.test && own.kind == field.kind
        };
        let index = self.dataset.filters().iter().position(is_it);
        self.set.insert(index.ok_or(InvalidFilter::Unknown)?, value);
        Ok(())
    }

    /// The value of the filter of this name, if it is set.
    pub fn get(&self, name: &str) -> Option<&FilterValue> {
        self.iter()
            .find_map(|(field, value)| (field.name == name).then_some(value))
    }

    /// All of its conditions, for the query of all tables.
    pub fn conditions(&self) -> Vec<Condition> {
        let set = self.iter();
        set.map(|(field, value)| field.condition(value)).collect()
    }

    /// Its conditions on the dataset's own table.
    pub fn own_conditions(&self) -> Vec<Condition> {
        self.conditions_alone(None)
    }

    /// Its conditions on what the dataset's rows refer to by this reference.
    pub fn conditions_of_reference(&self, index: usize) -> Vec<Condition> {
        self.conditions_alone(Some(index))
    }

    fn conditions_alone(&self, reference: Option<usize>) -> Vec<Condition> {
        let wanted = self
            .iter()
            .filter(|(field, _)| field.reference == reference);
        wanted
            .map(|(field, value)| field.condition_alone(value))
            .collect()
    }

    /// Whether it may also ask for rows that refer to nothing: NULL is what they have there.
    pub(crate) fn takes_missing_references(&self) -> bool {
        self.iter()
            .any(|(field, value)| field.reference.is_some() && value.has_null())
    }

    /// The value of each filter that is set, for a manifest. Several values are an array. An id is a number there, unless the filter also
    /// takes `none`.
    pub fn to_json(&self) -> Map<String, Json> {
        let set = self.iter().map(|(field, value)| {
            let json = |value: &Value| match value {
                Value::Boolean(value) => Json::from(*value),
                Value::Integer(value) if !field.takes_none => (*value).into(),
                value => value.to_string().into(),
            };
            let json = match value.single() {
                Some(single) => json(single),
                None => value.values().iter().map(json).collect(),
            };
            (field.name.clone(), json)
        });
        set.collect()
    }

    /// The filters that are set.
    pub fn iter(&self) -> impl Iterator<Item = (&FilterField, &FilterValue)> {
        let fields = self.dataset.filters();
        let set = self.set.iter();
        set.map(|(index, value)| (&fields[*index], value))
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        *self.dataset == *other.dataset && self.set == other.set
    }
}

impl Eq for Filter {}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.iter().map(|(field, value)| (&field.name, value));
        f.debug_map().entries(set).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ColumnKind;
    use crate::example;

    fn field(name: &str) -> FilterField {
        let books = example::books();
        let found = books.filters().iter().find(|field| field.name() == name);
        found.unwrap_or_else(|| panic!("{name}")).clone()
    }

    #[test]
    fn a_filter_is_set_by_its_name_and_kind_and_has_no_other_value() {
        let books = example::books();
        let mut filter = Filter::all(&books);
        let value = FilterValue::of(Value::Boolean(true));
        let of_texts = FilterField {
            kind: ColumnKind::Text,
            ..field("lent")
        };
        let set = filter.set(&of_texts, value.clone());
        assert_eq!(set, Err(InvalidFilter::Unknown));
        assert_eq!(filter, Filter::all(&books));
        assert_eq!(filter.set(&field("lent"), value.clone()), Ok(()));
        assert_eq!(filter.get("lent"), Some(&value));
        assert_eq!(filter.get("title"), None);
        assert_ne!(filter, Filter::all(&books));
    }

    #[test]
    fn each_filter_takes_its_own_values_and_no_others() {
        let check = |name: &str, text: &str, said: &str| {
            let read = field(name).parse(text);
            let read = read.map_or_else(|error| error.to_string(), |value| value.to_string());
            assert_eq!(read, said, "{name} {text:?}");
        };
        // As Python writes it, and as it comes from a list with blanks.
        check("lent", " True", "true");
        check("lent", "yes", "expected `true` or `false`");
        check("lent", "none", "expected `true` or `false`");
        check("shelf_id", " 7\t", "7");
        check("shelf_id", "7, 8,7", "7,8");
        check("shelf_id", "7,", "expected an id, which is an integer");
        check("shelf_id", "", "expected an id, which is an integer");
        check("shelf_id", "none", "expected an id, which is an integer");
        check("reader_id", "None,7", "none,7");
        check(
            "reader_id",
            "nobody",
            "expected an id, which is an integer, or `none`",
        );
        check("title", " a,b ", " a,b ");
        check("title", "\0", &InvalidText::Nul.to_string());
        check("title_is", "none, a", "none, a");
        check("title_is", "\0", &InvalidText::Nul.to_string());
        let longest = "ü".repeat(MAX_SEARCH_LENGTH);
        check("title", &longest, &longest);
        check("title", &(longest + "ü"), &InvalidText::TooLong.to_string());
        check("pages_from", "12", "12");
        check("pages_from", "12,13", "expected an integer");
        check("genre", "novel,comic", "novel,comic");
        check(
            "genre",
            "Novel",
            "expected one of `novel`, `comic`, or `none`",
        );
    }

    #[test]
    fn a_text_is_null_only_if_it_is_exactly_none_and_labels_are_told_apart_by_their_blanks() {
        let of_texts = FilterField {
            kind: ColumnKind::Text,
            ..field("reader_id")
        };
        let of_labels = FilterField {
            labels: ["a", " a", "b "].map(str::to_owned).to_vec(),
            ..field("genre")
        };
        let text = |text: &str| Value::Text(text.to_owned());
        for (field, read, value) in [
            (&of_texts, "none", Value::Null),
            (&of_texts, "NONE", text("NONE")),
            (&of_texts, " none", text(" none")),
            (&of_labels, "None", Value::Null),
            (&of_labels, " a", text(" a")),
            (&of_labels, "a ", text("a")),
            (&of_labels, "b ", text("b ")),
        ] {
            assert_eq!(field.parse(read), Ok(FilterValue::of(value)), "{read:?}");
        }
    }

    #[test]
    fn only_a_filter_of_one_of_several_values_is_given_more_than_once() {
        let all = |name| field(name).parse_all(["", "1", "2"]);
        let integers = [1, 2].map(Value::Integer);
        assert_eq!(
            all("shelf_id").map(|value| value.values().to_vec()),
            Ok(integers.to_vec())
        );
        let texts = ["1", "2"].map(|text| Value::Text(text.to_owned()));
        assert_eq!(
            all("title_is").map(|value| value.values().to_vec()),
            Ok(texts.to_vec())
        );
        for name in ["title", "pages_from", "pages_to"] {
            assert_eq!(all(name), Err(InvalidFilter::Twice), "{name}");
        }
    }

    #[test]
    fn a_manifest_has_each_value_as_what_it_is() {
        let mut filter = Filter::all(&example::books());
        for (name, text) in [
            ("lent", "true"),
            ("shelf_id", "3"),
            ("reader_id", "3,none"),
            ("pages_to", "9"),
            ("genre", "novel"),
        ] {
            let field = field(name);
            let value = field.parse(text);
            assert_eq!(value.and_then(|value| filter.set(&field, value)), Ok(()));
        }
        let expected = serde_json::json!({"lent": true, "shelf_id": 3, "reader_id": ["3", "none"], "pages_to": 9, "genre": "novel"});
        assert_eq!(Json::from(filter.to_json()), expected);
    }
}
