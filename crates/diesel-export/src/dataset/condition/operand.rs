//! What a condition compares with.

use std::sync::Arc;

use diesel::dsl::AsExprOf;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{BigInt, Bool, Text};

use crate::dataset::column_type::ColumnKind;
use crate::dataset::filter::{Value, is_date};
use crate::dataset::fragment::Fragment;
use crate::units::hexadecimal;

pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        _ => None,
    }
}

/// The type that a text is cast to, to be compared with values of this kind. Anything else is compared as the text that PostgreSQL prints.
pub(super) fn sql_name(kind: &ColumnKind) -> Option<&'static str> {
    match kind {
        ColumnKind::Integer => Some("int8"),
        ColumnKind::Boolean | ColumnKind::Label(_) => Some("bool"),
        ColumnKind::Decimal => Some("numeric"),
        ColumnKind::Float => Some("float8"),
        ColumnKind::Date => Some("date"),
        ColumnKind::Time => Some("time"),
        ColumnKind::Timestamp => Some("timestamp"),
        ColumnKind::Timestamptz => Some("timestamptz"),
        ColumnKind::Uuid => Some("uuid"),
        ColumnKind::Text | ColumnKind::Data => None,
    }
}

/// A value that is compared with.
pub(super) enum Operand {
    Boolean(AsExprOf<bool, Bool>),
    Integer(AsExprOf<i64, BigInt>),
    Text(PortableText),
    Cast(Written, &'static str),
    /// The beginning of the day after this one.
    DayAfter(Written, &'static str),
}

/// A value as it is written.
pub(super) struct Written {
    text: AsExprOf<String, Text>,
    pub(super) is_date: bool,
}

impl Operand {
    /// `None` for NULL, which no comparison finds.
    pub(super) fn of(kind: &ColumnKind, value: &Value) -> Option<Self> {
        Some(match (value, sql_name(kind)) {
            (Value::Null, _) => return None,
            (Value::Boolean(value), _) => Self::Boolean((*value).into_sql::<Bool>()),
            (Value::Integer(value), _) => Self::Integer((*value).into_sql::<BigInt>()),
            (Value::Text(text), None) => Self::Text(PortableText::of(text.clone())),
            (Value::Text(text), Some(name)) => {
                let is_date = is_date(text);
                let text = text.clone().into_sql::<Text>();
                Self::Cast(Written { text, is_date }, name)
            }
        })
    }
}

impl QueryFragment<Pg> for Operand {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self {
            Self::Boolean(value) => value.walk_ast(out),
            Self::Integer(value) => value.walk_ast(out),
            Self::Text(text) => text.walk_ast(out),
            Self::Cast(written, name) => {
                out.push_sql("cast(");
                written.text.walk_ast(out.reborrow())?;
                out.push_sql(&format!(" as pg_catalog.{name})"));
                Ok(())
            }
            Self::DayAfter(written, name) => {
                out.push_sql("cast(cast(");
                written.text.walk_ast(out.reborrow())?;
                out.push_sql(&format!(" as pg_catalog.date) + 1 as pg_catalog.{name})"));
                Ok(())
            }
        }
    }
}

/// Returns the value that is compared: as a text if PostgreSQL prints anything of this kind. A float is read again from its digits: a `real` of
/// 0.1 is not the 0.1 of a double, and users write what they see.
pub(super) fn compared(what: &Fragment, kind: &ColumnKind) -> Fragment {
    match kind {
        ColumnKind::Data => Arc::new(Cast(Arc::clone(what), "text")),
        ColumnKind::Float => {
            let printed: Fragment = Arc::new(Cast(Arc::clone(what), "text"));
            Arc::new(Cast(printed, "float8"))
        }
        _ => Arc::clone(what),
    }
}

/// A value, cast to a type.
struct Cast(Fragment, &'static str);

impl QueryFragment<Pg> for Cast {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("cast(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(&format!(" as pg_catalog.{})", self.1));
        Ok(())
    }
}

/// A text that may have characters that the database cannot hold.
pub(super) enum PortableText {
    /// Of characters that every database can hold.
    Plain(AsExprOf<String, Text>),
    /// SQL that makes the text on the server; NULL, which equals and matches nothing, if a LATIN1 database lacks one of its characters. Sent
    /// as a text, such a character is an error.
    Encoded(String),
}

impl PortableText {
    pub(super) fn of(text: String) -> Self {
        if text.is_ascii() {
            return Self::Plain(text.into_sql::<Text>());
        }
        let in_latin1 = text.chars().all(|character| character <= '\u{ff}');
        // `concat` keeps the planner from converting it beforehand; the query in parentheses does so once, and not for each row.
        Self::Encoded(format!(
            "(select case when {in_latin1} or getdatabaseencoding() <> 'LATIN1'
                then convert_from(decode(concat('{}'), 'hex'), 'UTF8') end)",
            hexadecimal(text.as_bytes())
        ))
    }
}

impl QueryFragment<Pg> for PortableText {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self {
            Self::Plain(text) => text.walk_ast(out),
            Self::Encoded(sql) => {
                out.push_sql(sql);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_latin1_lacks_is_left_out_of_a_latin1_database() {
        let encoded = |pattern: &str| match PortableText::of(pattern.to_owned()) {
            PortableText::Plain(_) => None,
            PortableText::Encoded(sql) => Some(sql),
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
