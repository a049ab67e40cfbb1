//! One throw-away cluster for all tests of a run, and a database in it for each test.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::{Durability, PrivatePostgres};

use crate::program;
use crate::replica_servers::{Servers, children};

pub(crate) const TEMPLATE: &str = "migrated";

/// The role that owns the tests' databases. Like a user's role, and unlike `cmms`, the superuser of the private cluster, it logs in by a
/// password under SCRAM.
const TESTER: &str = "tester";

/// The password of every role of the tests.
pub const PASSWORD: &str = "open-sesame";

/// What PostgreSQL keeps of [`PASSWORD`], made with one iteration of the hash instead of 4,096: each connection of a client costs
/// milliseconds with those.
pub const PASSWORD_VERIFIER: &str = "SCRAM-SHA-256$1:c2FsdCBvZiB0ZXN0cy4uLg==$MG4/FfsihJKN0h5k+n2vv3qdm6Msa8OyK1LC5KQjGW0=:dbdhvMrH609cBcfvf3lKOUvOPKqM4HJqOc0EYc6+iNs=";

/// The `pg_hba.conf` of the tests' cluster.
const HBA: &str = "local all cmms trust\nlocal all all scram-sha-256\n";

/// The cluster; the last test that uses it stops it.
pub struct Cluster {
    embedded: Option<PrivatePostgres>,
    directory: PathBuf,
    /// The names of the databases that are filled once and copied for each test, by their contents.
    filled: Mutex<HashMap<String, Arc<OnceLock<String>>>>,
}

impl Cluster {
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED
            .lock()
            .expect("a test panicked while it started the cluster");
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    fn start() -> Self {
        let directory = temporary_directory("cluster");
        let embedded = PrivatePostgres::start(&directory, "cmms", Durability::ThrowAway)
            .expect("the cluster starts");
        let cluster = Self {
            embedded: Some(embedded),
            directory,
            filled: Mutex::default(),
        };
        cluster.demand_passwords();
        cluster.run("postgres", &format!("create database {TEMPLATE}"));
        let migrated = program(&cluster.url(TEMPLATE))
            .arg("migrate")
            .output()
            .expect("the program runs");
        assert!(migrated.status.success(), "{migrated:?}");
        cluster
    }

    /// The URL of a database of the cluster for the role of the tests.
    fn url(&self, database: &str) -> String {
        let url = self.embedded.as_ref().expect("runs").database_url();
        as_role(&url.replacen("/cmms?", &format!("/{database}?"), 1), TESTER)
    }

    /// Creates the role of the tests, and requires its password from then on.
    fn demand_passwords(&self) {
        let url = self.embedded.as_ref().expect("runs").database_url();
        let mut owner = PgConnection::establish(url).expect("the cluster is up");
        owner
            .batch_execute(&format!(
                "create role {TESTER} superuser login password '{PASSWORD_VERIFIER}'"
            ))
            .expect("a superuser may");
        fs::write(self.directory.join("postgresql/pg_hba.conf"), HBA).expect("root, or the owner");
        owner
            .batch_execute("select pg_reload_conf()")
            .expect("a superuser may");
        let wrong = self.url("postgres").replacen(PASSWORD, "guessed", 1);
        crate::eventually("a password is demanded", || {
            PgConnection::establish(&wrong).is_err()
        });
    }

    fn run(&self, database: &str, sql: &str) {
        let mut connection =
            PgConnection::establish(&self.url(database)).expect("the cluster is up");
        connection.batch_execute(sql).expect("the SQL runs");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.embedded.take());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns one of the tests' URLs for another role, which has the tests' password.
pub fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, place) = rest.split_once('@').expect("with a role");
    format!("{scheme}://{role}:{PASSWORD}@{place}")
}

/// A new directory that every account can enter: PostgreSQL does not run as root.
pub fn temporary_directory(name: &str) -> PathBuf {
    let directory = tempfile::Builder::new()
        .prefix(&format!("cmms-{name}-"))
        .tempdir()
        .expect("a directory")
        .keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("ours");
    directory
}

