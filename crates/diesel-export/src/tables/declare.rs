//! A dataset, made of what the file says and the catalog knows.

pub(super) mod filters;
pub(super) mod named;
pub(super) mod paths;
pub(super) mod query;
mod references;

use std::sync::Arc;

use toml::Spanned;

use self::filters::{FoundFilter, Keys};
use self::named::Tables;
use self::paths::{Paths, Wrong};
use self::query::{column, from, value};
use self::references::References;
use super::dataset::TableDataset;
use super::file::{ColumnEntry, DatasetEntry};
use super::names;
use super::pg_catalog::{Attribute, proof};
use crate::dataset::{Column, Key, Origin, Table, why_no_column_name, why_no_dataset_name};

/// The column that something of the file reads, in words, and the column's type.
pub(super) type TypeOf = (String, String);

/// What has become of an entry of the file.
pub(super) struct Made {
    pub(super) dataset: TableDataset,
    /// The types that its columns have now.
    pub(super) types: Vec<TypeOf>,
}

/// Makes the dataset, or says all that is wrong.
pub(super) fn declare(
    entry: &DatasetEntry,
    tables: &Tables,
    keys: &Keys,
) -> Result<Made, Vec<Wrong>> {
    let table = tables.find(&entry.table).map_err(|wrong| vec![wrong])?;
    let mut making = Making {
        entry,
        paths: Paths::new(tables, table),
        found: Vec::new(),
        filters: Vec::new(),
        wrong: Vec::new(),
    };
    making.name();
    let key = making.key();
    making.columns();
    making.filters();
    let label = making.label();
    making.finish(key, label, keys)
}

/// A column of the file, and where it is found.
struct Found<'e> {
    entry: &'e ColumnEntry,
    join: Option<usize>,
    attribute: Attribute,
}

/// A dataset while it is made.
struct Making<'e> {
    entry: &'e DatasetEntry,
    paths: Paths<'e>,
    found: Vec<Found<'e>>,
    filters: Vec<FoundFilter<'e>>,
    wrong: Vec<Wrong>,
}

impl<'e> Making<'e> {
    fn name(&mut self) {
        let name = &self.entry.name;
        if let Some(reason) = why_no_dataset_name(name.get_ref()) {
            self.is_wrong(name, format!("the dataset `{}`: {reason}", name.get_ref()));
        }
    }

    fn is_wrong<T>(&mut self, at: &Spanned<T>, said: String) {
        self.wrong.push((at.span(), said));
    }

    fn key(&mut self) -> Vec<Key> {
        let first = self.paths.first;
        let mut key = Vec::new();
        for name in &self.entry.key {
            match paths::column(first, name.get_ref(), &name.span()) {
                Err(wrong) => self.wrong.push(wrong),
                Ok(attribute) if !attribute.is_ordered => {
                    let said = format!(
                        "the column `{}` is of the type {}, whose values have no order",
                        attribute.name, attribute.r#type
                    );
                    self.wrong.push((name.span(), said));
                }
                Ok(attribute) if key.iter().any(|known: &Key| known.column == attribute.name) => {
                    let said = format!("the key has `{}` twice", attribute.name);
                    self.wrong.push((name.span(), said));
                }
                Ok(attribute) => key.push(Key {
                    column: attribute.name.clone(),
                    value: Arc::new(column(None, &attribute.name)),
                    kind: attribute.compared(),
                }),
            }
        }
        key
    }

    fn columns(&mut self) {
        let entry = self.entry;
        for column in &entry.columns {
            let name = column.name.get_ref();
            if let Some(reason) = why_no_column_name(name) {
                self.is_wrong(&column.name, format!("the column `{name}` {reason}"));
            }
            if self
                .found
                .iter()
                .any(|known| known.entry.name.get_ref() == name)
            {
                self.is_wrong(&column.name, format!("there is another column `{name}`"));
            }
            let header = column.header.as_ref().unwrap_or(&column.name);
            if header.get_ref().is_empty() || header.get_ref().contains('\0') {
                self.is_wrong(header, "a header has a text, without U+0000".to_owned());
            }
            if self
                .found
                .iter()
                .any(|known| known.header() == header.get_ref())
            {
                let said = format!(
                    "there is another column with the header `{}`",
                    header.get_ref()
                );
                self.is_wrong(header, said);
            }
            match self.find(column) {
                Ok((join, attribute)) => self.found.push(Found {
                    entry: column,
                    join,
                    attribute,
                }),
                Err(wrong) => self.wrong.push(wrong),
            }
        }
        if !entry.columns.iter().any(|column| column.is_default) {
            let said = "no column is in its exports by default".to_owned();
            self.is_wrong(&entry.name, said);
        }
    }

