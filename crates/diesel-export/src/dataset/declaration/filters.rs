//! How a dataset's filters are declared.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::query_dsl::methods::{FilterDsl, SelectDsl};

use super::{Declaration, ReferenceTo};
use crate::dataset::condition::Condition;
use crate::dataset::filter::{FilterField, FilterKind, FilterValue};

impl<Joined, Own, Model> Declaration<Joined, Own, Model> {
    /// Adds a filter of the dataset's own table that is set to true or false. `help` says what it does.
    pub fn boolean_filter<C>(
        &mut self,
        name: &str,
        help: &str,
        condition: fn(bool) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Own: FilterDsl<C>,
    {
        self.filter(name, help, FilterKind::Boolean, None, None, move |value| {
            let is = matches!(value, FilterValue::Boolean(true));
            Condition::new(condition(is))
        })
    }

    /// Adds a filter of the dataset's own table that is set to the id of a row of the dataset `of`.
    pub fn id_filter<C>(
        &mut self,
        name: &str,
        of: &str,
        help: &str,
        condition: fn(i64) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Own: FilterDsl<C>,
    {
        self.filter(name, help, FilterKind::Id, Some(of), None, move |value| {
            Condition::new(condition(id(value)))
        })
    }

    /// Adds a filter as [`id_filter`](Self::id_filter) does, which can also be set to `none`, with a condition of its own.
    pub fn id_or_none_filter<C, N>(
        &mut self,
        name: &str,
        of: &str,
        help: &str,
        condition: fn(i64) -> C,
        none: fn() -> N,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        N: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C> + FilterDsl<N>,
        Own: FilterDsl<C> + FilterDsl<N>,
    {
        let kind = FilterKind::IdOrNone;
        self.filter(name, help, kind, Some(of), None, move |value| match value {
            FilterValue::NoId => Condition::new(none()),
            value => Condition::new(condition(id(value))),
        })
    }

    /// Adds a filter as [`id_filter`](Self::id_filter) does, but of what the rows refer to.
    pub fn referenced_id_filter<Referenced, C>(
        &mut self,
        reference: &ReferenceTo<Referenced>,
        name: &str,
        of: &str,
        help: &str,
        condition: fn(i64) -> C,
    ) -> &mut Self
    where
        C: QueryFragment<Pg> + Send + 'static,
        Joined: FilterDsl<C>,
        Referenced: FilterDsl<C>,
    {
        let reference = Some(reference.index);
        self.filter(
            name,
            help,
            FilterKind::Id,
            Some(of),
            reference,
            move |value| Condition::new(condition(id(value))),
        )
    }

    /// Adds a filter that is set to a part of the text in a column of the dataset's own table.
    pub fn text_filter<C>(&mut self, name: &str, help: &str, column: C) -> &mut Self
    where
        C: Column + TextExpressionMethods,
        C: QueryFragment<Pg> + Copy + Send + Sync + 'static,
        Joined: SelectDsl<C>,
        Own: SelectDsl<C>,
    {
        self.filter(name, help, FilterKind::Text, None, None, move |value| {
            let pattern = match value {
                FilterValue::Text(text) => text.like_pattern(),
                other => other.to_string(),
            };
            Condition::matches(column, pattern)
        })
    }

    fn filter(
        &mut self,
        name: &str,
        help: &str,
        kind: FilterKind,
        of: Option<&str>,
        reference: Option<usize>,
        condition: impl Fn(&FilterValue) -> Condition + Send + Sync + 'static,
    ) -> &mut Self {
        self.filters.push(FilterField {
            name: name.to_owned(),
            help: help.to_owned(),
            index: self.filters.len(),
            kind,
            of: of.map(str::to_owned),
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
