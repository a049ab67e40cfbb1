//! How the file is written: CSV, JSON lines, or an Excel workbook.

pub(crate) mod buffers;
pub(crate) mod cells;
pub(crate) mod chunks;
pub mod csv;
pub(crate) mod encoder;
pub mod format;
mod ndjson;
pub(crate) mod xlsx;
