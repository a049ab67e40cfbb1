//! How the database's schema differs from the one that the program knows, and the migrations that bring it there.

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::sql_types::{Array, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{COLUMNS, Column, differences, is_view, read_columns};
use crate::models::TABLES;
use diesel_export::db::libpq::{self, CopyOutDsl as _};
use diesel_export::db::servers::Role;
use diesel_export::db::{Database, Error, UnfitTables};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();
/// The table in which Diesel notes the migrations that were run.
pub(super) const MIGRATIONS_TABLE: &str = "__diesel_schema_migrations";

/// How the database's schema differs from the one that this program knows.
#[derive(Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// The tables are there, and every migration was run; or views stand in for the tables, which no migration is for.
    Current,
    /// The tables are not there, or our role may not read them.
    Missing,
    /// A table or a column is missing, or a column has another type: no export would work. Each text says what is different, and what
    /// would fix it.
    Different(Vec<String>),
    /// The tables are there, but these migrations were not run. (Or the tables are Django's, not ours.)
    Pending(Vec<String>),
    /// The tables are there, but this program does not know these migrations that were run: by a newer release, or by another program.
    Newer(Vec<String>),
}

/// Returns why no export from the database works; `None` if exports work.
pub fn unfit(database: &Database, _dataset: Option<&str>) -> Result<Option<UnfitTables>, Error> {
    Ok(match schema_state(database)? {
        SchemaState::Missing => Some(UnfitTables::Missing),
        SchemaState::Different(differences) => Some(UnfitTables::Different(differences)),
        SchemaState::Current | SchemaState::Pending(_) | SchemaState::Newer(_) => None,
    })
}

/// Runs the pending migrations and returns their names.
pub fn migrate(database: &Database) -> Result<Vec<String>, Error> {
    let mut connection = database.control_connection()?;
    let versions = connection
        .run_pending_migrations(MIGRATIONS)
        .map_err(|error| Error::Migrate(error.to_string()))?;
    Ok(versions.iter().map(ToString::to_string).collect())
}

/// Compares the schema with the program's. It only reads: Diesel's own check creates its table of migrations, which a role that can only
/// SELECT may not do. It reads the catalog alone, on a connection of its own: neither a lock on a table nor a transaction that waits for
/// one delays it.
pub fn schema_state(database: &Database) -> Result<SchemaState, Error> {
    let mut connection = database.probe_connection()?;
    Catalog::read(&mut connection)?.schema_state(&mut connection)
}

/// Does the same when a program starts, and returns also the server's role. It uses the connection that the first export will have. Once
/// that is open, `meanwhile` may open others.
pub(crate) fn first_look(
    database: &Database,
    meanwhile: impl FnOnce(&Database),
) -> Result<(SchemaState, Role), Error> {
    let mut connection = database.first_connection()?;
    meanwhile(database);
    let catalog = Catalog::read(&mut connection)?;
    Ok((catalog.schema_state(&mut connection)?, catalog.role))
}

/// The catalog's entries for our tables' names.
struct Catalog {
    role: Role,
    /// Whether our role may read the table; `None` if there is no such table.
    tasks: Option<bool>,
    migrations: Option<bool>,
    columns: Vec<Column>,
}

impl Catalog {
    /// Reads all with one query: the start waits for it.
    fn read(connection: &mut libpq::CopyConnection) -> Result<Self, Error> {
        let sql = format!(
            "select pg_is_in_recovery() as in_recovery, {} as tasks, {} as migrations, {}",
            tasks_are_readable(),
            is_readable(MIGRATIONS_TABLE),
            COLUMNS,
        );
        let sql = diesel::sql_query(sql)
            .bind::<Array<Text>, _>(&TABLES[..])
            .literal_sql()?;
        let row = connection.query_row(&sql)?.unwrap_or_default();
        let readable = |name| row.get(name).flatten().map(|_| row.is(name));
        Ok(Self {
            role: if row.is("in_recovery") {
                Role::Replica
            } else {
                Role::Primary
            },
            tasks: readable("tasks"),
            migrations: readable("migrations"),
            columns: read_columns(&row)?,
        })
    }

