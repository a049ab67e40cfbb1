//! What a dataset's rows refer to, each with a query of its own: `lookup` reads names by it.

use std::sync::Arc;

use super::query::{self, Join, compared, from, value};
use crate::dataset::{Origin, Reference};
use crate::tables::pg_catalog::Attribute;

/// The references that a dataset's joins begin with.
pub(in crate::tables) struct References<'a> {
    joins: &'a [Join],
    pub(in crate::tables) references: Vec<Reference>,
    /// For each join, which of these it is.
    of_join: Vec<Option<usize>>,
}

impl<'a> References<'a> {
    /// Those of one column each.
    pub(in crate::tables) fn of(joins: &'a [Join]) -> Self {
        let mut all = Self {
            joins,
            references: Vec::new(),
            of_join: vec![None; joins.len()],
        };
        for (number, join) in joins.iter().enumerate() {
            let (None, [(own, key)]) = (join.from, &*join.pairs) else {
                continue;
            };
            all.of_join[number] = Some(all.references.len());
            let (_, behind) = all.behind(number);
            let from = from(&join.to.joined_sql(), &behind);
            all.references.push(Reference {
                column: own.name.clone(),
                value: Arc::new(compared(value(None, own), own, key)),
                is_integer: own.is_integer() && key.is_integer(),
                id: Arc::new(value(None, key)),
                query: Box::new(move |select| query::ask(&from, select)),
            });
        }
        all
    }

    /// Where `lookup` reads a column of a join's table.
    pub(in crate::tables) fn origin(&self, join: usize, attribute: &Attribute) -> Origin {
        let first = self.beginning(join);
        let Some(reference) = self.of_join.get(first).copied().flatten() else {
            // By several columns.
            return Origin::Computed;
        };
        let (numbers, _) = self.behind(first);
        let there = numbers.iter().position(|number| *number == join);
        Origin::Referenced {
            reference,
            value: Arc::new(value(there, attribute)),
        }
    }

    /// The number of the first join on the way to this one.
    fn beginning(&self, mut join: usize) -> usize {
        while let Some(from) = self.joins.get(join).and_then(|join| join.from) {
            join = from;
        }
        join
    }

    /// The joins behind one, as they are in its own query, and their numbers in the query of all tables.
    fn behind(&self, first: usize) -> (Vec<usize>, Vec<Join>) {
        let numbers: Vec<usize> = (0..self.joins.len())
            .filter(|join| *join != first && self.beginning(*join) == first)
            .collect();
        let there = |join: usize| numbers.iter().position(|number| *number == join);
        let joins = numbers.iter().filter_map(|number| self.joins.get(*number));
        let joins = joins.map(|join| Join {
            from: join.from.and_then(there),
            ..join.clone()
        });
        let joins = joins.collect();
        (numbers, joins)
    }
}
