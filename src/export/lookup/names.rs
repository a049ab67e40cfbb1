//! The names that belong to tasks, as CSV already, by the ids of what they name.

use std::collections::HashMap;

use super::{Estimate, TOO_LARGE, Unprepared};
use crate::db::libpq;
use crate::export::csv::Format;

/// Bytes that a name takes beside its own: its place in the texts and in the table, and while the table is made.
const OVERHEAD: f64 = 32.0;
/// Places of a table for each row that it may have, before a hash map takes less.
const SPARSE: u64 = 4;

/// The bytes that the names of these tables are expected to take.
pub(super) fn bytes(tables: &[Estimate]) -> f64 {
    tables
        .iter()
        .map(|table| table.rows * (table.width + OVERHEAD))
        .sum()
}

/// The names of assets, with their locations', and of users.
pub(super) struct Names {
    assets: Table,
    users: Table,
    delimiter: u8,
    memory: u64,
}

impl Names {
    pub(super) fn new(format: Format, memory: u64) -> Self {
        Self {
            assets: Table::default(),
            users: Table::default(),
            delimiter: format.delimiter.byte(),
            memory,
        }
    }

    pub(super) fn load_assets(
        &mut self,
        connection: &mut libpq::Connection,
        sql: &str,
    ) -> Result<(), Unprepared> {
        self.assets = Table::load(connection, sql, self.delimiter, self.memory)?;
        Ok(())
    }

    pub(super) fn load_users(
        &mut self,
        connection: &mut libpq::Connection,
        sql: &str,
    ) -> Result<(), Unprepared> {
        let left = self.memory.saturating_sub(self.assets.bytes());
        self.users = Table::load(connection, sql, self.delimiter, left)?;
        Ok(())
    }

    /// An asset's name and its location's, each with a delimiter before it.
    pub(super) fn asset(&self, id: i64) -> Option<&[u8]> {
        self.assets.get(id)
    }

    /// A user's name, with a delimiter before it.
    pub(super) fn user(&self, id: i64) -> Option<&[u8]> {
        self.users.get(id)
    }

    pub(super) fn asset_ids(&self) -> impl Iterator<Item = i64> {
        self.assets.ids()
    }
}

/// Where a text begins and ends. None is empty: each begins with a delimiter.
type Span = (u32, u32);

#[derive(Default)]
struct Table {
    texts: Vec<u8>,
    places: Places,
}

enum Places {
    /// Of ids with few gaps: that of `first`, and so on.
    Dense {
        first: i64,
        spans: Vec<Span>,
    },
    Sparse(HashMap<i64, Span>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Dense {
            first: 0,
            spans: Vec::new(),
        }
    }
}

impl Table {
    /// Loads lines of CSV, each of an id, a delimiter and the text.
    fn load(
        connection: &mut libpq::Connection,
        sql: &str,
        delimiter: u8,
        memory: u64,
    ) -> Result<Self, Unprepared> {
        // The texts' places are 32 bits wide.
        let memory = memory.min(u64::from(u32::MAX)) as usize;
        let mut texts = Vec::new();
        let mut entries: Vec<(i64, Span)> = Vec::new();
        let mut rows = connection.copy_out(&format!(
            "copy ({sql}) to stdout with (format csv, delimiter '{}')",
            char::from(delimiter)
        ))?;
        while let Some(row) = rows.next_row()? {
            let line = row.strip_suffix(b"\n").unwrap_or(row);
            let end = line.iter().position(|byte| *byte == delimiter);
            let (id, text) = line.split_at(end.unwrap_or(line.len()));
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            let (Some(id), false) = (id, text.is_empty()) else {
                return Err(Unprepared::Unfit("a name has no id"));
            };
            if texts.len() + text.len() + (entries.len() + 1) * OVERHEAD as usize > memory {
                return Err(Unprepared::Unfit(TOO_LARGE));
            }
            let start = texts.len() as u32;
            texts.extend_from_slice(text);
            entries.push((id, (start, texts.len() as u32)));
        }
        Ok(Self {
            texts,
            places: Places::new(entries),
        })
    }

    fn bytes(&self) -> u64 {
        let places = match &self.places {
            Places::Dense { spans, .. } => spans.len() * size_of::<Span>(),
            Places::Sparse(map) => map.len() * OVERHEAD as usize,
        };
        (self.texts.len() + places) as u64
    }

    fn get(&self, id: i64) -> Option<&[u8]> {
        let (start, end) = self.places.get(id)?;
        self.texts.get(start as usize..end as usize)
    }

    fn ids(&self) -> impl Iterator<Item = i64> {
        let (dense, sparse) = match &self.places {
            Places::Dense { first, spans } => (Some((*first, spans)), None),
            Places::Sparse(map) => (None, Some(map)),
        };
        let dense = dense.into_iter().flat_map(|(first, spans)| {
            (first..)
                .zip(spans)
                .filter(|(_, span)| **span != (0, 0))
                .map(|(id, _)| id)
        });
        dense.chain(sparse.into_iter().flat_map(|map| map.keys().copied()))
    }
}

impl Places {
    fn new(entries: Vec<(i64, Span)>) -> Self {
        let first = entries.iter().map(|(id, _)| *id).min().unwrap_or(0);
        let last = entries.iter().map(|(id, _)| *id).max().unwrap_or(0);
        if last.abs_diff(first) >= SPARSE * entries.len() as u64 {
            return Self::Sparse(entries.into_iter().collect());
        }
        let mut spans = vec![(0, 0); last.abs_diff(first) as usize + 1];
        for (id, span) in entries {
            spans[id.abs_diff(first) as usize] = span;
        }
        Self::Dense { first, spans }
    }

    fn get(&self, id: i64) -> Option<Span> {
        match self {
            Self::Dense { first, spans } => {
                let index = usize::try_from(id.checked_sub(*first)?).ok()?;
                spans.get(index).copied().filter(|span| *span != (0, 0))
            }
            Self::Sparse(map) => map.get(&id).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ids: &[i64], dense: bool) {
        let entries = ids.iter().zip(1..).map(|(id, n)| (*id, (n - 1, n)));
        let places = Places::new(entries.collect());
        assert_eq!(matches!(places, Places::Dense { .. }), dense, "{ids:?}");
        for (id, n) in ids.iter().zip(1..) {
            assert_eq!(places.get(*id), Some((n - 1, n)), "{ids:?}");
        }
        for id in [i64::MIN, -1, 0, 1, 2, 7, 1_000, i64::MAX] {
            assert_eq!(places.get(id).is_some(), ids.contains(&id), "{ids:?}: {id}");
        }
    }

    #[test]
    fn a_name_is_found_by_its_id_and_by_no_other() {
        check(&[], false);
        check(&[7], true);
        check(&[i64::MAX], true);
        check(&[i64::MIN, i64::MIN + 1], true);
        check(&[3, 1, 2], true);
        check(&[-1, 1, 4], true);
        check(&[0, 1_000], false);
        check(&[i64::MIN, 0, i64::MAX], false);
    }
}
