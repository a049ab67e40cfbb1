//! Conditions on the rows of a query, with what they compare.

mod operand;
mod portable_text;

use std::sync::Arc;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt};

use self::operand::{Operand, compared, integer};
use self::portable_text::PortableText;
use super::column_type::ColumnKind;
use super::filter::{Value, like_literal, like_pattern};
use super::query::{Query, SqlExpression};

/// A condition on rows.
pub struct Condition(Box<dyn QueryFragment<Pg> + Send>);

impl Condition {
    /// The condition that `fragment`, a boolean, is true.
    pub(super) fn new(fragment: impl QueryFragment<Pg> + Send + 'static) -> Self {
        Self(Box::new(fragment))
    }

    /// The condition that `key`, an integer, compares in this way with a value.
    pub(crate) fn compare(key: &SqlExpression, operator: &'static str, value: i64) -> Self {
        Self::new(Comparison(
            Arc::clone(key),
            operator,
            value.into_sql::<BigInt>(),
        ))
    }

    /// The condition that `key` is NULL.
    pub(crate) fn is_null(key: &SqlExpression) -> Self {
        Self::new(IsNull(Arc::clone(key)))
    }

    /// The condition that `key` is one of `ids`. They are an array: the server hashes it, and the rows stay in their index's order,
    /// as they would not with a join.
    pub(crate) fn is_any(key: &SqlExpression, ids: Vec<i64>) -> Self {
        let ids = ids.into_sql::<Array<BigInt>>();
        Self::new(Comparison(Arc::clone(key), "= any", ids))
    }

    /// The condition that `text` has this one in it; upper and lower case count as equal.
    pub(crate) fn contains(text: &SqlExpression, part: &str) -> Self {
        Self::new(like(text, like_pattern(part)))
    }

    /// The condition that `what` is at least this.
    pub(super) fn from(what: &SqlExpression, kind: &ColumnKind, value: &Value) -> Self {
        let least = Operand::of(kind, value);
        Self::new(Compared(
            compared(what, kind),
            " >= ",
            least.into_iter().collect(),
        ))
    }

    /// The condition that `what` is at most this. A timestamp may be of any time of a day.
    pub(super) fn to(what: &SqlExpression, kind: &ColumnKind, value: &Value) -> Self {
        let (operator, greatest) = match Operand::after(kind, value) {
            Some(after) => (" < ", Some(after)),
            None => (" <= ", Operand::of(kind, value)),
        };
        Self::new(Compared(
            compared(what, kind),
            operator,
            greatest.into_iter().collect(),
        ))
    }

    /// The condition that `what` is one of these; [`Value::Null`] is NULL.
    pub(crate) fn one_of(what: &SqlExpression, kind: &ColumnKind, values: &[Value]) -> Self {
        let mut either: Vec<Self> = Vec::new();
        let integers: Vec<i64> = values.iter().filter_map(integer).collect();
        match integers.as_slice() {
            [] => {}
            [one] => either.push(Self::compare(what, "=", *one)),
            _ => either.push(Self::is_any(what, integers)),
        }
        let others: Vec<Operand> = values
            .iter()
            .filter_map(|value| match value {
                Value::Integer(_) => None,
                value => Operand::of(kind, value),
            })
            .collect();
        if !others.is_empty() {
            either.push(Self::new(Compared(compared(what, kind), " in ", others)));
        }
        if values.contains(&Value::Null) {
            either.push(Self::is_null(what));
        }
        Self::new(Either(either))
    }

    /// The condition that `key` is among the values that a query selects.
    pub(crate) fn is_in(key: &SqlExpression, query: Query) -> Self {
        Self::new(Comparison(Arc::clone(key), "in", query))
    }
}

/// The condition that `text` fits a pattern.
fn like(text: &SqlExpression, pattern: String) -> Compared {
    // The database's own collation: PostgreSQL refuses ILIKE under a nondeterministic one, which a column may have, but no database.
    // An index of a column without a collation of its own still serves it.
    let pattern = Operand::Text(PortableText::of(pattern));
    Compared(
        Arc::clone(text),
        " collate \"default\" ilike ",
        vec![pattern],
    )
}

/// How well `text` fits what is searched for: 0 if it is that, 1 if it begins with it, 2 if a word of it does, 3 otherwise. Upper and lower
/// case count as equal.
pub(crate) fn rank(text: &SqlExpression, searched: &str) -> SqlExpression {
    let searched = like_literal(searched);
    let beginning = format!("{searched}%");
    let word = format!("% {beginning}");
    let patterns = [searched, beginning, word];
    Arc::new(Rank(patterns.map(|pattern| like(text, pattern))))
}

struct Rank([Compared; 3]);

impl QueryFragment<Pg> for Rank {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("case");
        for (rank, condition) in self.0.iter().enumerate() {
            out.push_sql(" when ");
            condition.walk_ast(out.reborrow())?;
            out.push_sql(&format!(" then {rank}"));
        }
        out.push_sql(" else 3 end");
        Ok(())
    }
}

impl QueryFragment<Pg> for Condition {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

/// A comparison with NULL.
struct IsNull(SqlExpression);

impl QueryFragment<Pg> for IsNull {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        // A composite of NULLs is itself not NULL, although it `is null`.
        out.push_sql(" is not distinct from null");
        Ok(())
    }
}

/// A comparison with one of some values.
struct Compared(SqlExpression, &'static str, Vec<Operand>);

impl QueryFragment<Pg> for Compared {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(self.1);
        for (index, operand) in self.2.iter().enumerate() {
            out.push_sql(if index == 0 { "(" } else { ", " });
            operand.walk_ast(out.reborrow())?;
        }
        out.push_sql(if self.2.is_empty() { "(null)" } else { ")" });
        Ok(())
    }
}

/// One of several conditions.
struct Either(Vec<Condition>);

impl QueryFragment<Pg> for Either {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (index, condition) in self.0.iter().enumerate() {
            out.push_sql(if index == 0 { "(" } else { " or " });
            condition.walk_ast(out.reborrow())?;
        }
        out.push_sql(if self.0.is_empty() { "false" } else { ")" });
        Ok(())
    }
}

/// A comparison. Diesel has no type for expressions that belong to no table.
struct Comparison<V>(SqlExpression, &'static str, V);

impl<V: QueryFragment<Pg>> QueryFragment<Pg> for Comparison<V> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(&format!(" {} (", self.1));
        self.2.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}
