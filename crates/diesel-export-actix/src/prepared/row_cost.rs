//! How large exports become and how long they take, estimated from earlier ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use diesel_export::format::FileType;
use diesel_export::manifest::{Manifest, State};

/// With fewer rows, an export mostly shows the costs that do not depend on their number.
const ENOUGH_ROWS: u64 = 1_000;

/// Bytes and seconds per row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowCost {
    pub(crate) bytes_per_row: f64,
    pub(crate) seconds_per_row: f64,
}

impl RowCost {
    /// Returns bytes and seconds per row, for the page's script.
    pub(crate) fn parts(self) -> [f64; 2] {
        [self.bytes_per_row, self.seconds_per_row]
    }
}

/// The costs per row of all datasets, in all formats.
#[derive(Default)]
pub(crate) struct RowCosts(Mutex<HashMap<(String, FileType), RowCost>>);

impl RowCosts {
    /// Learns from an export that has ended. The latest counts as much as all before it.
    pub(crate) fn note(&self, manifest: &Manifest) {
        if manifest.state != State::Complete || manifest.rows < ENOUGH_ROWS {
            return;
        }
        let rows = manifest.rows as f64;
        let now = RowCost {
            bytes_per_row: manifest.bytes as f64 / rows,
            // A slow reader takes longer than the database.
            seconds_per_row: manifest.loaded_seconds.unwrap_or(manifest.seconds) / rows,
        };
        let mut costs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = costs
            .entry((manifest.dataset.clone(), manifest.format))
            .or_insert(now);
        *cost = RowCost {
            bytes_per_row: f64::midpoint(cost.bytes_per_row, now.bytes_per_row),
            seconds_per_row: f64::midpoint(cost.seconds_per_row, now.seconds_per_row),
        };
    }

    /// The cost of a row of a dataset in a format, if that is known.
    pub(crate) fn of(&self, dataset: &str, format: FileType) -> Option<RowCost> {
        let costs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        costs.get(&(dataset.to_owned(), format)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel_export::Export;
    use diesel_export::example;
    use diesel_export::manifest::Facts;
    use diesel_export::record::Record;

    #[test]
    fn the_latest_export_counts_for_as_much_as_all_before_it() {
        let manifest = |rows, bytes, seconds| Manifest {
            state: State::Complete,
            rows,
            bytes,
            seconds,
            ..Record::queue(
                String::new(),
                &Export::of(example::catalog().default()),
                Facts::new(),
            )
            .manifest()
        };
        let costs = RowCosts::default();
        costs.note(&manifest(10, 999_999, 99.0));
        assert_eq!(costs.of("books", FileType::Csv), None);
        for _ in 0..2 {
            costs.note(&manifest(1_000, 100_000, 2.0));
        }
        costs.note(&manifest(1_000, 200_000, 4.0));
        let expected = RowCost {
            bytes_per_row: 150.0,
            seconds_per_row: 0.003,
        };
        assert_eq!(costs.of("books", FileType::Csv), Some(expected));
        assert_eq!(costs.of("books", FileType::Xlsx), None);
    }
}
