//! The database: connection pools, snapshots.

mod error;
mod freshness;
pub mod libpq;
pub mod servers;
pub mod snapshot;
mod wording;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::{
    Builder, ConnectionManager, CustomizeConnection, ManageConnection, NopErrorHandler, Pool,
    PooledConnection,
};
use diesel::sql_types::{BigInt, Nullable, Text};

pub use self::error::{Error, UnfitTables};
pub use self::freshness::NotFresh;
pub(crate) use self::freshness::{Freshness, FreshnessProof, HasFreshness};
pub use self::snapshot::TransactionName;
use crate::Budget;

/// How long anything but an export waits for a lock on a table.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// What transactions are called if neither the database's URL nor the environment names an application.
const APPLICATION_NAME: &str = "diesel-export";

/// The time zone in which points in time are printed unless another one is asked for.
pub const UTC: &str = "UTC";

/// How long a probe waits for its connection.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// How long a helper may take to connect. Connecting takes 5 ms, unless the server is busy or accepts no more connections.
const HELPER_WAIT: Duration = Duration::from_millis(500);

/// A connection from the pool of Diesel's connections.
pub type DieselConnection = PooledConnection<ConnectionManager<PgConnection>>;
/// A connection from the pool of libpq's connections.
pub type PooledCopyConnection = PooledConnection<libpq::Manager>;

/// A pool that is created when it is first needed, with the threads that open its connections.
type LazyPool<M> = LazyLock<Pool<M>, Box<dyn FnOnce() -> Pool<M> + Send>>;

/// One database, with its pools. Connections are opened when they are first needed.
#[derive(Clone)]
pub struct Database {
    pools: Arc<Pools>,
    on_wait: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
    is_for_one_export: bool,
    budget: Budget,
    unfit: Unfit,
    time_zone: Arc<str>,
}

/// Finds out why no export of the dataset of this name works, or, without a name, why none does; `None` if exports work.
pub type Unfit =
    Arc<dyn Fn(&Database, Option<&str>) -> Result<Option<UnfitTables>, Error> + Send + Sync>;

struct Pools {
    /// The `application_name` of the connections, unless the URL sets one.
    application_name: String,
    diesel: LazyPool<ConnectionManager<PgConnection>>,
    copy: LazyPool<libpq::Manager>,
    /// Connections that only make an export faster. No export waits for one, and they take no connection from other exports.
    helpers: LazyPool<libpq::Manager>,
    /// A helper connection that was opened in advance.
    helper_ahead: Mutex<Option<Receiver<PooledCopyConnection>>>,
    /// Connections that never run an export, so that some are free when all of the exports' connections are in use.
    control: LazyPool<ConnectionManager<PgConnection>>,
    /// Connections for probes alone: pages that wait for a lock may hold all of the others.
    probe: LazyPool<libpq::Manager>,
    /// Connections for cancelling alone, so that nothing else delays a cancellation.
    cancel: LazyPool<ConnectionManager<PgConnection>>,
}

impl Pools {
    fn new(url: &str, connections: u32, wait: Duration) -> Self {
        let diesel = |connections, wait| -> LazyPool<_> {
            let url = url.to_owned();
            LazyLock::new(Box::new(move || {
                lazy_pool_builder(connections, wait)
                    .connection_customizer(Box::new(Unprepared))
                    .build_unchecked(ConnectionManager::<PgConnection>::new(url))
            }))
        };
        let libpq = |connections, wait, tested| -> LazyPool<_> {
            let url = url.to_owned();
            LazyLock::new(Box::new(move || {
                lazy_pool_builder(connections, wait)
                    .test_on_check_out(tested)
                    .build_unchecked(libpq::Manager::new(url))
            }))
        };
        let options = libpq::options(url).unwrap_or_default();
        let option = |wanted: &str| {
            let mut named = options.iter().filter(|(name, _)| name == wanted);
            named.next().map(|(_, value)| value.clone())
        };
        Self {
            // In libpq's order.
            application_name: option("application_name")
                .or_else(|| std::env::var("PGAPPNAME").ok())
                .filter(|name| !name.is_empty())
                .or_else(|| option("fallback_application_name"))
                .unwrap_or_else(|| APPLICATION_NAME.into()),
            diesel: diesel(connections, wait),
            copy: libpq(connections, wait, true),
            // An export can do without a broken one, and a test of each before its use costs a round trip.
            helpers: libpq(connections, wait, false),
            helper_ahead: Mutex::default(),
            control: diesel(4, wait),
            probe: libpq(2, wait.min(PROBE_WAIT), true),
            cancel: diesel(2, wait),
        }
    }
}

