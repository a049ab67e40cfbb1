//! What an export would give: how many rows, and the first of them.

use diesel::prelude::*;
use serde::Serialize;
use utoipa::ToSchema;

use super::filter::Filter;
use super::literal::Values;
use super::query::{self, TaskRow};
use crate::schema::tasks;

/// Rows that a preview shows.
pub const ROWS: i64 = 20;

/// A row, by the names of the CSV's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Row {
    /// The task's id.
    #[serde(rename = "ID")]
    pub id: i64,
    /// What is to be done.
    #[serde(rename = "Title")]
    pub title: String,
    /// On which asset.
    #[serde(rename = "Asset")]
    pub asset: String,
    /// Where the asset stands.
    #[serde(rename = "Asset Location")]
    pub location: String,
    /// `Done` or `Not Done`.
    #[serde(rename = "Done")]
    pub done: String,
    /// Who created the task.
    #[serde(rename = "Created By")]
    pub created_by: String,
    /// Who last changed it, if anybody.
    #[serde(rename = "Updated By")]
    pub updated_by: Option<String>,
}

impl From<TaskRow> for Row {
    fn from((id, title, asset, location, done, created_by, updated_by): TaskRow) -> Self {
        Self {
            id,
            title,
            asset,
            location,
            done,
            created_by,
            updated_by,
        }
    }
}

/// The export's first rows.
pub fn rows(connection: &mut PgConnection, filter: &Filter) -> QueryResult<Vec<Row>> {
    let rows: Vec<TaskRow> = query::rows(filter).limit(ROWS).load(connection)?;
    Ok(rows.into_iter().map(Row::from).collect())
}

/// How many rows the export has.
pub fn count(connection: &mut PgConnection, filter: &Filter) -> QueryResult<i64> {
    query::matching(filter, Values::Bound)
        .count()
        .get_result(connection)
}

/// Whether the export has more rows than so many: this asks for one row, and reads no more than it has to.
pub fn has_more_than(
    connection: &mut PgConnection,
    filter: &Filter,
    rows: i64,
) -> QueryResult<bool> {
    let next: Option<i64> = query::matching(filter, Values::Bound)
        .select(tasks::id)
        .offset(rows)
        .limit(1)
        .get_result(connection)
        .optional()?;
    Ok(next.is_some())
}

/// Whether there is any task at all.
pub fn any(connection: &mut PgConnection) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(tasks::table.select(tasks::id))).get_result(connection)
}
