//! The database: connection pools, snapshots, migrations.

pub mod embedded;
mod error;
pub mod libpq;
mod migrations;
pub mod servers;
pub mod tables;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::{
    Builder, ConnectionManager, CustomizeConnection, ManageConnection, NopErrorHandler, Pool,
    PooledConnection,
};
use diesel::sql_types::{Bool, Integer, Nullable, Text};

pub use self::error::Error;
pub(crate) use self::migrations::unknown as unknown_migrations;
use self::migrations::{is_among, known_migrations, migrations_run, migrations_were_run};

/// What every export's transaction sets. Compiling the export's query costs more than the compiled code saves, and a
/// generic plan, made for any value, would ignore how few rows a filter leaves.
const SNAPSHOT_SETTINGS: &str =
    "set local jit = off; set local plan_cache_mode = force_custom_plan";

/// Time that whoever does not export waits for a lock on a table.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that a probe waits for its connection.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// Time that a helper may take to connect. It takes 5 ms, unless the server is busy or takes no more connections.
const HELPER_WAIT: Duration = Duration::from_millis(500);

/// A connection from the pool of Diesel's connections.
pub type DieselConnection = PooledConnection<ConnectionManager<PgConnection>>;
/// A connection from the pool of libpq's connections.
pub type CopyConnection = PooledConnection<libpq::Manager>;

/// How far the schema in the database is from the one that this program knows.
#[derive(Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// The tables are there, and so is every migration; or views stand in for them, which are nobody's to migrate.
    Current,
    /// The tables are not there, or our role may not read them.
    Missing,
    /// The tables are there, but a table or a column is missing or has another type: no export would work. What is different, and
    /// what would mend it.
    Different(Vec<String>),
    /// The tables are there, but these migrations were not run (or the tables are not ours, but Django's).
    Pending(Vec<String>),
}

/// One database, with its pools. Connections are opened when they are first needed.
#[derive(Clone)]
pub struct Database {
    diesel: Pool<ConnectionManager<PgConnection>>,
    copy: Pool<libpq::Manager>,
    /// Connections that only make an export faster. None is waited for, and they keep no other export from its own.
    helpers: Pool<libpq::Manager>,
    /// Connections that never run an export: there are some left when all of the exports' are in use.
    control: Pool<ConnectionManager<PgConnection>>,
    /// Connections for probes alone: pages that wait for a lock may have all of the others.
    probe: Pool<ConnectionManager<PgConnection>>,
    /// Connections for cancelling alone: no flood of anything else holds it up.
    cancel: Pool<ConnectionManager<PgConnection>>,
    on_wait: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

impl Database {
    /// The database that `url` (as libpq takes it) names. Each of the exports' two pools holds up to `connections`
    /// connections and waits up to `wait` for one.
    pub fn new(url: &str, connections: u32, wait: Duration) -> Self {
        let diesel = |connections, wait| {
            lazy_pool_builder(connections, wait)
                .connection_customizer(Box::new(Unprepared))
                .build_unchecked(ConnectionManager::<PgConnection>::new(url))
        };
        Self {
            diesel: diesel(connections, wait),
            copy: lazy_pool_builder(connections, wait).build_unchecked(libpq::Manager::new(url)),
            // An export does without one that is broken; to ask each before its use costs a way to the server and back.
            helpers: lazy_pool_builder(connections, wait)
                .test_on_check_out(false)
                .build_unchecked(libpq::Manager::new(url)),
            control: diesel(4, wait),
            probe: diesel(2, wait.min(PROBE_WAIT)),
            cancel: diesel(2, wait),
            on_wait: None,
        }
    }

    /// The same database; `observer` hears how long each export has waited for a connection.
    pub fn with_wait_observer(self, observer: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self {
            on_wait: Some(Arc::new(observer)),
            ..self
        }
    }

    /// A connection for an export through Diesel.
    pub fn connection(&self) -> Result<DieselConnection, Error> {
        self.wait_for(&self.diesel)
    }

    /// A connection for an export through libpq.
    pub fn copy_connection(&self) -> Result<CopyConnection, Error> {
        self.wait_for(&self.copy)
    }

    /// One more connection for an export through libpq, if one is free or can be opened at once.
    pub fn helper_connection(&self) -> Option<CopyConnection> {
        let state = self.helpers.state();
        self.helpers.try_get().or_else(|| {
            // All are in use. That one comes back in time would be luck.
            if state.connections >= self.helpers.max_size() {
                return None;
            }
            self.helpers.get_timeout(HELPER_WAIT).ok()
        })
    }

    /// A connection for everything that is not an export, and short.
    pub fn control_connection(&self) -> Result<DieselConnection, Error> {
        self.control
            .get()
            .map_err(|error| Error::Connect(error.to_string()))
    }