impl Database {
    /// The database that `url` names, as libpq reads it. Each of the exports' pools holds up to `connections` connections, and an export
    /// waits up to `wait` for one.
    pub fn new(url: &str, connections: u32, wait: Duration) -> Self {
        Self {
            pools: Arc::new(Pools::new(url, connections, wait)),
            on_wait: None,
            is_for_one_export: false,
            budget: Budget::default(),
            unfit: Arc::new(|_, _| Ok(None)),
            time_zone: UTC.into(),
        }
    }

    /// Returns the same database, with `unfit` to check its tables.
    pub fn with_unfit(self, unfit: Unfit) -> Self {
        Self { unfit, ..self }
    }

    /// Returns another database, with the same check of its tables and the same time zone.
    pub fn like(&self, url: &str, connections: u32, wait: Duration) -> Self {
        Self::new(url, connections, wait)
            .with_unfit(Arc::clone(&self.unfit))
            .with_time_zone(&self.time_zone)
    }

    /// Returns the same database, whose exports and previews print points in time in this zone, by its name in the tz database.
    pub fn with_time_zone(self, name: &str) -> Self {
        Self {
            time_zone: name.into(),
            ..self
        }
    }

    /// The time zone in which points in time are printed.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// Returns whether the server knows that time zone. The server would accept other names, too: it takes anything like `XYZ5` for a zone.
    pub fn knows_time_zone(&self) -> Result<bool, Error> {
        if *self.time_zone == *UTC {
            return Ok(true);
        }
        let known = diesel::sql_query("select from pg_timezone_names where name = $1")
            .bind::<Text, _>(&*self.time_zone)
            .execute(&mut self.control_connection()?)?;
        Ok(known > 0)
    }

    /// Finds out why no export works; `None` if exports work.
    pub fn unfit(&self, dataset: Option<&str>) -> Result<Option<UnfitTables>, Error> {
        (self.unfit)(self, dataset)
    }

    /// Returns the same database for a single export: no other export will use the connections that it opens.
    pub fn for_one_export(self) -> Self {
        Self {
            is_for_one_export: true,
            ..self
        }
    }

    /// Returns the same database, whose exports share this memory for rows with those of other databases.
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Returns the memory for rows that its exports share.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Returns whether the database is for a single export.
    pub(crate) fn is_for_one_export(&self) -> bool {
        self.is_for_one_export
    }

    /// Returns the same database; `observer` is told how long each export has waited for a connection.
    pub fn with_wait_observer(self, observer: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self {
            on_wait: Some(Arc::new(observer)),
            ..self
        }
    }

    /// Takes a connection for an export through Diesel.
    pub fn connection(&self) -> Result<DieselConnection, Error> {
        self.wait_for(&self.pools.diesel)
    }

    /// Takes a connection for an export through libpq.
    pub fn copy_connection(&self) -> Result<PooledCopyConnection, Error> {
        self.wait_for(&self.pools.copy)
    }

    /// Takes one more connection for an export through libpq, if one is free or can be opened at once.
    pub fn helper_connection(&self) -> Option<PooledCopyConnection> {
        let ahead = self.helper_ahead().take();
        if let Some(Ok(helper)) = ahead.map(|ahead| ahead.recv_timeout(HELPER_WAIT)) {
            return Some(helper);
        }
        let state = self.pools.helpers.state();
        self.pools.helpers.try_get().or_else(|| {
            // All are in use, and none is likely to come back in time.
            if state.connections >= self.pools.helpers.max_size() {
                return None;
            }
            self.pools.helpers.get_timeout(HELPER_WAIT).ok()
        })
    }

