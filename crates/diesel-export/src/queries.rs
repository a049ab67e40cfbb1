//! The queries of an export: for the rows, for their number, for the first of them.

use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::dataset::{Cell, Column, Dataset, Filter, Row, RowOrder, Select, Selected, Selection};
use super::lookup::Estimate;
use super::{Error, Export};
use crate::db::libpq::CopyOutDsl as _;

/// Rows that a preview shows.
pub const PREVIEW_ROWS: i64 = 20;
/// Characters of a text that it shows: a single text may have a gigabyte.
pub const PREVIEW_CHARACTERS: usize = 200;

/// The first rows of an export, with long texts cut.
#[derive(Debug, Default)]
pub struct FirstRows {
    /// The rows.
    pub rows: Vec<Row>,
    /// The cells that were cut: the numbers of their row and column, from 0, in their order.
    pub cut: Vec<(usize, usize)>,
}

impl FirstRows {
    fn of(mut rows: Vec<Row>) -> Self {
        let mut all = Vec::new();
        for (number, row) in rows.iter_mut().enumerate() {
            let cut = row.cut(PREVIEW_CHARACTERS);
            all.extend(cut.into_iter().map(|column| (number, column)));
        }
        Self { rows, cut: all }
    }

    /// Returns the rows' values, each with whether it was cut.
    pub fn marked(&self) -> impl Iterator<Item = Vec<(Cell<'_>, bool)>> {
        self.rows.iter().enumerate().map(|(row, values)| {
            let cells = values.cells().enumerate();
            let marked =
                cells.map(|(column, cell)| (cell, self.cut.binary_search(&(row, column)).is_ok()));
            marked.collect()
        })
    }
}

/// Returns the query for the chosen values of the filtered rows, in the export's order: as COPY is to print them.
pub(super) fn rows(export: &Export) -> Select {
    let plain = |column: &Column| Selected::Plain(column.joined());
    ordered(&export.columns, &export.filter, &export.order, plain)
}

/// The same, as Diesel loads them.
pub(super) fn loaded_rows(export: &Export) -> Select {
    ordered(
        &export.columns,
        &export.filter,
        &export.order,
        Column::loaded,
    )
}

fn ordered(
    columns: &Selection,
    filter: &Filter,
    order: &RowOrder,
    selected: impl Fn(&Column) -> Selected,
) -> Select {
    Select::of(columns.columns().into_iter().map(selected))
        .with(filter.conditions())
        .ordered(order.fragments())
}

/// Loads the export's first rows.
pub fn first_rows(
    connection: &mut PgConnection,
    columns: &Selection,
    filter: &Filter,
    order: &RowOrder,
) -> QueryResult<FirstRows> {
    // One character more shows that there are more.
    let beginning = |column: &Column| column.beginning(PREVIEW_CHARACTERS + 1);
    let select = ordered(columns, filter, order, beginning).limit(PREVIEW_ROWS);
    let rows = filter.dataset().joined(select).load(connection)?;
    Ok(FirstRows::of(rows))
}

/// Counts the export's rows.
pub fn count(connection: &mut PgConnection, filter: &Filter) -> QueryResult<i64> {
    let select = Select::of([Selected::Count]).with(filter.conditions());
    integer(filter.dataset().joined(select).get_result(connection)?)
}

/// Returns whether the export has more rows than this. The query asks for one row, and reads no more than it must.
pub fn has_more_than(
    connection: &mut PgConnection,
    filter: &Filter,
    rows: i64,
) -> QueryResult<bool> {
    let select = Select::of([Selected::One])
        .with(filter.conditions())
        .offset(rows)
        .limit(1);
    let next: Option<Row> = filter
        .dataset()
        .joined(select)
        .get_result(connection)
        .optional()?;
    Ok(next.is_some())
}

/// Returns how many rows the planner expects the export to have.
pub(super) fn expected_rows(connection: &mut PgConnection, filter: &Filter) -> Result<f64, Error> {
    let select = Select::of([Selected::One]).with(filter.conditions());
    let sql = filter.dataset().joined(select).literal_sql()?;
    let explained: Explained =
        diesel::sql_query(format!("explain (format json) {sql}")).get_result(connection)?;
    Ok(Estimate::read(&explained.plan).rows)
}

/// What EXPLAIN returns.
#[derive(QueryableByName)]
struct Explained {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    plan: String,
}

/// Returns whether the dataset has any row.
pub fn any(connection: &mut PgConnection, dataset: &Arc<dyn Dataset>) -> QueryResult<bool> {
    let select = Select::of([Selected::One]).limit(1);
    let first: Option<Row> = dataset.own(select).get_result(connection).optional()?;
    Ok(first.is_some())
}

fn integer(row: Row) -> QueryResult<i64> {
    row.first_integer().ok_or(diesel::result::Error::NotFound)
}
