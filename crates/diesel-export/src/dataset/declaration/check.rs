//! What cannot work in a declaration.

use super::Declaration;
use crate::dataset::column_type::ColumnKind;
use crate::dataset::filter::{FilterField, FilterTest};

/// What the requests for an export have beside filters.
const PARAMETERS: [&str; 16] = [
    "columns",
    "order",
    "strategy",
    "preset",
    "delimiter",
    "format",
    "dataset",
    "export_id",
    "fresh",
    "whole",
    "count",
    "download",
    "move",
    "sort",
    "of",
    "q",
];

/// What stands beside the datasets where a service publishes them.
const PLACES: [&str; 11] = [
    "api",
    "benchmark",
    "benchmarks",
    "bundle",
    "exports",
    "filters",
    "livez",
    "metrics",
    "openapi",
    "readyz",
    "static",
];

/// Why a declaration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the dataset `{dataset}` cannot be: {reason}")]
pub struct InvalidDeclaration {
    dataset: String,
    reason: String,
}

impl InvalidDeclaration {
    pub(in crate::dataset) fn new(dataset: &str, reason: impl Into<String>) -> Self {
        Self {
            dataset: dataset.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Whether a reader cannot tell true from false.
fn has_one_label(kind: &ColumnKind) -> bool {
    matches!(kind, ColumnKind::Label([yes, no]) if yes == no)
}

impl<Joined, Own, Model> Declaration<Joined, Own, Model> {
    pub(super) fn check(&self) -> Result<(), InvalidDeclaration> {
        let columns: Vec<&str> = self.columns.iter().map(|column| &*column.name).collect();
        let filters: Vec<&str> = self.filters.iter().map(|field| &*field.name).collect();
        let restrictions: Vec<&str> = self.restrictions.iter().map(|field| &*field.name).collect();
        let reason = if let Some(reason) = dataset_name(&self.name) {
            reason
        } else if let Some(reason) = names("column", &columns)
            .or_else(|| names("filter", &filters))
            .or_else(|| names("restriction", &restrictions))
        {
            reason
        } else if let Some(header) = self.header_of_two() {
            format!(
                "two of its columns have the header `{header}`, by which a preview names their values"
            )
        } else if let Some(column) = self
            .columns
            .iter()
            .find(|column| has_one_label(&column.kind))
        {
            format!(
                "its column `{}` has one label for true and for false",
                column.name
            )
        } else if let Some(name) = filters.iter().find(|name| PARAMETERS.contains(name)) {
            format!("its filter `{name}` is called as a parameter that every export has")
        } else if let Some(reason) = self.filters.iter().find_map(invalid_filter) {
            reason
        } else if !self.columns.iter().any(|column| column.is_default) {
            "no column is in its exports by default".to_owned()
        } else if !self.has_order {
            "its key is of a type whose values have no order".to_owned()
        } else if let Some(name) = self.without_cell() {
            format!("it has models, but its column `{name}` has no cell of them")
        } else {
            return Ok(());
        };
        Err(InvalidDeclaration::new(&self.name, reason))
    }

    fn header_of_two(&self) -> Option<&str> {
        let headers: Vec<&str> = self.columns.iter().map(|column| &*column.header).collect();
        let mut indexed = headers.iter().enumerate();
        indexed.find_map(|(index, header)| headers[..index].contains(header).then_some(*header))
    }

    fn without_cell(&self) -> Option<&str> {
        self.models.as_ref()?;
        let mut columns = self.columns.iter().zip(&self.cells);
        columns.find_map(|(column, cell)| cell.is_none().then_some(&*column.name))
    }
}

/// Whether every export has a parameter of this name.
pub(crate) fn is_parameter(name: &str) -> bool {
    PARAMETERS.contains(&name)
}

/// Why a dataset cannot have this name.
pub(crate) fn dataset_name(name: &str) -> Option<String> {
    // It is a part of addresses and of files' names.
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    if name.is_empty() || !name.chars().all(is_plain) || name.starts_with('-') {
        Some(
            "its name may have the letters a to z, digits, `_` and `-`, and begins with no `-`"
                .to_owned(),
        )
    } else if PLACES.contains(&name.to_ascii_lowercase().as_str()) {
        Some("this name stands for something else".to_owned())
    } else {
        None
    }
}

/// Why a filter cannot be.
pub(crate) fn invalid_filter(field: &FilterField) -> Option<String> {
    let name = &field.name;
    let labels: Vec<&str> = field.labels.iter().map(String::as_str).collect();
    match field.test {
        FilterTest::Contains if field.kind != ColumnKind::Text => Some(format!(
            "its filter `{name}` looks for a part of a text in what is none"
        )),
        FilterTest::From | FilterTest::To if !field.kind.has_ranges() => Some(format!(
            "its filter `{name}` is a range of values that are neither numbers nor times"
        )),
        FilterTest::OneOf if !labels.is_empty() && !field.kind.is_any_text() => Some(format!(
            "its filter `{name}` has labels, but its values are no texts"
        )),
        FilterTest::OneOf if field.takes_none && labels.contains(&"none") => Some(format!(
            "its filter `{name}` has the label `none`, which stands for NULL"
        )),
        FilterTest::OneOf if labels.contains(&"") => Some(format!(
            "its filter `{name}` has an empty label, which a form sends for none"
        )),
        _ => None,
    }
}

/// Why a column or a filter cannot have this name.
pub(crate) fn listed_name(name: &str) -> Option<&'static str> {
    // Lists of names have commas between them, and a `-` before one to turn an order round.
    let is_unusable = name.is_empty()
        || name.starts_with('-')
        || name.contains([',', '\0'])
        || name.trim() != name;
    is_unusable.then_some(
        "needs another name: not empty, without commas, and with neither a `-` nor a blank at its beginning",
    )
}

/// Returns what is wrong with the names of its columns, or of its filters.
fn names(what: &str, names: &[&str]) -> Option<String> {
    names.iter().enumerate().find_map(|(index, name)| {
        if let Some(reason) = listed_name(name) {
            Some(format!("its {what} `{name}` {reason}"))
        } else {
            let is_twice = names[..index].contains(name);
            is_twice.then(|| format!("two of its {what}s are called `{name}`"))
        }
    })
}

#[cfg(test)]
mod tests {
    use diesel::prelude::*;

    use super::*;

    diesel::table! {
        things (id) {
            id -> Uuid,
            name -> Text,
            facts -> Json,
            grade -> CChar,
            is_so -> Bool,
        }
    }

    /// What a declaration says that has a column, and then has this done to it.
    macro_rules! said {
        ($name:literal, $key:expr, $declare:expr) => {{
            let own = || things::table.into_boxed();
            let mut declared = Declaration::new([$name, "thing"], $key, own, own);
            declared.column("id", "ID", things::id);
            ($declare)(&mut declared);
            declared
                .finish()
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        }};
        ($declare:expr) => {
            said!("things", things::id, $declare)
        };
    }

    fn check(said: String, reason: &str) {
        assert!(said.contains(reason), "{said:?}");
    }

    #[test]
    fn a_declaration_that_cannot_work_says_why() {
        check(said!(|_| ()), "");
        check(
            said!(|declared: &mut Declaration<_, _>| {
                declared.column("id", "Other", things::name);
            }),
            "two of its columns are called `id`",
        );
        check(
            said!(|declared: &mut Declaration<_, _>| {
                declared.column("name", "ID", things::name);
            }),
            "two of its columns have the header `ID`",
        );
        check(
            said!(|declared: &mut Declaration<_, _>| {
                declared.label_column("is_so", "Is So", things::is_so, ["So", "So"]);
            }),
            "its column `is_so` has one label for true and for false",
        );
        check(
            said!(|declared: &mut Declaration<_, _>| {
                declared.text_filter("name", "", things::name).text_filter(
                    "name",
                    "",
                    things::name,
                );
            }),
            "two of its filters are called `name`",
        );
        for name in ["strategy", "columns", "order"] {
            check(
                said!(|declared: &mut Declaration<_, _>| {
                    declared.text_filter(name, "", things::name);
                }),
                "called as a parameter",
            );
        }
        for name in ["", "a,b", "-a", " a"] {
            check(
                said!(|declared: &mut Declaration<_, _>| {
                    declared.column(name, "", things::name);
                }),
                "needs another name",
            );
        }
        check(
            said!(|declared: &mut Declaration<_, _>| {
                declared.on_request();
            }),
            "no column is in its exports",
        );
        check(
            said!(|declared: &mut Declaration<_, _>| {
                declared.text_filter("grade", "", things::grade);
            }),
            "its filter `grade` looks for a part of a text",
        );
        check(
            said!("exports", things::id, |_| ()),
            "stands for something else",
        );
        check(said!("a/b", things::id, |_| ()), "its name may have");
        check(said!("things", things::facts, |_| ()), "have no order");
    }

    #[test]
    fn a_column_without_a_cell_is_refused_if_there_are_models() {
        let own = || things::table.into_boxed();
        let declared = Declaration::new(["things", "thing"], things::id, own, own);
        let mut declared = declared
            .with_models(|query, loader| loader.load::<String, _>(query.select((things::name,))));
        declared
            .column("name", "Name", things::name)
            .cell(|name| name.into());
        declared.column("id", "ID", things::id);
        let said = declared.finish().err().map(|error| error.to_string());
        check(said.unwrap_or_default(), "its column `id` has no cell");
    }
}
