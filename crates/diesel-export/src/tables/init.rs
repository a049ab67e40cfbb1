//! The file of datasets that a database would have: a dataset for each table and view that the role may read, to be edited.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::names::{Taken, of_column, of_dataset, of_filter, of_row};
use super::pg_catalog::{Attribute, ForeignKey, Kind, PgCatalog, Relation, Wanted};
use crate::dataset::ColumnKind;
use crate::db::Error;
use crate::db::libpq;

/// The most columns of a row that is referred to.
const MOST_LABELS: usize = 3;

/// How columns are called by which people know a row; the first ones first.
const LABELS: [&str; 12] = [
    "name",
    "title",
    "label",
    "username",
    "full_name",
    "display_name",
    "code",
    "number",
    "slug",
    "sku",
    "email",
    "subject",
];

/// How others of them end.
const ENDINGS: [&str; 2] = ["_name", "_title"];

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is no schema of this name.
    #[error("there is no schema `{name}` to export: the schemas are {}", there_are.join(", "))]
    NoSchema {
        /// The name.
        name: String,
        /// Those that there are.
        there_are: Vec<String>,
    },
    /// There is nothing in the schemas that can be exported.
    #[error(
        "there is no table and no view in {} that the role may read: --schema names other schemas, and the database's schemas are {}",
        schemas.join(", "), there_are.join(", ")
    )]
    Nothing {
        /// The schemas.
        schemas: Vec<String>,
        /// Those that there are.
        there_are: Vec<String>,
    },
    /// The catalog cannot be read.
    #[error(transparent)]
    Database(#[from] Error),
}

/// Returns the file of what these schemas have.
pub fn init(
    connection: &mut libpq::CopyConnection,
    schemas: &[String],
) -> Result<String, InitError> {
    let catalog = PgCatalog::read(connection, &Wanted::Schemas(schemas))?;
    if let Some(name) = schemas.iter().find(|name| !catalog.schemas.contains(name)) {
        return Err(InitError::NoSchema {
            name: name.clone(),
            there_are: catalog.schemas,
        });
    }
    let wanted = catalog.wanted.iter().flatten();
    let relations: Vec<&Relation> = wanted.filter_map(|oid| catalog.find(*oid)).collect();
    let (readable, hidden): (Vec<&Relation>, Vec<&Relation>) = relations
        .iter()
        .partition(|relation| relation.is_readable());
    if readable.is_empty() {
        return Err(InitError::Nothing {
            schemas: schemas.to_vec(),
            there_are: catalog.schemas,
        });
    }
    let mut file = head(&catalog.database);
    if !hidden.is_empty() {
        let (unreadable, empty): (Vec<&Relation>, Vec<&Relation>) = hidden
            .iter()
            .partition(|relation| !relation.columns.is_empty());
        for (reason, relations) in [
            ("The role may not read", unreadable),
            ("Without columns", empty),
        ] {
            let names: Vec<String> = relations.iter().map(|relation| relation.plain()).collect();
            if !names.is_empty() {
                comment(
                    &mut file,
                    &format!("{reason}, so left out: {}", names.join(", ")),
                );
            }
        }
        file.push('\n');
    }
    let mut taken = Taken::default();
    let named = readable.iter().map(|relation| {
        let both = format!("{}_{}", relation.schema, relation.name);
        let names = [of_dataset(&relation.name), of_dataset(&both)];
        (relation.oid, taken.take(names))
    });
    let names: HashMap<i64, String> = named.collect();
    for relation in readable {
        let writer = Writer {
            catalog: &catalog,
            relation,
            name: names.get(&relation.oid).map_or("", String::as_str),
        };
        writer.write(&mut file);
    }
    Ok(file)
}

fn head(database: &str) -> String {
    let mut head = String::new();
    comment(
        &mut head,
        &format!(
            "The datasets of the database {database}, as `cmms-export datasets init` found its tables: edit them (docs/datasets.md).\n\
             `serve`, `export` and `bench` take this file as `--datasets FILE`; `cmms-export datasets check FILE` compares it with the database."
        ),
    );
    head.push_str("\nversion = 1\n\n");
    head
}

/// Writes the dataset of a relation.
struct Writer<'a> {
    catalog: &'a PgCatalog,
    relation: &'a Relation,
    name: &'a str,
}

