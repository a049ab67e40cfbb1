//! What is known of an export: its progress, and then the proof of its result.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::Strategy;
use crate::csv::{Delimiter, Preset};
use crate::db::servers::Role;
use crate::format::FileType;

/// The state of an export.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is queued.
    Queued,
    /// It is under way.
    Running,
    /// It was handed over completely, to the connection or the file. (Of the last 512 KiB, a client may have received none yet.)
    Complete,
    /// It broke off: what was handed over is incomplete.
    Failed,
    /// Its reader disconnected, or it was cancelled.
    Cancelled,
}

impl State {
    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns whether it is final.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Why an export failed. The log says more.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// The database refused or aborted the query.
    Database,
    /// The database could not be reached, or all connections to it were in use.
    DatabaseUnavailable,
    /// No replica was usable, and exports may not run on the primary.
    NoReplica,
    /// No server could be shown to be up to date with the primary.
    NotFresh,
    /// The database has no tables that can be read.
    TablesMissing,
    /// The database's tables differ from those that the program expects.
    TablesDiffer,
    /// A replica has cancelled the query because of a recovery conflict.
    RecoveryConflict,
    /// The query exceeded its time limit.
    StatementTimeout,
    /// More rows than a strategy that holds them all may hold, or than a workbook may have.
    TooManyRows,
    /// `joined` met a NULL for which its structs have no place.
    UnexpectedNull,
    /// The rows of a strategy that holds them all exceed its memory limit.
    TooLargeToBuffer,
    /// Other exports held the memory that the rows of a strategy that holds them all needed.
    Busy,
    /// A text is longer than a workbook's cell may be.
    TextTooLong,
    /// The reader accepted nothing for longer than the reader timeout.
    ReaderTimeout,
    /// The output could not be written.
    Output,
    /// The spool had no more space for its file.
    SpoolFull,
    /// The spool's disk had no more space for its file.
    DiskFull,
    /// The program ended before the export did.
    Interrupted,
    /// The program has a defect.
    Internal,
}

impl ErrorClass {
    /// Returns its name in manifests and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What an application adds to a manifest, by keys of its own. (Also keys of other versions, in a manifest that was read.)
pub type Facts = Map<String, Value>;

/// An export's manifest: what was requested, and the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Manifest {
    /// The export's id.
    pub id: String,
    /// Its state.
    pub state: State,
    /// On what server it runs, once that is known.
    #[serde(default)]
    pub source: Option<Role>,
    /// How the rows are loaded.
    pub strategy: Strategy,
    /// The connections that load them.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Why it is another strategy, or has fewer connections, than was asked for.
    #[serde(default)]
    pub because: Option<String>,
    /// What is exported; nothing in a manifest from before there were datasets, which `verify` takes, too.
    #[serde(default)]
    pub dataset: String,
    /// Its columns, by their names.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Which of its rows: what each filter is set to.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub filter: Map<String, Value>,
    /// The columns by which its rows are ordered, if they are not by the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// In what format.
    #[serde(default)]
    pub format: FileType,
    /// For whom the CSV is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The column separator of a CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// Lines after the header, so far.
    pub rows: u64,
    /// Bytes of the file, so far.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal, once it is complete.
    pub sha256: Option<String>,
    /// Seconds since its start, or that it took.
    pub seconds: f64,
    /// Seconds from its start until it no longer needed the database. (Its reader may take longer.)
    #[serde(default)]
    pub loaded_seconds: Option<f64>,
    /// The most memory that the process has held meanwhile, in bytes.
    pub peak_memory_bytes: u64,
    /// Why it failed.
    pub error: Option<ErrorClass>,
    /// Its position in the queue, from 1, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<usize>,
    /// When it was requested, if it is a prepared export.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub requested_at: Option<OffsetDateTime>,
    /// The address of its file, if it is a prepared export, and complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// When it expires, if it is a prepared export, and has ended.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<OffsetDateTime>,
    /// What the application adds.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, Value>))]
    pub facts: Facts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_from_before_there_were_datasets_is_read() {
        let manifest: Result<Manifest, _> = serde_json::from_str(
            r#"{"id": "a", "state": "complete", "strategy": "copy", "filter": {"done": true}, "preset": "data",
                "delimiter": ",", "rows": 1, "bytes": 90, "sha256": "00", "seconds": 0.1, "peak_memory_bytes": 1, "error": null}"#,
        );
        let said = manifest.map(|manifest| (manifest.dataset, manifest.filter));
        let filter = Map::from_iter([("done".to_owned(), Value::from(true))]);
        assert_eq!(said.ok(), Some((String::new(), filter)));
    }
}
