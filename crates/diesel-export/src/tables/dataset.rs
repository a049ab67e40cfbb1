//! A dataset that a file declares.

use super::declare::query::ask;
use crate::Error;
use crate::dataset::{
    Column, Condition, Dataset, FilterField, Loader, Models, Query, Reference, RowOrder, Select,
    Table,
};

/// A dataset of tables that no Diesel schema declares.
pub(super) struct TableDataset {
    pub(super) name: String,
    pub(super) row_name: String,
    pub(super) columns: Vec<Column>,
    pub(super) filters: Vec<FilterField>,
    pub(super) label: Option<usize>,
    pub(super) table: Table,
    pub(super) references: Vec<Reference>,
    pub(super) relations: Vec<String>,
    pub(super) proof: Option<String>,
    /// SQL for all tables.
    pub(super) from_all: String,
    /// SQL for its own table.
    pub(super) from_own: String,
}

impl Dataset for TableDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn row_name(&self) -> &str {
        &self.row_name
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn filters(&self) -> &[FilterField] {
        &self.filters
    }

    fn label(&self) -> Option<&Column> {
        self.columns.get(self.label?)
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn references(&self) -> &[Reference] {
        &self.references
    }

    fn relations(&self) -> &[String] {
        &self.relations
    }

    fn proof(&self) -> Option<&str> {
        self.proof.as_deref()
    }

    fn joined(&self, select: Select) -> Query {
        ask(&self.from_all, select)
    }

    fn own(&self, select: Select) -> Query {
        ask(&self.from_own, select)
    }

    fn models(
        &self,
        _conditions: Vec<Condition>,
        _order: &RowOrder,
        _limit: i64,
        _loader: Loader<'_>,
    ) -> Option<Result<Box<dyn Models>, Error>> {
        None
    }

    fn has_models(&self) -> bool {
        false
    }
}
