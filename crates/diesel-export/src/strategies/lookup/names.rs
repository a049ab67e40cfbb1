//! The names that the rows refer to, by id, already as CSV.

use std::collections::HashMap;

use super::Estimate;
use super::prepare::{SEVERAL_ROWS, TOO_LARGE, Unprepared};
use super::rows::{COPY_OPTIONS, Fields, unreadable};
use crate::csv::{FieldWriter, Format};
use crate::dataset::ColumnKind;
use crate::db::libpq;

/// Bytes that a name takes beside its own: for its place in the texts and in the table, and while the table is made.
const OVERHEAD: f64 = 32.0;
/// Ids per name, gaps included, from which on a hash map takes less memory than an array slot for each id.
const SPARSE: u64 = 4;

/// The bytes that the names of these tables are expected to take.
pub(super) fn bytes(tables: &[Estimate]) -> f64 {
    tables
        .iter()
        .map(|table| table.rows * (table.width + OVERHEAD))
        .sum()
}

/// The names of all that the rows refer to.
pub(super) struct Names {
    tables: Vec<Table>,
    memory: u64,
}

impl Names {
    /// No names yet; they may take this many bytes.
    pub(super) fn new(memory: u64) -> Self {
        Self {
            tables: Vec::new(),
            memory,
        }
    }

    /// Adds the names, of these kinds, that a query returns after an id, for lines of this many fields. The rows' `column` has the ids.
    pub(super) fn load(
        &mut self,
        connection: &mut libpq::CopyConnection,
        sql: &str,
        kinds: &[ColumnKind],
        (format, fields): (Format, usize),
    ) -> Result<(), Unprepared> {
        let taken: u64 = self.tables.iter().map(Table::bytes).sum();
        let writer = Writer {
            kinds,
            fields: FieldWriter::new(format, fields),
            delimiter: format.delimiter.byte(),
        };
        let left = self.memory.saturating_sub(taken);
        let table = Table::load(connection, sql, &writer, left)?;
        self.tables.push(table);
        Ok(())
    }

    /// The names for an id, each with a delimiter before it.
    pub(super) fn get(&self, table: usize, id: i64) -> Option<&[u8]> {
        self.tables.get(table)?.get(id)
    }

    #[cfg(test)]
    pub(super) fn of_one<const N: usize>(names: [(i64, &str); N]) -> Self {
        let mut texts = Vec::new();
        let entries = names.map(|(id, name)| {
            let start = texts.len() as u32;
            texts.extend_from_slice(name.as_bytes());
            (id, (start, texts.len() as u32))
        });
        Self {
            tables: IdIndex::new(entries.to_vec())
                .map(|index| Table { texts, index })
                .into_iter()
                .collect(),
            memory: 0,
        }
    }
}

/// Writes names as they stand in a line.
struct Writer<'k> {
    kinds: &'k [ColumnKind],
    fields: FieldWriter,
    delimiter: u8,
}

impl Writer<'_> {
    /// Appends a row's names, and returns their id, if it is not NULL; `None` if the row has another form.
    fn write(&self, row: &[u8], texts: &mut Vec<u8>) -> Option<Option<i64>> {
        let mut fields = Fields::of(row);
        let id = fields.next_id()?;
        for kind in self.kinds {
            texts.push(self.delimiter);
            self.fields.write_copied(kind, fields.next()?, texts)?;
        }
        fields.next().is_none().then_some(id)
    }
}

/// Where a text begins and ends. No text is empty: each begins with a delimiter.
type Span = (u32, u32);
/// The span of an id that has no text.
const NO_SPAN: Span = (0, 0);

struct Table {
    texts: Vec<u8>,
    index: IdIndex,
}

enum IdIndex {
    /// For ids with few gaps: the span of `first`, of the id after it, and so on.
    Dense {
        first: i64,
        spans: Vec<Span>,
    },
    Sparse(HashMap<i64, Span>),
}

impl Table {
    fn load(
        connection: &mut libpq::CopyConnection,
        sql: &str,
        writer: &Writer<'_>,
        memory: u64,
    ) -> Result<Self, Unprepared> {
        // The ends of a `Span` are 32 bits wide.
        let memory = memory.min(u64::from(u32::MAX)) as usize;
        let mut texts = Vec::new();
        let mut entries: Vec<(i64, Span)> = Vec::new();
        let mut rows = connection.copy_out(sql, &COPY_OPTIONS)?;
        while let Some(row) = rows.next_row()? {
            let start = texts.len();
            let id = writer.write(row, &mut texts).ok_or_else(unreadable)?;
            let Some(id) = id else {
                // No row refers to it.
                texts.truncate(start);
                continue;
            };
            if texts.len() + (entries.len() + 1) * OVERHEAD as usize > memory {
                return Err(Unprepared::unfit(TOO_LARGE));
            }
            entries.push((id, (start as u32, texts.len() as u32)));
        }
        let index = IdIndex::new(entries).ok_or(Unprepared::unfit(SEVERAL_ROWS))?;
        Ok(Self { texts, index })
    }

