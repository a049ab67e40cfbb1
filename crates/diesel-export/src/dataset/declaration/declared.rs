//! A dataset that is declared.

use std::sync::Arc;

use super::{Declaration, InvalidDeclaration, ReadCell, ask, restricted};
use crate::Error;
use crate::dataset::filter::FilterField;
use crate::dataset::loaded::{Loader, Rows};
use crate::dataset::query::{Order, Query, Select};
use crate::dataset::row::Cell;
use crate::dataset::{Boxed, Column, Condition, Dataset, Models, Reference, RowOrder, Table};

/// A declaration that can work.
struct Declared<Joined, Own, Model>(Declaration<Joined, Own, Model>);

impl<Joined, Own, Model> Declaration<Joined, Own, Model>
where
    Joined: Boxed + 'static,
    Own: Boxed + 'static,
    Model: Send + 'static,
{
    /// Returns the dataset, or what cannot work in it.
    pub fn finish(self) -> Result<Arc<dyn Dataset>, InvalidDeclaration> {
        self.check()?;
        Ok(Arc::new(Declared(self)))
    }
}

impl<Joined, Own, Model> Dataset for Declared<Joined, Own, Model>
where
    Joined: Boxed + 'static,
    Own: Boxed + 'static,
    Model: Send + 'static,
{
    fn name(&self) -> &str {
        &self.0.name
    }

    fn row_name(&self) -> &str {
        &self.0.row_name
    }

    fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    fn filters(&self) -> &[FilterField] {
        &self.0.filters
    }

    fn restrictions(&self) -> &[FilterField] {
        &self.0.restrictions
    }

    fn label(&self) -> Option<&Column> {
        self.0.columns.get(self.0.label?)
    }

    fn table(&self) -> &Table {
        &self.0.table
    }

    fn references(&self) -> &[Reference] {
        &self.0.references
    }

    fn relations(&self) -> &[String] {
        &self.0.relations
    }

    fn proof(&self) -> Option<&str> {
        None
    }

    fn joined(&self, select: Select) -> Query {
        ask((self.0.joined)(), select)
    }

    fn own(&self, select: Select) -> Query {
        ask((self.0.own)(), select)
    }

    fn models(
        &self,
        conditions: Vec<Condition>,
        order: &RowOrder,
        limit: i64,
        loader: Loader<'_>,
    ) -> Option<Result<Box<dyn Models>, Error>> {
        let load = self.0.models.as_ref()?;
        let query = restricted((self.0.joined)(), conditions)
            .order(Order(order.fragments()))
            .limit(limit);
        Some(load(query, loader).map(|models| {
            let cells = self.0.cells.clone();
            Box::new(Loaded { cells, models }) as Box<dyn Models>
        }))
    }

    fn has_models(&self) -> bool {
        self.0.models.is_some()
    }
}

struct Loaded<Model: 'static> {
    cells: Vec<Option<ReadCell<Model>>>,
    models: Rows<Model>,
}

impl<Model: Send> Models for Loaded<Model> {
    fn count(&self) -> usize {
        self.models.count()
    }

    fn cell(&self, row: usize, column: &Column) -> Cell<'_> {
        let cell = self.cells.get(column.index).copied().flatten();
        let model = self.models.get(row);
        model
            .zip(cell)
            .map_or(Cell::Null, |(model, cell)| cell(model))
    }
}

#[cfg(test)]
mod tests {
    use diesel::prelude::*;

    use super::*;
    use crate::Export;

    diesel::table! {
        books (id) {
            id -> BigInt,
            year -> Integer,
        }
    }

    #[test]
    fn a_query_may_have_values_that_it_captures() -> Result<(), InvalidDeclaration> {
        let since = 1_950;
        let recent = move || books::table.filter(books::year.ge(since)).into_boxed();
        let mut declared = Declaration::new(["books", "book"], books::id, recent, recent);
        declared.column("id", "ID", books::id);
        let dataset = declared.finish()?;
        let sql = Export::of(&dataset).sql().unwrap_or_default();
        assert!(
            sql.contains("\"year\" >= ") && sql.contains("1950"),
            "{sql}"
        );
        Ok(())
    }
}
