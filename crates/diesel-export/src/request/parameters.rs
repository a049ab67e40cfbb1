//! The parameters of an export, with the same names on the command line, in the environment and in a URL.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use strum::VariantArray;

use crate::csv::{Delimiter, Format, Preset};
use crate::dataset::{Dataset, Filter, FilterTest, InvalidFilter, RowOrder, Selection};
use crate::format::{FileFormat, FileType};
use crate::{Export, Limits, Strategy};

/// The parameters of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// How the rows are loaded.
    pub strategy: Strategy,
    /// Which columns, of which dataset.
    pub columns: Selection,
    /// Which of the dataset's rows.
    pub filter: Filter,
    /// In what order.
    pub order: RowOrder,
    /// In what format. A URL's path says it, and not its query.
    pub file_type: FileType,
    /// For whom the CSV is.
    pub preset: Preset,
    /// The column separator.
    pub delimiter: Delimiter,
}

/// The parameters that every dataset has: which columns, and how they are exported; each with what it does.
pub const OPTIONS: [(&str, &str); 5] = [
    (
        "columns",
        "Names of the columns, in this order, separated by commas",
    ),
    (
        "order",
        "Columns to sort the rows by, before their key, separated by commas; `-` before a name sorts in descending order",
    ),
    ("strategy", "Strategy that loads the rows"),
    ("preset", "CSV dialect"),
    ("delimiter", "Column separator"),
];

/// Why `preset` and `delimiter` are refused for a workbook.
pub const OF_CSV_ALONE: &str = "is of CSV alone: other formats have none";

/// A name and a value of a URL's query.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A parameter that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidParameter(String);

impl InvalidParameter {
    /// The value of the parameter of this name is not understood.
    pub fn of(name: &str, reason: impl Display) -> Self {
        Self(format!("`{name}`: {reason}"))
    }

    fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
        Self(format!(
            "unknown parameter `{name}`: expected one of {}",
            known.join(", ")
        ))
    }
}

impl Parameters {
    /// Returns the defaults for a dataset: all rows, its default columns.
    pub fn of(dataset: &Arc<dyn Dataset>) -> Self {
        Self {
            strategy: Strategy::default(),
            columns: Selection::default_of(dataset),
            filter: Filter::all(dataset),
            order: RowOrder::of_key(dataset),
            file_type: FileType::default(),
            preset: Preset::default(),
            delimiter: Delimiter::default(),
        }
    }

