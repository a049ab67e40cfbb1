//! The queries of a dataset that a file declares: its table, and LEFT JOINs.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};

use crate::dataset::{Query, Select};
use crate::tables::pg_catalog::{Attribute, Relation, quoted};

/// SQL that binds nothing.
pub(in crate::tables) struct Sql(pub(in crate::tables) String);

impl QueryFragment<Pg> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(&self.0);
        Ok(())
    }
}

/// A table that is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tables) struct Join {
    /// The number of the join whose table refers to this one; `None` for the first table.
    pub(in crate::tables) from: Option<usize>,
    pub(in crate::tables) to: Relation,
    /// The columns there, each with the column of this table that it holds.
    pub(in crate::tables) pairs: Vec<(Attribute, Attribute)>,
}

/// The alias of the query's first table.
const FIRST: &str = "t0";

/// The alias of a join's table.
fn alias(join: Option<usize>) -> String {
    join.map_or_else(|| FIRST.to_owned(), |join| format!("t{}", join + 1))
}

/// SQL for a column of a join's table, or of the first one.
pub(in crate::tables) fn column(join: Option<usize>, name: &str) -> Sql {
    Sql(format!("{}.{}", alias(join), quoted(name)))
}

/// SQL for a value there, as the type that it was declared with, whatever it has become since: a column of numbers may have got texts.
pub(in crate::tables) fn value(join: Option<usize>, attribute: &Attribute) -> Sql {
    let Sql(column) = column(join, &attribute.name);
    match &attribute.sql_type {
        Some(base) => Sql(format!("({column}::{base})")),
        None => Sql(column),
    }
}

/// SQL for a value that is compared with a key: by the key's collation, as foreign keys and unique indexes do.
pub(in crate::tables) fn compared(Sql(value): Sql, own: &Attribute, key: &Attribute) -> Sql {
    match &key.collation_name {
        Some(name) if own.is_collated_otherwise(key) => Sql(format!("{value} collate {name}")),
        _ => Sql(value),
    }
}

/// SQL for the tables of a query.
pub(in crate::tables) fn from(first: &str, joins: &[Join]) -> String {
    let mut from = format!("{first} as {FIRST}");
    for (number, join) in joins.iter().enumerate() {
        let pairs = join.pairs.iter().map(|(own, key)| {
            let Sql(value) = compared(column(join.from, &own.name), own, key);
            let Sql(key) = column(Some(number), &key.name);
            format!("{key} = {value}")
        });
        let pairs: Vec<String> = pairs.collect();
        from += &format!(
            " left join {} as {} on {}",
            join.to.joined_sql(),
            alias(Some(number)),
            pairs.join(" and ")
        );
    }
    from
}

/// The query that selects this from these tables.
pub(in crate::tables) fn ask(from: &str, select: Select) -> Query {
    Query::new(Statement {
        from: from.to_owned(),
        select,
    })
}

struct Statement {
    from: String,
    select: Select,
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Select {
            list,
            conditions,
            order,
            offset,
            limit,
        } = &self.select;
        out.unsafe_to_cache_prepared();
        out.push_sql("select ");
        list.walk_ast(out.reborrow())?;
        out.push_sql(" from ");
        out.push_sql(&self.from);
        for (number, condition) in conditions.iter().enumerate() {
            out.push_sql(if number == 0 { " where (" } else { " and (" });
            condition.walk_ast(out.reborrow())?;
            out.push_sql(")");
        }
        if let Some(order) = order {
            out.push_sql(" order by ");
            order.walk_ast(out.reborrow())?;
        }
        if let Some(limit) = limit {
            out.push_sql(&format!(" limit {limit}"));
        }
        if let Some(offset) = offset {
            out.push_sql(&format!(" offset {offset}"));
        }
        Ok(())
    }
}
