//! The queries of an export: for the rows, for their number, for the first of them.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::Error;
use super::csv::Format;
use super::dataset::{Dataset, Filter, Fragment, Query, Question, Row, Selected, Selection};
use super::lookup::Estimate;
use crate::db::libpq::CopyOutDsl as _;

/// Rows that a preview shows.
pub const PREVIEW_ROWS: i64 = 20;

fn key(dataset: &'static dyn Dataset) -> &'static Fragment {
    &dataset.table().key_value
}

/// Returns the query for the chosen values of the filtered rows, in the export's order.
pub(super) fn rows(columns: &Selection, filter: &Filter) -> Question {
    let values = columns.columns().iter();
    Question::of(values.map(|column| Selected::Plain(column.joined())))
        .with(filter.conditions())
        .ordered([key(filter.dataset())])
}

/// The query for the same rows, which writes texts as `format` wants them.
pub(super) fn written_rows(columns: &Selection, filter: &Filter, format: Format) -> Query {
    let values = columns.columns().iter().map(|column| {
        if column.kind().is_escaped(format) {
            Selected::WithoutFormulas(column.joined())
        } else {
            Selected::Plain(column.joined())
        }
    });
    let question = Question::of(values)
        .with(filter.conditions())
        .ordered([key(filter.dataset())]);
    filter.dataset().joined(question)
}

/// Loads the export's first rows.
pub fn first_rows(
    connection: &mut PgConnection,
    columns: &Selection,
    filter: &Filter,
) -> QueryResult<Vec<Row>> {
    let question = rows(columns, filter).limit(PREVIEW_ROWS);
    filter.dataset().joined(question).load(connection)
}

/// Counts the export's rows.
pub fn count(connection: &mut PgConnection, filter: &Filter) -> QueryResult<i64> {
    let question = Question::of([Selected::Count]).with(filter.conditions());
    integer(filter.dataset().joined(question).get_result(connection)?)
}

/// Returns whether the export has more rows than this. The query asks for one row, and reads no more than it must.
pub fn has_more_than(
    connection: &mut PgConnection,
    filter: &Filter,
    rows: i64,
) -> QueryResult<bool> {
    let question = Question::of([Selected::Plain(key(filter.dataset()))])
        .with(filter.conditions())
        .offset(rows)
        .limit(1);
    let next: Option<Row> = filter
        .dataset()
        .joined(question)
        .get_result(connection)
        .optional()?;
    Ok(next.is_some())
}

/// Returns how many rows the planner expects the export to have.
pub(super) fn expected_rows(connection: &mut PgConnection, filter: &Filter) -> Result<f64, Error> {
    let question = Question::of([Selected::Plain(key(filter.dataset()))]).with(filter.conditions());
    let sql = filter.dataset().joined(question).literal_sql()?;
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
pub fn any(connection: &mut PgConnection, dataset: &'static dyn Dataset) -> QueryResult<bool> {
    let question = Question::of([Selected::Plain(key(dataset))]).limit(1);
    let first: Option<Row> = dataset.own(question).get_result(connection).optional()?;
    Ok(first.is_some())
}

fn integer(row: Row) -> QueryResult<i64> {
    row.first_integer().ok_or(diesel::result::Error::NotFound)
}
