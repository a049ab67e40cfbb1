//! In what order the rows come.

use std::fmt;
use std::sync::Arc;

use super::Dataset;
use super::column::{Column, InvalidColumns, Origin};
use super::column_type::ColumnKind;
use super::query::{Ordered, SqlExpression};

/// The columns by which rows come before their key decides: up, or down. NULL comes last upwards, and first downwards.
#[derive(Clone)]
pub struct RowOrder {
    dataset: Arc<dyn Dataset>,
    /// The columns' indexes, each with whether it goes down.
    columns: Vec<(usize, bool)>,
}

impl RowOrder {
    /// The order of the key alone.
    pub fn of_key(dataset: &Arc<dyn Dataset>) -> Self {
        Self {
            dataset: Arc::clone(dataset),
            columns: Vec::new(),
        }
    }

    /// Reads names of columns, separated by commas, with a `-` before those that go down.
    pub fn parse(dataset: &Arc<dyn Dataset>, names: &str) -> Result<Self, InvalidColumns> {
        let mut columns: Vec<(usize, bool)> = Vec::new();
        for name in names.split(',').map(str::trim) {
            let (name, is_down) = match name.strip_prefix('-') {
                Some(name) => (name, true),
                None => (name, false),
            };
            let (index, column) = Column::find(dataset, name)?;
            if columns.iter().any(|(before, _)| *before == index) {
                return Err(InvalidColumns::twice(dataset, name));
            }
            if !column.is_ordered {
                let reason = format!("the values of the column `{name}` have no order");
                return Err(InvalidColumns::new(dataset, reason));
            }
            columns.push((index, is_down));
        }
        Ok(Self {
            dataset: Arc::clone(dataset),
            columns,
        })
    }

    /// Whether the rows come in the order of their key.
    pub fn is_by_key(&self) -> bool {
        self.columns.is_empty()
    }

    /// What the rows of the query of all tables are ordered by.
    pub(crate) fn fragments(&self) -> Vec<Ordered> {
        let all = self.dataset.columns();
        let chosen = self.columns.iter().map(|(index, is_down)| Ordered {
            by: sorted_by(&all[*index]),
            is_down: *is_down,
        });
        let key = self.dataset.table().order().map(Ordered::up);
        chosen.chain(key).collect()
    }
}

/// A label is ordered as its boolean is.
fn sorted_by(column: &Column) -> SqlExpression {
    match (&column.kind, &column.origin) {
        (ColumnKind::Label(_), Origin::Own { value, .. }) => Arc::clone(value),
        _ => column.joined(),
    }
}

/// Writes the names as [`RowOrder::parse`] reads them.
impl fmt::Display for RowOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (index, is_down)) in self.columns.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let sign = if *is_down { "-" } else { "" };
            let name = self.dataset.columns()[*index].name();
            write!(f, "{comma}{sign}{name}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RowOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} of {}", self.dataset.name())
    }
}

impl PartialEq for RowOrder {
    fn eq(&self, other: &Self) -> bool {
        *self.dataset == *other.dataset && self.columns == other.columns
    }
}

impl Eq for RowOrder {}
