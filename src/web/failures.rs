//! What the pages say of an export that has failed, to the person who wanted it.

use serde_json::{Map, Value};

use crate::export::manifest::ErrorClass;

const ADVICE: [(ErrorClass, &str); 12] = [
    (
        ErrorClass::Database,
        "The database broke it off. Try again; if it fails again, tell whoever looks after the database.",
    ),
    (
        ErrorClass::DatabaseUnavailable,
        "The database went away. Try again in a moment.",
    ),
    (
        ErrorClass::NoReplica,
        "No copy of the database can be read just now. Try again in a moment.",
    ),
    (
        ErrorClass::RecoveryConflict,
        "It stood in the way of changes to the data. Try again in a moment.",
    ),
    (
        ErrorClass::StatementTimeout,
        "The database took longer than it may. Choose fewer rows, or tell whoever looks after the server.",
    ),
    (
        ErrorClass::TooManyRows,
        "These are too many rows for this. Choose fewer, or CSV, or another strategy under Advanced.",
    ),
    (
        ErrorClass::TextTooLong,
        "A text is longer than Excel takes. Choose CSV, or leave the column with long texts out.",
    ),
    (
        ErrorClass::ReaderTimeout,
        "Nothing was taken for too long. Try again.",
    ),
    (
        ErrorClass::Output,
        "It could not be handed over. Try again.",
    ),
    (
        ErrorClass::SpoolFull,
        "The server has no room for the file now. Try again in a moment, or download it as CSV.",
    ),
    (
        ErrorClass::Interrupted,
        "The server was stopped before it was done. Prepare it again.",
    ),
    (
        ErrorClass::Internal,
        "Something went wrong in the server, whose log says what. Try again.",
    ),
];

/// What one can do about a failure.
pub(super) fn advice(error: ErrorClass) -> &'static str {
    let advice = ADVICE.iter().find(|(class, _)| *class == error);
    advice.map_or("", |(_, text)| text)
}

/// The same for the pages' scripts: by the names that manifests have, as JSON.
pub(super) fn all() -> String {
    let named = ADVICE.map(|(class, text)| (class.name().to_owned(), Value::from(text)));
    Value::from(Map::from_iter(named)).to_string()
}
