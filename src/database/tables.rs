//! What the database has instead of the four tables: nothing, other tables, or Django's, for which views can stand in; and whether the
//! tables with these names are as in `src/schema.rs`.

mod columns;
mod schema_state;

use std::fmt::{self, Write as _};

use serde::Deserialize;

use crate::models::TABLES;
use diesel_export::db::libpq;
use diesel_export::db::{Database, Error};

use columns::{COLUMNS, Column, Expected, columns_of, expected, read_columns};
pub(crate) use schema_state::first_look;
use schema_state::{MIGRATIONS_TABLE, migrations_were_run, readable, tasks_are_readable};
pub use schema_state::{SchemaState, migrate, schema_state, unfit};

/// How many tables a message names; it counts the rest.
const NAMED: usize = 8;

/// What the database has instead of our tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExistingTables {
    /// No table at all: ours can be created.
    Nothing,
    /// Our tables, which our role may not read.
    Unreadable,
    /// Tables that are not ours.
    Others(OtherTables),
}

/// Tables that are not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherTables {
    names: Vec<String>,
    is_django: bool,
    views: String,
}

impl OtherTables {
    /// The SQL of the four views that stand in for our tables.
    pub fn views(&self) -> &str {
        &self.views
    }
}

impl fmt::Display for OtherTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names[..self.names.len().min(NAMED)].join(", "))?;
        match self.names.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl ExistingTables {
    /// The SQL that helps, if any does.
    pub fn views(&self) -> Option<&str> {
        match self {
            Self::Others(others) => Some(others.views()),
            Self::Nothing | Self::Unreadable => None,
        }
    }
}

impl fmt::Display for ExistingTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str(
                "the database has no table `tasks` that can be read: run `cmms-export migrate` with the same DATABASE_URL first",
            ),
            Self::Unreadable => f.write_str(
                "the database's role may not read `tasks`: grant it select on locations, assets, users, tasks",
            ),
            Self::Others(others) if others.is_django => write!(
                f,
                "the database has no table `tasks`, but tables that look like Django's ({others}): let views stand in for the \
                 tables of cmms-export (docs/django.md), by this SQL:"
            ),
            Self::Others(others) => write!(
                f,
                "the database has no table `tasks`, but other tables ({others}): is it the right one? If its tasks are in \
                 tables of other names, let views like these stand in for those of cmms-export; only if you want new and empty tables beside the others, `cmms-export migrate --yes` makes them. The views:"
            ),
        }
    }
}

/// Finds out what there is instead of our tables.
pub fn existing_tables(database: &Database) -> Result<ExistingTables, Error> {
    let mut connection = database.probe_connection()?;
    if readable(&mut connection, tasks_are_readable())? == Some(false) {
        return Ok(ExistingTables::Unreadable);
    }
    Ok(match others(&mut connection)? {
        Some(others) => ExistingTables::Others(others),
        None => ExistingTables::Nothing,
    })
}

/// The tables beside which ours would be created, if there are any and none of our migrations was run.
pub fn other_tables(database: &Database) -> Result<Option<OtherTables>, Error> {
    others(&mut *database.probe_connection()?)
}

#[derive(Deserialize)]
struct Relation {
    /// Its name as SQL writes it, with its schema if that is needed.
    name: String,
    bare: String,
}

