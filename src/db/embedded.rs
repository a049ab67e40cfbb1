//! The private PostgreSQL cluster: a server that belongs to this program alone, reachable through a
//! unix socket in a private directory and through nothing else, hence without passwords.
//!
//! Several processes may use one cluster: the first one runs the server, the others adopt it, and
//! when its owner goes, one of them takes over. A server never outlives the processes that use it.

mod account;
mod binaries;
mod cluster;
mod exchange;
mod server;
mod settings;

use std::convert::Infallible;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use tracing::{error, warn};

use self::cluster::Cluster;
pub use self::exchange::Exclusive;
use self::server::Server;
use super::libpq;

/// How often the supervisor checks that the server is still there.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// The supervisor gives up when this many attempts to bring the server back have not made it last
/// for `STABLE`.
const MAX_FAILURES: u32 = 10;
const STABLE: Duration = Duration::from_secs(60);

/// Whether the cluster's data survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// They do.
    Durable,
    /// They do not, which makes writing faster: only for the tests.
    ThrowAway,
}

/// Why there is no private cluster, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL server programs found: install them (`apt-get install postgresql` or `brew install postgresql@17`), \
         or set PG_BINDIR to the directory of initdb and postgres, or set DATABASE_URL to use another server"
    )]
    NoBinaries,
    #[error(
        "PG_BINDIR is {dir:?}, but there are no initdb and postgres that can be run: correct or unset PG_BINDIR"
    )]
    BadBindir { dir: PathBuf },
    #[error(
        "the cluster was created by PostgreSQL {needed}, but the programs found are of version {found}: bring the \
         cluster to a newer one with `cmms-export database upgrade`, or install PostgreSQL {needed}, or set PG_BINDIR to its \
         programs, or choose another directory with --data-dir"
    )]
    OtherVersion { needed: String, found: String },
    #[error(
        "the programs found are of PostgreSQL {found}, and those of {needed}, which created the cluster, are needed too: install \
         PostgreSQL {needed} beside it, or give the directory of its programs by --old-bindir"
    )]
    NoOldBinaries { needed: String, found: String },
    #[error(
        "the cluster was created by PostgreSQL {needed}, and no newer programs were found (only {found}): install a newer \
         PostgreSQL, or set PG_BINDIR to its programs"
    )]
    NoNewerBinaries { needed: String, found: String },
    #[error("there is no private cluster in {data_dir:?}: choose its directory with --data-dir")]
    NoCluster { data_dir: PathBuf },
    #[error(
        "another process uses the private cluster in {data_dir:?}: stop it first (the service, `cmms-export database`, or whatever it is)"
    )]
    Busy { data_dir: PathBuf },
    #[error(
        "{dir:?} is still there, the cluster that an earlier restore or upgrade has replaced: remove it, or move it away, first"
    )]
    ReplacedIsThere { dir: PathBuf },
    #[error(
        "user id {uid} has no entry in /etc/passwd, which PostgreSQL needs: set DATABASE_URL to use another server"
    )]
    NoPasswdEntry { uid: u32 },
    #[error(
        "PostgreSQL does not run as root, and no other account was found: create one named postgres, or set DATABASE_URL"
    )]
    NoAccount,
    #[error(
        "PostgreSQL does not run as root, and the account {account} cannot enter {barrier:?} on the way to {data_dir:?}: \
         choose another directory with --data-dir"
    )]
    Unreachable {
        data_dir: PathBuf,
        account: String,
        barrier: PathBuf,
    },
    #[error("no home directory to keep the data in: choose a directory with --data-dir")]
    NoHome,
    #[error("cannot use the data directory {dir:?}: {source}; choose another one with --data-dir")]
    DataDir { dir: PathBuf, source: io::Error },
    #[error("{dir:?} is not a directory that belongs to {account} alone (mode 0700): remove it")]
    Untrusted { dir: PathBuf, account: String },
    #[error(
        "cannot {action} {path:?}: {source}; check its owner and permissions, or choose another --data-dir"
    )]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("initdb failed: {said}; correct that, or set DATABASE_URL to use another server")]
    Initdb { said: String },
    #[error("cannot create the database in the cluster: {0}")]
    CreateDatabase(#[source] libpq::Error),
    #[error("the PostgreSQL server {what}; it said: {said}; more is in {log:?}")]
    Start {
        what: String,
        said: String,
        log: PathBuf,
    },
    #[error(
        "another process has been starting, restoring or upgrading the cluster for {seconds} s: see its log {log:?}, or end that process"
    )]
    Locked { seconds: u64, log: PathBuf },
    #[error(
        "processes of a PostgreSQL server that cannot be seen from here, or does not answer any more, \
         still use {data_dir:?}: end them, or wait for them"
    )]
    InUse { data_dir: PathBuf },
    #[error("the PostgreSQL server {pid} was started by hand and has no unix socket: stop it")]
    NoSocket { pid: u32 },
    #[error(
        "the PostgreSQL server {pid} now listens elsewhere, in {socket_dir:?}: restart this program"
    )]
    Moved { pid: u32, socket_dir: PathBuf },
    #[error("the PostgreSQL server {pid} does not stop: end it by hand")]
    StopTimeout { pid: u32 },
    #[error(
        "the thread that looks after the PostgreSQL server panicked: please report this with the log"
    )]
    Supervisor,
}

