//! The rows of a query, and the values of a line.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::row::Field as _;
use diesel::sql_types::{BigInt, Bool, Integer, SmallInt, Untyped};
use serde::{Serialize, Serializer};

use crate::units::hexadecimal;

/// A row of a query, with the values that the query selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Box<[Value]>);

/// A value that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(Box<str>),
}

/// A value of a line, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL's NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A text, which may be empty, or anything else as PostgreSQL prints it.
    Text(&'a str),
}

impl Row {
    /// Its values, in the order in which they were selected.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        self.0.iter().map(|value| match value {
            Value::Null => Cell::Null,
            Value::Integer(integer) => Cell::Integer(*integer),
            Value::Boolean(boolean) => Cell::Boolean(*boolean),
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

/// The oids of PostgreSQL's own types: the integers, `bool`, and `text`, `varchar`, `char`, `name`; and the first oid that it leaves to
/// other types, such as `citext`.
const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;
const BOOL: u32 = 16;
const UUID: u32 = 2950;
const TEXTS: [u32; 4] = [25, 1043, 1042, 19];
const FIRST_OF_OTHERS: u32 = 16_384;

impl Value {
    /// Reads a value by the type that the server tells: the binary form of another type is no text, but might look like one.
    fn read(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.get_oid().get() {
            INT8 => <i64 as FromSql<BigInt, Pg>>::from_sql(value).map(Self::Integer),
            INT4 => <i32 as FromSql<Integer, Pg>>::from_sql(value).map(|value| Self::Integer(value.into())),
            INT2 => <i16 as FromSql<SmallInt, Pg>>::from_sql(value).map(|value| Self::Integer(value.into())),
            BOOL => <bool as FromSql<Bool, Pg>>::from_sql(value).map(Self::Boolean),
            oid if oid >= FIRST_OF_OTHERS || TEXTS.contains(&oid) => {
                let text = std::str::from_utf8(value.as_bytes())?;
                Ok(Self::Text(text.into()))
            }
            oid => Err(format!(
                "a value is of the type with the oid {oid}, neither an integer nor a boolean nor a text"
            )
            .into()),
        }
    }
}

/// Returns the text of a key that may be named in an error: an integer or a UUID.
pub(super) fn named_key(key: PgValue<'_>) -> Option<String> {
    if key.get_oid().get() == UUID && key.as_bytes().len() == 16 {
        let mut text = hexadecimal(key.as_bytes());
        for place in [20, 16, 12, 8] {
            text.insert(place, '-');
        }
        return Some(text);
    }
    match Value::read(key).ok()? {
        Value::Integer(integer) => Some(integer.to_string()),
        _ => None,
    }
}

impl From<bool> for Cell<'_> {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
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
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}
