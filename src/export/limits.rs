//! What an export may cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// The limits of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
pub struct Limits {
    /// Rows that `joined` and `tuples`, which hold all of them in memory, may load
    #[arg(long, env = "CMMS_MAX_BUFFERED_ROWS", help_heading = "Limits", value_name = "N", default_value_t = Self::default().max_buffered_rows)]
    pub max_buffered_rows: u32,
    /// Rows that an Excel workbook may have; any number if it is not said
    // A flag of its own: the benchmark makes no workbooks.
    #[arg(skip)]
    pub max_xlsx_rows: Option<u64>,
    /// Time for each of an export's queries, the waiting for its reader included [default: none]
    #[arg(long, env = "CMMS_STATEMENT_TIMEOUT", help_heading = "Limits", value_name = "SECONDS", value_parser = units::seconds)]
    pub statement_timeout: Option<Duration>,
    /// Bytes of names that `lookup` may hold in memory, as a number, or one with KiB, MiB or GiB: if there are more, it is `copy`
    #[arg(long, env = "CMMS_LOOKUP_MEMORY", help_heading = "Limits", value_name = "SIZE", default_value = "64MiB", value_parser = units::bytes)]
    pub lookup_memory: u64,
}

/// What an Excel workbook may cost.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct WorkbookLimits {
    /// Rows that an Excel workbook may have [default: any number, in several sheets]
    #[arg(
        long,
        env = "CMMS_MAX_XLSX_ROWS",
        help_heading = "Limits",
        value_name = "N"
    )]
    max_xlsx_rows: Option<u64>,
}

impl Limits {
    /// These limits, and those of workbooks.
    pub fn and(self, workbooks: WorkbookLimits) -> Self {
        Self {
            max_xlsx_rows: workbooks.max_xlsx_rows,
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_buffered_rows: 1_000_000,
            max_xlsx_rows: None,
            statement_timeout: None,
            lookup_memory: 64 << 20,
        }
    }
}
