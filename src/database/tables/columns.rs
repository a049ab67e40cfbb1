//! The columns of tables: those in the database, and those that the program expects.

use diesel::sql_types::is_nullable::NotNull;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, SqlType, Text};
use serde::Deserialize;

use crate::schema;
use diesel_export::db::Error;
use diesel_export::db::libpq::{self, CopyOutDsl as _};

/// The type that a column must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BigInt,
    Boolean,
    Text,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Boolean => "boolean",
            Self::Text => "text",
        }
    }

    /// Returns whether the column can be read as it is. Diesel and COPY read any text, whatever its length and its type's name.
    pub(super) fn takes(self, found: &Column) -> bool {
        match self {
            Self::BigInt | Self::Boolean => found.r#type == self.name(),
            Self::Text => found.category == "S",
        }
    }

    /// The cast to write after the column's name; `None` if the column has this type already, or cannot be cast to it.
    pub(super) fn cast(self, found: &Column) -> Option<&'static str> {
        if self.takes(found) {
            return None;
        }
        match (self, found.r#type.as_str()) {
            (
                Self::BigInt,
                "smallint" | "integer" | "oid" | "numeric" | "real" | "double precision",
            ) => Some("::bigint"),
            (Self::Boolean, "integer") => Some("::boolean"),
            (Self::Boolean, "smallint") => Some("::integer::boolean"),
            (Self::Boolean, _) if found.category == "S" => Some("::boolean"),
            (Self::Text, _) => Some("::text"),
            _ => None,
        }
    }
}

/// A column of `src/schema.rs`.
pub(super) struct Expected {
    pub(in crate::database::tables) table: &'static str,
    pub(in crate::database::tables) name: &'static str,
    pub(in crate::database::tables) kind: Kind,
}

impl Expected {
    pub(super) fn of<C: SchemaColumn>(table: &'static str, _column: C) -> Self {
        Self {
            table,
            name: C::NAME,
            kind: C::KIND,
        }
    }
}

/// A type of SQL that a column of `src/schema.rs` has.
pub(super) trait Typed {
    const KIND: Kind;
}

impl Typed for BigInt {
    const KIND: Kind = Kind::BigInt;
}

impl Typed for Bool {
    const KIND: Kind = Kind::Boolean;
}

impl Typed for Text {
    const KIND: Kind = Kind::Text;
}

impl<T: Typed + SqlType<IsNull = NotNull>> Typed for Nullable<T> {
    const KIND: Kind = T::KIND;
}

/// A column of `src/schema.rs`, as Diesel declares it: its name and type.
pub(super) trait SchemaColumn {
    const NAME: &'static str;
    const KIND: Kind;
}

impl<C: diesel::Column<SqlType: Typed>> SchemaColumn for C {
    const NAME: &'static str = <C as diesel::Column>::NAME;
    const KIND: Kind = <C::SqlType as Typed>::KIND;
}

/// All columns of `src/schema.rs`. With one more or less there, this does not compile.
pub(super) fn expected() -> Vec<Expected> {
    let mut all = Vec::new();
    macro_rules! expect {
        ($table:ident: $($column:ident),+) => {
            let ($($column,)+) = schema::$table::all_columns;
            $(all.push(Expected::of(stringify!($table), $column));)+
        };
    }
    expect!(locations: id, name);
    expect!(assets: id, name, description, location_id);
    expect!(users: id, username);
    expect!(tasks: id, title, description, done, asset_id, created_by_id, updated_by_id);
    all
}

/// A column that the database has.
#[derive(Deserialize)]
pub(in crate::database::tables) struct Column {
    pub(in crate::database::tables) relation: String,
    pub(in crate::database::tables) name: String,
    /// Its type's name; for a domain, the name of the type under it.
    pub(in crate::database::tables) r#type: String,
    /// PostgreSQL's category of the type: `S` for every type of text.
    pub(in crate::database::tables) category: String,
    /// Whether it belongs to a view.
    pub(in crate::database::tables) is_view: bool,
}

/// SQL that reads the columns of the relations `$1` from the catalog, which every role may read.
pub(in crate::database::tables) const COLUMNS: &str = "(
    with recursive columns as (
        select relation, attname::text as name, t.oid as type, t.typbasetype as base, t.typcategory::text as category,
            relkind in ('v', 'm', 'f') as is_view
        from unnest($1) as _ (relation)
            join pg_class on pg_class.oid = to_regclass(relation)
            join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
            join pg_type t on t.oid = atttypid
        union all
        select relation, name, t.oid, t.typbasetype, t.typcategory::text, is_view
        from columns join pg_type t on t.oid = columns.base
    )
    select json_agg(json_build_object('relation', relation, 'name', name, 'type', format_type(type, null),
        'category', category, 'is_view', is_view)) from columns where base = 0) as columns";

/// Reads the result of [`COLUMNS`].
pub(in crate::database::tables) fn read_columns(row: &libpq::Row) -> Result<Vec<Column>, Error> {
    libpq::read_json(row, "columns")
}

pub(super) fn columns_of(
    connection: &mut libpq::CopyConnection,
    relations: &[&str],
) -> Result<Vec<Column>, Error> {
    let sql = diesel::sql_query(format!("select {COLUMNS}"))
        .bind::<Array<Text>, _>(relations)
        .literal_sql()?;
    read_columns(&connection.query_row(&sql)?.unwrap_or_default())
}
