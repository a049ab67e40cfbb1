//! The file of datasets, as it is written: TOML.

mod problem;

use std::fmt;
use std::ops::Range;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use self::problem::nearest_of_message;
pub use self::problem::{InvalidFile, Problem};

/// The version of the format.
const VERSION: u32 = 1;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    version: Spanned<u32>,
    #[serde(default, rename = "dataset")]
    pub(super) datasets: Vec<DatasetEntry>,
}

/// A dataset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetEntry {
    pub(super) name: Spanned<String>,
    /// A word for one of its rows.
    pub(super) row: Option<String>,
    pub(super) table: Spanned<String>,
    #[serde(default)]
    pub(super) key: Vec<Spanned<String>>,
    /// The name of the column by which people know its rows.
    pub(super) label: Option<Spanned<String>>,
    #[serde(default, rename = "column")]
    pub(super) columns: Vec<ColumnEntry>,
    #[serde(default, rename = "filter")]
    pub(super) filters: Vec<FilterEntry>,
}

/// A column.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnEntry {
    pub(super) name: Spanned<String>,
    pub(super) header: Option<Spanned<String>>,
    /// In the table; by default, as the name.
    pub(super) column: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) via: Via,
    #[serde(default = "yes", rename = "default")]
    pub(super) is_default: bool,
}

/// A filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterEntry {
    pub(super) name: Spanned<String>,
    /// In the table; by default, as the name.
    pub(super) column: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) via: Via,
    pub(super) kind: Spanned<Kind>,
}

/// The kind of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A part of a text.
    Contains,
    /// A value.
    Exact,
    /// One of an enum's labels.
    OneOf,
    /// From a value, and to a value.
    Range,
    /// `true` or `false`.
    Boolean,
    /// An integer that identifies a row.
    Id,
}

/// The way from the dataset's table to a column's: one step or several.
#[derive(Debug, Default)]
pub(super) struct Via(pub(super) Vec<Spanned<Step>>);

/// A step from one table to another.
#[derive(Debug)]
pub(super) enum Step {
    /// By the foreign key of this column.
    Column(String),
    /// By columns without a foreign key.
    Table(TableStep),
}

/// A step without a foreign key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableStep {
    pub(super) columns: Vec<Spanned<String>>,
    pub(super) table: Spanned<String>,
    pub(super) key: Vec<Spanned<String>>,
}

fn yes() -> bool {
    true
}

impl File {
    /// Reads the file.
    pub(super) fn read(text: &str) -> Result<Self, InvalidFile> {
        let at = |span: Option<Range<usize>>, said: String| {
            let span = span.unwrap_or(0..0);
            InvalidFile::new(vec![Problem::at(text, &span, said)])
        };
        let file: Self = toml::from_str(text)
            .map_err(|error| at(error.span(), nearest_of_message(error.message())))?;
        let version = *file.version.get_ref();
        if version != VERSION {
            let said =
                format!("the version is {version}, and this program reads version {VERSION}");
            return Err(at(Some(file.version.span()), said));
        }
        if file.datasets.is_empty() {
            return Err(at(None, "there is no [[dataset]]".to_owned()));
        }
        Ok(file)
    }

    /// The names of all tables, with where they are.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.datasets.iter().flat_map(|dataset| {
            let ways = dataset.columns.iter().map(|column| &column.via);
            let ways = ways.chain(dataset.filters.iter().map(|filter| &filter.via));
            let steps = ways.flat_map(|via| &via.0);
            let further = steps.filter_map(|step| match step.get_ref() {
                Step::Table(step) => Some(&step.table),
                Step::Column(_) => None,
            });
            std::iter::once(&dataset.table).chain(further)
        })
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Steps;

        impl<'de> Visitor<'de> for Steps {
            type Value = Via;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of steps, such as [\"customer_id\"]")
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Via, A::Error> {
                let step = TableStep::deserialize(MapAccessDeserializer::new(table))?;
                let span = step.table.span();
                Ok(Via(vec![Spanned::new(span, Step::Table(step))]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, steps: A) -> Result<Via, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(steps)).map(Via)
            }
        }

        deserializer.deserialize_any(Steps)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnOrTable;

        impl<'de> Visitor<'de> for ColumnOrTable {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a column with a foreign key, or { columns = […], table = \"…\", key = […] }",
                )
            }

            fn visit_str<E>(self, column: &str) -> Result<Step, E> {
                Ok(Step::Column(column.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Step, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(table)).map(Step::Table)
            }
        }

        deserializer.deserialize_any(ColumnOrTable)
    }
}
