//! What `lookup` reads of the dataset's own table, and the best way to read it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Unprepared;
use super::estimate::{Estimate, Scan};
use super::rows::{self, Fields, Step};
use crate::dataset::{
    Column, ColumnKind, Condition, Key, Ordered, Origin, Query, Select, Selected, SqlExpression,
};
use crate::db::libpq::{self, CopyOutDsl};
use crate::{Error, Export};

/// The number of rows up to which any plan is good enough.
pub(super) const FEW: f64 = 10_000.0;
/// The number of rows up to which `copy` is as fast, if they are found fast: it takes 2 ms.
const VERY_FEW: f64 = 1_000.0;
/// How many times as much as the planner's own plan a scan in the order of the key may cost. If the table does not lie in that order,
/// and does not fit into the server's memory, the scan costs far more than that.
const MOST_COST: f64 = 3.0;
/// The most ids that a filter on what the rows refer to may leave, such as the assets at a location: each range's query names them.
const MOST_IDS: usize = 2_000;

const NO_ORDER: &str = "no index has the rows in the order of their key";
const SCATTERED: &str = "to read the rows in the order of their key would take too long";
const BY_FILTER: &str = "the rows are found by the filter, not in the order of their key";

/// What is read of the dataset's own table for an export, and what is made of it.
pub(super) struct OwnRows<'a> {
    pub(super) export: &'a Export,
    key: &'a Key,
    /// The values of a row: those of its own columns, and the ids by which it refers to other rows.
    values: Vec<SqlExpression>,
    /// The columns of these values, each once.
    pub(super) columns: Vec<&'a str>,
    /// What is made of each value.
    pub(super) steps: Vec<Step>,
    pub(super) tables: Vec<NamesQuery>,
    /// The ids that the filter's conditions on what the rows refer to leave. The query names them instead of these conditions.
    ids: Vec<(SqlExpression, Vec<i64>)>,
}

/// Which rows are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    /// Every row, with or without a key.
    All,
    /// Those with keys in a range.
    Range(RangeInclusive<i64>),
    /// Those without a key.
    Null,
}

/// How the rows are read.
pub(super) enum Reading {
    /// By ranges of the key, each by such a scan.
    Ranges(Scan),
    /// In one query; has the reason, unless the rows are few.
    AtOnce(Option<&'static str>),
}

/// The query for names that the rows refer to.
pub(super) struct NamesQuery {
    pub(super) sql: String,
    pub(super) kinds: Vec<ColumnKind>,
}

impl<'a> OwnRows<'a> {
    pub(super) fn of(export: &'a Export, key: &'a Key) -> Result<Self, Error> {
        let references = export.dataset().references();
        let mut rows = Self {
            export,
            key,
            values: Vec::new(),
            columns: Vec::new(),
            steps: Vec::new(),
            tables: Vec::new(),
            ids: Vec::new(),
        };
        let same_reference = |one: &Origin, other: &Origin| match (one, other) {
            (
                Origin::Referenced { reference: one, .. },
                Origin::Referenced {
                    reference: other, ..
                },
            ) => one == other,
            _ => false,
        };
        // Neighbouring columns of one reference are looked up at once.
        let chosen = export.columns.columns();
        for group in chosen.chunk_by(|one, other| same_reference(one.origin(), other.origin())) {
            for column in group {
                if let Origin::Own {
                    column: name,
                    value,
                } = column.origin()
                {
                    rows.push(name, value, Step::Value(column.kind().clone()));
                }
            }
            let Some(Origin::Referenced { reference, .. }) =
                group.first().map(|column| column.origin())
            else {
                continue;
            };
            let conditions = export.filter.conditions_of_reference(*reference);
            let reference = &references[*reference];
            let names = group.iter().filter_map(|column| match column.origin() {
                Origin::Referenced { value, .. } => Some(Selected::Plain(Arc::clone(value))),
                Origin::Own { .. } | Origin::Computed => None,
            });
            let id = Selected::Plain(Arc::clone(&reference.id));
            let select = Select::of(std::iter::once(id).chain(names)).with(conditions);
            let table = rows.table(NamesQuery {
                sql: (reference.query)(select).literal_sql()?,
                kinds: group.iter().map(|column| column.kind().clone()).collect(),
            });
            let count = group.len();
            rows.push(
                &reference.column,
                &reference.value,
                Step::Names { table, count },
            );
        }
        Ok(rows)
    }

    fn push(&mut self, column: &'a str, value: &SqlExpression, step: Step) {
        self.values.push(Arc::clone(value));
        self.steps.push(step);
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }

    /// Returns the index of the table with these names. Other columns may use it already.
    fn table(&mut self, query: NamesQuery) -> usize {
        let known = self.tables.iter().position(|known| known.sql == query.sql);
        known.unwrap_or_else(|| {
            self.tables.push(query);
            self.tables.len() - 1
        })
    }