    fn wait_for<M: ManageConnection>(&self, pool: &Pool<M>) -> Result<PooledConnection<M>, Error> {
        let started = Instant::now();
        let connection = pool.get();
        if let Some(on_wait) = &self.on_wait {
            on_wait(started.elapsed());
        }
        connection.map_err(|error| Error::Connect(error.to_string()))
    }

    /// A connection by which queries are cancelled.
    pub fn canceller(&self) -> Result<Canceller, Error> {
        let connection = self.cancel.get();
        connection
            .map(Canceller)
            .map_err(|error| Error::Connect(error.to_string()))
    }

    /// A position of the primary's log behind all that was committed until now, which reaches its standbys at once; `None` if this is
    /// no primary.
    pub(crate) fn wal_position(&self) -> Result<Option<String>, Error> {
        let mut connection = self.control_connection()?;
        let position = |sql| diesel::select(diesel::dsl::sql::<Nullable<Text>>(sql));
        // A commit of our own writes out everything before it, which a standby could wait for without end: what other transactions
        // have not committed yet, say.
        let written = connection.transaction(|connection| {
            connection.batch_execute("set local synchronous_commit = local")?;
            position("pg_logical_emit_message(true, 'cmms-export', '')::text").execute(connection)
        });
        let sql = match written {
            Ok(_) => "pg_current_wal_flush_lsn()::text",
            // A role that may only read, or a standby: as far as anything is written, out or not.
            Err(_) => {
                "case when not pg_is_in_recovery() then pg_current_wal_insert_lsn()::text end"
            }
        };
        Ok(position(sql).get_result(&mut connection)?)
    }

    /// Whether this, a standby, has all that the primary had at a position of its log.
    pub(crate) fn has_replayed(&self, position: &str) -> Result<bool, Error> {
        let mut connection = self.control_connection()?;
        let replayed = diesel::dsl::sql::<Bool>("pg_last_wal_replay_lsn() >= ")
            .bind::<Text, _>(position)
            .sql("::pg_lsn");
        Ok(diesel::select(replayed).get_result(&mut connection)?)
    }

    /// Compares the schema with the program's. Only reads: Diesel's own check creates its table of migrations, which a role
    /// that can only SELECT may not. Of the tables themselves it asks the catalog alone, on a connection of its own: no lock on a
    /// table, and nobody who waits for one, holds it up.
    pub fn schema_state(&self) -> Result<SchemaState, Error> {
        let mut connection = self
            .probe
            .get()
            .map_err(|error| Error::Connect(error.to_string()))?;
        if relation(&mut connection, "tasks")? != Some(Readable::Yes) {
            return Ok(SchemaState::Missing);
        }
        // Unreadable: somebody else's to look after, and not to be told apart from an up-to-date one.
        let run = migrations_run(&mut connection)?;
        let mut pending = Vec::new();
        for migration in known_migrations()? {
            if run
                .as_deref()
                .is_some_and(|run| !is_among(migration.as_ref(), run))
            {
                pending.push(migration.name().to_string());
            }
        }
        let mut differences = tables::differences(&mut connection)?;
        if !differences.is_empty() {
            // If others make the tables, our migrations mend nothing.
            if !pending.is_empty() && migrations_were_run(&mut connection)? {
                differences.push(format!(
                    "migrations are pending ({}): run `cmms-export migrate` first",
                    pending.join(", ")
                ));
            }
            return Ok(SchemaState::Different(differences));
        }
        Ok(
            if pending.is_empty() || tables::is_view(&mut connection, "tasks")? {
                SchemaState::Current
            } else {
                SchemaState::Pending(pending)
            },
        )
    }
}

/// A connection by which queries are cancelled.
pub struct Canceller(DieselConnection);

impl Canceller {
    /// Asks the server to cancel what one of its processes is running. If the same name leads to another server by now, that server
    /// does nothing.
    pub fn cancel(&mut self, process: &Process) -> Result<(), Error> {
        diesel::sql_query(format!("select pg_cancel_backend($1) where {SERVER} = $2"))
            .bind::<Integer, _>(process.pid)
            .bind::<Text, _>(&process.server)
            .execute(&mut self.0)?;
        Ok(())
    }
}

/// What tells a server from all others: the time at which it started, in microseconds.
const SERVER: &str = "extract(epoch from pg_postmaster_start_time())::text";

/// A server's process that works for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    server: String,
}

impl Process {
    /// The process that works for this transaction, by which its query can be cancelled. Behind a pooler, the next transaction may
    /// have another one.
    pub fn of(connection: &mut PgConnection) -> QueryResult<Self> {
        let (pid, server) =
            diesel::select((sql::pg_backend_pid(), diesel::dsl::sql::<Text>(SERVER)))
                .get_result(connection)?;
        Ok(Self { pid, server })
    }