impl Writer<'_> {
    fn write(&self, file: &mut String) {
        let relation = self.relation;
        if let Some(text) = &relation.comment {
            comment(file, text);
        }
        let (columns, hidden): (Vec<&Attribute>, Vec<&Attribute>) = relation
            .columns
            .iter()
            .partition(|column| column.is_readable);
        if !hidden.is_empty() {
            let names: Vec<&str> = hidden.iter().map(|column| column.name.as_str()).collect();
            comment(
                file,
                &format!("The role may not read these columns: {}", names.join(", ")),
            );
        }
        let key = self.key();
        if key.is_none() {
            let what = match relation.kind {
                Kind::View => "view",
                Kind::Table | Kind::Partitioned | Kind::Other => "table",
            };
            let why = if relation.has_heirs {
                "Other tables inherit from this one, so no index says that a key is unique. "
            } else {
                ""
            };
            comment(
                file,
                &format!(
                    "{why}This {what} has no key: its rows come in no order, by `copy` instead of `lookup`, unless `key = [\"…\"]` names columns."
                ),
            );
        }
        file.push_str("[[dataset]]\n");
        pair(file, "name", self.name);
        pair(file, "row", &of_row(self.name));
        pair(file, "table", &relation.plain());
        if let Some(key) = key {
            let _ = writeln!(file, "key = {}", list(key));
        }
        let mut names = Taken::default();
        let own = columns.iter().map(|column| {
            let name = of_column(&column.name);
            (names.take([name]), *column)
        });
        let own: Vec<(String, &Attribute)> = own.collect();
        if let Some(label) = labels(&columns).first()
            && let Some((name, _)) = own.iter().find(|(_, column)| column.name == label.name)
        {
            pair(file, "label", name);
        }
        file.push('\n');
        own_columns(file, &own);
        self.references(file, &mut names);
        self.filters(file, &columns);
    }

    /// The columns of the primary key, or of another one that each row has. No column of a materialized view can be declared NOT NULL.
    fn key(&self) -> Option<&[String]> {
        let is_view = self.relation.kind == Kind::View;
        let has_order = |name: &String| {
            self.relation.column(name).is_some_and(|column| {
                column.is_ordered && column.is_readable && (column.is_not_null || is_view)
            })
        };
        if self.relation.has_heirs {
            return None;
        }
        let unique = self.relation.unique.iter();
        let mut fitting = unique.filter(|columns| columns.iter().all(has_order));
        fitting.next().map(Vec::as_slice)
    }

    /// The columns of what the rows refer to, on request.
    fn references(&self, file: &mut String, names: &mut Taken) {
        for foreign_key in &self.relation.foreign_keys {
            let Some((to, via)) = self.reached(foreign_key) else {
                continue;
            };
            let stem = match foreign_key.columns.as_slice() {
                [column] => column
                    .strip_suffix("_id")
                    .filter(|stem| !stem.is_empty())
                    .unwrap_or(column),
                _ => &to.name,
            };
            let readable: Vec<&Attribute> = to
                .columns
                .iter()
                .filter(|column| column.is_readable)
                .collect();
            for label in labels(&readable).into_iter().take(MOST_LABELS) {
                let name = of_column(&format!("{stem}_{}", label.name));
                file.push_str("[[dataset.column]]\n");
                pair(file, "name", &names.take([name]));
                let _ = writeln!(file, "via = {via}");
                pair(file, "column", &label.name);
                file.push_str("default = false\n\n");
            }
        }
    }

    /// What a foreign key refers to, if the role may read it, and the step that leads there.
    fn reached(&self, foreign_key: &ForeignKey) -> Option<(&Relation, String)> {
        let ForeignKey { columns, to, key } = foreign_key;
        let to = self.catalog.find(*to)?;
        if !to.is_reachable || !to.is_unique(key) {
            return None;
        }
        let pairs = columns.iter().zip(key);
        let pairs =
            pairs.map(|(own, key)| Some((readable(self.relation, own)?, readable(to, key)?)));
        let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
        if !pairs.iter().all(|(own, key)| own.can_be_collated_as(key)) {
            return None;
        }
        let of_column = columns
            .first()
            .and_then(|own| self.relation.foreign_key(own));
        if of_column == Some(foreign_key) {
            return Some((to, list(columns)));
        }
        pairs
            .iter()
            .all(|(own, key)| own.is_compared_as(key))
            .then(|| {
                let [columns, key] = [list(columns), list(key)];
                let table = string(&to.plain());
                (
                    to,
                    format!("{{ columns = {columns}, table = {table}, key = {key} }}"),
                )
            })
    }

    fn filters(&self, file: &mut String, columns: &[&Attribute]) {
        let mut names = Taken::default();
        for column in columns {
            let Some(kind) = self.filter_kind(column) else {
                continue;
            };
            file.push_str("[[dataset.filter]]\n");
            let endings: &[&str] = if kind == "range" {
                &["_from", "_to"]
            } else {
                &[""]
            };
            let name = names.take_with([of_filter(&column.name)], endings);
            pair(file, "name", &name);
            pair(file, "column", &column.name);
            pair(file, "kind", kind);
            file.push('\n');
        }
    }

    /// The kind of a column's filter, if it is to have one.
    fn filter_kind(&self, column: &Attribute) -> Option<&'static str> {
        let is_in = |columns: &[String]| columns.contains(&column.name);
        let is_key = self.key().is_some_and(is_in);
        let mut foreign_keys = self.relation.foreign_keys.iter();
        let is_reference = foreign_keys.any(|foreign_key| is_in(&foreign_key.columns));
        match column.kind() {
            ColumnKind::Boolean => Some("boolean"),
            ColumnKind::Integer | ColumnKind::Uuid | ColumnKind::Text if is_reference => Some("id"),
            ColumnKind::Integer if is_key => Some("id"),
            kind if kind.has_ranges() => Some("range"),
            ColumnKind::Uuid => Some("exact"),
            _ => match &column.labels {
                // A form sends an empty text for none.
                Some(labels) if labels.iter().any(String::is_empty) => Some("exact"),
                Some(_) => Some("one-of"),
                None if column.is_searchable() && is_key => Some("exact"),
                None if column.is_searchable() => Some("contains"),
                None => None,
            },
        }
    }
}