/// Processes that sleep until this is dropped.
pub struct Frozen(Vec<Pid>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

/// The cluster of a database.
enum Home {
    Cluster(Arc<Cluster>),
    Replicated(Arc<Servers>),
}

/// A database of its own for a test, with the tables but without a row.
pub struct TestDatabase {
    home: Home,
    name: String,
    /// Whether other tests share it.
    kept: bool,
    /// Its URL.
    pub url: String,
}

impl TestDatabase {
    /// A new database.
    pub fn new() -> Self {
        Self::copied(Cluster::get(), TEMPLATE)
    }

    /// A new database that `fill` has filled. `fill` runs once for all tests that name the same `contents`: a copy takes a tenth of the
    /// time.
    pub fn filled(contents: String, fill: impl FnOnce(&Self)) -> Self {
        let cluster = Cluster::get();
        let template = Arc::clone(
            cluster
                .filled
                .lock()
                .expect("nobody panics with it")
                .entry(contents)
                .or_default(),
        );
        let template = template.get_or_init(|| {
            let mut database = Self::copied(Arc::clone(&cluster), TEMPLATE);
            fill(&database);
            database.kept = true;
            database.name.clone()
        });
        Self::copied(cluster, template)
    }

    fn copied(cluster: Arc<Cluster>, template: &str) -> Self {
        let name = new_name();
        Self {
            url: cluster.url(&name),
            home: Home::Cluster(cluster),
            name,
            kept: false,
        }
        .create(template)
    }

    /// A new database on a primary that has standbys.
    pub(crate) fn replicated(servers: &Arc<Servers>) -> Self {
        let mut database = Self::kept(servers, &new_name()).create(TEMPLATE);
        database.kept = false;
        database
    }

    /// A database that exists already.
    pub(crate) fn kept(servers: &Arc<Servers>, name: &str) -> Self {
        Self {
            home: Home::Replicated(Arc::clone(servers)),
            name: name.to_owned(),
            kept: true,
            url: servers.database_url(name),
        }
    }

    /// A new database in a cluster of its own, which can be killed.
    pub fn alone() -> Self {
        let cluster = Arc::new(Cluster::start());
        Self {
            url: cluster.url(TEMPLATE),
            home: Home::Cluster(cluster),
            name: TEMPLATE.to_owned(),
            kept: true,
        }
    }

    fn create(self, template: &str) -> Self {
        self.run_beside(&format!(
            "create database {} template {template}",
            self.name
        ))
        .expect("ours");
        self
    }

    /// Runs a command that needs a connection to another database.
    fn run_beside(&self, sql: &str) -> Result<(), Box<dyn std::error::Error>> {
        let url = match &self.home {
            Home::Cluster(cluster) => cluster.url("postgres"),
            Home::Replicated(servers) => servers.database_url("postgres"),
        };
        Ok(PgConnection::establish(&url)?.batch_execute(sql)?)
    }

    /// Kills PostgreSQL, as the system does when memory is short, and waits until it is back.
    pub fn kill_server(&self) {
        let Home::Cluster(cluster) = &self.home else {
            panic!("which of the servers?");
        };
        let embedded = cluster.embedded.as_ref().expect("runs");
        // A throw-away cluster makes nothing durable by itself, not even against this.
        cluster.run(&self.name, "checkpoint");
        let before = embedded.postmaster_pid().expect("runs");
        kill(Pid::from_raw(before.cast_signed()), Signal::SIGKILL).expect("ours");
        crate::eventually("another server is up", || {
            embedded.postmaster_pid().is_some_and(|pid| pid != before)
        });
    }

    /// Freezes all processes of PostgreSQL, with their connections open, until the value is dropped.
    pub fn freeze_server(&self) -> Frozen {
        let Home::Cluster(cluster) = &self.home else {
            panic!("which of the servers?");
        };
        let pid = cluster.embedded.as_ref().expect("runs").postmaster_pid();
        let postmaster = Pid::from_raw(pid.expect("runs").cast_signed());
        // First the postmaster, which starts the others.
        kill(postmaster, Signal::SIGSTOP).expect("ours");
        let mut frozen = Frozen(vec![postmaster]);
        for child in children(postmaster) {
            // It may have ended by itself.
            if kill(child, Signal::SIGSTOP).is_ok() {
                frozen.0.push(child);
            }
        }
        frozen
    }

    /// A new database with the given SQL run in it.
    pub fn with(sql: &str) -> Self {
        let database = Self::new();
        database.connect().batch_execute(sql).expect("the SQL runs");
        database
    }

    /// A new database, seeded as `cmms-export seed` with these arguments does.
    pub fn seeded(arguments: &[&str]) -> Self {
        Self::filled(format!("seed {arguments:?}"), |database| {
            database.seed(arguments);
        })
    }

    /// Runs `cmms-export seed` with these arguments.
    pub fn seed(&self, arguments: &[&str]) {
        let output = program(&self.url)
            .arg("seed")
            .args(arguments)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{output:?}");
    }

    /// A connection to it.
    pub fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url).expect("the database is there")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where PostgreSQL's programs are.
    pub fn bin_dir(&self) -> PathBuf {
        match &self.home {
            Home::Cluster(cluster) => cluster.embedded.as_ref().expect("runs").bin_dir(),
            Home::Replicated(servers) => servers.bin_dir(),
        }
        .to_owned()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let dropped = self.run_beside(&format!("drop database {} with (force)", self.name));
        // The test may have left none of the three servers that takes writes.
        assert!(
            dropped.is_ok() || matches!(self.home, Home::Replicated(_)),
            "{dropped:?}"
        );
    }
}

fn new_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