    /// Whether both are the same server's.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.server == other.server
    }
}

fn snapshot_settings(statement_timeout: Option<Duration>) -> String {
    match statement_timeout {
        // In milliseconds; 0 would be none.
        Some(timeout) => format!(
            "{SNAPSHOT_SETTINGS}; set local statement_timeout = {}",
            timeout.as_millis().max(1)
        ),
        None => SNAPSHOT_SETTINGS.to_owned(),
    }
}

/// Does `work` in one read-only snapshot.
pub fn snapshot<T, E: From<diesel::result::Error>>(
    connection: &mut PgConnection,
    statement_timeout: Option<Duration>,
    work: impl FnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    snapshot_with(connection, &snapshot_settings(statement_timeout), work)
}

/// The same, for no longer than `statement_timeout`, and without a long wait for a lock: there are few connections for short work,
/// and one that waits is in use.
pub fn short_snapshot<T, E: From<diesel::result::Error>>(
    connection: &mut PgConnection,
    statement_timeout: Duration,
    work: impl FnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let settings = format!(
        "{}; set local lock_timeout = {}",
        snapshot_settings(Some(statement_timeout)),
        LOCK_TIMEOUT.as_millis()
    );
    snapshot_with(connection, &settings, work)
}

fn snapshot_with<T, E: From<diesel::result::Error>>(
    connection: &mut PgConnection,
    settings: &str,
    work: impl FnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    connection
        .build_transaction()
        .repeatable_read()
        .read_only()
        .run(|connection| {
            connection.batch_execute(settings)?;
            work(connection)
        })
}

/// Begins one read-only snapshot on a connection that speaks COPY; `snapshot`, if given, is the name under which
/// another connection has exported its own. That connection must be of the same server, so this returns the server's identity. If
/// the connection is dropped before the snapshot's end, its pool closes it.
pub fn begin_copy_snapshot(
    connection: &mut libpq::Connection,
    snapshot: Option<&str>,
    statement_timeout: Option<Duration>,
    more_settings: &str,
) -> Result<Process, libpq::Error> {
    // Nothing may come between the two: after its first query, a transaction has a snapshot of its own.
    let import = snapshot.map(|name| format!("; set transaction snapshot '{name}'"));
    let process = connection.query_row(&format!(
        "begin isolation level repeatable read read only{}; {}{more_settings};
         select pg_backend_pid() as pid, {SERVER} as server",
        import.unwrap_or_default(),
        snapshot_settings(statement_timeout)
    ))?;
    let process = process.unwrap_or_default();
    Ok(Process {
        pid: process.read("pid").unwrap_or_default(),
        server: process.get("server").unwrap_or_default().to_owned(),
    })
}

/// Has Diesel prepare nothing for later. What it has prepared fails for ever, on that connection, once a column has got another type
/// or the server has forgotten it (DISCARD ALL); and an export's queries are planned anew each time as it is.
#[derive(Debug)]
struct Unprepared;

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Unprepared {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        connection.set_prepared_statement_cache_size(CacheSize::Disabled);
        Ok(())
    }
}

fn lazy_pool_builder<M: ManageConnection>(connections: u32, wait: Duration) -> Builder<M> {
    Pool::builder()
        .max_size(connections)
        .min_idle(Some(0))
        .connection_timeout(wait)
        // Whoever asks for a connection gets the error; r2d2 would log each attempt as well.
        .error_handler(Box::new(NopErrorHandler))
}

/// Whether a relation that exists can be read by our role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readable {
    Yes,
    No,
}

fn relation(connection: &mut PgConnection, name: &str) -> QueryResult<Option<Readable>> {
    let readable: Option<bool> =
        diesel::select(sql::has_table_privilege(sql::to_regclass(name), "select"))
            .get_result(connection)?;
    Ok(readable.map(|readable| {
        if readable {
            Readable::Yes
        } else {
            Readable::No
        }
    }))
}

/// What Diesel is told of PostgreSQL's own functions and of its migrations' table.
#[expect(
    unused_qualifications,
    reason = "the macro has the names in scope, but not where they are written"
)]
mod sql {
    #[diesel::declare_sql_function]
    extern "SQL" {
        fn pg_backend_pid() -> Integer;
        fn has_table_privilege(
            table: diesel::sql_types::Nullable<diesel::sql_types::Oid>,
            privilege: diesel::sql_types::Text,
        ) -> Nullable<Bool>;
        fn to_regclass(name: diesel::sql_types::Text) -> Nullable<Oid>;
    }

    diesel::table! {
        __diesel_schema_migrations (version) {
            version -> Text,
        }
    }
}
