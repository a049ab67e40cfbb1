//! The ways from a dataset's table to others: a join for each, however many columns take it.

use std::ops::Range;

use toml::Spanned;

use super::named::Tables;
use super::query::Join;
use crate::request::misspelled::no_such;
use crate::tables::file::{Step, Via};
use crate::tables::pg_catalog::{Attribute, Relation};

/// What is wrong at a place of the file.
pub(in crate::tables) type Wrong = (Range<usize>, String);

/// The joins of a dataset.
pub(in crate::tables) struct Paths<'a> {
    tables: &'a Tables,
    pub(in crate::tables) first: &'a Relation,
    pub(in crate::tables) joins: Vec<Join>,
}

impl<'a> Paths<'a> {
    pub(in crate::tables) fn new(tables: &'a Tables, first: &'a Relation) -> Self {
        Self {
            tables,
            first,
            joins: Vec::new(),
        }
    }

    /// Follows the steps, and returns the number of the join that they end in; `None` if there is no step.
    pub(in crate::tables) fn follow(&mut self, via: &Via) -> Result<Option<usize>, Wrong> {
        let mut at = None;
        for step in &via.0 {
            let join = match step.get_ref() {
                Step::Column(name) => self.by_foreign_key(at, name, &step.span())?,
                Step::Table(table) => {
                    let to = self.tables.find(&table.table)?;
                    let columns = attributes(self.relation(at), &table.columns)?;
                    let key = attributes(to, &table.key)?;
                    check_columns(&columns, &key, &table.table)?;
                    join(at, &columns, to, &key, &table.table.span())?
                }
            };
            let known = self.joins.iter().position(|known| *known == join);
            at = known.or_else(|| {
                self.joins.push(join);
                Some(self.joins.len() - 1)
            });
        }
        Ok(at)
    }

    /// The table at the end of a join.
    pub(in crate::tables) fn relation(&self, join: Option<usize>) -> &Relation {
        join.and_then(|join| self.joins.get(join))
            .map_or(self.first, |join| &join.to)
    }

    fn by_foreign_key(
        &self,
        from: Option<usize>,
        name: &str,
        span: &Range<usize>,
    ) -> Result<Join, Wrong> {
        let relation = self.relation(from);
        column(relation, name, span)?;
        let reached = relation.foreign_key(name).and_then(|foreign_key| {
            let to = self.tables.reached(foreign_key.to)?;
            Some((foreign_key, to))
        });
        let Some((foreign_key, to)) = reached else {
            let said = format!(
                "the column `{name}` of {} has no foreign key of its own: {{ columns = [\"{name}\"], table = \"…\", key = [\"…\"] }} \
                 says what it refers to",
                relation.plain()
            );
            return Err((span.clone(), said));
        };
        let found = |relation, names: &[String]| -> Result<Vec<_>, Wrong> {
            let names = names.iter();
            names.map(|name| column(relation, name, span)).collect()
        };
        let columns = found(relation, &foreign_key.columns)?;
        join(from, &columns, to, &found(to, &foreign_key.key)?, span)
    }
}

/// The join from these columns to this key. Of a view, no index says that it leads to at most one row.
fn join(
    from: Option<usize>,
    columns: &[&Attribute],
    to: &Relation,
    key: &[&Attribute],
    span: &Range<usize>,
) -> Result<Join, Wrong> {
    let names: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
    if to.is_table() && !to.is_unique(&names) {
        let said = format!(
            "{} may have several rows with the same {}: no unique index says otherwise",
            to.plain(),
            names.join(", ")
        );
        return Err((span.clone(), said));
    }
    let pairs = columns.iter().zip(key);
    let mut hidden = pairs
        .clone()
        .filter(|(own, key)| !own.can_be_collated_as(key));
    if let Some((_, key)) = hidden.next() {
        let said = format!(
            "the role may not use the schema of the collation of `{}` in {}",
            key.name,
            to.plain()
        );
        return Err((span.clone(), said));
    }
    Ok(Join {
        from,
        to: to.clone(),
        pairs: pairs
            .map(|(own, key)| ((*own).clone(), (*key).clone()))
            .collect(),
    })
}

/// Demands that a step without a foreign key compares columns as the unique index of its key does.
fn check_columns(
    columns: &[&Attribute],
    key: &[&Attribute],
    table: &Spanned<String>,
) -> Result<(), Wrong> {
    let wrong = |said: String| Err((table.span(), said));
    if columns.is_empty() || columns.len() != key.len() {
        return wrong(
            "`columns` and `key` must name equally many columns, at least one".to_owned(),
        );
    }
    let mut pairs = columns.iter().zip(key);
    if let Some((own, key)) = pairs.find(|(own, key)| !own.is_compared_as(key)) {
        return wrong(format!(
            "`{}` is of the type {} and `{}` of the type {}: a step needs columns of the same type",
            own.name, own.r#type, key.name, key.r#type
        ));
    }
    Ok(())
}

/// The column of this name, which the role may read.
pub(in crate::tables) fn column<'r>(
    relation: &'r Relation,
    name: &str,
    span: &Range<usize>,
) -> Result<&'r Attribute, Wrong> {
    let Some(found) = relation.column(name) else {
        let names: Vec<&str> = relation
            .columns
            .iter()
            .map(|own| own.name.as_str())
            .collect();
        let said = format!("{} has no column `{name}`", relation.plain());
        return Err((
            span.clone(),
            no_such(&said, name, "its columns are", &names),
        ));
    };
    if !found.is_readable || !relation.is_reachable {
        let said = format!(
            "the role may not read the column `{name}` of {}",
            relation.plain()
        );
        return Err((span.clone(), said));
    }
    Ok(found)
}

/// The columns of these names, which the role may read.
fn attributes<'r>(
    relation: &'r Relation,
    columns: &[Spanned<String>],
) -> Result<Vec<&'r Attribute>, Wrong> {
    let columns = columns.iter();
    columns
        .map(|name| column(relation, name.get_ref(), &name.span()))
        .collect()
}
