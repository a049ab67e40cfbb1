//! How a dataset is declared.

mod filters;

use std::marker::PhantomData;
use std::sync::Arc;

use diesel::associations::HasTable;
use diesel::expression::Expression;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use diesel::query_dsl::methods::{FilterDsl, LimitDsl, OffsetDsl, OrderDsl, SelectDsl};
use diesel::sql_types::{BigInt, Bool};

use super::column::{Column, ColumnKind, ColumnType, Origin};
use super::condition::Condition;
use super::filter::FilterField;
use super::fragment::{Labelled, Order, Query, Question, SelectList};
use super::loaded::{Loader, Rows};
use super::row::Cell;
use super::{Dataset, Models, Reference, Table};
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

fn ask<Q: Boxed>(query: Q, question: Question) -> Query {
    let Question {
        select,
        conditions,
        order,
        offset,
        limit,
    } = question;
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
    Query::new(query.select(select))
}

fn restricted<Q: Boxed>(query: Q, conditions: Vec<Condition>) -> Q {
    conditions.into_iter().fold(query, Q::filter)
}

/// A dataset, also while it is being declared. `Own` is the query of its own table, `Joined` that of the table and all that is joined
/// to it, `Model` a row with all columns.
pub struct Declaration<Joined, Own, Model> {
    name: String,
    row_name: String,
    joined: fn() -> Joined,
    own: fn() -> Own,
    models: fn(Joined, Loader<'_>) -> Result<Rows<Model>, Error>,
    table: Table,
    columns: Vec<Column>,
    cells: Vec<fn(&Model) -> Cell<'_>>,
    filters: Vec<FilterField>,
    references: Vec<Reference>,
    relations: Vec<String>,
    label: Option<usize>,
}

/// The handle of a dataset's reference. `Referenced` is the query of what it refers to.
pub struct ReferenceTo<Referenced> {
    index: usize,
    query: PhantomData<fn() -> Referenced>,
}

impl<Joined, Own, Model> Declaration<Joined, Own, Model> {
    /// Declares a dataset that has no columns and filters yet. `key` is the key of its own table; `joined` returns the query with all
    /// that is joined to the table, by LEFT JOINs alone; `own` that of the table alone; `models` loads rows with all columns.
    pub fn new<Key>(
        [name, row_name]: [&str; 2],
        key: Key,
        joined: fn() -> Joined,
        own: fn() -> Own,
        models: fn(Joined, Loader<'_>) -> Result<Rows<Model>, Error>,
    ) -> Self
    where
        Joined: Boxed + SelectDsl<Key>,
        Own: Boxed + SelectDsl<Key>,
        Key: diesel::Column<SqlType = BigInt> + QueryFragment<Pg> + Send + Sync + 'static,
        Key::Table: HasTable<Table = Key::Table> + QueryFragment<Pg>,
    {
        let table = sql_of(&Key::Table::table());
        Self {
            name: name.to_owned(),
            row_name: row_name.to_owned(),
            joined,
            own,
            models,
            relations: vec![table.clone()],
            table: Table {
                name: table,
                key: Key::NAME.to_owned(),
                key_value: Arc::new(key),
            },
            columns: Vec::new(),
            cells: Vec::new(),
            filters: Vec::new(),
            references: Vec::new(),
            label: None,
        }
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
        query: fn() -> Referenced,
    ) -> ReferenceTo<Referenced>
    where
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Own: SelectDsl<C>,
        Id: diesel::Column<SqlType = BigInt> + QueryFragment<Pg> + Send + Sync + 'static,
        Id::Table: HasTable<Table = Id::Table> + QueryFragment<Pg>,
        Referenced: Boxed + SelectDsl<Id> + 'static,
    {
        self.add_relation(sql_of(&Id::Table::table()));
        self.references.push(Reference {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
            id: Arc::new(id),
            query: Box::new(move |question| ask(query(), question)),
        });
        ReferenceTo {
            index: self.references.len() - 1,
            query: PhantomData,
        }
    }

    /// Adds a column of the dataset's own table. `header` is its name in the header; `cell` reads it from a model.
    pub fn column<C>(
        &mut self,
        name: &str,
        header: &str,
        column: C,
        cell: fn(&Model) -> Cell<'_>,
    ) -> &mut Self
    where
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        let own = Origin::Own {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
        };
        self.push(name, header, C::SqlType::KIND, Arc::new(column), own, cell)
    }

    /// Adds a boolean column of the dataset's own table, with a text for true and one for false; NULL is an empty field.
    pub fn label_column<C>(
        &mut self,
        name: &str,
        header: &str,
        column: C,
        labels: [&str; 2],
        cell: fn(&Model) -> Cell<'_>,
    ) -> &mut Self
    where
        C: diesel::Column<SqlType = Bool> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        let own = Origin::Own {
            column: C::NAME.to_owned(),
            value: Arc::new(column),
        };
        let labelled = Labelled::new(column, labels);
        self.push(
            name,
            header,
            ColumnKind::Label(labels.map(str::to_owned)),
            Arc::new(labelled),
            own,
            cell,
        )
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
        cell: fn(&Model) -> Cell<'_>,
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
        self.push(
            name,
            header,
            C::SqlType::KIND,
            Arc::new(column),
            origin,
            cell,
        )
    }

    fn push(
        &mut self,
        name: &str,
        header: &str,
        kind: ColumnKind,
        joined: super::Fragment,
        origin: Origin,
        cell: fn(&Model) -> Cell<'_>,
    ) -> &mut Self {
        self.columns.push(Column {
            name: name.to_owned(),
            header: header.to_owned(),
            index: self.columns.len(),
            is_default: true,
            kind,
            joined,
            origin,
        });
        self.cells.push(cell);
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

/// The SQL of a table's name.
pub(super) fn sql_of(table: &impl QueryFragment<Pg>) -> String {
    let text = diesel::debug_query::<Pg, _>(table).to_string();
    text.strip_suffix(" -- binds: []")
        .unwrap_or(&text)
        .to_owned()
}

impl<Joined, Own, Model> Dataset for Declaration<Joined, Own, Model>
where
    Joined: Boxed + 'static,
    Own: Boxed + 'static,
    Model: Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn row_name(&self) -> &str {
        &self.row_name
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn filters(&self) -> &[FilterField] {
        &self.filters
    }

    fn label(&self) -> Option<&Column> {
        self.columns.get(self.label?)
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn references(&self) -> &[Reference] {
        &self.references
    }

    fn relations(&self) -> &[String] {
        &self.relations
    }

    fn joined(&self, question: Question) -> Query {
        ask((self.joined)(), question)
    }

    fn own(&self, question: Question) -> Query {
        ask((self.own)(), question)
    }

    fn models(
        &self,
        conditions: Vec<Condition>,
        limit: i64,
        loader: Loader<'_>,
    ) -> Result<Box<dyn Models>, Error> {
        let query = restricted((self.joined)(), conditions)
            .order(Order(vec![Arc::clone(&self.table.key_value)]))
            .limit(limit);
        Ok(Box::new(Loaded {
            cells: self.cells.clone(),
            models: (self.models)(query, loader)?,
        }))
    }
}

struct Loaded<Model: 'static> {
    cells: Vec<fn(&Model) -> Cell<'_>>,
    models: Rows<Model>,
}

impl<Model: Send> Models for Loaded<Model> {
    fn count(&self) -> usize {
        self.models.count()
    }

    fn cell(&self, row: usize, column: &Column) -> Cell<'_> {
        self.models
            .get(row)
            .map_or(Cell::Null, self.cells[column.index])
    }
}
