//! A private PostgreSQL cluster, for demonstrations and tests: a server that belongs to one program alone, reachable through a
//! unix socket in a private directory and through nothing else, hence without passwords.
//!
//! Several processes may use one cluster: the first one runs the server, the others adopt it, and
//! when its owner goes, one of them takes over. A server never outlives the processes that use it.
//!
//! [`PrivatePostgres::start`] finds PostgreSQL's programs (`binaries`), chooses the account that they run as, which must not be root
//! (`account`), creates the cluster or adopts its server (`cluster`), and keeps the server up (`server`) with its `settings`.

mod account;
mod binaries;
mod cluster;
mod server;
mod settings;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, warn};

use self::cluster::Cluster;
use self::server::Server;

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
pub enum Error {
    #[error(
        "no PostgreSQL server programs found: install them (`apt-get install postgresql` or `brew install postgresql@17`), \
         or set PG_BINDIR to the directory of initdb and postgres"
    )]
    NoBinaries,
    #[error(
        "PG_BINDIR is {dir:?}, but there are no initdb and postgres that can be run: correct or unset PG_BINDIR"
    )]
    BadBindir { dir: PathBuf },
    #[error(
        "the cluster in {pgdata:?} was created by PostgreSQL {needed}, but the programs found are of version {found}: install \
         PostgreSQL {needed}, or set PG_BINDIR to its programs; to go on with {found}, dump the cluster with the programs of {needed} \
         (pg_dump), move {pgdata:?} away, and load the dump into the cluster that is then created"
    )]
    OtherVersion {
        needed: String,
        found: String,
        pgdata: PathBuf,
    },
    #[error(
        "{name:?} cannot be the cluster's name: it must be of lower-case letters, digits and `_`, at most 63, and not begin with a digit"
    )]
    Name { name: String },
    #[error("user id {uid} has no entry in /etc/passwd, which PostgreSQL needs")]
    NoPasswdEntry { uid: u32 },
    #[error(
        "PostgreSQL does not run as root, and no other account was found: create one named postgres"
    )]
    NoAccount,
    #[error(
        "PostgreSQL does not run as root, and the account {account} cannot enter {barrier:?} on the way to {data_dir:?}"
    )]
    Unreachable {
        data_dir: PathBuf,
        account: String,
        barrier: PathBuf,
    },
    #[error("cannot use the data directory {dir:?}: {source}")]
    DataDir { dir: PathBuf, source: io::Error },
    #[error("{dir:?} is not a directory that belongs to {account} alone (mode 0700): remove it")]
    Untrusted { dir: PathBuf, account: String },
    #[error("cannot {action} {path:?}: {source}; check its owner and permissions")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("initdb failed: {said}")]
    Initdb { said: String },
    #[error("cannot create the database in the cluster: {0}")]
    CreateDatabase(#[source] diesel_copy_out::Error),
    #[error("the PostgreSQL server {what}; it said: {said}; more is in {log:?}")]
    Start {
        what: String,
        said: String,
        log: PathBuf,
    },
    #[error(
        "another process has been starting the cluster for {seconds} s: see its log {log:?}, or end that process"
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

/// Whether a superuser and a database may have this name: it needs no escaping in SQL, a URL and a path, and is not cut.
fn is_name(name: &str) -> bool {
    let is_right = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=63).contains(&name.len())
        && name.bytes().all(is_right)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Makes the error of an `action` that failed on a path, for `map_err`.
fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The private cluster, kept up until this value is stopped or dropped.
#[derive(Debug)]
pub struct PrivatePostgres {
    bin_dir: PathBuf,
    database_url: String,
    status: Arc<Status>,
    /// Nothing is ever sent: the supervisor stops when this is dropped.
    alive: Option<Sender<Infallible>>,
    supervisor: Option<JoinHandle<Result<(), Error>>>,
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

impl PrivatePostgres {
    /// Starts the private cluster kept in `data_dir`, creating it if it is missing, or adopts
    /// the live server that another process already runs on it. `name`, of lower-case letters, digits and `_`, is the name of its
    /// superuser and of its database.
    pub fn start(
        data_dir: &Path,
        name: &'static str,
        durability: Durability,
    ) -> Result<Self, Error> {
        let cluster = Cluster::open(data_dir, name, durability)?;
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
                    let facts = (server.bin_dir.clone(), server.url(name));
                    // A caller that is gone has dropped `alive`, too.
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
            .map_err(at("start a thread for", data_dir))?;
        let (bin_dir, database_url) = first.recv().map_err(|_| Error::Supervisor)??;
        Ok(Self {
            bin_dir,
            database_url,
            status,
            alive: Some(alive),
            supervisor: Some(supervisor),
        })
    }

    /// The cluster's URL for libpq. It stays the same when the server has to be restarted.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The directory of PostgreSQL's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Whether this process runs the server. One that was adopted becomes this process's own when
    /// its owner goes.
    pub fn is_owner(&self) -> bool {
        self.status.owner.load(Relaxed)
    }

    /// The server's main process; none while it is being restarted, or was given up.
    pub fn postmaster_pid(&self) -> Option<u32> {
        Some(self.status.pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// Shuts the server down cleanly if this process runs it, and leaves an adopted one alone.
    /// Dropping does the same, but can only log an error.
    pub fn stop(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        self.alive = None;
        match self.supervisor.take() {
            Some(supervisor) => supervisor.join().unwrap_or(Err(Error::Supervisor)),
            None => Ok(()),
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            error!("{error}");
        }
    }
}

/// Keeps a server up until it is told to stop: a crashed one is restarted, one whose owner has
/// gone is taken over.
fn supervise(
    cluster: &Cluster,
    mut server: Server,
    status: &Status,
    alive: &Receiver<Infallible>,
) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_escaping() {
        for right in ["cmms", "_a1", "order", &"x".repeat(63)] {
            assert!(is_name(right), "{right}");
        }
        for wrong in ["", "Cmms", "1a", "a-b", "a b", "a\"b", "ä", &"x".repeat(64)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
