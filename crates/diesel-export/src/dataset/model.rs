//! Rows as structs: a NULL that a struct has no place for is an error that names the table and the column.
//!
//! Diesel takes an `Option<Model>` for `None` as soon as any of its fields is an unexpected NULL: a row that is there would be a row that is
//! not. So a row that is referred to is loaded together with its key, which alone says whether it is there.

use std::fmt;
use std::ops::Deref;

use diesel::associations::HasTable;
use diesel::deserialize::{self, FromSqlRow, StaticallySizedRow};
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use diesel::result::UnexpectedNullError;
use diesel::row::{Field as _, Row};
use diesel::sql_types::is_nullable::{IsNullable, NotNull};
use diesel::sql_types::{Nullable, SqlType};

use super::declaration::sql_of;
use super::row::{Cell, named_key};

/// A row of a dataset's own table, as a struct. It is loaded from its columns: `(books::all_columns,)`.
pub struct Own<Model>(Model);

impl<Model> Deref for Own<Model> {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0
    }
}

/// A row that a dataset's row refers to, as a struct, if there is such a row. It is loaded from its key and its columns:
/// `(assets::id.nullable(), assets::all_columns.nullable())`.
pub struct Referenced<Model>(Option<Model>);

impl<Model> Referenced<Model> {
    /// Returns a value of it for a column of the dataset; NULL if there is no such row.
    pub fn cell<'a, C: Into<Cell<'a>>>(&'a self, value: impl FnOnce(&'a Model) -> C) -> Cell<'a> {
        self.0.as_ref().map(value).into()
    }
}

/// A NULL for which a struct has no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnexpectedNull {
    /// The table, as SQL names it.
    pub table: String,
    /// The column.
    pub column: String,
    /// The row's key, if it is an integer or a UUID: anything else may be somebody's data.
    pub key: Option<String>,
}

impl fmt::Display for UnexpectedNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, column, key } = self;
        write!(f, "the column {column} of {table} is NULL")?;
        key.as_ref()
            .map_or(Ok(()), |key| write!(f, " in the row with the key {key}"))
    }
}

impl std::error::Error for UnexpectedNull {}

/// Which columns of a select list may be NULL.
pub trait MayBeNull {
    /// One for each column, in order.
    const MAY_BE_NULL: &'static [bool];
}

/// Whether a type of SQL has NULL.
pub trait Nullability {
    /// Whether it does.
    const HAS_NULL: bool;
}

impl Nullability for IsNullable {
    const HAS_NULL: bool = true;
}

impl Nullability for NotNull {
    const HAS_NULL: bool = false;
}

macro_rules! may_be_null {
    ($($First:ident $($T:ident)*)?) => {$(
        impl<$First: SqlType<IsNull: Nullability>, $($T: SqlType<IsNull: Nullability>),*> MayBeNull for ($First, $($T,)*) {
            const MAY_BE_NULL: &'static [bool] =
                &[<$First::IsNull as Nullability>::HAS_NULL, $(<$T::IsNull as Nullability>::HAS_NULL),*];
        }
        may_be_null!($($T)*);
    )?};
}

may_be_null!(A B C D E F G H I J K L M N O P);

/// Builds a struct from its columns.
fn build<'a, Model, ST>(row: &impl Row<'a, Pg>) -> deserialize::Result<Model>
where
    Model: FromSqlRow<ST, Pg> + HasTable<Table: QueryFragment<Pg>>,
    ST: MayBeNull,
{
    Model::build_from_row(row).map_err(|error| {
        if !error.is::<UnexpectedNullError>() {
            return error;
        }
        let is_null = |field: usize| row.get(field).is_some_and(|field| field.is_null());
        let column = ST::MAY_BE_NULL
            .iter()
            .enumerate()
            .find(|(field, may_be_null)| !**may_be_null && is_null(*field))
            .and_then(|(field, _)| row.get(field)?.field_name().map(str::to_owned));
        // The key comes first.
        let key = row.get(0).and_then(|field| named_key(field.value()?));
        Box::new(UnexpectedNull {
            table: sql_of(&Model::table()).replace('"', ""),
            column: column.unwrap_or_default(),
            key,
        })
    })
}

impl<Model, ST> FromSqlRow<(ST,), Pg> for Own<Model>
where
    Model: FromSqlRow<ST, Pg> + HasTable<Table: QueryFragment<Pg>>,
    ST: MayBeNull,
{
    fn build_from_row<'a>(row: &impl Row<'a, Pg>) -> deserialize::Result<Self> {
        build::<Model, ST>(row).map(Self)
    }
}

impl<Model, ST> StaticallySizedRow<(ST,), Pg> for Own<Model>
where
    Self: FromSqlRow<(ST,), Pg>,
    ST: MayBeNull,
{
    const FIELD_COUNT: usize = ST::MAY_BE_NULL.len();
}

impl<Model, Key, ST> FromSqlRow<(Nullable<Key>, Nullable<ST>), Pg> for Referenced<Model>
where
    Model: FromSqlRow<ST, Pg> + HasTable<Table: QueryFragment<Pg>>,
    Key: SqlType<IsNull = NotNull>,
    ST: MayBeNull + SqlType<IsNull = NotNull>,
{
    fn build_from_row<'a>(row: &impl Row<'a, Pg>) -> deserialize::Result<Self> {
        if row.get(0).is_none_or(|key| key.is_null()) {
            return Ok(Self(None));
        }
        let model = row.partial_row(1..row.field_count());
        build::<Model, ST>(&model).map(Some).map(Self)
    }
}

impl<Model, Key, ST> StaticallySizedRow<(Nullable<Key>, Nullable<ST>), Pg> for Referenced<Model>
where
    Self: FromSqlRow<(Nullable<Key>, Nullable<ST>), Pg>,
    Key: SqlType<IsNull = NotNull>,
    ST: MayBeNull + SqlType<IsNull = NotNull>,
{
    const FIELD_COUNT: usize = 1 + ST::MAY_BE_NULL.len();
}