    fn bytes(&self) -> u64 {
        let index_bytes = match &self.index {
            IdIndex::Dense { spans, .. } => spans.len() * size_of::<Span>(),
            IdIndex::Sparse(map) => map.len() * OVERHEAD as usize,
        };
        (self.texts.len() + index_bytes) as u64
    }

    fn get(&self, id: i64) -> Option<&[u8]> {
        let (start, end) = self.index.get(id)?;
        self.texts.get(start as usize..end as usize)
    }
}

impl IdIndex {
    /// Returns `None` if an id is there twice: a row that refers to it is several rows.
    fn new(entries: Vec<(i64, Span)>) -> Option<Self> {
        let first = entries.iter().map(|(id, _)| *id).min().unwrap_or(0);
        let last = entries.iter().map(|(id, _)| *id).max().unwrap_or(0);
        if last.abs_diff(first) >= SPARSE * entries.len() as u64 {
            let count = entries.len();
            let map: HashMap<i64, Span> = entries.into_iter().collect();
            return (map.len() == count).then_some(Self::Sparse(map));
        }
        let mut spans = vec![NO_SPAN; last.abs_diff(first) as usize + 1];
        for (id, span) in entries {
            let slot = &mut spans[id.abs_diff(first) as usize];
            if std::mem::replace(slot, span) != NO_SPAN {
                return None;
            }
        }
        Some(Self::Dense { first, spans })
    }

    fn get(&self, id: i64) -> Option<Span> {
        match self {
            Self::Dense { first, spans } => {
                let index = usize::try_from(id.checked_sub(*first)?).ok()?;
                spans.get(index).copied().filter(|span| *span != NO_SPAN)
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
        let Some(index) = IdIndex::new(entries.collect()) else {
            panic!("each id is there once: {ids:?}");
        };
        assert_eq!(matches!(index, IdIndex::Dense { .. }), dense, "{ids:?}");
        for (id, n) in ids.iter().zip(1..) {
            assert_eq!(index.get(*id), Some((n - 1, n)), "{ids:?}");
        }
        for id in [i64::MIN, -1, 0, 1, 2, 7, 1_000, i64::MAX] {
            assert_eq!(index.get(id).is_some(), ids.contains(&id), "{ids:?}: {id}");
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

    #[test]
    fn a_row_of_names_has_an_id_and_a_name_of_each_kind() {
        let writer = Writer {
            kinds: &[ColumnKind::Text, ColumnKind::Integer],
            fields: FieldWriter::new(Format::default(), 3),
            delimiter: b',',
        };
        let written = |row: &str| {
            let mut texts = Vec::new();
            let id = writer.write(row.as_bytes(), &mut texts)?;
            Some((id, String::from_utf8_lossy(&texts).into_owned()))
        };
        let row = |id, names: &str| Some((id, names.to_owned()));
        assert_eq!(written("7\ta,b\t8\n"), row(Some(7), ",\"a,b\",8"));
        assert_eq!(written("\\N\t\t\\N\n"), row(None, ",\"\","));
        for other in ["7\ta\n", "7\ta\t8\t9\n", "x\ta\t8\n", "7\ta\t8"] {
            assert_eq!(written(other), None, "{other:?}");
        }
    }

    #[test]
    fn names_take_their_own_bytes_and_those_of_their_index() {
        let tables = [(10.0, 8.0), (1.0, 100.0)].map(|(rows, width)| Estimate {
            rows,
            width,
            ..Estimate::read("")
        });
        assert_eq!(bytes(&tables), 10.0 * 40.0 + 132.0);
        let table = |ids: &[i64]| Table {
            texts: vec![b'x'; 100],
            index: IdIndex::new(ids.iter().map(|id| (*id, (0, 1))).collect())
                .unwrap_or_else(|| panic!("each once")),
        };
        assert_eq!(table(&[1, 2, 5]).bytes(), 100 + 5 * 8);
        assert_eq!(table(&[1, 1_000]).bytes(), 100 + 2 * 32);
    }

    #[test]
    fn an_id_with_two_names_is_refused() {
        for ids in [&[1, 2, 1][..], &[7, 7], &[0, 1_000, 0]] {
            let entries = ids.iter().zip(1..).map(|(id, n)| (*id, (n - 1, n)));
            assert!(IdIndex::new(entries.collect()).is_none(), "{ids:?}");
        }
    }
}
