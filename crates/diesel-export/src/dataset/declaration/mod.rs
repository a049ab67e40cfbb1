//! How a dataset is declared.

mod check;
mod declared;
mod filters;

pub use self::check::InvalidDeclaration;
pub(crate) use self::check::{
    dataset_name as why_no_dataset_name, invalid_filter as why_no_filter, is_parameter,
    listed_name as why_no_column_name,
};
pub use self::filters::{Filtered, ReferencedColumn};

use std::marker::PhantomData;
use std::sync::Arc;

use diesel::associations::HasTable;
use diesel::expression::Expression;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use diesel::query_dsl::methods::{FilterDsl, LimitDsl, OffsetDsl, OrderDsl, SelectDsl};
use diesel::sql_types::BoolOrNullableBool;

use super::column::{Column, Origin};
use super::column_type::{ColumnKind, ColumnType};
use super::condition::Condition;
use super::filter::FilterField;
use super::loaded::{Loader, Rows};
use super::query::{Labelled, Order, Query, Select, SelectList, SqlExpression};
use super::row::Cell;
use super::{Key, Reference, Table};
use crate::Error;

/// A boxed query, as `into_boxed()` returns it for one table or several joined ones.
pub trait Boxed:
    Sized
    + FilterDsl<Condition, Output = Self>
    + OrderDsl<Order, Output = Self>
    + LimitDsl<Output = Self>
    + OffsetDsl<Output = Self>
    + SelectDsl<SelectList, Output: QueryFragment<Pg> + Send + 'static>
{
}

impl<Q> Boxed for Q where
    Q: FilterDsl<Condition, Output = Q>
        + OrderDsl<Order, Output = Q>
        + LimitDsl<Output = Q>
        + OffsetDsl<Output = Q>
        + SelectDsl<SelectList, Output: QueryFragment<Pg> + Send + 'static>
{
}

fn ask<Q: Boxed>(query: Q, select: Select) -> Query {
    let Select {
        list,
        conditions,
        order,
        offset,
        limit,
    } = select;
    let mut query = restricted(query, conditions);
    if let Some(order) = order {
        query = query.order(order);
    }
    if let Some(offset) = offset {
        query = query.offset(offset);
    }
    if let Some(limit) = limit {
        query = query.limit(limit);
    }
    Query::new(query.select(list))
}

fn restricted<Q: Boxed>(query: Q, conditions: Vec<Condition>) -> Q {
    conditions.into_iter().fold(query, Q::filter)
}

/// Reads a column's value from a model.
type ReadCell<Model> = fn(&Model) -> Cell<'_>;

/// Makes a query, which may have values that it captures.
type Make<Query> = Box<dyn Fn() -> Query + Send + Sync>;

