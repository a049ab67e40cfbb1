//! The filters of a dataset, and their values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Dataset;
use super::condition::Condition;

/// Returns a filter's condition for the value that it is set to.
pub(super) type MakeCondition = dyn Fn(&FilterValue) -> Condition + Send + Sync;

/// A filter that a dataset has.
pub struct FilterField {
    pub(super) name: String,
    pub(super) help: String,
    /// Its index among the dataset's filters.
    pub(super) index: usize,
    pub(super) kind: FilterKind,
    pub(super) of: Option<String>,
    /// The index of the reference that its condition is about; `None` if that is the dataset's own table.
    pub(super) reference: Option<usize>,
    pub(super) condition: Box<MakeCondition>,
}

/// What a filter can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// `true` or `false`.
    Boolean,
    /// The id of a row of another dataset.
    Id,
    /// Such an id, or `none`.
    IdOrNone,
    /// A part of a text; upper and lower case count as equal.
    Text,
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

    /// What it can be set to.
    pub fn kind(&self) -> FilterKind {
        self.kind
    }

    /// The name of the dataset whose rows it chooses from.
    pub fn of(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// Returns its condition for a value.
    pub(crate) fn condition(&self, value: &FilterValue) -> Condition {
        (self.condition)(value)
    }

    /// Reads a value for it.
    pub fn parse(&self, text: &str) -> Result<FilterValue, InvalidFilter> {
        self.kind.parse(text)
    }
}

impl FilterKind {
    /// Reads a value of this kind. Blanks around it do not count, nor does its case (`True`), unless it is a text to search for.
    pub fn parse(self, text: &str) -> Result<FilterValue, InvalidFilter> {
        let word = text.trim();
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let id = || word.parse().map(FilterValue::Id);
        match self {
            Self::Boolean if is("true") => Ok(FilterValue::Boolean(true)),
            Self::Boolean if is("false") => Ok(FilterValue::Boolean(false)),
            Self::Boolean => Err(InvalidFilter::NoBoolean),
            Self::Id => id().map_err(|_| InvalidFilter::NoId),
            Self::IdOrNone if is("none") => Ok(FilterValue::NoId),
            Self::IdOrNone => id().map_err(|_| InvalidFilter::NeitherIdNorNone),
            Self::Text => Ok(FilterValue::Text(text.parse()?)),
        }
    }
}

/// What a filter is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterValue {
    /// True or false.
    Boolean(bool),
    /// An id.
    Id(i64),
    /// `none`: there is no id.
    NoId,
    /// A part of a text.
    Text(SearchText),
}

impl fmt::Display for FilterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Id(id) => id.fmt(f),
            Self::NoId => f.write_str("none"),
            Self::Text(text) => f.write_str(text.as_str()),
        }
    }
}

/// Why a filter cannot be set to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Neither `true` nor `false`.
    #[error("expected `true` or `false`")]
    NoBoolean,
    /// No 64-bit integer.
    #[error("expected an id, which is an integer")]
    NoId,
    /// Neither a 64-bit integer nor `none`.
    #[error("expected an id, which is an integer, or `none`")]
    NeitherIdNorNone,
    /// The text cannot be searched for.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// The dataset has no filter of this name and kind.
    #[error("the dataset has no such filter")]
    Unknown,
}

/// The most characters of a search text: PostgreSQL puts it into lower case for every row.
pub const MAX_SEARCH_LENGTH: usize = 200;

/// Why a text cannot be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// PostgreSQL neither stores nor reads a NUL character in a text.
    #[error("the text has a NUL character, which PostgreSQL cannot hold")]
    Nul,
    /// It is longer than [`MAX_SEARCH_LENGTH`].
    #[error("the text has more than {MAX_SEARCH_LENGTH} characters")]
    TooLong,
}

/// A text to search for. It has no NUL character, and is not too long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchText(String);

impl FromStr for SearchText {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.contains('\0') {
            Err(InvalidText::Nul)
        } else if text.chars().nth(MAX_SEARCH_LENGTH).is_some() {
            Err(InvalidText::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl SearchText {
    /// The text to find.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = Self> {
        self.0.split_whitespace().map(|word| Self(word.to_owned()))
    }

    /// The pattern for `ILIKE` that finds the text. LIKE's special characters stand for themselves in it.
    pub fn like_pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.0.len() + 2);
        pattern.push('%');
        for character in self.0.chars() {
            if matches!(character, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('%');
        pattern
    }
}

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
        let is_it = |own: &&FilterField| own.name == field.name && own.kind == field.kind;
        let own = self.dataset.filters().iter().find(is_it);
        let index = own.ok_or(InvalidFilter::Unknown)?.index;
        self.set.insert(index, value);
        Ok(())
    }

    /// The value of the filter of this name, if it is set.
    pub fn get(&self, name: &str) -> Option<&FilterValue> {
        self.iter()
            .find_map(|(field, value)| (field.name == name).then_some(value))
    }

