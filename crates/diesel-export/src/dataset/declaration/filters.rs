//! How a declaration gets its filters.

use std::sync::Arc;

use diesel::expression::Expression;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use diesel::query_dsl::methods::SelectDsl;
use diesel::sql_types::BoolOrNullableBool;

use super::{Declaration, ReferenceTo};
use crate::dataset::column_type::{ColumnKind, ColumnType};
use crate::dataset::filter::{FilterField, FilterTest};
use crate::dataset::query::SqlExpression;

/// What a filter compares: a column of the dataset's own table, or one of what its rows refer to ([`ReferenceTo::column`]).
pub trait Filtered<Joined, Own> {
    /// Its type.
    type SqlType: ColumnType;

    /// Returns it in the query of all tables, in the query of its own tables, and the index of its reference.
    fn parts(self) -> (SqlExpression, SqlExpression, Option<usize>);
}

impl<Joined, Own, C> Filtered<Joined, Own> for C
where
    C: diesel::Column<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
    Joined: SelectDsl<C>,
    Own: SelectDsl<C>,
{
    type SqlType = C::SqlType;

    fn parts(self) -> (SqlExpression, SqlExpression, Option<usize>) {
        let column: SqlExpression = Arc::new(self);
        (Arc::clone(&column), column, None)
    }
}

/// A column of what a dataset's rows refer to.
pub struct ReferencedColumn<'r, Referenced, C, R> {
    reference: &'r ReferenceTo<Referenced>,
    column: C,
    referenced: R,
}

impl<Referenced> ReferenceTo<Referenced> {
    /// Returns a column of it: `column` in the dataset's query, `referenced` in the reference's, as the tables may have other names there.
    pub fn column<C, R>(&self, column: C, referenced: R) -> ReferencedColumn<'_, Referenced, C, R> {
        ReferencedColumn {
            reference: self,
            column,
            referenced,
        }
    }
}

impl<Joined, Own, Referenced, C, R> Filtered<Joined, Own> for ReferencedColumn<'_, Referenced, C, R>
where
    C: Expression + QueryFragment<Pg> + Send + Sync + 'static,
    R: Expression<SqlType: ColumnType> + QueryFragment<Pg> + Send + Sync + 'static,
    Joined: SelectDsl<C>,
    Referenced: SelectDsl<R>,
{
    type SqlType = R::SqlType;

    fn parts(self) -> (SqlExpression, SqlExpression, Option<usize>) {
        let index = Some(self.reference.index);
        (Arc::new(self.column), Arc::new(self.referenced), index)
    }
}

impl<Joined, Own, Model> Declaration<Joined, Own, Model> {
    /// Adds what a [`Scope`](crate::dataset::Scope) can restrict the rows by: a tenant, a plant. Nobody who exports sees it. A row whose
    /// column is NULL is in no scope that restricts it.
    pub fn restriction<F: Filtered<Joined, Own>>(&mut self, name: &str, column: F) -> &mut Self {
        let restriction = field(name, "", FilterTest::OneOf, column);
        self.restrictions.push(restriction);
        self
    }

    /// Adds a filter that is set to true or false, or to `none` if the column may be NULL. `help` says what it does.
    pub fn boolean_filter<F>(&mut self, name: &str, help: &str, column: F) -> &mut Self
    where
        F: Filtered<Joined, Own, SqlType: BoolOrNullableBool>,
    {
        self.add(FilterField {
            takes_none: F::SqlType::IS_NULLABLE,
            ..field(name, help, FilterTest::OneOf, column)
        })
    }

    /// Adds a filter that is set to the keys of rows of the dataset `of`, and to `none` if the column may be NULL.
    pub fn id_filter<F: Filtered<Joined, Own>>(
        &mut self,
        name: &str,
        of: &str,
        help: &str,
        column: F,
    ) -> &mut Self {
        self.add(FilterField {
            takes_none: F::SqlType::IS_NULLABLE,
            of: Some(of.to_owned()),
            ..field(name, help, FilterTest::OneOf, column)
        })
    }

    /// Adds a filter that is set to some of these values, as the labels of an enum, and to `none` if the column may be NULL.
    pub fn one_of_filter<F: Filtered<Joined, Own>>(
        &mut self,
        name: &str,
        help: &str,
        column: F,
        labels: &[&str],
    ) -> &mut Self {
        self.add(FilterField {
            takes_none: F::SqlType::IS_NULLABLE,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..field(name, help, FilterTest::OneOf, column)
        })
    }

    /// Adds a filter that is set to some values of the column.
    pub fn exact_filter<F: Filtered<Joined, Own>>(
        &mut self,
        name: &str,
        help: &str,
        column: F,
    ) -> &mut Self {
        self.add(field(name, help, FilterTest::OneOf, column))
    }

    /// Adds two filters: `name` is set to a part of a text, `name` with `_is` to all of it.
    pub fn text_filter<F>(&mut self, name: &str, help: &str, column: F) -> &mut Self
    where
        F: Filtered<Joined, Own>,
    {
        let words = name.replace('_', " ");
        let exact = field(
            &format!("{name}_is"),
            &format!("Only {} with exactly this {words}", self.name),
            FilterTest::OneOf,
            column,
        );
        let part = FilterField {
            name: name.to_owned(),
            help: help.to_owned(),
            test: FilterTest::Contains,
            kind: match &exact.kind {
                ColumnKind::Typed(_) => F::SqlType::kind(),
                kind => kind.clone(),
            },
            ..exact.clone()
        };
        self.add(part).add(exact)
    }

    /// Adds two filters: `name` with `_from` is set to the least value of the column, `name` with `_to` to the greatest. A day as the
    /// greatest point in time includes that day.
    pub fn range_filter<F: Filtered<Joined, Own>>(
        &mut self,
        name: &str,
        help: &str,
        column: F,
    ) -> &mut Self {
        let from = FilterField {
            name: format!("{name}_from"),
            help: format!("{help}: from this on"),
            ..field(name, help, FilterTest::From, column)
        };
        let to = FilterField {
            name: format!("{name}_to"),
            help: format!("{help}: up to this, inclusive"),
            test: FilterTest::To,
            ..from.clone()
        };
        self.add(from).add(to)
    }

    fn add(&mut self, field: FilterField) -> &mut Self {
        self.filters.push(field);
        self
    }
}

fn field<Joined, Own, F: Filtered<Joined, Own>>(
    name: &str,
    help: &str,
    test: FilterTest,
    column: F,
) -> FilterField {
    let (joined, alone, reference) = column.parts();
    FilterField {
        name: name.to_owned(),
        help: help.to_owned(),
        test,
        kind: F::SqlType::compared(),
        labels: Vec::new(),
        takes_none: false,
        of: None,
        reference,
        joined,
        alone,
    }
}