    /// Opens one such connection in advance, in a thread of its own, and runs `sql` there: the connection's process then has loaded what
    /// `sql` needs of the catalog.
    pub(crate) fn open_helper_ahead(&self, sql: &str) {
        let helpers = self.pools.helpers.clone();
        // The connection must not wait long for a lock: the lock's holder may be waiting for the export.
        let sql = format!("begin; set local lock_timeout = 100; {sql}");
        let (sender, ahead) = mpsc::sync_channel(1);
        let opening = thread::Builder::new().spawn(move || {
            let mut helper = helpers.get_timeout(HELPER_WAIT).ok()?;
            // A failure here shows again when the connection is needed.
            let _ = helper.execute(&sql);
            helper.execute("rollback").ok()?;
            sender.send(helper).ok()
        });
        *self.helper_ahead() = opening.is_ok().then_some(ahead);
    }

    fn helper_ahead(&self) -> MutexGuard<'_, Option<Receiver<PooledCopyConnection>>> {
        let ahead = self.pools.helper_ahead.lock();
        ahead.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a name for a new transaction.
    pub fn transaction_name(&self) -> TransactionName {
        TransactionName::new(&self.pools.application_name)
    }

    /// Takes a connection for short work that is not an export.
    pub fn control_connection(&self) -> Result<DieselConnection, Error> {
        self.pools
            .control
            .get()
            .map_err(|error| Error::Connect(error.to_string()))
    }

    /// Takes a connection for a probe, through libpq.
    pub fn probe_connection(&self) -> Result<PooledCopyConnection, Error> {
        self.pools
            .probe
            .get()
            .map_err(|error| Error::Connect(error.to_string()))
    }

    /// Takes a connection that an export will use next. It waits no longer than a probe does.
    pub fn first_connection(&self) -> Result<PooledCopyConnection, Error> {
        self.pools
            .copy
            .get_timeout(PROBE_WAIT)
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

    /// Takes a connection that cancels queries.
    pub fn canceller(&self) -> Result<Canceller, Error> {
        let connection = self.pools.cancel.get();
        connection
            .map(Canceller)
            .map_err(|error| Error::Connect(error.to_string()))
    }

    /// Returns a position of the primary's log that is after all that was committed until now, and that reaches its standbys at once.
    /// `None` if this server is not a primary.
    fn wal_position(&self) -> Result<Option<i64>, Error> {
        let mut connection = self.control_connection()?;
        let position = |sql| diesel::select(diesel::dsl::sql::<Nullable<BigInt>>(sql));
        // A commit of our own writes out everything before it. Otherwise a standby might wait for ever for log that is not written out,
        // such as the changes of a transaction that has not committed.
        let written = connection.transaction(|connection| {
            connection.batch_execute("set local synchronous_commit = local")?;
            position("(pg_logical_emit_message(true, 'diesel-export', '') - '0/0')::bigint")
                .execute(connection)
        });
        let sql = match written {
            Ok(_) => "(pg_current_wal_flush_lsn() - '0/0')::bigint",
            // The role may only read, or this is a standby: take the position up to which anything is written, flushed or not.
            Err(_) => {
                "case when not pg_is_in_recovery() then (pg_current_wal_insert_lsn() - '0/0')::bigint end"
            }
        };
        Ok(position(sql).get_result(&mut connection)?)
    }
}

/// A connection that cancels queries.
pub struct Canceller(DieselConnection);

impl Canceller {
    /// Asks the server to cancel a transaction's query. If the host's name now leads to another server, there is no such transaction.
    pub fn cancel(&mut self, transaction: &TransactionName) -> Result<(), Error> {
        self.0.transaction(|connection| {
            // The login role may cancel; a role that its settings switch to may lack that right.
            connection.batch_execute("set local role none")?;
            diesel::sql_query(
                "select pg_cancel_backend(pid) from pg_stat_activity where application_name = $1",
            )
            .bind::<Text, _>(transaction.as_str())
            .execute(connection)?;
            Ok(())
        })
    }
}

/// SQL that identifies a server: the time at which it started, in microseconds.
pub(crate) const SERVER: &str =
    "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text";

/// Keeps Diesel from caching prepared statements. On its connection, a prepared statement fails for ever once a column has changed its type
/// or the server has dropped the statement (DISCARD ALL); and an export's queries are planned each time in any case.
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
        // The caller gets the error; r2d2 would also log each attempt.
        .error_handler(Box::new(NopErrorHandler))
}
