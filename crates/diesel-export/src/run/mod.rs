//! An export while it runs: its thread, its server, its cancellation, its record, and the sink of its bytes.

pub mod cancellation;
pub(crate) mod error;
mod export_run;
pub mod manifest;
pub mod outcome;
pub mod record;
pub mod routing;
pub(crate) mod sink;
pub mod stall_detector;

pub use self::export_run::ExportRun;
