//! How the file is written: CSV, or an Excel workbook.

pub(crate) mod buffers;
pub(crate) mod cells;
pub mod csv;
pub(crate) mod encoder;
pub mod format;
pub(crate) mod xlsx;