    fn find(&mut self, entry: &ColumnEntry) -> Result<(Option<usize>, Attribute), Wrong> {
        let join = self.paths.follow(&entry.via)?;
        let name = entry.column.as_ref().unwrap_or(&entry.name);
        let relation = self.paths.relation(join);
        let attribute = paths::column(relation, name.get_ref(), &name.span())?;
        Ok((join, attribute.clone()))
    }

    fn label(&mut self) -> Option<usize> {
        let label = self.entry.label.as_ref()?;
        let name = label.get_ref();
        let mut columns = self.entry.columns.iter();
        let index = columns.position(|column| column.name.get_ref() == name);
        if index.is_none() {
            let said = format!("`label` is none of the dataset's columns: `{name}`");
            self.is_wrong(label, said);
        }
        index
    }

    fn filters(&mut self) {
        for filter in &self.entry.filters {
            match filters::find(filter, &mut self.paths) {
                Ok(found) => self.filters.push(found),
                Err(wrong) => self.wrong.push(wrong),
            }
        }
    }

    fn finish(
        mut self,
        key: Vec<Key>,
        label: Option<usize>,
        keys: &Keys,
    ) -> Result<Made, Vec<Wrong>> {
        let joins = References::of(&self.paths.joins);
        let name = self.entry.name.get_ref();
        let filters = filters::make(&self.filters, name, &joins, keys);
        let filters = filters.unwrap_or_else(|wrong| {
            self.wrong.extend(wrong);
            Vec::new()
        });
        if !self.wrong.is_empty() {
            return Err(self.wrong);
        }
        let first = self.paths.first;
        let columns = self.found.iter().enumerate();
        let columns = columns.map(|(index, found)| found.column(index, &joins));
        let mut relations = vec![first.sql()];
        for join in &self.paths.joins {
            let sql = join.to.sql();
            if !relations.contains(&sql) {
                relations.push(sql);
            }
        }
        let steps = self.paths.joins.iter();
        let steps = steps.filter(|join| join.to.is_table());
        let steps = steps.map(|join| (self.paths.relation(join.from), &join.to, &*join.pairs));
        Ok(Made {
            types: self.types(),
            dataset: TableDataset {
                name: self.entry.name.get_ref().clone(),
                row_name: match &self.entry.row {
                    Some(row) => row.clone(),
                    None => names::of_row(self.entry.name.get_ref()),
                },
                columns: columns.collect(),
                filters,
                label,
                table: Table {
                    name: first.sql(),
                    key,
                },
                references: joins.references,
                relations,
                proof: proof(steps),
                from_all: from(&first.sql(), &self.paths.joins),
                from_own: from(&first.sql(), &[]),
            },
        })
    }
}

impl Making<'_> {
    /// What the columns, the filters, the key and the steps read, and by which collations steps compare.
    fn types(&self) -> Vec<TypeOf> {
        let columns = self.found.iter();
        let columns = columns.map(|found| (found.join, &found.attribute));
        let filters = self.filters.iter();
        let filters = filters.map(|found| (found.join, &found.attribute));
        let keys = self.entry.key.iter();
        let keys = keys.filter_map(|name| self.paths.first.column(name.get_ref()));
        let joins = self.paths.joins.iter().enumerate();
        let steps = joins.flat_map(|(number, join)| {
            let pairs = join.pairs.iter();
            pairs.flat_map(move |(own, key)| [(join.from, own), (Some(number), key)])
        });
        let name = |join, attribute: &Attribute| {
            format!("{}.{}", self.paths.relation(join).plain(), attribute.name)
        };
        let collations = steps.clone().map(|(join, attribute)| {
            let collation = attribute.collation_name.as_deref().unwrap_or("none");
            let name = name(join, attribute);
            (format!("the collation of {name}"), collation.to_owned())
        });
        let keys = keys.map(|key| (None, key));
        let types = columns.chain(filters).chain(keys).chain(steps);
        let types =
            types.map(|(join, attribute)| (name(join, attribute), attribute.r#type.clone()));
        types.chain(collations).collect()
    }
}

impl Found<'_> {
    fn column(&self, index: usize, joins: &References<'_>) -> Column {
        let Self {
            entry,
            join,
            attribute,
        } = self;
        Column {
            name: entry.name.get_ref().clone(),
            header: self.header().clone(),
            index,
            is_default: entry.is_default,
            kind: attribute.kind(),
            is_printed: attribute.is_printed(),
            is_ordered: attribute.is_ordered,
            joined: Arc::new(value(*join, attribute)),
            origin: match join {
                None => Origin::Own {
                    column: attribute.name.clone(),
                    value: Arc::new(value(None, attribute)),
                },
                Some(join) => joins.origin(*join, attribute),
            },
        }
    }

    fn header(&self) -> &String {
        let entry = self.entry;
        entry.header.as_ref().unwrap_or(&entry.name).get_ref()
    }
}