/// All tables and views of the search path's schemas, if none of our migrations was run. Those of extensions do not count.
fn others(connection: &mut libpq::CopyConnection) -> Result<Option<OtherTables>, Error> {
    if migrations_were_run(connection)? {
        return Ok(None);
    }
    let sql = format!(
        "select json_agg(json_build_object('name', c.oid::regclass::text, 'bare', c.relname) order by c.relname) as relations,
             to_json(current_setting('server_version_num')::integer >= 150000) as has_invokers
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = any (current_schemas(false)) and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
             and c.relname <> '{MIGRATIONS_TABLE}' and not exists (
                 select from pg_depend d
                 where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')"
    );
    let row = connection.query_row(&sql)?.unwrap_or_default();
    let relations: Vec<Relation> = libpq::read_json(&row, "relations")?;
    if relations.is_empty() {
        return Ok(None);
    }
    // Otherwise a view reads with its owner's rights: without any policies, if its owner also owns the tables.
    let options = if libpq::read_json(&row, "has_invokers")? {
        "with (security_invoker = true) "
    } else {
        ""
    };
    let sources = Sources::among(&relations);
    let named = |bare: &str| relations.iter().any(|relation| relation.bare == bare);
    let is_django = named("django_migrations") || (sources.is_some() && named("auth_user"));
    let views = match &sources {
        Some(sources) => views(sources, options, &columns_of(connection, &sources.names())?),
        None => views(&Sources::stock(), options, &[]),
    };
    Ok(Some(OtherTables {
        names: relations
            .iter()
            .map(|relation| relation.name.clone())
            .collect(),
        is_django,
        views,
    }))
}

/// The names of the tables that the views read, as SQL writes them.
struct Sources {
    locations: String,
    assets: String,
    users: String,
    tasks: String,
}

impl Sources {
    /// The tables of a Django app `cmms`.
    fn stock() -> Self {
        Self {
            locations: "cmms_location".into(),
            assets: "cmms_asset".into(),
            users: "auth_user".into(),
            tasks: "cmms_task".into(),
        }
    }

    /// Finds the tables of the app that has tasks, assets and locations.
    fn among(relations: &[Relation]) -> Option<Self> {
        let named = |bare: &str| {
            let relation = relations.iter().find(|relation| relation.bare == bare)?;
            Some(relation.name.clone())
        };
        relations.iter().find_map(|relation| {
            let app = relation.bare.strip_suffix("_task")?;
            Some(Self {
                locations: named(&format!("{app}_location"))?,
                assets: named(&format!("{app}_asset"))?,
                // Django makes no `auth_user` for a project that has its own model of users.
                users: named("auth_user")
                    .or_else(|| named(&format!("{app}_user")))
                    .unwrap_or_else(|| "auth_user".into()),
                tasks: relation.name.clone(),
            })
        })
    }

    fn names(&self) -> [&str; 4] {
        [&self.locations, &self.assets, &self.users, &self.tasks]
    }

    fn of(&self, table: &str) -> &str {
        match table {
            "locations" => &self.locations,
            "assets" => &self.assets,
            "users" => &self.users,
            _ => &self.tasks,
        }
    }
}

/// The SQL of the views, with the casts that their tables' columns need. If a table's columns are not known, they count as Django's.
fn views(sources: &Sources, options: &str, found: &[Column]) -> String {
    let expected = expected();
    let mut sql = String::new();
    for table in TABLES.into_iter().rev() {
        let source = sources.of(table);
        let known = found.iter().any(|column| column.relation == source);
        let columns = expected.iter().filter(|column| column.table == table);
        let columns: Vec<String> = columns
            .map(|expected| {
                let name = expected.name;
                let column = found
                    .iter()
                    .find(|column| column.relation == source && column.name == name);
                let cast = match column {
                    Some(column) => expected.kind.cast(column),
                    // In Django, the id of a user is an integer, and any other id a bigint.
                    None => (!known
                        && matches!(
                            (table, name),
                            ("users", "id") | ("tasks", "created_by_id" | "updated_by_id")
                        ))
                    .then_some("::bigint"),
                };
                match cast {
                    Some(cast) => format!("{name}{cast} as {name}"),
                    None => name.to_owned(),
                }
            })
            .collect();
        let _ = writeln!(
            sql,
            "create view {table} {options}as select {} from {source};",
            columns.join(", ")
        );
    }
    sql
}

/// Returns each difference from `src/schema.rs`, with what would fix it.
fn differences(found: &[Column]) -> Vec<String> {
    let mut differences = Vec::new();
    let mut missing = "";
    for Expected { table, name, kind } in expected() {
        if !found.iter().any(|column| column.relation == table) {
            if missing != table {
                missing = table;
                differences.push(format!("{table}: expected a table or a view, found none"));
            }
            continue;
        }
        let column = found
            .iter()
            .find(|column| column.relation == table && column.name == name);
        let expected = kind.name();
        let Some(column) = column else {
            differences.push(format!(
                "{table}.{name}: expected {expected}, found no such column"
            ));
            continue;
        };
        if kind.takes(column) {
            continue;
        }
        let fix = match kind.cast(column) {
            Some(cast) if column.is_view => format!("create the view with {name}{cast}"),
            Some(cast) => format!("let a view stand in for the table, with {name}{cast}"),
            None => "there is no cast from one to the other".to_owned(),
        };
        differences.push(format!(
            "{table}.{name}: expected {expected}, found {}: {fix}",
            column.r#type
        ));
    }
    differences
}

/// Returns whether it is a view, which our migrations do not create.
fn is_view(found: &[Column], table: &str) -> bool {
    found
        .iter()
        .any(|column| column.relation == table && column.is_view)
}
