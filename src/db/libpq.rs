//! Connections that speak `COPY … TO STDOUT`: the workspace's own crate for it.

use serde::de::DeserializeOwned;

pub use diesel_copy_out::{
    Connection, CopyOut, Error, InvalidUrl, Manager, Row, connection_options as options,
};

use super::Error as DatabaseError;

/// What the column of this name has as JSON; nothing if it is NULL, as what is made of no rows is.
pub(super) fn read_json<T: DeserializeOwned + Default>(
    row: &Row,
    name: &str,
) -> Result<T, DatabaseError> {
    row.get(name).map_or(Ok(T::default()), |json| {
        serde_json::from_str(json)
            .map_err(|error| DatabaseError::Inconsistent(format!("{name}: {error}")))
    })
}

/// A name in SQL: `'` makes a text of it, `"` an identifier.
pub(crate) fn quoted(name: &str, quote: char) -> String {
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}
