//! Opens the database that the command line's options name: the user's own, by its URL, or the private cluster.

pub mod datasets_file;
pub mod seed;
pub mod tables;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use nix::unistd::geteuid;
use private_postgres::{Durability, PrivatePostgres};

use self::tables::{ExistingTables, OtherTables, SchemaState};
use crate::cli::{APPLICATION_NAME, Global};
use diesel_export::db::servers::{Role, Rules, patient};
use diesel_export::db::{self, Database};
use diesel_export::manifest::Facts;

/// Time to wait for a connection. Long enough for the private cluster to come back after a crash.
pub(crate) const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The private cluster does not start.
    #[error("{0}{dump} (--data-dir chooses another directory, DATABASE_URL another server)", dump = how_to_dump(.0))]
    Private(#[from] private_postgres::Error),
    /// There is no home directory.
    #[error("no home directory to keep the data in: choose a directory with --data-dir")]
    NoHome,
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// It is not a CMMS's.
    #[error(transparent)]
    NoTables(Box<NoTables>),
    /// The tables differ from those that the program expects.
    #[error("the database's tables are not as expected: {}", .0.join("; "))]
    Different(Vec<String>),
    /// It has other tables, and creating ours beside them was not allowed.
    #[error(
        "nothing was changed: the database has tables that no migration of cmms-export has made ({0}), and would get four \
         empty ones beside them; if that is meant, say --yes; if the tasks are in tables of other names, let views stand in \
         for those of cmms-export, like these:"
    )]
    OtherTables(Box<OtherTables>),
}

/// Says how to reach the data of a cluster that only another version's programs can run.
fn how_to_dump(error: &private_postgres::Error) -> &'static str {
    match error {
        private_postgres::Error::OtherVersion { .. } => {
            "; `cmms-export database`, with PG_BINDIR set to the old programs, prints the URL for pg_dump"
        }
        _ => "",
    }
}

/// There are no tables that can be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoTables(ExistingTables);

impl Error {
    /// The SQL that helps, if any does.
    pub fn views(&self) -> Option<&str> {
        match self {
            Self::NoTables(error) => error.0.views(),
            Self::OtherTables(others) => Some(others.views()),
            _ => None,
        }
    }
}

/// An open database.
pub struct Connected {
    /// The database.
    pub database: Database,
    /// Its URL, which may hold a password.
    pub url: String,
    /// The role of its server when the tables were checked.
    pub role: Role,
    /// The private cluster, if the database is in it. Dropping it stops the cluster.
    pub private_cluster: Option<PrivatePostgres>,
}

impl Connected {
    /// What the program adds to the manifests of exports: whether the data come from the private cluster, and so are probably made up.
    pub fn facts(&self) -> Facts {
        let is_private = self.private_cluster.is_some();
        Facts::from_iter([("demonstration".to_owned(), is_private.into())])
    }
}

/// The directory for everything that is not in the database.
pub fn data_dir(global: &Global) -> Result<PathBuf, Error> {
    match &global.data_dir {
        Some(data_dir) => Ok(data_dir.clone()),
        None => default_data_dir(),
    }
}

/// The default directory of the cluster: `/var/lib/cmms-export` for root, whose home no other account may enter; else `cmms-export` in the
/// user's data directory. (Also on macOS, whose `~/Library/Application Support` has a blank in it and leaves less room for the path of a
/// socket.)
fn default_data_dir() -> Result<PathBuf, Error> {
    if geteuid().is_root() {
        return Ok("/var/lib/cmms-export".into());
    }
    let absolute = |dir: &PathBuf| dir.is_absolute();
    env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| Some(env::home_dir().filter(absolute)?.join(".local/share")))
        .map(|dir| dir.join("cmms-export"))
        .ok_or(Error::NoHome)
}

/// Opens the database as it is, for up to this many exports at once.
pub fn connect(global: &Global, connections: u32) -> Result<Connected, Error> {
    let private_cluster = match global.database_url() {
        Some(_) => None,
        None => Some(PrivatePostgres::start(
            &data_dir(global)?,
            "cmms",
            Durability::Durable,
        )?),
    };
    let private = private_cluster.as_ref().map(PrivatePostgres::database_url);
    let url = global.database_url().or(private).unwrap_or_default();
    // libpq explains an invalid URL better.
    let url = patient(url, APPLICATION_NAME).unwrap_or_else(|_| url.to_owned());
    Ok(Connected {
        database: Database::new(&url, connections, CONNECTION_WAIT)
            .with_unfit(Arc::new(tables::unfit)),
        url,
        role: Role::Primary,
        private_cluster,
    })
}

