//! The tables that a file names, as the catalog has them.

use std::collections::{HashMap, HashSet};

use toml::Spanned;

use super::paths::Wrong;
use crate::db::Error;
use crate::db::libpq;
use crate::request::misspelled::no_such;
use crate::tables::file::File;
use crate::tables::pg_catalog::{PgCatalog, Relation, Wanted};

/// The tables that a file names, and what they refer to.
pub(in crate::tables) struct Tables {
    catalog: PgCatalog,
    /// The oids of the tables that there are, by their names in the file.
    oids: HashMap<String, i64>,
    /// The names of all tables, if one is missing.
    there_are: Vec<String>,
}

impl Tables {
    /// Reads what the catalog says of the file's tables.
    pub(in crate::tables) fn read(
        connection: &mut libpq::CopyConnection,
        file: &File,
    ) -> Result<Self, Error> {
        let mut names: Vec<&str> = Vec::new();
        let mut wanted = Vec::new();
        let mut known = HashSet::new();
        for table in file.tables() {
            let name = table.get_ref().as_str();
            if let Some(parts) = parts(name)
                && known.insert(name)
            {
                names.push(name);
                wanted.push(parts);
            }
        }
        let catalog = PgCatalog::read(connection, &Wanted::Named(&wanted))?;
        let found = names.iter().zip(&catalog.wanted);
        let oids = found.filter_map(|(name, oid)| Some(((*name).to_owned(), (*oid)?)));
        let oids: HashMap<String, i64> = oids.collect();
        let there_are = if oids.len() < names.len() {
            let all = PgCatalog::read(connection, &Wanted::Schemas(&catalog.schemas))?;
            let there_are = all.wanted.iter().flatten();
            let there_are = there_are.filter_map(|oid| all.find(*oid));
            there_are.map(Relation::plain).collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            catalog,
            oids,
            there_are,
        })
    }

    /// The table of this name.
    pub(in crate::tables) fn find(&self, name: &Spanned<String>) -> Result<&Relation, Wrong> {
        let wrong = |said: String| (name.span(), said);
        let text = name.get_ref();
        if parts(text).is_none() {
            return Err(wrong(format!(
                "`{text}` is no name of a table: write schema.table, with double quotes around what has capitals or blanks"
            )));
        }
        let found = self.oids.get(text).and_then(|oid| self.catalog.find(*oid));
        let Some(relation) = found else {
            let there_are: Vec<&str> = self.there_are.iter().map(String::as_str).collect();
            let said = format!("there is no table or view {text}");
            return Err(wrong(no_such(&said, text, "there are", &there_are)));
        };
        if !relation.is_exportable() {
            return Err(wrong(format!("{text} is neither a table nor a view")));
        }
        Ok(relation)
    }

    /// The table that a foreign key refers to.
    pub(in crate::tables) fn reached(&self, oid: i64) -> Option<&Relation> {
        self.catalog.find(oid)
    }
}

/// Reads a table's name as SQL has it: its schema, which may be empty, and its name; `None` if it is none.
fn parts(name: &str) -> Option<(String, String)> {
    let (first, after) = identifier(name)?;
    if after.is_empty() {
        return Some((String::new(), first));
    }
    let (second, after) = identifier(after.strip_prefix('.')?)?;
    after.is_empty().then_some((first, second))
}

/// Reads an identifier, and returns what follows it. Without quotes, it is in lower case, as PostgreSQL has it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (plain, after) = text.split_at(end);
        let is_plain = |character: char| character.is_alphanumeric() || "_$".contains(character);
        let is_first = |character: char| character.is_alphabetic() || character == '_';
        let is_identifier = plain.starts_with(is_first) && plain.chars().all(is_plain);
        return is_identifier.then(|| (plain.to_ascii_lowercase(), after));
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
            continue;
        }
        let after = &quoted[at + 1..];
        if !after.starts_with('"') {
            return (!name.is_empty() && !name.contains('\0')).then_some((name, after));
        }
        name.push('"');
        characters.next();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_name_is_read_as_sql_has_it() {
        for (name, schema_and_name) in [
            ("orders", Some(("", "orders"))),
            ("Shop.Orders", Some(("shop", "orders"))),
            (
                r#"shop."Order ""Items"". x""#,
                Some(("shop", r#"Order "Items". x"#)),
            ),
            ("größen", Some(("", "größen"))),
            ("", None),
            ("a.", None),
            ("a.b.c", None),
            ("a b", None),
            ("1a", None),
            (r#""""#, None),
            (r#""a"#, None),
            (r#""a"b"#, None),
            ("a; drop table b", None),
        ] {
            let parts = parts(name);
            let parts = parts.as_ref().map(|(schema, name)| (&**schema, &**name));
            assert_eq!(parts, schema_and_name, "{name:?}");
        }
    }
}