    /// Reads the parameters of an export in this format from the names and values of a URL's query. An empty value counts as none: a form sends
    /// one for each field that was left empty. Columns may be named in several parameters, as a form's check boxes do.
    pub fn from_pairs<'a>(
        dataset: &Arc<dyn Dataset>,
        file_type: FileType,
        pairs: impl IntoIterator<Item = Pair<'a>>,
    ) -> Result<Self, InvalidParameter> {
        let mut parameters = Self {
            file_type,
            ..Self::of(dataset)
        };
        let mut columns: Vec<Cow<'_, str>> = Vec::new();
        let mut filters = Vec::new();
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for (name, value) in pairs {
            if name == "columns" {
                columns.push(value);
                continue;
            }
            if dataset.filters().iter().any(|field| field.name() == name) {
                filters.push((name, value));
                continue;
            }
            if seen.contains(&name) {
                return Err(InvalidParameter::of(&name, "given more than once"));
            }
            match name.as_ref() {
                "preset" | "delimiter" if file_type != FileType::Csv && !value.is_empty() => {
                    return Err(InvalidParameter::of(&name, OF_CSV_ALONE));
                }
                "order" => parameters.order = order_from(dataset, &value)?,
                "strategy" => parameters.strategy = named(&name, &value)?,
                "preset" => parameters.preset = named(&name, &value)?,
                "delimiter" => parameters.delimiter = named(&name, &value)?,
                _ => {
                    let fields = dataset.filters().iter().map(|field| field.name());
                    let options = OPTIONS.iter().map(|(name, _)| *name);
                    return Err(InvalidParameter::unknown(&name, fields.chain(options)));
                }
            }
            seen.push(name);
        }
        parameters.filter = filter_from_pairs(dataset, filters)?;
        if !columns.is_empty() {
            parameters.columns = columns_from(dataset, &columns.join(","))?;
        }
        Ok(parameters)
    }

    /// The names and values that say the same in a URL. Defaults are omitted, except `preset`: the page has another default than the
    /// download. Other formats than CSV have none.
    pub fn to_pairs(&self) -> Vec<(String, String)> {
        let columns = (!self.columns.is_default()).then(|| self.columns.to_string());
        let is_csv = self.file_type == FileType::Csv;
        let options = [
            ("columns", columns),
            (
                "order",
                (!self.order.is_by_key()).then(|| self.order.to_string()),
            ),
            ("preset", is_csv.then(|| self.preset.to_string())),
            (
                "delimiter",
                unless_default(self.delimiter).filter(|_| is_csv),
            ),
            ("strategy", unless_default(self.strategy)),
        ];
        let set = self.filter.iter().flat_map(|(field, value)| {
            let values: Vec<String> = match field.has_commas() {
                true => vec![value.to_string()],
                false => value.values().iter().map(ToString::to_string).collect(),
            };
            let name = field.name().to_owned();
            values.into_iter().map(move |value| (name.clone(), value))
        });
        set.chain(
            options
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        )
        .collect()
    }

    /// The export that they ask for.
    pub fn into_export(self, limits: Limits) -> Export {
        let Self {
            strategy,
            columns,
            filter,
            order,
            file_type,
            preset,
            delimiter,
        } = self;
        Export {
            strategy,
            columns,
            filter,
            order,
            format: match file_type {
                FileType::Csv => FileFormat::Csv(Format { preset, delimiter }),
                FileType::Xlsx => FileFormat::Xlsx,
                FileType::Ndjson => FileFormat::Ndjson,
            },
            limits,
        }
    }
}

/// Reads names of columns.
pub fn columns_from(
    dataset: &Arc<dyn Dataset>,
    names: &str,
) -> Result<Selection, InvalidParameter> {
    Selection::parse(dataset, names).map_err(|error| InvalidParameter::of("columns", error))
}

/// Reads the order of the rows; that of the key if it is empty.
pub fn order_from(dataset: &Arc<dyn Dataset>, names: &str) -> Result<RowOrder, InvalidParameter> {
    if names.is_empty() {
        return Ok(RowOrder::of_key(dataset));
    }
    RowOrder::parse(dataset, names).map_err(|error| InvalidParameter::of("order", error))
}

/// Reads the parameters that say which rows, if no others are allowed.
pub fn filter_from_pairs<'a>(
    dataset: &Arc<dyn Dataset>,
    pairs: impl IntoIterator<Item = Pair<'a>>,
) -> Result<Filter, InvalidParameter> {
    let fields = dataset.filters();
    let mut values: Vec<Vec<Cow<'_, str>>> = vec![Vec::new(); fields.len()];
    for (name, value) in pairs {
        let Some(index) = fields.iter().position(|field| field.name() == name) else {
            let known = fields.iter().map(|field| field.name());
            return Err(InvalidParameter::unknown(&name, known));
        };
        if fields[index].test() != FilterTest::OneOf && !values[index].is_empty() {
            return Err(InvalidParameter::of(&name, InvalidFilter::Twice));
        }
        values[index].push(value);
    }
    let mut filter = Filter::all(dataset);
    for (field, values) in fields.iter().zip(&values) {
        if values.iter().any(|value| !value.is_empty()) {
            let set = field
                .parse_all(values.iter().map(AsRef::as_ref))
                .and_then(|value| filter.set(field, value));
            set.map_err(|error| InvalidParameter::of(field.name(), error))?;
        }
    }
    Ok(filter)
}

fn unless_default<T: Default + PartialEq + Display>(value: T) -> Option<String> {
    (value != T::default()).then(|| value.to_string())
}

/// The names that a parameter's value can have.
pub fn names_of<T: VariantArray + Copy + Into<&'static str>>() -> Vec<&'static str> {
    T::VARIANTS
        .iter()
        .map(|variant| (*variant).into())
        .collect()
}

