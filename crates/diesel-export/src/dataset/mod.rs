//! What can be exported: a dataset has columns and filters, and makes the queries for them.
//!
//! The export knows datasets by the trait [`Dataset`] alone. A [`Declaration`] makes one from a query in Diesel's terms: Diesel checks
//! its types, then the declaration erases them. A [`Catalog`] holds those of a program; an export holds its own.

mod catalog;
mod column;
mod column_type;
pub(crate) mod condition;
mod declaration;
mod filter;
mod loaded;
mod model;
mod query;
mod row;
mod row_order;

use std::fmt;
use std::sync::Arc;

use super::Error;

pub use self::catalog::{Catalog, InvalidScope, NoSuchDataset, Scope};
pub use self::column::{Column, InvalidColumns, Origin, Selection};
pub use self::column_type::{ColumnKind, ColumnType};
pub use self::condition::Condition;
pub use self::declaration::{
    Boxed, Declaration, Filtered, InvalidDeclaration, ReferenceTo, ReferencedColumn,
};
pub(crate) use self::declaration::{
    is_parameter, why_no_column_name, why_no_dataset_name, why_no_filter,
};
pub(crate) use self::filter::value_of_key;
pub use self::filter::{
    Filter, FilterField, FilterTest, FilterValue, InvalidFilter, InvalidText, MAX_SEARCH_LENGTH,
    SearchText, Value, parse_boolean,
};
pub use self::loaded::{Loader, Measured, Rows};
pub use self::model::{Own, Referenced, UnexpectedNull};
pub use self::query::{Order, Ordered, Query, Select, SelectList, Selected, SqlExpression};
pub use self::row::{Cell, Row};
pub use self::row_order::RowOrder;

/// Something to export. Each row of its own table is one of its rows; what that refers to is joined by LEFT JOIN, and is empty where
/// there is no such row. Rows are in the order of the table's key; those without a key come last.
///
/// A method that takes a [`Select`] returns its query: `joined` of all tables, `own` of the dataset's own table alone.
pub trait Dataset: Send + Sync {
    /// Its name on the command line and on the web, in the plural: `books`.
    fn name(&self) -> &str;

    /// A word for one of its rows: `book`.
    fn row_name(&self) -> &str;

    /// All of its columns.
    fn columns(&self) -> &[Column];

    /// All of its filters.
    fn filters(&self) -> &[FilterField];

    /// What a [`Scope`] can restrict its rows by.
    fn restrictions(&self) -> &[FilterField] {
        &[]
    }

    /// The scope that has restricted it, if one has.
    fn scope(&self) -> Option<&Scope> {
        None
    }

    /// The column by which people know its rows, if that is not the key.
    fn label(&self) -> Option<&Column>;

    /// Its own table.
    fn table(&self) -> &Table;

    /// What its rows refer to.
    fn references(&self) -> &[Reference];

    /// All tables of its query, as SQL names them.
    fn relations(&self) -> &[String];

    /// A condition of SQL on the catalog that holds as long as what is joined adds no row; `None` if nobody has to ask.
    fn proof(&self) -> Option<&str>;

    /// The query of all tables.
    fn joined(&self, select: Select) -> Query;

    /// The query of its own table alone.
    fn own(&self, select: Select) -> Query;

    /// Loads the first rows in the order, up to `limit`, with all columns of all tables; `None` if it has no structs for them.
    fn models(
        &self,
        conditions: Vec<Condition>,
        order: &RowOrder,
        limit: i64,
        loader: Loader<'_>,
    ) -> Option<Result<Box<dyn Models>, Error>>;

    /// Returns whether it has structs for its rows, as the strategy `joined` needs them.
    fn has_models(&self) -> bool;
}

/// A dataset's own table.
pub struct Table {
    /// Its name, as SQL writes it.
    pub name: String,
    /// The columns of its key.
    pub key: Vec<Key>,
}

impl Table {
    /// What its rows are ordered by.
    pub fn order(&self) -> impl Iterator<Item = SqlExpression> {
        self.key.iter().map(|key| Arc::clone(&key.value))
    }

    /// Its key, if that is one column.
    pub fn single_key(&self) -> Option<&Key> {
        match self.key.as_slice() {
            [key] => Some(key),
            _ => None,
        }
    }

    /// Its key, if that is one integer.
    pub fn integer_key(&self) -> Option<&Key> {
        self.single_key()
            .filter(|key| key.kind == ColumnKind::Integer)
    }
}

/// A column of a key.
pub struct Key {
    /// Its name.
    pub column: String,
    /// Its value, in a query.
    pub value: SqlExpression,
    /// What that is.
    pub kind: ColumnKind,
}

/// What a dataset's rows refer to by an id: rows of another table, or of several joined ones.
pub struct Reference {
    /// The column with the id in the dataset's own table.
    pub column: String,
    /// That id.
    pub value: SqlExpression,
    /// Whether it is an integer.
    pub is_integer: bool,
    /// The id of a row that is referred to, in the query of those rows.
    pub id: SqlExpression,
    /// Returns that query.
    pub query: Box<dyn Fn(Select) -> Query + Send + Sync>,
}

/// Rows with all columns of all tables, in memory.
pub trait Models: Send {
    /// Returns how many there are.
    fn count(&self) -> usize;

    /// Returns a row's value in a column of the dataset; the first row is 0.
    fn cell(&self, row: usize, column: &Column) -> Cell<'_>;
}

impl dyn Dataset + '_ {
    /// The role of PostgreSQL that reads it, if it is not the connection's own.
    pub fn role(&self) -> Option<&str> {
        self.scope().and_then(Scope::role)
    }

    /// The user on whose behalf it is read, if the application knows its users.
    pub fn user(&self) -> Option<&str> {
        self.scope().map(Scope::user)
    }
}

impl fmt::Debug for dyn Dataset + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for dyn Dataset + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.scope() == other.scope()
    }
}

impl Eq for dyn Dataset + '_ {}
