//! How a dataset is declared.

use std::marker::PhantomData;

use diesel::associations::HasTable;
use diesel::expression::Expression;
use diesel::pg::{Pg, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::query_dsl::LoadQuery;
use diesel::query_dsl::methods::{FilterDsl, LimitDsl, OffsetDsl, OrderDsl, SelectDsl};
use diesel::sql_types::{BigInt, Bool};

use super::column::{Column, ColumnKind, ColumnType, Origin};
use super::filter::{FilterField, FilterKind, FilterValue};
use super::fragment::{Cell, Condition, Labelled, Order, Query, Question, SelectList};
use super::loaded::Rows;
use super::{Dataset, Models, Reference, Table};

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

/// Loads all rows of a query, each as it arrives: the server works on the next one meanwhile, and libpq keeps none.
pub fn load_all<'q, Row, Q>(query: Q, connection: &mut PgConnection) -> QueryResult<Rows<Row>>
where
    Q: for<'c> LoadQuery<'q, PgConnection, Row, PgRowByRowLoadingMode> + RunQueryDsl<PgConnection>,
{
    Rows::collect(query.load_iter::<Row, PgRowByRowLoadingMode>(connection)?)
}

fn restricted<Q: Boxed>(query: Q, conditions: Vec<Condition>) -> Q {
    conditions.into_iter().fold(query, Q::filter)
}

/// A dataset, also while it is being declared. `Own` is the query of its own table, `Joined` that of the table and all that is joined
/// to it, `Model` a row with all columns.
pub struct Declaration<Joined, Own, Model> {
    name: &'static str,
    row_name: &'static str,
    joined: fn() -> Joined,
    own: fn() -> Own,
    models: fn(Joined, &mut PgConnection) -> QueryResult<Rows<Model>>,
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
        [name, row_name]: [&'static str; 2],
        key: Key,
        joined: fn() -> Joined,
        own: fn() -> Own,
        models: fn(Joined, &mut PgConnection) -> QueryResult<Rows<Model>>,
    ) -> Self
    where
        Joined: Boxed + SelectDsl<Key>,
        Own: Boxed + SelectDsl<Key>,
        Key: diesel::Column<SqlType = BigInt> + QueryFragment<Pg> + Send + Sync + 'static,
        Key::Table: HasTable<Table = Key::Table> + QueryFragment<Pg>,
    {
        let table = sql_of(&Key::Table::table());
        Self {
            name,
            row_name,
            joined,
            own,
            models,
            relations: vec![table.clone()],
            table: Table {
                name: table,
                key: Key::NAME,
                key_value: Box::new(key),
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
            column: C::NAME,
            value: Box::new(column),
            id: Box::new(id),
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
        name: &'static str,
        header: &'static str,
        column: C,
        cell: fn(&Model) -> Cell<'_>,
    ) -> &mut Self
    where
        C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        let own = Origin::Own {
            column: C::NAME,
            value: Box::new(column),
        };
        self.push(name, header, C::SqlType::KIND, Box::new(column), own, cell)
    }

    /// Adds a boolean column of the dataset's own table, with a text for true and one for false; NULL is an empty field.
    pub fn label_column<C>(
        &mut self,
        name: &'static str,
        header: &'static str,
        column: C,
        labels: [&'static str; 2],
        cell: fn(&Model) -> Cell<'_>,
    ) -> &mut Self
    where
        C: diesel::Column<SqlType = Bool> + QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        let own = Origin::Own {
            column: C::NAME,
            value: Box::new(column),
        };
        let labelled = Labelled::new(column, labels);
        self.push(
            name,
            header,
            ColumnKind::Label(labels),
            Box::new(labelled),
            own,
            cell,
        )
    }

    /// Adds a column of what the rows refer to. It takes the column twice, since the tables may have other names in the two queries:
    /// `column` is of the dataset's query, `referenced` of the reference's.
    pub fn referenced_column<Referenced, C, R>(
        &mut self,
        reference: &ReferenceTo<Referenced>,
        name: &'static str,
        header: &'static str,
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
            value: Box::new(referenced),
        };
        self.push(
            name,
            header,
            C::SqlType::KIND,
            Box::new(column),
            origin,
            cell,
        )
    }

    fn push(
        &mut self,
        name: &'static str,
        header: &'static str,
        kind: ColumnKind,
        joined: super::Fragment,
        origin: Origin,
        cell: fn(&Model) -> Cell<'_>,
    ) -> &mut Self {
        self.columns.push(Column {
            name,
            header,
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

    /// Adds a filter of the dataset's own table that is set to true or false. `help` says what it does.
    pub fn boolean_filter<C>(
        &mut self,
        name: &'static str,
        help: &'static str,
        condition: fn(bool) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Own: FilterDsl<C>,
    {
        self.filter(name, help, FilterKind::Boolean, None, move |value| {
            let is = matches!(value, FilterValue::Boolean(true));
            Condition::new(condition(is))
        })
    }

    /// Adds a filter of the dataset's own table that is set to the id of a row of the dataset `of`.
    pub fn id_filter<C>(
        &mut self,
        name: &'static str,
        of: &'static str,
        help: &'static str,
        condition: fn(i64) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Own: FilterDsl<C>,
    {
        self.filter(name, help, FilterKind::Id { of }, None, move |value| {
            Condition::new(condition(id(value)))
        })
    }

    /// Adds a filter as [`id_filter`](Self::id_filter) does, which can also be set to `none`, with a condition of its own.
    pub fn id_or_none_filter<C, N>(
        &mut self,
        name: &'static str,
        of: &'static str,
        help: &'static str,
        condition: fn(i64) -> C,
        none: fn() -> N,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        N: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C> + FilterDsl<N>,
        Own: FilterDsl<C> + FilterDsl<N>,
    {
        let kind = FilterKind::IdOrNone { of };
        self.filter(name, help, kind, None, move |value| match value {
            FilterValue::NoId => Condition::new(none()),
            value => Condition::new(condition(id(value))),
        })
    }

    /// Adds a filter as [`id_filter`](Self::id_filter) does, but of what the rows refer to.
    pub fn referenced_id_filter<Referenced, C>(
        &mut self,
        reference: &ReferenceTo<Referenced>,
        name: &'static str,
        of: &'static str,
        help: &'static str,
        condition: fn(i64) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Referenced: FilterDsl<C>,
    {
        let reference = Some(reference.index);
        self.filter(name, help, FilterKind::Id { of }, reference, move |value| {
            Condition::new(condition(id(value)))
        })
    }

    /// Adds a filter of the dataset's own table that is set to a part of a text. `condition` takes a pattern for `ILIKE`.
    pub fn text_filter<C>(
        &mut self,
        name: &'static str,
        help: &'static str,
        condition: fn(String) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Own: FilterDsl<C>,
    {
        self.filter(name, help, FilterKind::Text, None, move |value| {
            let pattern = match value {
                FilterValue::Text(text) => text.like_pattern(),
                other => other.to_string(),
            };
            Condition::new(condition(pattern))
        })
    }

    fn filter(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: FilterKind,
        reference: Option<usize>,
        condition: impl Fn(&FilterValue) -> Condition + Send + Sync + 'static,
    ) -> &mut Self {
        self.filters.push(FilterField {
            name,
            help,
            kind,
            reference,
            condition: Box::new(condition),
        });
        self
    }
}

/// The id that a filter is set to. A filter by id has read the value, so it is one.
fn id(value: &FilterValue) -> i64 {
    match value {
        FilterValue::Id(id) => *id,
        _ => i64::MIN,
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
    fn name(&self) -> &'static str {
        self.name
    }

    fn row_name(&self) -> &'static str {
        self.row_name
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

    fn joined(&'static self, question: Question) -> Query {
        ask((self.joined)(), question)
    }

    fn own(&'static self, question: Question) -> Query {
        ask((self.own)(), question)
    }

    fn models(
        &'static self,
        conditions: Vec<Condition>,
        limit: i64,
        connection: &mut PgConnection,
    ) -> QueryResult<Box<dyn Models>> {
        let query = restricted((self.joined)(), conditions)
            .order(Order(vec![&self.table.key_value]))
            .limit(limit);
        Ok(Box::new(Loaded {
            cells: &self.cells,
            models: (self.models)(query, connection)?,
        }))
    }
}

struct Loaded<Model: 'static> {
    cells: &'static [fn(&Model) -> Cell<'_>],
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
