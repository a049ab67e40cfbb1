//! What a condition compares with.

use std::sync::Arc;

use diesel::dsl::AsExprOf;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{BigInt, Bool};

use super::portable_text::PortableText;
use crate::dataset::column_type::ColumnKind;
use crate::dataset::filter::{Value, is_date};
use crate::dataset::query::{Selected, SqlExpression};

pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        _ => None,
    }
}

/// The type that a text is cast to, to be compared with values of this kind. Anything else is compared as the text that PostgreSQL prints.
fn sql_name(kind: &ColumnKind) -> Option<&str> {
    Some(match kind {
        ColumnKind::Integer => "pg_catalog.int8",
        ColumnKind::Boolean | ColumnKind::Label(_) => "pg_catalog.bool",
        ColumnKind::Decimal => "pg_catalog.numeric",
        ColumnKind::Float => "pg_catalog.float8",
        ColumnKind::Date => "pg_catalog.date",
        ColumnKind::Time => "pg_catalog.time",
        ColumnKind::Timestamp => "pg_catalog.timestamp",
        ColumnKind::Timestamptz => "pg_catalog.timestamptz",
        ColumnKind::Uuid => "pg_catalog.uuid",
        ColumnKind::Typed(name) => name,
        ColumnKind::Text | ColumnKind::Json | ColumnKind::Data => return None,
    })
}

/// A value that is compared with.
pub(super) enum Operand {
    Boolean(AsExprOf<bool, Bool>),
    Integer(AsExprOf<i64, BigInt>),
    Text(PortableText),
    Cast(PortableText, String),
    /// The beginning of the day after this one.
    DayAfter(PortableText, String),
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
                Self::Cast(PortableText::of(text.clone()), name.to_owned())
            }
        })
    }

    /// The least that is no more of this value; `None` if that is no day of a timestamp.
    pub(super) fn after(kind: &ColumnKind, value: &Value) -> Option<Self> {
        match (kind, value) {
            (ColumnKind::Timestamp | ColumnKind::Timestamptz, Value::Text(day)) if is_date(day) => {
                let day = PortableText::of(day.clone());
                Some(Self::DayAfter(day, sql_name(kind)?.to_owned()))
            }
            _ => None,
        }
    }
}

impl QueryFragment<Pg> for Operand {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self {
            Self::Boolean(value) => value.walk_ast(out),
            Self::Integer(value) => value.walk_ast(out),
            Self::Text(text) => text.walk_ast(out),
            Self::Cast(text, name) => {
                out.push_sql("cast(");
                text.walk_ast(out.reborrow())?;
                out.push_sql(&format!(" as {name})"));
                Ok(())
            }
            Self::DayAfter(day, name) => {
                out.push_sql("cast(cast(");
                day.walk_ast(out.reborrow())?;
                out.push_sql(&format!(" as pg_catalog.date) + 1 as {name})"));
                Ok(())
            }
        }
    }
}

/// Returns the value that is compared: as a text if PostgreSQL prints anything of this kind. A float is read again from its digits: a `real` of
/// 0.1 is not the 0.1 of a double, and users write what they see.
pub(super) fn compared(what: &SqlExpression, kind: &ColumnKind) -> SqlExpression {
    match kind {
        ColumnKind::Json | ColumnKind::Data => Arc::new(Selected::Printed(Arc::clone(what))),
        ColumnKind::Float => {
            let printed: SqlExpression = Arc::new(Cast(Arc::clone(what), "text"));
            Arc::new(Cast(printed, "float8"))
        }
        _ => Arc::clone(what),
    }
}

/// A value, cast to a type.
struct Cast(SqlExpression, &'static str);

impl QueryFragment<Pg> for Cast {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("cast(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(&format!(" as pg_catalog.{})", self.1));
        Ok(())
    }
}
