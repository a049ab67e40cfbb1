//! The types that only the server knows: what oids they have, and how their values are written.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use diesel::pg::{
    FailedToLookupTypeError, PgMetadataCache, PgMetadataCacheKey, PgMetadataLookup, PgTypeMetadata,
};

use super::{Unwritable, literal, name, quoted, quoted_name};
use crate::{CopyConnection, Error, ErrorKind};

/// Finds the oids of a query's types, and then writes its values.
pub(crate) trait Types: PgMetadataLookup + 'static {
    /// Returns why a type could not be looked up, if the server's answer was an error.
    fn failure(&mut self) -> Option<Error>;

    /// Returns the value as SQL, in parentheses.
    fn literal(&mut self, oid: u32, value: Option<&[u8]>) -> Result<String, Error>;
}

/// Types without a server, which Diesel would ask for their oids: they have no literals. They get oids from the largest down, which no
/// server has reached.
#[derive(Default)]
pub(crate) struct UnknownTypes(Vec<String>);

impl UnknownTypes {
    fn name(&self, oid: u32) -> Option<String> {
        let number = u32::MAX - oid;
        let name = self.0.get(usize::try_from(number / 2).ok()?)?;
        let brackets = if number % 2 == 1 { "[]" } else { "" };
        Some(format!("{name}{brackets}"))
    }
}

impl PgMetadataLookup for UnknownTypes {
    fn lookup_type(&mut self, name: &str, schema: Option<&str>) -> PgTypeMetadata {
        let schema = schema.map(|schema| format!("{schema}."));
        let oid = u32::MAX - 2 * self.0.len() as u32;
        self.0.push(format!("{}{name}", schema.unwrap_or_default()));
        PgTypeMetadata::new(oid, oid - 1)
    }

    fn as_any<'a>(&mut self) -> &mut (dyn Any + 'a)
    where
        Self: 'a,
    {
        self
    }
}

impl Types for UnknownTypes {
    fn failure(&mut self) -> Option<Error> {
        None
    }

    fn literal(&mut self, oid: u32, value: Option<&[u8]>) -> Result<String, Error> {
        let unknown = || Unwritable::Type(self.name(oid).unwrap_or_else(|| name(oid)));
        Ok(literal(oid, value)?.ok_or_else(unknown)?)
    }
}

/// What a connection has learned of its server's types.
#[derive(Default)]
pub(crate) struct ServerTypes {
    oids: PgMetadataCache,
    /// Their names as SQL, by their oids.
    names: HashMap<u32, String>,
    failure: Option<Error>,
}

impl fmt::Debug for ServerTypes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerTypes")
            .finish_non_exhaustive()
    }
}

/// As Diesel's own connections look types up.
impl PgMetadataLookup for CopyConnection {
    fn lookup_type(&mut self, name: &str, schema: Option<&str>) -> PgTypeMetadata {
        let key = PgMetadataCacheKey::new(schema.map(Cow::Borrowed), Cow::Borrowed(name));
        if let Some(known) = self.types.oids.lookup_type(&key) {
            return known;
        }
        match oids(self, name, schema) {
            Ok(Some(oids)) => {
                self.types.oids.store_type(key, oids);
                return PgTypeMetadata::new(oids.0, oids.1);
            }
            Ok(None) => {}
            Err(error) => self.types.failure = Some(error),
        }
        PgTypeMetadata::from_result(Err(FailedToLookupTypeError::new(key.into_owned())))
    }

    fn as_any<'a>(&mut self) -> &mut (dyn Any + 'a)
    where
        Self: 'a,
    {
        self
    }
}

impl Types for CopyConnection {
    fn failure(&mut self) -> Option<Error> {
        self.types.failure.take()
    }

    fn literal(&mut self, oid: u32, value: Option<&[u8]>) -> Result<String, Error> {
        if let Some(literal) = literal(oid, value)? {
            return Ok(literal);
        }
        let written = written_by_server(self, oid, value);
        if written.is_err() {
            // The type may have been dropped, and created again, since it was looked up.
            self.types = ServerTypes::default();
        }
        written
    }
}

/// Returns the oids of a type and its array.
fn oids(
    connection: &mut CopyConnection,
    name: &str,
    schema: Option<&str>,
) -> Result<Option<(u32, u32)>, Error> {
    let schema = schema.map(|schema| format!("{}.", quoted_name(schema)));
    let name = format!("{}{}", schema.unwrap_or_default(), quoted_name(name));
    let row = connection.query_row(&format!(
        "select oid, typarray from pg_catalog.pg_type where oid = pg_catalog.to_regtype({})",
        quoted(&name)
    ))?;
    Ok(row.and_then(|row| Some((row.read("oid")?, row.read("typarray")?))))
}

/// Returns a literal of the text that the server itself writes for the value, by the same functions as for a COPY in the text format.
fn written_by_server(
    connection: &mut CopyConnection,
    oid: u32,
    value: Option<&[u8]>,
) -> Result<String, Error> {
    let name = match connection.types.names.get(&oid) {
        Some(name) => name.clone(),
        None => {
            let name = sql_name(connection, oid)?;
            connection.types.names.insert(oid, name.clone());
            name
        }
    };
    let Some(value) = value else {
        return Ok(format!("(null::{name})"));
    };
    let row = connection
        .query_row_with("select $1 as text", oid, value)
        .map_err(|mut error| {
            error.message = format!("a value of the type {name}: {}", error.message);
            error.position = None;
            error
        })?;
    let text = row.as_ref().and_then(|row| row.get("text")?);
    let text = text.ok_or_else(|| Error::new(ErrorKind::Other, "the server returned no value"))?;
    Ok(format!("({}::{name})", quoted(text)))
}

/// Returns the type's name as SQL, with its schema.
fn sql_name(connection: &mut CopyConnection, oid: u32) -> Result<String, Error> {
    let row = connection.query_row(&format!(
        "select pg_catalog.concat_ws('.', pg_catalog.quote_ident(nspname), pg_catalog.quote_ident(typname)) as name
         from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = typnamespace where t.oid = {oid}"
    ))?;
    let name = row.as_ref().and_then(|row| row.get("name")?);
    let unknown = || {
        Unwritable::Type(format!(
            "with the oid {oid}, which the server does not know,"
        ))
    };
    Ok(name.map(str::to_owned).ok_or_else(unknown)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_the_server_would_have_to_know_is_named_with_its_array() {
        let mut types = UnknownTypes::default();
        for (name, schema, expected) in [("mood", None, "mood"), ("tag", Some("app"), "app.tag")] {
            let oids = types.lookup_type(name, schema);
            let oids = [oids.oid().ok(), oids.array_oid().ok()];
            let names = oids.map(|oid| oid.and_then(|oid| types.name(oid)));
            assert_eq!(
                names,
                [Some(expected.to_owned()), Some(format!("{expected}[]"))]
            );
        }
        assert_eq!(types.name(16), None);
    }
}
