//! The types that a column can have. A type is a line in a table: PostgreSQL prints its values, and they are passed on as it prints them.

use diesel::pg::sql_types::{
    Array, CChar, Cidr, Citext, Inet, MacAddr, MacAddr8, Money, Multirange, Oid, PgLsn, Range,
    Timestamptz, Uuid,
};
use diesel::sql_types::is_nullable::NotNull;
use diesel::sql_types::{
    BigInt, Binary, Bool, Date, Double, Float, Integer, Interval, Json, Jsonb, Nullable, Numeric,
    SmallInt, SqlType, Text, Time, Timestamp,
};

/// What a column's values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    /// Integers of up to 64 bits.
    Integer,
    /// Booleans.
    Boolean,
    /// Texts, in which anybody may have written anything.
    Text,
    /// Numbers with a fraction that is exact: all digits count.
    Decimal,
    /// Numbers of floating point.
    Float,
    /// Days.
    Date,
    /// Times of a day, of no time zone.
    Time,
    /// Points in time, of no time zone.
    Timestamp,
    /// Points in time.
    Timestamptz,
    /// UUIDs.
    Uuid,
    /// JSON documents.
    Json,
    /// Anything else, as PostgreSQL prints it: networks, intervals.
    Data,
    /// To a filter: what PostgreSQL compares as values of this type, which reads any text that the filter takes: `citext`, an enum.
    Typed(String),
    /// Booleans, written as two texts: the first for true, the second for false.
    Label([String; 2]),
}

impl ColumnKind {
    /// The label for a boolean, if the column has labels.
    pub(crate) fn label(&self, is_true: bool) -> Option<&str> {
        match self {
            Self::Label([yes, no]) => Some(if is_true { yes } else { no }),
            _ => None,
        }
    }

    /// Whether a range of such values can be asked for.
    pub(crate) fn has_ranges(&self) -> bool {
        !matches!(
            self,
            Self::Boolean
                | Self::Label(_)
                | Self::Text
                | Self::Uuid
                | Self::Json
                | Self::Data
                | Self::Typed(_)
        )
    }

    /// Whether a filter reads any text as such a value.
    pub(crate) fn is_any_text(&self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Data | Self::Typed(_))
    }

    /// Whether the values are texts to who reads them from the server, of any length.
    pub(crate) fn is_text(&self) -> bool {
        !matches!(self, Self::Integer | Self::Boolean | Self::Label(_))
    }
}

/// A type of SQL that a column's values can have.
///
/// Any type can be a column's. For one that is not among these, such as an enum, a composite or `xml`, declare that its values are
/// [`Text`](ColumnKind::Text) or [`Data`](ColumnKind::Data), or, for a domain, what the values of its type are:
///
/// ```
/// #[derive(diesel::sql_types::SqlType)]
/// #[diesel(postgres_type(name = "priority"))]
/// pub struct Priority;
///
/// impl diesel_export::dataset::ColumnType for Priority {
///     fn kind() -> diesel_export::dataset::ColumnKind {
///         diesel_export::dataset::ColumnKind::Data
///     }
/// }
/// ```
pub trait ColumnType {
    /// Whether they have an order: `json`, `xml` and `point` have none.
    const IS_ORDERED: bool = true;
    /// Whether PostgreSQL has to print them for a strategy that loads rows through Diesel; otherwise their binary form can be read.
    const IS_PRINTED: bool = true;
    /// Whether they may be NULL.
    const IS_NULLABLE: bool = false;

    /// What such values are.
    fn kind() -> ColumnKind;

    /// What they are to a filter. [`Text`](ColumnKind::Text) is for types that PostgreSQL compares with texts; an index serves
    /// [`Typed`](ColumnKind::Typed), too.
    fn compared() -> ColumnKind {
        Self::kind()
    }
}

macro_rules! column_types {
    ($($Kind:ident, ordered: $ordered:literal, printed: $printed:literal: $($Type:ty),+;)+) => {$($(
        impl ColumnType for $Type {
            const IS_ORDERED: bool = $ordered;
            const IS_PRINTED: bool = $printed;

            fn kind() -> ColumnKind {
                ColumnKind::$Kind
            }
        }
    )+)+};
}

column_types! {
    Integer, ordered: true, printed: false: SmallInt, Integer, BigInt;
    Boolean, ordered: true, printed: false: Bool;
    Text, ordered: true, printed: false: Text;
    Decimal, ordered: true, printed: true: Numeric;
    Float, ordered: true, printed: true: Float, Double;
    Date, ordered: true, printed: true: Date;
    Time, ordered: true, printed: true: Time;
    Timestamp, ordered: true, printed: true: Timestamp;
    Timestamptz, ordered: true, printed: true: Timestamptz;
    Uuid, ordered: true, printed: true: Uuid;
    Data, ordered: true, printed: true: Money, Oid, Binary, Interval, Inet, Cidr, MacAddr, MacAddr8, PgLsn;
    Json, ordered: true, printed: true: Jsonb;
    Json, ordered: false, printed: true: Json;
}

impl ColumnType for Citext {
    const IS_PRINTED: bool = false;

    fn kind() -> ColumnKind {
        ColumnKind::Text
    }

    fn compared() -> ColumnKind {
        ColumnKind::Typed("citext".to_owned())
    }
}

impl ColumnType for CChar {
    fn kind() -> ColumnKind {
        ColumnKind::Text
    }

    fn compared() -> ColumnKind {
        ColumnKind::Data
    }
}

impl<T: ColumnType + SqlType<IsNull = NotNull>> ColumnType for Nullable<T> {
    const IS_ORDERED: bool = T::IS_ORDERED;
    const IS_PRINTED: bool = T::IS_PRINTED;
    const IS_NULLABLE: bool = true;

    fn kind() -> ColumnKind {
        T::kind()
    }

    fn compared() -> ColumnKind {
        T::compared()
    }
}

/// Arrays of texts have texts in them, as an array of numbers has not.
impl<T: ColumnType> ColumnType for Array<T> {
    const IS_ORDERED: bool = T::IS_ORDERED;

    fn kind() -> ColumnKind {
        match T::kind() {
            ColumnKind::Text => ColumnKind::Text,
            _ => ColumnKind::Data,
        }
    }

    fn compared() -> ColumnKind {
        ColumnKind::Data
    }
}

impl<T> ColumnType for Range<T> {
    fn kind() -> ColumnKind {
        ColumnKind::Data
    }
}

impl<T> ColumnType for Multirange<T> {
    fn kind() -> ColumnKind {
        ColumnKind::Data
    }
}
