//! The one query of the export: the joins, the filters, the order and the columns, each written once.

use std::ops::RangeInclusive;

use diesel::dsl::{Field, IntoBoxed, Nullable, Otherwise, Select, auto_type, case_when, sql};
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::query_source::Alias;
use diesel::sql_types::{Bool, Text};

use super::csv::{self, Format};
use super::filter::{Filter, UpdatedBy};
use super::literal::{Value, Values};
use crate::schema::{assets, locations, tasks, users};

diesel::alias! {
    pub(crate) const CREATORS: Alias<Creators> = users as creators;
    pub(crate) const EDITORS: Alias<Editors> = users as editors;
}

/// The seven values of a line of the CSV, in the header's order.
pub(crate) type TaskRow = (i64, String, String, String, String, String, Option<String>);

/// The tasks that a filter leaves, joined with all that belongs to them, in the export's order.
pub(crate) type Tasks = IntoBoxed<'static, joined_tasks, Pg>;

#[auto_type]
fn joined_tasks() -> _ {
    let creators: Alias<Creators> = CREATORS;
    let editors: Alias<Editors> = EDITORS;
    tasks::table
        .inner_join(assets::table.inner_join(locations::table))
        .inner_join(creators.on(tasks::created_by_id.eq(creators.field(users::id))))
        .left_join(editors.on(tasks::updated_by_id.eq(editors.field(users::id).nullable())))
}

/// Adds to a query of tasks, boxed, the conditions of a filter: once for the query with all joins, once for that of the tasks
/// alone. How the location is asked for is all that differs between the two.
macro_rules! filtered {
    ($query:expr, $filter:expr, $values:expr, $at_location:expr) => {{
        let mut query = $query;
        let (filter, values): (&Filter, Values) = ($filter, $values);
        if let Some(done) = filter.done {
            query = query.filter(tasks::done.eq(values.bool(done)));
        }
        if let Some(id) = filter.location_id {
            query = query.filter($at_location(id));
        }
        if let Some(id) = filter.asset_id {
            query = query.filter(tasks::asset_id.eq(values.bigint(id)));
        }
        if let Some(id) = filter.created_by_id {
            query = query.filter(tasks::created_by_id.eq(values.bigint(id)));
        }
        match filter.updated_by_id {
            Some(UpdatedBy::User(id)) => {
                query = query.filter(tasks::updated_by_id.eq(values.bigint(id).nullable()))
            }
            Some(UpdatedBy::Nobody) => query = query.filter(tasks::updated_by_id.is_null()),
            None => {}
        }
        if let Some(title) = &filter.title {
            query = query.filter(tasks::title.ilike(values.text(title.like_pattern())));
        }
        if let Some(id) = filter.up_to_id {
            query = query.filter(tasks::id.le(values.bigint(id)));
        }
        query
    }};
}

/// The query for the tasks that `filter` leaves, in the export's order; what to select of them is the strategy's.
pub(crate) fn tasks(filter: &Filter, values: Values) -> Tasks {
    matching(filter, values).order(tasks::id.asc())
}

/// The query for the tasks that `filter` leaves, in no order, as to count them takes none.
pub(crate) fn matching(filter: &Filter, values: Values) -> Tasks {
    filtered!(joined_tasks().into_boxed(), filter, values, |id| {
        assets::location_id.eq(values.bigint(id))
    })
}

/// The query for the seven values of each line.
pub(crate) fn rows(filter: &Filter) -> Select<Tasks, Columns> {
    tasks(filter, Values::Bound).select(columns(false))
}

/// The SQL of the same query, without parameters, for COPY; its texts come as `format` wants them.
pub(crate) fn rows_sql(filter: &Filter, format: Format) -> QueryResult<String> {
    let query = tasks(filter, Values::Literal).select(columns(format.escapes_formulas()));
    literal_sql(&query)
}

/// The SQL for the tasks' own six columns, of the tasks in a range of ids; `assets`, where the filter is by location, are those
/// at the location.
pub(crate) fn task_columns_sql(
    filter: &Filter,
    assets: &[i64],
    ids: Option<RangeInclusive<i64>>,
) -> QueryResult<String> {
    let mut query = filtered!(
        tasks::table.into_boxed::<Pg>(),
        filter,
        Values::Literal,
        |_| {
            let ids: Vec<String> = assets.iter().map(i64::to_string).collect();
            // As a constant array, which the server hashes, and which leaves the rows in the index's order: a join would not.
            sql::<Bool>(&format!(
                r#""tasks"."asset_id" = any('{{{}}}'::bigint[])"#,
                ids.join(",")
            ))
        }
    )
    .order(tasks::id.asc());
    if let Some(ids) = ids {
        let (first, last) = ids.into_inner();
        query = query
            .filter(tasks::id.between(Values::Literal.bigint(first), Values::Literal.bigint(last)));
    }
    literal_sql(&query.select((
        tasks::id,
        tasks::title,
        tasks::done,
        tasks::asset_id,
        tasks::created_by_id,
        tasks::updated_by_id,
    )))
}