    /// Finds the ids that the filter's conditions on what the rows refer to leave; returns `false` if they are too many.
    pub(super) fn find_ids(
        &mut self,
        connection: &mut libpq::CopyConnection,
    ) -> Result<bool, Unprepared> {
        for (index, reference) in self.export.dataset().references().iter().enumerate() {
            let filter = &self.export.filter;
            let conditions = filter.conditions_of_reference(index);
            if conditions.is_empty() {
                continue;
            }
            let select = Select::of([Selected::Plain(Arc::clone(&reference.id))]).with(conditions);
            let query = (reference.query)(select);
            let mut rows = query.copy_out(connection, &rows::COPY_OPTIONS)?;
            let mut ids = Vec::new();
            while let Some(row) = rows.next_row()? {
                ids.extend(Fields::of(row).next_id().flatten());
                if ids.len() > MOST_IDS {
                    return Ok(false);
                }
            }
            self.ids.push((Arc::clone(&reference.value), ids));
        }
        Ok(true)
    }

    /// Returns whether the planner knows that none of the references whose names are not loaded has several rows for an id: then it leaves
    /// their LEFT JOINs out. Names that are loaded show it themselves.
    pub(super) fn others_have_one_row_each(
        &self,
        connection: &mut libpq::CopyConnection,
    ) -> Result<bool, Unprepared> {
        let dataset = self.export.dataset();
        let columns = self.export.columns.columns();
        let is_loaded = |index: usize| {
            columns.iter().any(|column| {
                matches!(column.origin(), Origin::Referenced { reference, .. } if *reference == index)
            })
        };
        // What the server computes may be of a table that no reference leads to.
        let computes = |column: &Column| matches!(column.origin(), Origin::Computed);
        if (0..dataset.references().len()).all(is_loaded) && !dataset.columns().iter().any(computes)
        {
            return Ok(true);
        }
        let plan = Estimate::of(
            connection,
            &dataset.joined(Select::of([Selected::One])).literal_sql()?,
        )?;
        Ok(!plan.joins)
    }

    /// Returns whether the planner expects the filter, if there is one, to leave so few rows, found so fast, that `copy` is done
    /// before `lookup` could ask more. It is the first select, and all that such an export pays for the choice.
    pub(super) fn are_few(
        &self,
        connection: &mut libpq::CopyConnection,
    ) -> Result<bool, Unprepared> {
        let filter = &self.export.filter;
        if filter.iter().next().is_none() {
            return Ok(false);
        }
        let references = self.export.dataset().references().iter().enumerate();
        let referenced = references.filter_map(|(index, reference)| {
            let conditions = filter.conditions_of_reference(index);
            let ids = Select::of([Selected::Plain(Arc::clone(&reference.id))]);
            (!conditions.is_empty())
                .then(|| (reference.query)(ids.with(conditions)))
                .map(|ids| Condition::is_in(&reference.value, ids))
        });
        let rows = self.select().with(referenced);
        let rows = Estimate::of(connection, &self.export.dataset().own(rows).literal_sql()?)?;
        Ok(rows.rows <= VERY_FEW && rows.is_cheap())
    }

    /// Finds out how the rows are best read, and what the planner expects of them.
    pub(super) fn reading(
        &self,
        connection: &mut libpq::CopyConnection,
    ) -> Result<(Estimate, Reading), Unprepared> {
        let sql = self.query(Keys::All).literal_sql()?;
        let mut rows = Estimate::of(connection, &sql)?;
        let few = rows.rows <= FEW;
        if few && rows.is_cheap() {
            return Ok((rows, Reading::AtOnce(None)));
        }
        if let Some(scan) = rows.scan.take() {
            return Ok((rows, Reading::Ranges(scan)));
        }
        if few {
            return Ok((rows, Reading::AtOnce(None)));
        }
        // The planner would rather sort, which is one connection's work. A scan in order can be divided, so it may cost more.
        let off = |value| {
            ["seqscan", "bitmapscan", "sort"]
                .map(|name| format!("set local enable_{name} = {value}"))
                .join("; ")
        };
        connection.execute(&off("off"))?;
        let ordered = Estimate::of(connection, &sql)?;
        connection.execute(&off("default"))?;
        let has_filter = !self.ids.is_empty() || !self.export.filter.own_conditions().is_empty();
        match ordered.scan {
            Some(scan) if ordered.cost <= rows.cost * MOST_COST => {
                Ok((rows, Reading::Ranges(scan)))
            }
            _ if has_filter => Ok((rows, Reading::AtOnce(Some(BY_FILTER)))),
            Some(_) => Err(Unprepared::unfit(SCATTERED)),
            None => Err(Unprepared::unfit(NO_ORDER)),
        }
    }

    /// Returns the query for the values of the rows with these keys.
    pub(super) fn query(&self, keys: Keys) -> Query {
        let dataset = self.export.dataset();
        let key = &self.key.value;
        let bound = |operator, id| Condition::compare(key, operator, id);
        let range = match keys {
            Keys::All => Vec::new(),
            Keys::Range(keys) => vec![bound(">=", *keys.start()), bound("<=", *keys.end())],
            Keys::Null => vec![Condition::is_null(key)],
        };
        let ids = self
            .ids
            .iter()
            .map(|(value, ids)| Condition::is_any(value, ids.clone()));
        dataset.own(self.select().with(ids).with(range))
    }

    /// The values of the rows that meet the filter's conditions on the table itself.
    fn select(&self) -> Select {
        Select::of(self.values.iter().cloned().map(Selected::Plain))
            .with(self.export.filter.own_conditions())
            .ordered([Ordered::up(Arc::clone(&self.key.value))])
    }
}
