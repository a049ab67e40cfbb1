//! Conditions on the rows of a query, with what they compare.

use std::sync::Arc;

use diesel::dsl::AsExprOf;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Text};

use super::fragment::{Fragment, Query};
use crate::units::hexadecimal;

/// A condition on rows.
pub struct Condition(Box<dyn QueryFragment<Pg> + Send>);

impl Condition {
    /// The condition that `fragment`, a boolean, is true.
    pub(super) fn new(fragment: impl QueryFragment<Pg> + Send + 'static) -> Self {
        Self(Box::new(fragment))
    }

    /// The condition that `key`, an integer, compares in this way with a value.
    pub(crate) fn compare(key: &Fragment, operator: &'static str, value: i64) -> Self {
        Self::new(Comparison(
            Arc::clone(key),
            operator,
            value.into_sql::<BigInt>(),
        ))
    }

    /// The condition that `key` is NULL.
    pub(crate) fn is_null(key: &Fragment) -> Self {
        Self::new(IsNull(Arc::clone(key)))
    }

    /// The condition that `key` is one of `ids`. They are an array: the server hashes it, and the rows stay in their index's order,
    /// as they would not with a join.
    pub(crate) fn is_any(key: &Fragment, ids: Vec<i64>) -> Self {
        let ids = ids.into_sql::<Array<BigInt>>();
        Self::new(Comparison(Arc::clone(key), "= any", ids))
    }

    /// The condition that `text` matches a pattern for `ILIKE`.
    pub(super) fn matches(
        text: impl QueryFragment<Pg> + Send + Sync + 'static,
        pattern: String,
    ) -> Self {
        Self::new(Matches(Arc::new(text), Pattern::of(pattern)))
    }

    /// The condition that `key` is among the values that a query selects.
    pub(crate) fn is_in(key: &Fragment, query: Query) -> Self {
        Self::new(Comparison(Arc::clone(key), "in", query))
    }
}

impl QueryFragment<Pg> for Condition {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

/// A comparison with NULL.
struct IsNull(Fragment);

impl QueryFragment<Pg> for IsNull {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(" is null");
        Ok(())
    }
}

/// Whether a text matches a pattern for `ILIKE`.
struct Matches(Fragment, Pattern);

/// A pattern.
enum Pattern {
    /// Of characters that every database can hold.
    Plain(AsExprOf<String, Text>),
    /// SQL that makes the pattern on the server; NULL, which matches nothing, if a LATIN1 database lacks one of its characters. Sent as a text,
    /// such a character is an error.
    Encoded(String),
}

impl Pattern {
    fn of(pattern: String) -> Self {
        if pattern.is_ascii() {
            return Self::Plain(pattern.into_sql::<Text>());
        }
        let in_latin1 = pattern.chars().all(|character| character <= '\u{ff}');
        // `concat` keeps the planner from converting it beforehand; the query in parentheses does so once, and not for each row.
        Self::Encoded(format!(
            "(select case when {in_latin1} or getdatabaseencoding() <> 'LATIN1'
                then convert_from(decode(concat('{}'), 'hex'), 'UTF8') end)",
            hexadecimal(pattern.as_bytes())
        ))
    }
}

impl QueryFragment<Pg> for Matches {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        // The database's own collation: PostgreSQL refuses ILIKE under a nondeterministic one, which a column may have, but no database.
        // An index of a column without a collation of its own still serves it.
        out.push_sql(" collate \"default\" ilike ");
        match &self.1 {
            Pattern::Plain(pattern) => pattern.walk_ast(out.reborrow()),
            Pattern::Encoded(sql) => {
                out.push_sql(sql);
                Ok(())
            }
        }
    }
}

/// A comparison. Diesel has no type for expressions that belong to no table.
struct Comparison<V>(Fragment, &'static str, V);

impl<V: QueryFragment<Pg>> QueryFragment<Pg> for Comparison<V> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(&format!(" {} (", self.1));
        self.2.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_latin1_lacks_is_left_out_of_a_latin1_database() {
        let encoded = |pattern: &str| match Pattern::of(pattern.to_owned()) {
            Pattern::Plain(_) => None,
            Pattern::Encoded(sql) => Some(sql),
        };
        assert_eq!(encoded("%it's \\%"), None);
        for (pattern, in_latin1, bytes) in [
            ("%\u{ff}'", true, "25c3bf27"),
            ("\u{ff}\u{100}", false, "c3bfc480"),
        ] {
            let sql = encoded(pattern).unwrap_or_default();
            let tested = format!("case when {in_latin1} or getdatabaseencoding() <> 'LATIN1'");
            assert!(
                sql.contains(&tested) && sql.contains(&format!("concat('{bytes}')")),
                "{sql}"
            );
        }
    }
}
