//! Connections that speak `COPY … TO STDOUT`, from the workspace's own crate for it.

use serde::de::DeserializeOwned;

pub use diesel_copy_out::{
    CopyConnection, CopyOutDsl, Error, ErrorKind, InvalidUrl, Manager, Options, Row,
    connection_options as options,
};

use super::Error as DatabaseError;

/// Reads JSON from the column of this name; `None` if it is NULL, as an aggregate of no rows is.
pub fn read_json<T: DeserializeOwned + Default>(row: &Row, name: &str) -> Result<T, DatabaseError> {
    row.get(name).flatten().map_or(Ok(T::default()), |json| {
        serde_json::from_str(json)
            .map_err(|error| DatabaseError::Inconsistent(format!("{name}: {error}")))
    })
}
