//! An export while it runs: in which thread, on which server, how it is stopped, what is known of it, and where its bytes go.

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