    /// All of its conditions, for the query of all tables.
    pub fn conditions(&self) -> Vec<Condition> {
        self.conditions_where(|_| true)
    }

    /// Its conditions on the dataset's own table.
    pub fn own_conditions(&self) -> Vec<Condition> {
        self.conditions_where(|reference| reference.is_none())
    }

    /// Its conditions on what the dataset's rows refer to by this reference.
    pub fn conditions_of_reference(&self, index: usize) -> Vec<Condition> {
        self.conditions_where(|reference| reference == Some(index))
    }

    fn conditions_where(&self, is_wanted: impl Fn(Option<usize>) -> bool) -> Vec<Condition> {
        let wanted = self.iter().filter(|(field, _)| is_wanted(field.reference));
        wanted
            .map(|(field, value)| field.condition(value))
            .collect()
    }

    /// The value of each filter that is set, for a manifest. An id is a number there, unless the filter also takes `none`.
    pub fn to_json(&self) -> Map<String, Value> {
        let set = self.iter().map(|(field, value)| {
            let value = match (field.kind, value) {
                (_, FilterValue::Boolean(value)) => Value::from(*value),
                (FilterKind::Id, FilterValue::Id(id)) => (*id).into(),
                (_, value) => value.to_string().into(),
            };
            (field.name.clone(), value)
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
    use crate::dataset::Query;
    use crate::example;

    fn pattern(text: &str) -> Option<String> {
        let text: SearchText = text.parse().ok()?;
        Some(text.like_pattern())
    }

    #[test]
    fn the_special_characters_of_like_stand_for_themselves() {
        assert_eq!(pattern("plain").as_deref(), Some("%plain%"));
        assert_eq!(pattern(r"100%_\").as_deref(), Some(r"%100\%\_\\%"));
        assert_eq!(pattern("").as_deref(), Some("%%"));
        assert_eq!(pattern("a\0b"), None);
    }

    #[test]
    fn a_filter_is_set_by_its_name_and_kind_and_has_no_other_value() {
        let books = example::books();
        let mut filter = Filter::all(&books);
        let lent = |kind| FilterField {
            name: "lent".to_owned(),
            help: String::new(),
            index: 0,
            kind,
            of: None,
            reference: None,
            condition: Box::new(|_| Condition::new(Query::of_sql(String::new()))),
        };
        let value = FilterValue::Boolean(true);
        let set = filter.set(&lent(FilterKind::Text), value.clone());
        assert_eq!(set, Err(InvalidFilter::Unknown));
        assert_eq!(filter, Filter::all(&books));
        assert_eq!(
            filter.set(&lent(FilterKind::Boolean), value.clone()),
            Ok(())
        );
        assert_eq!(filter.get("lent"), Some(&value));
        assert_eq!(filter.get("title"), None);
        assert_ne!(filter, Filter::all(&books));
    }

    #[test]
    fn each_kind_takes_its_own_values_and_no_others() {
        let id = FilterKind::Id;
        let id_or_none = FilterKind::IdOrNone;
        let check = |kind: FilterKind, text: &str, value: Result<FilterValue, InvalidFilter>| {
            assert_eq!(kind.parse(text), value, "{kind:?} {text:?}");
        };
        check(FilterKind::Boolean, "true", Ok(FilterValue::Boolean(true)));
        // As Python writes it, and as it comes from a list with blanks.
        check(FilterKind::Boolean, "True", Ok(FilterValue::Boolean(true)));
        check(
            FilterKind::Boolean,
            " FALSE ",
            Ok(FilterValue::Boolean(false)),
        );
        check(FilterKind::Boolean, "yes", Err(InvalidFilter::NoBoolean));
        check(FilterKind::Boolean, " ", Err(InvalidFilter::NoBoolean));
        check(id, " 7\t", Ok(FilterValue::Id(7)));
        check(id, "1 2", Err(InvalidFilter::NoId));
        check(id, "-9223372036854775808", Ok(FilterValue::Id(i64::MIN)));
        check(id, "9223372036854775808", Err(InvalidFilter::NoId));
        check(id, "none", Err(InvalidFilter::NoId));
        check(id_or_none, "none", Ok(FilterValue::NoId));
        check(id_or_none, "None", Ok(FilterValue::NoId));
        check(id_or_none, "7", Ok(FilterValue::Id(7)));
        check(id_or_none, "nobody", Err(InvalidFilter::NeitherIdNorNone));
        let text = FilterKind::Text;
        let blanks: Result<FilterValue, _> = " a ".parse().map(FilterValue::Text);
        check(text, " a ", blanks.map_err(Into::into));
        check(text, "\0", Err(InvalidText::Nul.into()));
        let longest = "ü".repeat(MAX_SEARCH_LENGTH);
        assert!(text.parse(&longest).is_ok());
        check(text, &(longest + "ü"), Err(InvalidText::TooLong.into()));
    }
}
