//! An export while it runs: on which server, how it is stopped, what is known of it, and where its bytes go.

pub mod cancellation;
mod export_run;
pub mod manifest;
pub mod outcome;
pub mod record;
pub mod routing;
pub(crate) mod sink;
pub mod stall_detector;

pub use self::export_run::ExportRun;