/// Reads a parameter's value by its name; the default if it is empty.
pub fn named<T>(name: &str, text: &str) -> Result<T, InvalidParameter>
where
    T: Default + FromStr + VariantArray + Copy + Into<&'static str>,
{
    if text.is_empty() {
        return Ok(T::default());
    }
    text.parse().map_err(|_| {
        let names = names_of::<T>().into_iter();
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        InvalidParameter::of(name, format!("expected one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    type Query = [(&'static str, &'static str)];

    fn read(query: &Query) -> Result<Parameters, String> {
        read_for(FileType::Csv, query)
    }

    fn read_for(file_type: FileType, query: &Query) -> Result<Parameters, String> {
        let pairs = query.iter();
        let pairs = pairs.map(|(name, value)| ((*name).into(), (*value).into()));
        Parameters::from_pairs(&example::books(), file_type, pairs)
            .map_err(|error| error.to_string())
    }

    fn said(query: &Query) -> Result<Vec<(String, String)>, String> {
        Ok(read(query)?.to_pairs())
    }

    #[test]
    fn what_is_read_says_the_same_again() {
        let all = [
            ("shelf_id", "3,4"),
            ("reader_id", "none,5"),
            ("lent", "false"),
            ("title", "a b"),
            // Texts may have commas in them.
            ("title_is", "a, b"),
            ("title_is", "c"),
            ("pages_from", "100"),
            ("pages_to", "200"),
            ("genre", "novel,none"),
            ("columns", "title,id"),
            ("order", "-lent,title"),
            ("preset", "excel"),
            ("delimiter", ";"),
            ("strategy", "copy"),
        ];
        let expected = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(said(&all), Ok(expected.to_vec()));
    }

    #[test]
    fn defaults_and_what_is_left_open_are_omitted_except_the_preset() {
        let preset = vec![("preset".to_owned(), "data".to_owned())];
        let open = [
            ("lent", ""),
            ("title", ""),
            ("preset", ""),
            ("strategy", "lookup"),
            ("delimiter", ","),
        ];
        assert_eq!(said(&open).as_ref(), Ok(&preset));
        let columns = [("columns", "id,title,lent"), ("columns", "shelf_id")];
        assert_eq!(said(&columns).as_ref(), Ok(&preset));
        let blanks = [("columns", " title, id"), ("lent", "True ")];
        let plain = [("columns", "title,id"), ("lent", "true")];
        assert_eq!(said(&blanks), said(&plain));
    }

    #[test]
    fn a_workbook_has_no_parameters_of_csv() {
        for name in ["preset", "delimiter"] {
            assert!(read_for(FileType::Ndjson, &[(name, "")]).is_ok());
            let refused = read_for(FileType::Xlsx, &[(name, ",")]).err();
            assert_eq!(refused, Some(format!("`{name}`: {OF_CSV_ALONE}")));
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |query: &Query, start: &str| {
            let error = read(query).err().unwrap_or_default();
            assert!(error.starts_with(start), "{query:?}: {error}");
        };
        check(
            &[("colour", "red")],
            "unknown parameter `colour`: expected one of `shelf_id`, `reader_id`, `lent`, `title`, `title_is`, `pages_from`, \
             `pages_to`, `genre`, `columns`, `order`, `strategy`, `preset`, `delimiter`",
        );
        check(
            &[("title", "a"), ("title", "")],
            "`title`: given more than once",
        );
        check(&[("shelf_id", "x")], "`shelf_id`: expected an id");
        check(
            &[("columns", "")],
            "`columns`: a column's name is empty: the columns of books are id, ",
        );
        check(
            &[("columns", "id"), ("columns", "id")],
            "`columns`: the column `id` is there twice",
        );
        for (order, start) in [
            ("id,-id", "`order`: the column `id` is there twice"),
            ("-", "`order`: a column's name is empty"),
            ("--id", "`order`: there is no column `-id`"),
            (
                "id desc",
                "`order`: there is no column `id desc`: the columns of books are",
            ),
        ] {
            check(&[("order", order)], start);
        }
        check(
            &[("preset", "word")],
            "`preset`: expected one of `data`, `excel`",
        );
    }
}