/// Whether to go on if the tables differ from the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No: the export would fail.
    IfTablesFit,
    /// Yes: the tables may be fixed while the service runs.
    Anyway,
}

/// Opens the database as [`connect_migrated`] does, but if exports run on replicas, it may be away. Once it has a connection,
/// `meanwhile` may open what is needed next.
pub fn connect_for_exports(
    global: &Global,
    connections: u32,
    rules: &Rules,
    start: Start,
    meanwhile: impl FnOnce(&Database),
) -> Result<Connected, Error> {
    let mut connected = connect(global, connections)?;
    match check_tables(&mut connected, meanwhile) {
        Err(error @ Error::Different(_)) if start == Start::Anyway => {
            tracing::error!(%error, "no export will work until this is fixed");
        }
        Err(Error::Database(error)) if error.is_unavailable() && rules.have_replicas() => {
            tracing::warn!(%error, "the database is away: exports run on its replicas");
        }
        outcome => outcome?,
    }
    Ok(connected)
}

#[derive(QueryableByName)]
struct RoleName {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

/// Returns which of these roles are not there, or not granted to the role of the connections.
pub fn missing_roles(connected: &Connected, roles: &[&str]) -> Result<Vec<String>, db::Error> {
    if roles.is_empty() {
        return Ok(Vec::new());
    }
    let sql = diesel::sql_query(
        "select name from unnest($1) name where not exists (
             select from pg_catalog.pg_roles where rolname = name and pg_catalog.pg_has_role(oid, 'member'))",
    );
    let missing: Vec<RoleName> = sql
        .bind::<diesel::sql_types::Array<diesel::sql_types::Text>, _>(roles)
        .load(&mut *connected.database.connection()?)
        .map_err(db::Error::from)?;
    Ok(missing.into_iter().map(|role| role.name).collect())
}

/// Waits until the database at `url` answers, up to this long; meanwhile, it logs why the database does not answer.
pub fn wait_for_database(url: &str, patience: Duration) -> Result<(), db::Error> {
    let deadline = Instant::now() + patience;
    // Each attempt waits by itself before it fails, so there is no wait between attempts.
    let tries = (patience.as_secs_f64() / CONNECTION_WAIT.as_secs_f64()).ceil();
    let database = Database::new(url, 1, patience.div_f64(tries.max(1.0)));
    while let Err(error) = database.control_connection() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(error);
        }
        tracing::warn!(
            %error,
            "the database does not answer: it is tried again for {:.0} s",
            left.as_secs_f64()
        );
    }
    Ok(())
}

/// Opens the database and makes sure that it has the tables: creates them in the private cluster, and elsewhere requires them.
pub fn connect_migrated(global: &Global, connections: u32) -> Result<Connected, Error> {
    let mut connected = connect(global, connections)?;
    check_tables(&mut connected, |_| ())?;
    Ok(connected)
}

/// Opens the database, runs the pending migrations, and returns their names. It creates our tables beside others only on request.
pub fn connect_and_migrate(
    global: &Global,
    beside_others: bool,
) -> Result<(Connected, Vec<String>), Error> {
    let connected = connect(global, 1)?;
    // The private cluster has no tables but ours.
    if !beside_others
        && connected.private_cluster.is_none()
        && let Some(others) = tables::other_tables(&connected.database)?
    {
        return Err(Error::OtherTables(Box::new(others)));
    }
    let versions = tables::migrate(&connected.database)?;
    Ok((connected, versions))
}

fn check_tables(connected: &mut Connected, meanwhile: impl FnOnce(&Database)) -> Result<(), Error> {
    if connected.private_cluster.is_some() {
        let migrations = tables::migrate(&connected.database)?;
        if !migrations.is_empty() {
            tracing::info!(
                ?migrations,
                "the private cluster's tables are up to date now"
            );
        }
    }
    let (state, role) = tables::first_look(&connected.database, meanwhile)?;
    connected.role = role;
    match state {
        SchemaState::Missing => {
            let instead = tables::existing_tables(&connected.database)?;
            return Err(Error::NoTables(Box::new(NoTables(instead))));
        }
        SchemaState::Different(differences) => return Err(Error::Different(differences)),
        SchemaState::Pending(migrations) => tracing::warn!(
            ?migrations,
            "the database's tables are older than this program: exports run, but may be slower; run `cmms-export migrate`, unless \
             the tables are managed by something else"
        ),
        // It may have changed the tables in a way that leaves those columns that this one reads.
        SchemaState::Newer(migrations) => tracing::warn!(
            ?migrations,
            "the database's tables are newer than this program, or another program has changed them: exports run, since all columns \
             that they read are there; update this program before you seed the database"
        ),
        SchemaState::Current => {}
    }
    Ok(())
}
