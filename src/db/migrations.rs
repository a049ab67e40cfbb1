//! The migrations: those that this program knows, and those that the database has had.

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Database, Error, Readable, relation, sql};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

impl Database {
    /// Runs the pending migrations and returns their names.
    pub fn migrate(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.control_connection()?;
        let versions = connection
            .run_pending_migrations(MIGRATIONS)
            .map_err(|error| Error::Migrate(error.to_string()))?;
        Ok(versions.iter().map(ToString::to_string).collect())
    }

    /// Runs these of the pending migrations, which must all be known.
    pub fn migrate_as_far_as(&self, versions: &[String]) -> Result<(), Error> {
        let mut connection = self.control_connection()?;
        let pending = connection
            .pending_migrations(MIGRATIONS)
            .map_err(|error| Error::Migrate(error.to_string()))?;
        for migration in pending {
            if is_among(migration.as_ref(), versions) {
                connection
                    .run_migration(migration.as_ref())
                    .map_err(|error| Error::Migrate(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// The migrations that were run and that this program does not know, if it knows any that was: a newer release of it has run
    /// them, or another program has.
    pub fn unknown_migrations(&self) -> Result<Vec<String>, Error> {
        let run = self.migrations_run()?;
        let unknown = unknown(&run)?;
        Ok(if unknown.len() < run.len() {
            unknown
        } else {
            Vec::new()
        })
    }

    /// The versions of all migrations that were run.
    pub fn migrations_run(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.control_connection()?;
        Ok(migrations_run(&mut connection)?.unwrap_or_default())
    }
}

/// Those that this program does not know.
pub(crate) fn unknown(versions: &[String]) -> Result<Vec<String>, Error> {
    let known = known_migrations()?;
    let is_known = |version: &str| {
        let version = MigrationVersion::from(version);
        known
            .iter()
            .any(|migration| migration.name().version() == version)
    };
    Ok(versions
        .iter()
        .filter(|version| !is_known(version))
        .cloned()
        .collect())
}

pub(super) fn known_migrations() -> Result<Vec<Box<dyn Migration<Pg>>>, Error> {
    MIGRATIONS
        .migrations()
        .map_err(|error| Error::Migrate(error.to_string()))
}

pub(super) fn is_among(migration: &dyn Migration<Pg>, versions: &[String]) -> bool {
    versions
        .iter()
        .any(|version| migration.name().version() == MigrationVersion::from(version.as_str()))
}

/// The versions of the migrations that were run, our own or another program's; `None` if our role may not know.
pub(super) fn migrations_run(connection: &mut PgConnection) -> QueryResult<Option<Vec<String>>> {
    match relation(connection, "__diesel_schema_migrations")? {
        Some(Readable::Yes) => sql::__diesel_schema_migrations::table
            .select(sql::__diesel_schema_migrations::version)
            .order(sql::__diesel_schema_migrations::version)
            .load(connection)
            .map(Some),
        Some(Readable::No) => Ok(None),
        None => Ok(Some(Vec::new())),
    }
}

/// Whether any of our own migrations was run.
pub(super) fn migrations_were_run(connection: &mut PgConnection) -> Result<bool, Error> {
    let run = migrations_run(connection)?.unwrap_or_default();
    Ok(known_migrations()?
        .iter()
        .any(|migration| is_among(migration.as_ref(), &run)))
}
