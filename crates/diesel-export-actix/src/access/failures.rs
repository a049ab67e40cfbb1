//! What the pages say about a failed export, and what to do.

use serde_json::{Map, Value};

use diesel_export::manifest::ErrorClass;

const ADVICE: [(ErrorClass, &str); 19] = [
    (
        ErrorClass::Database,
        "The database stopped the export. Try again; if it fails again, tell the database administrator.",
    ),
    (
        ErrorClass::DatabaseUnavailable,
        "The connection to the database was lost. Try again in a moment.",
    ),
    (
        ErrorClass::NoReplica,
        "No copy of the database can be read just now. Try again in a moment.",
    ),
    (
        ErrorClass::NotFresh,
        "No copy of the database is known to be up to date now. Try again in a moment.",
    ),
    (
        ErrorClass::TablesMissing,
        "The database has no tables that can be read. Tell the database administrator.",
    ),
    (
        ErrorClass::TablesDiffer,
        "The database’s tables were changed. Tell the database administrator.",
    ),
    (
        ErrorClass::RecoveryConflict,
        "The export got in the way of changes to the data. Try again in a moment.",
    ),
    (
        ErrorClass::StatementTimeout,
        "The export took longer than allowed. Choose fewer rows, or tell the server’s administrator.",
    ),
    (
        ErrorClass::TooManyRows,
        "There are too many rows for this. Choose fewer, or CSV, or another way to load them under Advanced.",
    ),
    (
        ErrorClass::UnexpectedNull,
        "A value is missing where the strategy `joined` requires one. Choose another way to load the rows under Advanced.",
    ),
    (
        ErrorClass::TooLargeToBuffer,
        "There is too much for this way to load the rows. Choose fewer rows, or another way to load them under Advanced.",
    ),
    (
        ErrorClass::Busy,
        "Other exports need the server's memory now. Try again in a moment, or choose another way to load the rows under Advanced.",
    ),
    (
        ErrorClass::TextTooLong,
        "A text is longer than Excel allows. Choose CSV, or leave out the column with long texts.",
    ),
    (
        ErrorClass::ReaderTimeout,
        "The download stood still for too long. Try again.",
    ),
    (
        ErrorClass::Output,
        "The file could not be delivered. Try again.",
    ),
    (
        ErrorClass::SpoolFull,
        "The server has no room for the file now. Delete prepared exports that nobody needs, or download it as CSV.",
    ),
    (
        ErrorClass::DiskFull,
        "The server’s disk is full. Tell its administrator, or download the file as CSV.",
    ),
    (
        ErrorClass::Interrupted,
        "The server stopped before the file was ready. Prepare it again.",
    ),
    (
        ErrorClass::Internal,
        "Something went wrong on the server. Try again; if it fails again, tell the server’s administrator: the log says why.",
    ),
];

/// Returns what to do about a failure.
pub(crate) fn advice(error: ErrorClass) -> &'static str {
    let advice = ADVICE.iter().find(|(class, _)| *class == error);
    advice.map_or("", |(_, text)| text)
}

/// Returns all of them as JSON for the pages' scripts, by their names in manifests.
pub(crate) fn all() -> String {
    let named = ADVICE.map(|(class, text)| (class.name().to_owned(), Value::from(text)));
    Value::from(Map::from_iter(named)).to_string()
}