/// Makes the error of an `action` that failed on a path, for `map_err`.
fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedError {
    move |source| EmbeddedError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The private cluster, kept up until this value is stopped or dropped.
#[derive(Debug)]
pub struct Embedded {
    data_dir: PathBuf,
    bin_dir: PathBuf,
    database_url: String,
    status: Arc<Status>,
    /// Nothing is ever sent: the supervisor stops when this is dropped.
    alive: Option<Sender<Infallible>>,
    supervisor: Option<JoinHandle<Result<(), EmbeddedError>>>,
}

/// What the supervisor lets the others know.
#[derive(Debug, Default)]
struct Status {
    /// 0 while there is no server.
    pid: AtomicU32,
    owner: AtomicBool,
}

impl Status {
    fn set(&self, server: Option<&Server>) {
        self.pid.store(server.map_or(0, Server::pid), Relaxed);
        self.owner
            .store(server.is_some_and(Server::is_owned), Relaxed);
    }
}

impl Embedded {
    /// Starts the private cluster kept in `data_dir`, creating it if it is missing, or adopts
    /// the live server that another process already runs on it.
    pub fn start(data_dir: &Path, durability: Durability) -> Result<Self, EmbeddedError> {
        Self::run(Cluster::open(data_dir, durability)?)
    }

    fn run(cluster: Cluster) -> Result<Self, EmbeddedError> {
        let data_dir = cluster.data_dir().to_owned();
        let status = Arc::new(Status::default());
        let (alive, watched) = mpsc::channel();
        let (report, first) = mpsc::channel();

        // The server dies with the thread that started it, so that thread must live as long as this
        // value does: the caller's own might not.
        let supervise = {
            let status = Arc::clone(&status);
            move || match cluster.bring_up(None) {
                Ok(server) => {
                    status.set(Some(&server));
                    let facts = (server.bin_dir.clone(), server.url(cluster::DATABASE));
                    // A caller that is gone has dropped `alive` too.
                    let _ = report.send(Ok(facts));
                    let result = supervise(&cluster, server, &status, &watched);
                    status.set(None);
                    result
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                    Ok(())
                }
            }
        };
        let supervisor = thread::Builder::new()
            .name("postgresql".into())
            .spawn(supervise)
            .map_err(at("start a thread for", &data_dir))?;
        let (bin_dir, database_url) = first.recv().map_err(|_| EmbeddedError::Supervisor)??;
        Ok(Self {
            data_dir,
            bin_dir,
            database_url,
            status,
            alive: Some(alive),
            supervisor: Some(supervisor),
        })
    }

    /// The cluster's URL for libpq. It stays the same when the server has to be started anew.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The directory of PostgreSQL's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Where everything is kept, as a real path.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether this process runs the server. One that was adopted becomes this process's own when
    /// its owner goes.
    pub fn is_owner(&self) -> bool {
        self.status.owner.load(Relaxed)
    }

    /// The server's main process; none while it is being started anew, or was given up.
    pub fn postmaster_pid(&self) -> Option<u32> {
        Some(self.status.pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// Shuts the server down cleanly if this process runs it, and leaves an adopted one alone.
    /// Dropping does the same, but can only log an error.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), EmbeddedError> {
        self.alive = None;
        match self.supervisor.take() {
            Some(supervisor) => supervisor.join().unwrap_or(Err(EmbeddedError::Supervisor)),
            None => Ok(()),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            error!("{error}");
        }
    }
}

/// Keeps a server up until it is told to stop: a crashed one is started anew, one whose owner has
/// gone is taken over.
fn supervise(
    cluster: &Cluster,
    mut server: Server,
    status: &Status,
    alive: &Receiver<Infallible>,
) -> Result<(), EmbeddedError> {
    let told_to_stop = |wait| alive.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
    let mut failures = 0;
    loop {
        let since = Instant::now();
        while server.is_up() {
            if told_to_stop(WATCH_INTERVAL) {
                return server.stop();
            }
        }
        status.set(None);
        if since.elapsed() > STABLE {
            failures = 0;
        }
        warn!(
            pid = server.pid(),
            "the PostgreSQL server has gone: bringing it back"
        );
        server = loop {
            if told_to_stop(back_off(failures)) {
                return Ok(());
            }
            failures += 1;
            match cluster.bring_up(Some(&server)) {
                Ok(server) => break server,
                Err(error) if failures >= MAX_FAILURES => {
                    error!(%error, "the PostgreSQL server does not come back: giving up");
                    return Err(error);
                }
                Err(error) => {
                    warn!(%error, failures, "the PostgreSQL server does not come back: trying again")
                }
            }
        };
        status.set(Some(&server));
    }
}

/// None at first, then 0.1 s, doubling up to 6.4 s.
fn back_off(failures: u32) -> Duration {
    if failures == 0 {
        Duration::ZERO
    } else {
        Duration::from_millis(50 << failures.min(7))
    }
}

/// Where the cluster is kept by default: `/var/lib/cmms-export` for root, whose home no other
/// account may enter; else `cmms-export` in the user's data directory. (Also on macOS, whose
/// `~/Library/Application Support` has a blank in it and leaves less room for the path of a
/// socket.)
pub fn default_data_dir() -> Result<PathBuf, EmbeddedError> {
    if geteuid().is_root() {
        return Ok("/var/lib/cmms-export".into());
    }
    let absolute = |dir: &PathBuf| dir.is_absolute();
    env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| Some(env::home_dir().filter(absolute)?.join(".local/share")))
        .map(|dir| dir.join("cmms-export"))
        .ok_or(EmbeddedError::NoHome)
}

/// Returns whether there is a private cluster in the directory.
pub fn has_cluster(data_dir: &Path) -> bool {
    exchange::place(data_dir).is_some()
}