/// The column of this name, if the role may read it.
fn readable<'r>(relation: &'r Relation, name: &str) -> Option<&'r Attribute> {
    relation.column(name).filter(|column| column.is_readable)
}

/// The columns by which people know a row, the best ones first: those of the usual names, or else the first text
/// that each row has.
fn labels<'a>(columns: &[&'a Attribute]) -> Vec<&'a Attribute> {
    let texts = columns.iter().copied();
    let texts: Vec<&Attribute> = texts.filter(|column| column.is_searchable()).collect();
    let usual = LABELS.iter().filter_map(|label| {
        let mut texts = texts.iter().copied();
        texts.find(|column| column.name.eq_ignore_ascii_case(label))
    });
    let mut found: Vec<&Attribute> = usual.collect();
    for column in &texts {
        let name = column.name.to_ascii_lowercase();
        let is_known = found.iter().any(|known| known.name == column.name);
        if !is_known && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            found.push(column);
        }
    }
    if found.is_empty() {
        found.extend(texts.iter().find(|text| text.is_not_null));
    }
    found
}

/// Writes the columns of the table itself, by their names in the file.
fn own_columns(file: &mut String, columns: &[(String, &Attribute)]) {
    for (name, column) in columns {
        if let Some(text) = &column.comment {
            comment(file, text);
        }
        file.push_str("[[dataset.column]]\n");
        pair(file, "name", name);
        if *name != column.name {
            pair(file, "header", &column.name);
            pair(file, "column", &column.name);
        }
        file.push('\n');
    }
}

/// Writes lines of comment. TOML has no control characters in them.
fn comment(file: &mut String, text: &str) {
    for line in text.lines() {
        let line = line.replace(char::is_control, " ");
        let _ = writeln!(file, "# {}", line.trim_end());
    }
}

fn pair(file: &mut String, key: &str, value: &str) {
    let _ = writeln!(file, "{key} = {}", string(value));
}

fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| string(value)).collect();
    format!("[{}]", values.join(", "))
}

/// A text as TOML has it.
fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
