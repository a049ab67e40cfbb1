//! Parts of a query, and whole queries, whose types are erased after Diesel has checked them.
//!
//! Users choose an export's columns, so no one type can name its select list. Each column and each condition is written in Diesel's own
//! terms, and checked against the tables of its query ([`Declaration`](super::Declaration)). From there on it is only a part, to be put
//! together with others.
//!
//! Every query binds its values. COPY takes no parameters: [`CopyOutDsl`](crate::db::libpq::CopyOutDsl) writes them into its SQL.

use std::sync::Arc;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::dsl::AsExprOf;
use diesel::expression::{
    AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query as DieselQuery, QueryFragment, QueryId};
use diesel::row::Field as _;
use diesel::sql_types::{Array, BigInt, Bool, Text, Untyped};
use serde::{Serialize, Serializer};

use crate::units::hexadecimal;

/// A part of a query.
pub type Fragment = Arc<dyn QueryFragment<Pg> + Send + Sync>;

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
pub struct Order(pub(super) Vec<Fragment>);

/// A value of a select list.
#[derive(Clone)]
pub enum Selected {
    /// As it is.
    Plain(Fragment),
    /// The first characters of a text, so many of them: the server sends no more.
    Beginning(Fragment, usize),
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
            match selected {
                Selected::Plain(fragment) => fragment.walk_ast(out.reborrow())?,
                Selected::Beginning(text, characters) => {
                    out.push_sql("left((");
                    text.walk_ast(out.reborrow())?;
                    out.push_sql(&format!(")::text, {characters})"));
                }
                Selected::Count => out.push_sql("count(*)"),
            }
        }
        Ok(())
    }
}

impl QueryFragment<Pg> for Condition {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl QueryFragment<Pg> for Order {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (index, fragment) in self.0.iter().enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            fragment.walk_ast(out.reborrow())?;
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

/// What a query asks of its tables.
pub struct Question {
    /// The values of each row.
    pub select: SelectList,
    /// What must hold for each row.
    pub conditions: Vec<Condition>,
    /// The rows' order, if they have one.
    pub order: Option<Order>,
    /// How many rows to skip.
    pub offset: Option<i64>,
    /// How many rows to return at most.
    pub limit: Option<i64>,
}

impl Question {
    /// Asks for these values of all rows, in no order.
    pub fn of(select: impl IntoIterator<Item = Selected>) -> Self {
        Self {
            select: SelectList(select.into_iter().collect()),
            conditions: Vec::new(),
            order: None,
            offset: None,
            limit: None,
        }
    }

    /// Asks only for rows that also meet these conditions.
    pub fn with(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.conditions.extend(conditions);
        self
    }

    /// Asks for the rows in this order.
    pub fn ordered(self, by: impl IntoIterator<Item = Fragment>) -> Self {
        Self {
            order: Some(Order(by.into_iter().collect())),
            ..self
        }
    }

    /// Asks for at most this many rows.
    pub fn limit(self, rows: i64) -> Self {
        Self {
            limit: Some(rows),
            ..self
        }
    }

    /// Asks to skip this many rows.
    pub fn offset(self, rows: i64) -> Self {
        Self {
            offset: Some(rows),
            ..self
        }
    }
}

/// A whole query, to be loaded as [`Row`]s or copied out.
pub struct Query(Box<dyn QueryFragment<Pg> + Send>);

impl Query {
    pub(super) fn new(query: impl QueryFragment<Pg> + Send + 'static) -> Self {
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

/// A row of a query, with the values that the query selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Box<[Value]>);

/// A value that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Null,
    Integer(i64),
    Text(Box<str>),
}

/// A value of a line, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL's NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A text, which may be empty.
    Text(&'a str),
}

impl Row {
    /// Its values, in the order in which they were selected.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        self.0.iter().map(|value| match value {
            Value::Null => Cell::Null,
            Value::Integer(integer) => Cell::Integer(*integer),
            Value::Text(text) => Cell::Text(text),
        })
    }

    /// Bytes that its values take, without their texts.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Cuts its texts at so many characters. Returns which values were longer.
    pub(crate) fn cut(&mut self, characters: usize) -> Vec<usize> {
        let mut cut = Vec::new();
        for (index, value) in self.0.iter_mut().enumerate() {
            if let Value::Text(text) = value
                && let Some((end, _)) = text.char_indices().nth(characters)
            {
                *text = text[..end].into();
                cut.push(index);
            }
        }
        cut
    }

    /// Its first value, if that is an integer: a key, or a count.
    pub fn first_integer(&self) -> Option<i64> {
        match self.0.first() {
            Some(Value::Integer(integer)) => Some(*integer),
            _ => None,
        }
    }
}

impl FromSqlRow<Untyped, Pg> for Row {
    fn build_from_row<'a>(row: &impl diesel::row::Row<'a, Pg>) -> deserialize::Result<Self> {
        let value = |index| {
            let field = row.get(index).ok_or("a row has fewer values than it has")?;
            field.value().map_or(Ok(Value::Null), Value::read)
        };
        (0..row.field_count())
            .map(value)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The oids of PostgreSQL's own types `bigint`, and `text`, `varchar`, `char`, `name`; and the first oid that it leaves to other types,
/// such as `citext`.
pub(super) const INT8: u32 = 20;
const TEXTS: [u32; 4] = [25, 1043, 1042, 19];
const FIRST_OF_OTHERS: u32 = 16_384;

impl Value {
    /// Reads a value by the type that the server tells: the binary form of another type is no text, but might look like one.
    fn read(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.get_oid().get() {
            INT8 => <i64 as FromSql<BigInt, Pg>>::from_sql(value).map(Self::Integer),
            oid if oid >= FIRST_OF_OTHERS || TEXTS.contains(&oid) => {
                let text = std::str::from_utf8(value.as_bytes())?;
                Ok(Self::Text(text.into()))
            }
            oid => Err(format!(
                "a value is of the type with the oid {oid}, neither bigint nor a text"
            )
            .into()),
        }
    }
}

impl From<i64> for Cell<'_> {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Integer(integer) => serializer.serialize_i64(*integer),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}