/// The SQL for the ids of the assets that a filter leaves, with their names and their locations' names.
pub(crate) fn assets_sql(filter: &Filter, format: Format) -> QueryResult<String> {
    let mut query = assets::table
        .inner_join(locations::table)
        .into_boxed::<Pg>();
    if let Some(id) = filter.location_id {
        query = query.filter(assets::location_id.eq(Values::Literal.bigint(id)));
    }
    let escape_formulas = format.escapes_formulas();
    literal_sql(&query.select((
        assets::id,
        CsvText {
            text: assets::name,
            escape_formulas,
        },
        CsvText {
            text: locations::name,
            escape_formulas,
        },
    )))
}

/// The SQL for the ids and the names of all users.
pub(crate) fn users_sql(format: Format) -> QueryResult<String> {
    literal_sql(&users::table.select((
        users::id,
        CsvText {
            text: users::username,
            escape_formulas: format.escapes_formulas(),
        },
    )))
}

fn literal_sql(query: &(impl QueryFragment<Pg> + QueryId)) -> QueryResult<String> {
    // Diesel's only public way to a query's text puts its parameters, of which there are none, behind it.
    let text = diesel::debug_query::<Pg, _>(query).to_string();
    text.strip_suffix(" -- binds: []")
        .map(str::to_owned)
        .ok_or_else(|| {
            diesel::result::Error::QueryBuilderError(
                "a COPY takes no parameters, but the query has some".into(),
            )
        })
}

type Label = Value<Text, &'static str>;

type Columns = (
    tasks::id,
    CsvText<tasks::title>,
    CsvText<assets::name>,
    CsvText<locations::name>,
    Otherwise<case_when<tasks::done, Label, Text>, Label>,
    CsvText<Field<Alias<Creators>, users::username>>,
    CsvText<Nullable<Field<Alias<Editors>, users::username>>>,
);

fn columns(escape_formulas: bool) -> Columns {
    (
        tasks::id,
        CsvText {
            text: tasks::title,
            escape_formulas,
        },
        CsvText {
            text: assets::name,
            escape_formulas,
        },
        CsvText {
            text: locations::name,
            escape_formulas,
        },
        case_when(tasks::done, Values::Literal.label(csv::DONE))
            .otherwise(Values::Literal.label(csv::NOT_DONE)),
        CsvText {
            text: CREATORS.field(users::username),
            escape_formulas,
        },
        CsvText {
            text: EDITORS.field(users::username).nullable(),
            escape_formulas,
        },
    )
}

/// A text column; where formulas are escaped, with a `'` before a text that a spreadsheet would take for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CsvText<E> {
    text: E,
    escape_formulas: bool,
}

impl<E> QueryId for CsvText<E> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<E: ValidGrouping<GB>, GB> ValidGrouping<GB> for CsvText<E> {
    type IsAggregate = E::IsAggregate;
}

impl<E: Expression> Expression for CsvText<E> {
    type SqlType = E::SqlType;
}

impl<E: QueryFragment<Pg>> QueryFragment<Pg> for CsvText<E> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.escape_formulas {
            return self.text.walk_ast(out);
        }
        out.push_sql("case when left(");
        self.text.walk_ast(out.reborrow())?;
        out.push_sql(", 1) in (");
        for (index, start) in csv::FORMULA_STARTS.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            out.push_sql(&format!("{comma}chr({})", u32::from(*start)));
        }
        out.push_sql(") then '''' || ");
        self.text.walk_ast(out.reborrow())?;
        out.push_sql(" else ");
        self.text.walk_ast(out.reborrow())?;
        out.push_sql(" end");
        Ok(())
    }
}

impl<E, QS> AppearsOnTable<QS> for CsvText<E> where E: AppearsOnTable<QS> {}
impl<E, QS> SelectableExpression<QS> for CsvText<E> where E: SelectableExpression<QS> {}
