//! Parts of a query, and whole queries, whose types are erased after Diesel has checked them.
//!
//! Users choose an export's columns, so no one type can name its select list. Each column and each condition is written in Diesel's own
//! terms, and checked against the tables of its query ([`Declaration`](super::Declaration)). From there on it is only a part, to be put
//! together with others.
//!
//! Every query binds its values. COPY takes no parameters: [`CopyOutDsl`](crate::db::libpq::CopyOutDsl) writes them into its SQL.

use std::sync::Arc;

use diesel::dsl::AsExprOf;
use diesel::expression::{
    AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query as DieselQuery, QueryFragment, QueryId};
use diesel::sql_types::{Bool, Text, Untyped};

use super::condition::Condition;

/// A part of a query.
pub type SqlExpression = Arc<dyn QueryFragment<Pg> + Send + Sync>;

/// One of two texts for a boolean; NULL for NULL.
pub(super) struct Labelled<C> {
    column: C,
    labels: [AsExprOf<String, Text>; 2],
}

impl<C> Labelled<C> {
    pub(super) fn new(column: C, labels: [&str; 2]) -> Self {
        Self {
            column,
            labels: labels.map(|label| label.to_owned().into_sql::<Text>()),
        }
    }
}

impl<C: QueryFragment<Pg>> QueryFragment<Pg> for Labelled<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("case ");
        self.column.walk_ast(out.reborrow())?;
        for (when, label) in ["true", "false"].into_iter().zip(&self.labels) {
            out.push_sql(&format!(" when {when} then "));
            label.walk_ast(out.reborrow())?;
        }
        out.push_sql(" end");
        Ok(())
    }
}

/// What rows are ordered by.
#[derive(Clone)]
pub struct Order(pub(super) Vec<Ordered>);

/// A value by which rows are ordered.
#[derive(Clone)]
pub struct Ordered {
    /// The value.
    pub by: SqlExpression,
    /// Whether the greatest comes first.
    pub is_down: bool,
}

impl Ordered {
    /// The least comes first.
    pub fn up(by: SqlExpression) -> Self {
        Self { by, is_down: false }
    }
}

/// A value of a select list.
#[derive(Clone)]
pub enum Selected {
    /// As it is.
    Plain(SqlExpression),
    /// The text that PostgreSQL prints for it, as COPY does.
    Printed(SqlExpression),
    /// The first characters of it, so many of them: the server sends no more.
    Beginning(Box<Selected>, usize),
    /// The number 1: it matters only that there is a row.
    One,
    /// The number of rows.
    Count,
}

/// The select list of a query.
#[derive(Clone)]
pub struct SelectList(pub(super) Vec<Selected>);

impl QueryFragment<Pg> for SelectList {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (index, selected) in self.0.iter().enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            selected.walk_ast(out.reborrow())?;
        }
        Ok(())
    }
}

impl QueryFragment<Pg> for Selected {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self {
            Self::Plain(fragment) => fragment.walk_ast(out.reborrow())?,
            // `concat` prints what the type's own function for output does, as COPY; a cast to text does not (bool, char(n), and their
            // domains). NULL is empty for it, hence the case; a composite of NULLs is not NULL, but `is null`.
            Self::Printed(fragment) => {
                out.push_sql("case when num_nulls(");
                fragment.walk_ast(out.reborrow())?;
                out.push_sql(") = 0 then concat(");
                fragment.walk_ast(out.reborrow())?;
                out.push_sql(") end");
            }
            Self::Beginning(text, characters) => {
                out.push_sql("left((");
                text.walk_ast(out.reborrow())?;
                out.push_sql(&format!(")::text, {characters})"));
            }
            Self::One => out.push_sql("1"),
            Self::Count => out.push_sql("count(*)"),
        }
        Ok(())
    }
}

impl QueryFragment<Pg> for Order {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (index, Ordered { by, is_down }) in self.0.iter().enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            by.walk_ast(out.reborrow())?;
            if *is_down {
                out.push_sql(" desc");
            }
        }
        Ok(())
    }
}

/// What Diesel asks of an expression. The declaration has checked that each of these parts belongs to its query's tables.
macro_rules! erased_expression {
    ($($Erased:ty: $SqlType:ty),+) => {$(
        impl Expression for $Erased {
            type SqlType = $SqlType;
        }
        impl QueryId for $Erased {
            type QueryId = ();
            const HAS_STATIC_QUERY_ID: bool = false;
        }
        impl<GB> ValidGrouping<GB> for $Erased {
            type IsAggregate = is_aggregate::Never;
        }
        impl<QS> AppearsOnTable<QS> for $Erased {}
        impl<QS> SelectableExpression<QS> for $Erased {}
    )+};
}

erased_expression!(SelectList: Untyped, Condition: Bool, Order: Text);

/// What a query selects from its tables.
pub struct Select {
    /// The values of each row.
    pub list: SelectList,
    /// What must hold for each row.
    pub conditions: Vec<Condition>,
    /// The rows' order, if they have one.
    pub order: Option<Order>,
    /// How many rows to skip.
    pub offset: Option<i64>,
    /// How many rows to return at most.
    pub limit: Option<i64>,
}

impl Select {
    /// Selects these values of all rows, in no order.
    pub fn of(list: impl IntoIterator<Item = Selected>) -> Self {
        Self {
            list: SelectList(list.into_iter().collect()),
            conditions: Vec::new(),
            order: None,
            offset: None,
            limit: None,
        }
    }

    /// Selects only rows that also meet these conditions.
    pub fn with(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.conditions.extend(conditions);
        self
    }

    /// Selects the rows in this order.
    pub fn ordered(self, by: impl IntoIterator<Item = Ordered>) -> Self {
        let by: Vec<Ordered> = by.into_iter().collect();
        Self {
            order: (!by.is_empty()).then_some(Order(by)),
            ..self
        }
    }

    /// Selects at most this many rows.
    pub fn limit(self, rows: i64) -> Self {
        Self {
            limit: Some(rows),
            ..self
        }
    }

    /// Skips this many rows.
    pub fn offset(self, rows: i64) -> Self {
        Self {
            offset: Some(rows),
            ..self
        }
    }
}

/// A whole query, to be loaded as [`Row`](super::Row)s or copied out.
pub struct Query(Box<dyn QueryFragment<Pg> + Send>);

impl Query {
    pub(crate) fn new(query: impl QueryFragment<Pg> + Send + 'static) -> Self {
        Self(Box::new(query))
    }

    /// The query that is this SQL.
    pub(crate) fn of_sql(sql: String) -> Self {
        Self::new(Prefixed(sql, ()))
    }

    /// The command that begins with `prefix`, and then has this query.
    pub(crate) fn with_prefix(self, prefix: &str) -> Self {
        Self::new(Prefixed(prefix.to_owned(), self))
    }
}

/// SQL, and what follows it.
struct Prefixed<Q>(String, Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Prefixed<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql(&self.0);
        self.1.walk_ast(out)
    }
}

impl QueryFragment<Pg> for Query {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl QueryId for Query {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl DieselQuery for Query {
    type SqlType = Untyped;
}

impl<Connection> RunQueryDsl<Connection> for Query {}