    fn schema_state(&self, connection: &mut libpq::CopyConnection) -> Result<SchemaState, Error> {
        if self.tasks != Some(true) {
            return Ok(SchemaState::Missing);
        }
        // If our role may not read the table of migrations, another role manages it, and it may well be up to date.
        let run = migrations_run(connection, self.migrations)?;
        let known = known_migrations()?;
        let pending: Vec<String> = known
            .iter()
            .filter(|migration| {
                run.as_deref()
                    .is_some_and(|run| !is_among(migration.as_ref(), run))
            })
            .map(|migration| migration.name().to_string())
            .collect();
        let mut differences = differences(&self.columns);
        if !differences.is_empty() {
            // If none of our migrations was run, the tables are not ours, and migrations would not fix them.
            if !pending.is_empty() && pending.len() < known.len() {
                differences.push(format!(
                    "migrations are pending ({}): run `cmms-export migrate` first",
                    pending.join(", ")
                ));
            }
            return Ok(SchemaState::Different(differences));
        }
        if is_view(&self.columns, "tasks") {
            return Ok(SchemaState::Current);
        }
        if !pending.is_empty() {
            return Ok(SchemaState::Pending(pending));
        }
        let unknown = unknown_migrations(&run.unwrap_or_default())?;
        Ok(if unknown.is_empty() {
            SchemaState::Current
        } else {
            SchemaState::Newer(unknown)
        })
    }
}

/// SQL for whether our role may read a table; NULL if there is no such table.
fn is_readable(table: &str) -> String {
    format!("has_table_privilege(to_regclass('{table}'), 'select')")
}

/// SQL for whether our role, or one that it is a member of, may read the tasks: the rows are read as such a role if an access file says so.
/// NULL if there is no such table.
pub(super) fn tasks_are_readable() -> &'static str {
    "case when to_regclass('tasks') is not null then exists (
         select from pg_catalog.pg_roles r where pg_has_role(r.oid, 'member') and has_table_privilege(r.oid, to_regclass('tasks'), 'select'))
     end"
}

/// Returns whether a table is readable, by SQL that says so; `None` if there is no such table.
pub(super) fn readable(
    connection: &mut libpq::CopyConnection,
    is_readable: &str,
) -> Result<Option<bool>, Error> {
    let sql = format!("select {is_readable} as readable");
    let row = connection.query_row(&sql)?.unwrap_or_default();
    Ok(row.get("readable").flatten().map(|_| row.is("readable")))
}

fn known_migrations() -> Result<Vec<Box<dyn Migration<Pg>>>, Error> {
    MIGRATIONS
        .migrations()
        .map_err(|error| Error::Migrate(error.to_string()))
}

/// Returns those of the versions that this program does not know.
fn unknown_migrations(versions: &[String]) -> Result<Vec<String>, Error> {
    let known = known_migrations()?;
    let is_known = |version: &&String| {
        let version = std::slice::from_ref(*version);
        known
            .iter()
            .any(|migration| is_among(migration.as_ref(), version))
    };
    let unknown = versions.iter().filter(|version| !is_known(version));
    Ok(unknown.cloned().collect())
}

fn is_among(migration: &dyn Migration<Pg>, versions: &[String]) -> bool {
    versions
        .iter()
        .any(|version| migration.name().version() == MigrationVersion::from(version.as_str()))
}

/// The versions of the migrations that were run, our own or another program's; `None` if our role may not read them.
fn migrations_run(
    connection: &mut libpq::CopyConnection,
    readable: Option<bool>,
) -> Result<Option<Vec<String>>, Error> {
    match readable {
        Some(true) => {
            let sql = format!(
                "select json_agg(version order by version) as versions from {MIGRATIONS_TABLE}"
            );
            let row = connection.query_row(&sql)?.unwrap_or_default();
            libpq::read_json(&row, "versions").map(Some)
        }
        Some(false) => Ok(None),
        None => Ok(Some(Vec::new())),
    }
}

/// Returns whether any of our own migrations was run.
pub(super) fn migrations_were_run(connection: &mut libpq::CopyConnection) -> Result<bool, Error> {
    let readable = readable(connection, &is_readable(MIGRATIONS_TABLE))?;
    let run = migrations_run(connection, readable)?.unwrap_or_default();
    Ok(known_migrations()?
        .iter()
        .any(|migration| is_among(migration.as_ref(), &run)))
}