/// Loads the rows of a query as structs.
type Load<Joined, Model> =
    Box<dyn Fn(Joined, Loader<'_>) -> Result<Rows<Model>, Error> + Send + Sync>;

/// A dataset while it is being declared. `Own` is the query of its own table, `Joined` that of the table and all that is joined to it,
/// `Model` a row with all columns, if there is one.
pub struct Declaration<Joined, Own, Model = ()> {
    name: String,
    row_name: String,
    joined: Make<Joined>,
    own: Make<Own>,
    models: Option<Load<Joined, Model>>,
    table: Table,
    /// Whether the key's columns have an order.
    has_order: bool,
    columns: Vec<Column>,
    cells: Vec<Option<ReadCell<Model>>>,
    filters: Vec<FilterField>,
    restrictions: Vec<FilterField>,
    references: Vec<Reference>,
    relations: Vec<String>,
    label: Option<usize>,
}

/// The handle of a dataset's reference. `Referenced` is the query of what it refers to.
pub struct ReferenceTo<Referenced> {
    index: usize,
    query: PhantomData<fn() -> Referenced>,
}

impl<Joined, Own> Declaration<Joined, Own> {
    /// Begins to declare a dataset. `key` is the key of its own table, or that key's first column; `joined` returns the query with all that
    /// is joined to the table, by LEFT JOINs alone; `own` that of the table alone.
    pub fn new<C>(
        [name, row_name]: [&str; 2],
        key: C,
        joined: impl Fn() -> Joined + Send + Sync + 'static,
        own: impl Fn() -> Own + Send + Sync + 'static,
    ) -> Self
    where
        Joined: Boxed + SelectDsl<C>,
        Own: Boxed + SelectDsl<C>,
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
        C::Table: HasTable<Table = C::Table> + QueryFragment<Pg>,
    {
        let table = sql_of(&C::Table::table());
        let mut declaration = Self {
            name: name.to_owned(),
            row_name: row_name.to_owned(),
            joined: Box::new(joined),
            own: Box::new(own),
            models: None,
            relations: vec![table.clone()],
            table: Table {
                name: table,
                key: Vec::new(),
            },
            has_order: true,
            columns: Vec::new(),
            cells: Vec::new(),
            filters: Vec::new(),
            restrictions: Vec::new(),
            references: Vec::new(),
            label: None,
        };
        declaration.key_column(key);
        declaration
    }

    /// Says how the rows are loaded as structs, which is what the strategy `joined` does. Each column then has a [`cell`](Self::cell).
    pub fn with_models<Model>(
        self,
        models: impl Fn(Joined, Loader<'_>) -> Result<Rows<Model>, Error> + Send + Sync + 'static,
    ) -> Declaration<Joined, Own, Model> {
        Declaration {
            name: self.name,
            row_name: self.row_name,
            joined: self.joined,
            own: self.own,
            models: Some(Box::new(models)),
            table: self.table,
            has_order: self.has_order,
            cells: vec![None; self.columns.len()],
            columns: self.columns,
            filters: self.filters,
            restrictions: self.restrictions,
            references: self.references,
            relations: self.relations,
            label: self.label,
        }
    }
}

impl<Joined, Own, Model> Declaration<Joined, Own, Model> {
    /// Adds one more column to the key.
    pub fn key_column<C>(&mut self, column: C) -> &mut Self
    where
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
    {
        self.has_order &= C::SqlType::IS_ORDERED;
        self.table.key.push(Key {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
            kind: C::SqlType::compared(),
        });
        self
    }

    /// Notes a table that is joined to what the rows refer to.
    pub fn reads<T: QueryFragment<Pg>>(&mut self, table: T) -> &mut Self {
        self.add_relation(sql_of(&table));
        self
    }

    fn add_relation(&mut self, name: String) {
        if !self.relations.contains(&name) {
            self.relations.push(name);
        }
    }

    /// Adds what the rows refer to by `column`. `query` returns its query; `id` is the id there that `column` holds.
    pub fn refers<C, Id, Referenced>(
        &mut self,
        column: C,
        id: Id,
        query: impl Fn() -> Referenced + Send + Sync + 'static,
    ) -> ReferenceTo<Referenced>
    where
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Own: SelectDsl<C>,
        Id: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
        Id::Table: HasTable<Table = Id::Table> + QueryFragment<Pg>,
        Referenced: Boxed + SelectDsl<Id> + 'static,
    {
        self.add_relation(sql_of(&Id::Table::table()));
        self.references.push(Reference {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
            is_integer: is_integer::<C::SqlType>() && is_integer::<Id::SqlType>(),
            id: Arc::new(id),
            query: Box::new(move |select| ask(query(), select)),
        });
        ReferenceTo {
            index: self.references.len() - 1,
            query: PhantomData,
        }
    }

    /// Adds a column of the dataset's own table. `header` is its name in the header.
    pub fn column<C>(&mut self, name: &str, header: &str, column: C) -> &mut Self
    where
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        let own = Origin::Own {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
        };
        self.push::<C::SqlType>(name, header, Arc::new(column), own)
    }

    /// Adds a boolean column of the dataset's own table, with a text for true and one for false; NULL is an empty field.
    pub fn label_column<C>(
        &mut self,
        name: &str,
        header: &str,
        column: C,
        labels: [&str; 2],
    ) -> &mut Self
    where
        C: diesel::Column<SqlType: ColumnType + BoolOrNullableBool>,
        C: QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        let own = Origin::Own {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
        };
        let labelled = Arc::new(Labelled::new(column, labels));
        self.push::<C::SqlType>(name, header, labelled, own);
        if let Some(column) = self.columns.last_mut() {
            column.kind = ColumnKind::Label(labels.map(str::to_owned));
        }
        self
    }

    /// Adds a column of what the rows refer to. It takes the column twice, since the tables may have other names in the two queries:
    /// `column` is of the dataset's query, `referenced` of the reference's.
    pub fn referenced_column<Referenced, C, R>(
        &mut self,
        reference: &ReferenceTo<Referenced>,
        name: &str,
        header: &str,
        column: C,
        referenced: R,
    ) -> &mut Self
    where
        C: Expression<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
        R: Expression<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Referenced: SelectDsl<R>,
    {
        let origin = Origin::Referenced {
            reference: reference.index,
            value: Arc::new(referenced),
        };
        self.push::<C::SqlType>(name, header, Arc::new(column), origin)
    }

    /// Adds a column whose values the server computes, from any of the tables.
    pub fn expression_column<E>(&mut self, name: &str, header: &str, expression: E) -> &mut Self
    where
        E: Expression<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
        Joined: SelectDsl<E>,
    {
        self.push::<E::SqlType>(name, header, Arc::new(expression), Origin::Computed)
    }

    fn push<ST: ColumnType>(
        &mut self,
        name: &str,
        header: &str,
        joined: SqlExpression,
        origin: Origin,
    ) -> &mut Self {
        self.columns.push(Column {
            name: name.to_owned(),
            header: header.to_owned(),
            index: self.columns.len(),
            is_default: true,
            kind: ST::kind(),
            // Integers and booleans are read as what they are, also those of domains.
            is_ordered: ST::IS_ORDERED,
            is_printed: ST::IS_PRINTED && ST::kind().is_text(),
            joined,
            origin,
        });
        self.cells.push(None);
        self
    }

    /// Says where a model has the value of the last column.
    pub fn cell(&mut self, cell: ReadCell<Model>) -> &mut Self {
        if let Some(last) = self.cells.last_mut() {
            *last = Some(cell);
        }
        self
    }

    /// Leaves the last column out of exports that do not name their columns.
    pub fn on_request(&mut self) -> &mut Self {
        if let Some(column) = self.columns.last_mut() {
            column.is_default = false;
        }
        self
    }

    /// Makes the last column the one by which people know a row.
    pub fn as_label(&mut self) -> &mut Self {
        self.label = self.columns.len().checked_sub(1);
        self
    }
}

fn is_integer<ST: ColumnType>() -> bool {
    matches!(ST::kind(), ColumnKind::Integer)
}

/// The SQL of a table's name.
pub(super) fn sql_of(table: &impl QueryFragment<Pg>) -> String {
    let text = diesel::debug_query::<Pg, _>(table).to_string();
    text.strip_suffix(" -- binds: []")
        .unwrap_or(&text)
        .to_owned()
}
