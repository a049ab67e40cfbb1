//! The tables that a file names, as the catalog has them.

use std::collections::HashMap;

use toml::Spanned;

use super::paths::Wrong;
use crate::db::Error;
use crate::db::libpq;
use crate::request::misspelled::no_such;
use crate::tables::file::File;
use crate::tables::pg_catalog::{PgCatalog, Relation, Wanted, quoted};

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
        connection: &mut libpq::Connection,
        file: &File,
    ) -> Result<Self, Error> {
        let mut names: Vec<(&str, String)> = Vec::new();
        for table in file.tables() {
            let name = table.get_ref().as_str();
            if let Some(sql) = sql_name(name)
                && !names.iter().any(|(known, _)| *known == name)
            {
                names.push((name, sql));
            }
        }
        let wanted: Vec<String> = names.iter().map(|(_, sql)| sql.clone()).collect();
        let catalog = PgCatalog::read(connection, &Wanted::Named(&wanted))?;
        let found = names.iter().zip(&catalog.wanted);
        let oids = found.filter_map(|((name, _), oid)| Some(((*name).to_owned(), (*oid)?)));
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
        if sql_name(text).is_none() {
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

/// Reads a name as SQL has it, and quotes each of its identifiers; `None` if it is none.
fn sql_name(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = name;
    loop {
        let (part, after) = identifier(rest)?;
        parts.push(quoted(&part));
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() && parts.len() <= 2 => return Some(parts.join(".")),
            None => return None,
        }
    }
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
        for (name, sql) in [
            ("orders", Some(r#""orders""#)),
            ("Shop.Orders", Some(r#""shop"."orders""#)),
            (
                r#"shop."Order ""Items"". x""#,
                Some(r#""shop"."Order ""Items"". x""#),
            ),
            ("größen", Some(r#""größen""#)),
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
            assert_eq!(sql_name(name).as_deref(), sql, "{name:?}");
        }
    }
}
