//! Values in SQL: bound as parameters, or, for COPY, which takes none, written out as literals.

use diesel::expression::{
    AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Bool, HasSqlType, SingleValue, Text};

use super::filter::NulCharacter;

/// How a query's values reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Beside the SQL, as bound parameters.
    Bound,
    /// In the SQL, as literals.
    Literal,
}

/// A type whose values can be written as SQL literals.
pub trait ToLiteral {
    /// The value as SQL text. An error if SQL has no text for it.
    fn to_literal(&self) -> Result<String, NulCharacter>;
}

impl ToLiteral for bool {
    fn to_literal(&self) -> Result<String, NulCharacter> {
        Ok(self.to_string())
    }
}

impl ToLiteral for i64 {
    /// As a quoted string with its type: `-9223372036854775808`, bare, would be the negation of a number that is out of range.
    fn to_literal(&self) -> Result<String, NulCharacter> {
        Ok(format!("'{self}'::bigint"))
    }
}

impl ToLiteral for str {
    /// Relies on `standard_conforming_strings`, which makes the backslash a plain character; the COPY connection sets it.
    fn to_literal(&self) -> Result<String, NulCharacter> {
        if self.contains('\0') {
            return Err(NulCharacter);
        }
        Ok(format!("'{}'", self.replace('\'', "''")))
    }
}

impl ToLiteral for &str {
    fn to_literal(&self) -> Result<String, NulCharacter> {
        (**self).to_literal()
    }
}

impl ToLiteral for String {
    fn to_literal(&self) -> Result<String, NulCharacter> {
        self.as_str().to_literal()
    }
}

/// A value of the SQL type `ST` as a part of a Diesel query.
#[derive(Debug, Clone)]
pub struct SqlValue<ST, T> {
    value: T,
    values: Values,
    sql_type: std::marker::PhantomData<ST>,
}

impl Values {
    /// A boolean of the query.
    pub fn bool(self, value: bool) -> SqlValue<Bool, bool> {
        self.value(value)
    }

    /// An integer of the query.
    pub fn bigint(self, value: i64) -> SqlValue<BigInt, i64> {
        self.value(value)
    }

    /// A text of the query.
    pub fn text(self, value: String) -> SqlValue<Text, String> {
        self.value(value)
    }

    /// A literal text of the program.
    pub fn label(self, value: &'static str) -> SqlValue<Text, &'static str> {
        self.value(value)
    }

    fn value<ST, T>(self, value: T) -> SqlValue<ST, T> {
        SqlValue {
            value,
            values: self,
            sql_type: std::marker::PhantomData,
        }
    }
}

impl<ST: SingleValue, T> Expression for SqlValue<ST, T> {
    type SqlType = ST;
}

impl<ST, T> QueryFragment<Pg> for SqlValue<ST, T>
where
    Pg: HasSqlType<ST>,
    T: ToLiteral + ToSql<ST, Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self.values {
            Values::Bound => out.push_bind_param(&self.value),
            Values::Literal => {
                let literal = self.value.to_literal();
                out.push_sql(
                    &literal
                        .map_err(|error| diesel::result::Error::QueryBuilderError(error.into()))?,
                );
                Ok(())
            }
        }
    }
}

impl<ST, T> QueryId for SqlValue<ST, T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST, T, GB> ValidGrouping<GB> for SqlValue<ST, T> {
    type IsAggregate = is_aggregate::Never;
}

impl<ST, T, QS> AppearsOnTable<QS> for SqlValue<ST, T> where Self: Expression {}
impl<ST, T, QS> SelectableExpression<QS> for SqlValue<ST, T> where Self: AppearsOnTable<QS> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_have_no_way_out() {
        assert_eq!(true.to_literal().as_deref(), Ok("true"));
        assert_eq!(
            i64::MIN.to_literal().as_deref(),
            Ok("'-9223372036854775808'::bigint")
        );
        assert_eq!("it's".to_literal().as_deref(), Ok("'it''s'"));
        assert_eq!("'; --".to_literal().as_deref(), Ok("'''; --'"));
        // Plain under standard_conforming_strings.
        assert_eq!(r"\'".to_literal().as_deref(), Ok(r"'\'''"));
        assert_eq!("\0".to_literal(), Err(NulCharacter));
    }
}
