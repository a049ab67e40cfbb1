//! What an export may cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Rows that a strategy may hold in memory.
    pub max_buffered_rows: u32,
    /// Bytes for the rows of all exports that hold them in memory.
    pub max_buffered_size: u64,
    /// Maximum number of rows of an Excel workbook; unlimited if unset.
    pub max_xlsx_rows: Option<u64>,
    /// Time limit of each of an export's queries, including the time that its reader takes.
    pub statement_timeout: Option<Duration>,
    /// Bytes of names that `lookup` may hold in memory.
    pub lookup_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_buffered_rows: 1_000_000,
            max_buffered_size: 1 << 30,
            max_xlsx_rows: None,
            statement_timeout: None,
            lookup_memory: 64 << 20,
        }
    }
}
