//! A filter that a dataset has.

use std::fmt;

use super::search_text::{InvalidText, SearchText};
use super::value::{self, FilterValue, Value};
use crate::dataset::column_type::ColumnKind;
use crate::dataset::condition::Condition;
use crate::dataset::query::SqlExpression;

/// A filter that a dataset has.
#[derive(Clone)]
pub struct FilterField {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) test: FilterTest,
    /// What it compares with.
    pub(crate) kind: ColumnKind,
    /// The values that there are, if they are few and known.
    pub(crate) labels: Vec<String>,
    pub(crate) takes_none: bool,
    /// The dataset whose rows it chooses from.
    pub(crate) of: Option<String>,
    /// The index of the reference that its condition is about; `None` if that is the dataset's own table.
    pub(crate) reference: Option<usize>,
    /// What it compares, in the query of all tables.
    pub(crate) joined: SqlExpression,
    /// The same in the query of the dataset's own table, or of what that refers to.
    pub(crate) alone: SqlExpression,
}

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterTest {
    /// With one of several values.
    OneOf,
    /// With a part of a text; upper and lower case count as equal.
    Contains,
    /// With the least value.
    From,
    /// With the greatest value. A date includes all of its day.
    To,
}

impl FilterField {
    /// The name by which the command line and the web know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does, in a sentence without a full stop.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// How it compares.
    pub fn test(&self) -> FilterTest {
        self.test
    }

    /// What it compares with.
    pub fn kind(&self) -> &ColumnKind {
        &self.kind
    }

    /// The values that there are, if they are few and known: the labels of an enum.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether `none`, which is NULL, is one of its values.
    pub fn takes_none(&self) -> bool {
        self.takes_none
    }

    /// The name of the dataset whose rows it chooses from.
    pub fn of(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// Whether it is set to true or false.
    pub fn is_boolean(&self) -> bool {
        matches!(self.kind, ColumnKind::Boolean | ColumnKind::Label(_))
    }

    /// Whether commas separate its values. Texts may have commas in them: they are given one by one.
    pub fn has_commas(&self) -> bool {
        let mut labels = self.labels.iter();
        self.test == FilterTest::OneOf
            && !self.takes_any_text()
            && labels.all(|label| !label.contains(','))
    }

    /// Whether any text is one of its values.
    fn takes_any_text(&self) -> bool {
        self.kind.is_any_text() && self.labels.is_empty()
    }

    /// Whether `none` is NULL, or the key of a choice is a value, so that a key `none` is written otherwise.
    fn is_of_keys(&self) -> bool {
        self.takes_any_text() && (self.takes_none || self.of.is_some())
    }

    /// Reads a value for it, or several with commas between them.
    pub fn parse(&self, text: &str) -> Result<FilterValue, InvalidFilter> {
        self.parse_all([text])
    }

    /// Reads the values of all parameters with its name. An empty one counts as none, if there is another.
    pub fn parse_all<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<FilterValue, InvalidFilter> {
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.len() > 1 && self.test != FilterTest::OneOf {
            return Err(InvalidFilter::Twice);
        }
        let words = texts.iter().flat_map(|text| match self.has_commas() {
            true => text.split(',').collect(),
            false => vec![*text],
        });
        let values = words.map(|word| self.read(word));
        let values: Vec<Value> = values.collect::<Result<_, _>>()?;
        FilterValue::of_all(values).ok_or_else(|| self.expected())
    }

    fn read(&self, text: &str) -> Result<Value, InvalidFilter> {
        let word = text.trim();
        if self.test == FilterTest::Contains || !self.has_commas() {
            text.parse::<SearchText>()?;
        }
        // Labels may differ by their blanks alone.
        let label = |text| self.labels.iter().find(|label| *label == text);
        if let Some(label) = label(text).or_else(|| label(word)) {
            return Ok(Value::Text(label.clone()));
        }
        let is_none = match self.takes_any_text() {
            true => text == "none",
            false => word.eq_ignore_ascii_case("none"),
        };
        if self.takes_none && is_none {
            return Ok(Value::Null);
        }
        let value = self
            .labels
            .is_empty()
            .then(|| value::read(&self.kind, text));
        value.flatten().ok_or_else(|| self.expected())
    }

    fn expected(&self) -> InvalidFilter {
        let mut expected = match (self.of(), self.labels.as_slice()) {
            (_, [_, ..]) => {
                let labels: Vec<String> = self
                    .labels
                    .iter()
                    .map(|label| format!("`{label}`"))
                    .collect();
                format!("one of {}", labels.join(", "))
            }
            (Some(_), []) => format!("an id, which is {}", value::expected(&self.kind)),
            (None, []) => value::expected(&self.kind).to_owned(),
        };
        if self.takes_none {
            expected.push_str(", or `none`");
        }
        InvalidFilter::Expected(expected)
    }

    /// Returns its condition in the query of all tables.
    pub(crate) fn condition(&self, value: &FilterValue) -> Condition {
        self.condition_on(&self.joined, value)
    }

    /// Returns its condition in the query of the dataset's own table, or of what that refers to.
    pub(crate) fn condition_alone(&self, value: &FilterValue) -> Condition {
        self.condition_on(&self.alone, value)
    }

    fn condition_on(&self, what: &SqlExpression, value: &FilterValue) -> Condition {
        match (self.test, value.single()) {
            (FilterTest::Contains, Some(value)) => Condition::contains(what, &value.to_string()),
            (FilterTest::From, Some(value)) => Condition::from(what, &self.kind, value),
            (FilterTest::To, Some(value)) => Condition::to(what, &self.kind, value),
            _ if self.is_of_keys() => {
                let keys: Vec<Value> = value.values().iter().map(Value::key).collect();
                Condition::one_of(what, &self.kind, &keys)
            }
            _ => Condition::one_of(what, &self.kind, value.values()),
        }
    }
}

impl fmt::Debug for FilterField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why a filter cannot be set to a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// It is no value of the filter.
    #[error("expected {0}")]
    Expected(String),
    /// The text cannot be searched for.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// The filter takes one value.
    #[error("given more than once")]
    Twice,
    /// The dataset has no filter of this name and kind.
    #[error("the dataset has no such filter")]
    Unknown,
}
