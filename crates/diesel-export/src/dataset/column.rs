//! The columns of a dataset, and a choice of them.

use std::fmt;
use std::sync::Arc;

use super::Dataset;
use super::column_type::ColumnKind;
use super::query::{Selected, SqlExpression};

/// A column that an export can have.
#[derive(Clone)]
pub struct Column {
    pub(crate) name: String,
    pub(crate) header: String,
    /// Its index among the columns that were declared.
    pub(crate) index: usize,
    pub(crate) is_default: bool,
    pub(crate) kind: ColumnKind,
    /// Whether PostgreSQL prints the values that Diesel loads.
    pub(crate) is_printed: bool,
    /// Whether the values have an order.
    pub(crate) is_ordered: bool,
    /// The value in the query of all tables.
    pub(crate) joined: SqlExpression,
    pub(crate) origin: Origin,
}

impl Column {
    /// The dataset's column of this name, with its index among its columns.
    pub(super) fn find<'d>(
        dataset: &'d Arc<dyn Dataset>,
        name: &str,
    ) -> Result<(usize, &'d Self), InvalidColumns> {
        if name.is_empty() {
            let reason = "a column's name is empty".to_owned();
            return Err(InvalidColumns::new(dataset, reason));
        }
        let mut columns = dataset.columns().iter().enumerate();
        columns
            .find(|(_, column)| column.name == name)
            .ok_or_else(|| InvalidColumns::new(dataset, format!("there is no column `{name}`")))
    }

    /// The name by which the command line and the web know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name in the header.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Returns whether an export has it by default.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// Returns whether rows can be ordered by it.
    pub fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// What its values are.
    pub fn kind(&self) -> &ColumnKind {
        &self.kind
    }

    /// Where `lookup` reads its values.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its value in the query of all tables.
    pub fn joined(&self) -> SqlExpression {
        Arc::clone(&self.joined)
    }

    /// The same, as Diesel loads it.
    pub(crate) fn loaded(&self) -> Selected {
        if self.is_printed {
            Selected::Printed(self.joined())
        } else {
            Selected::Plain(self.joined())
        }
    }

    /// The same as a text, in which one can search. An index serves that of a text.
    pub(crate) fn searched(&self) -> SqlExpression {
        if self.is_printed || !self.kind.is_text() {
            Arc::new(Selected::Printed(self.joined()))
        } else {
            self.joined()
        }
    }

    /// The same; of what may be long no more than so many characters.
    pub(crate) fn beginning(&self, characters: usize) -> Selected {
        if self.kind.is_text() {
            Selected::Beginning(Box::new(self.loaded()), characters)
        } else {
            self.loaded()
        }
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where `lookup` reads a column's values.
#[derive(Clone)]
pub enum Origin {
    /// In the dataset's own table.
    Own {
        /// The column's name there.
        column: String,
        /// The value, as it is stored.
        value: SqlExpression,
    },
    /// In what the dataset's rows refer to.
    Referenced {
        /// The index of the dataset's reference.
        reference: usize,
        /// The value in the query of what is referred to.
        value: SqlExpression,
    },
    /// Nowhere: the server computes them.
    Computed,
}

/// Some of a dataset's columns, in the order that the user chose.
#[derive(Clone)]
pub struct Selection {
    dataset: Arc<dyn Dataset>,
    /// Their indexes among the dataset's columns.
    columns: Vec<usize>,
}

/// Why a list of columns is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: the columns of {dataset} are {}", names.join(", "))]
pub struct InvalidColumns {
    reason: String,
    dataset: String,
    names: Vec<String>,
}

impl InvalidColumns {
    pub(super) fn new(dataset: &Arc<dyn Dataset>, reason: String) -> Self {
        let names = dataset.columns().iter();
        Self {
            reason,
            dataset: dataset.name().to_owned(),
            names: names.map(|column| column.name.clone()).collect(),
        }
    }

    pub(super) fn twice(dataset: &Arc<dyn Dataset>, name: &str) -> Self {
        Self::new(dataset, format!("the column `{name}` is there twice"))
    }
}

impl Selection {
    /// The columns that an export has by default.
    pub fn default_of(dataset: &Arc<dyn Dataset>) -> Self {
        let columns = dataset.columns().iter().enumerate();
        let columns = columns.filter(|(_, column)| column.is_default);
        Self {
            dataset: Arc::clone(dataset),
            columns: columns.map(|(index, _)| index).collect(),
        }
    }

    /// Reads column names, separated by commas, with or without blanks around them.
    pub fn parse(dataset: &Arc<dyn Dataset>, names: &str) -> Result<Self, InvalidColumns> {
        let mut columns = Vec::new();
        for name in names.split(',').map(str::trim) {
            let (index, _) = Column::find(dataset, name)?;
            if columns.contains(&index) {
                return Err(InvalidColumns::twice(dataset, name));
            }
            columns.push(index);
        }
        let dataset = Arc::clone(dataset);
        Ok(Self { dataset, columns })
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// The columns, in their order.
    pub fn columns(&self) -> Vec<&Column> {
        let all = self.dataset.columns();
        self.columns.iter().map(|index| &all[*index]).collect()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns().into_iter().map(Column::name)
    }

    /// Returns whether a column of this name is among them.
    pub fn has(&self, column: &Column) -> bool {
        self.names().any(|name| name == column.name)
    }

    /// Returns whether they are the default columns.
    pub fn is_default(&self) -> bool {
        *self == Self::default_of(&self.dataset)
    }
}

impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        *self.dataset == *other.dataset && self.columns == other.columns
    }
}

impl Eq for Selection {}

/// Writes the names as [`Selection::parse`] reads them.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self, self.dataset.name())
    }
}
