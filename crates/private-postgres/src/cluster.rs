//! The cluster on disk: created, and its server started or adopted.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use diesel_copy_out::CopyConnection;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tracing::info;

use crate::account::Account;
use crate::server::{POLL, Postmaster, Server, is_postmaster, stop};
use crate::{Durability, Error, at, binaries, is_name, settings};

const PORT: &str = "5432";
/// The cluster's directory in the data directory.
const PGDATA: &str = "postgresql";
/// What precedes the process id in the name of a directory that `initdb` works in.
const UNFINISHED: &str = "postgresql.new-";
const MAX_LOG_BYTES: u64 = 8 << 20;
/// How long a path to a socket may be on macOS; Linux allows four bytes more.
const MAX_SOCKET_PATH: usize = 103;

/// For a start, which after a crash replays up to `max_wal_size` of log.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// The lock's holder may be waiting for an old server to end, and then for its own to start.
const LOCK_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the processes of a killed server may go on before they notice its end.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Cluster {
    data_dir: PathBuf,
    pgdata: PathBuf,
    log: PathBuf,
    account: Account,
    /// The superuser and the database.
    name: &'static str,
    durability: Durability,
}

impl Cluster {
    pub(crate) fn open(
        data_dir: &Path,
        name: &'static str,
        durability: Durability,
    ) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::Name { name: name.into() });
        }
        let account = Account::choose(data_dir, &data_dir.join(PGDATA))?;
        let data_dir = account.data_dir(data_dir)?;
        Ok(Self {
            pgdata: data_dir.join(PGDATA),
            log: data_dir.join("postgresql.log"),
            data_dir,
            account,
            name,
            durability,
        })
    }

    /// Adopts the live server, or starts one; `last` is the one before, if there was one.
    pub(crate) fn bring_up(&self, last: Option<&Server>) -> Result<Server, Error> {
        // Held until the server is ready: whoever waits for the lock finds a server to adopt.
        let _lock = self
            .lock(&self.data_dir.join("lock"), LOCK_TIMEOUT)?
            .ok_or_else(|| Error::Locked {
                seconds: LOCK_TIMEOUT.as_secs(),
                log: self.log.clone(),
            })?;
        let version = self.version()?;
        let bin_dir = binaries::find(&self.account, version.as_deref(), &self.pgdata)?;

        if let Some(postmaster) = self.running()? {
            let server = Server {
                postmaster,
                child: None,
                bin_dir,
                pgdata: self.pgdata.clone(),
                user: self.name,
            };
            let pid = server.pid();
            if !server.address().0.is_absolute() {
                return Err(Error::NoSocket { pid });
            }
            if last.is_some_and(|last| last.address() != server.address()) {
                return Err(Error::Moved {
                    pid,
                    socket_dir: server.postmaster.socket_dir,
                });
            }
            info!(pid, data_dir = %self.data_dir.display(), "adopted the running PostgreSQL server");
            return Ok(server);
        }

        if version.is_none() {
            self.create(&bin_dir)?;
        }
        let socket_dir = last.map_or_else(
            || self.socket_dir(),
            |last| last.postmaster.socket_dir.clone(),
        );
        self.account.private_dir(&socket_dir)?;
        let mut server = self.start(bin_dir, &socket_dir)?;
        if let Err(error) = self.create_database(&server) {
            server.stop()?;
            return Err(error);
        }
        Ok(server)
    }

    /// Opens and locks a file; `None` if the lock is not free within `patience`.
    fn lock(&self, path: &Path, patience: Duration) -> Result<Option<File>, Error> {
        let file = self.open_file(path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::Error(error)) => return Err(at("lock", path)(error)),
                Err(TryLockError::WouldBlock) if began.elapsed() > patience => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(POLL),
            }
        }
    }

    /// Opens a file that is private to the account.
    fn open_file(&self, path: &Path) -> Result<File, Error> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // If the account owns the directory, it must not lead root to another file.
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
            .map_err(at("open", path))?;
        self.account.own(&file, path)?;
        Ok(file)
    }

    /// The major version of the PostgreSQL that created the cluster, if there is one.
    fn version(&self) -> Result<Option<String>, Error> {
        let path = self.pgdata.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(version) => Ok(Some(version.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// The server that runs on the cluster, once it is ready. If one is shutting down, this waits
    /// for its end, and returns none.
    fn running(&self) -> Result<Option<Postmaster>, Error> {
        let began = Instant::now();
        while let Some(postmaster) = Postmaster::read(&self.pgdata) {
            let Postmaster { pid, ready, .. } = postmaster;
            if !is_postmaster(pid, &self.pgdata) {
                break;
            }
            if ready {
                return Ok(Some(postmaster));
            }
            if began.elapsed() > START_TIMEOUT {
                let what = format!(
                    "{pid} runs, but is not ready after {} s",
                    START_TIMEOUT.as_secs()
                );
                return Err(self.start_error(what, 0));
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }

    /// Creates the cluster beside its final directory and moves it there when it is complete, so that a crash leaves no partial cluster.
    fn create(&self, bin_dir: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(&self.data_dir)
            .map_err(at("read", &self.data_dir))?
            .flatten()
        {
            if entry
                .file_name()
                .as_bytes()
                .starts_with(UNFINISHED.as_bytes())
            {
                fs::remove_dir_all(entry.path())
                    .map_err(at("remove the unfinished", &entry.path()))?;
            }
        }
        info!(data_dir = %self.data_dir.display(), "creating a PostgreSQL cluster");
        let unfinished = self.data_dir.join(format!("{UNFINISHED}{}", process::id()));
        self.account.private_dir(&unfinished)?;
        let program = bin_dir.join("initdb");
        let mut initdb = self.account.command(&program);
        initdb.arg("-D").arg(&unfinished).args([
            "-U",
            self.name,
            "--auth=trust",
            "--encoding=UTF8",
        ]);
        // Text sorts by its bytes, the same on every system, but upper and lower case are those of
        // all of Unicode.
        let ctype = if cfg!(target_os = "macos") {
            "UTF-8"
        } else {
            "C.UTF-8"
        };
        initdb.arg("--locale=C").arg(format!("--lc-ctype={ctype}"));
        if self.durability == Durability::ThrowAway {
            initdb.arg("--no-sync");
        }
        let output = initdb.output().map_err(at("run", &program))?;
        if !output.status.success() {
            return Err(Error::Initdb {
                said: last_lines(&output.stderr),
            });
        }
        fs::rename(&unfinished, &self.pgdata).map_err(at("create", &self.pgdata))?;
        // The new name itself must survive a crash of the machine too.
        File::open(&self.data_dir)
            .and_then(|names| names.sync_all())
            .map_err(at("sync", &self.data_dir))
    }

    /// The socket's directory: in the data directory, unless the path would be too long for a socket,
    /// or libpq would take it for a list of hosts.
    fn socket_dir(&self) -> PathBuf {
        let fits = |dir: &PathBuf| {
            let path = dir.join(format!(".s.PGSQL.{PORT}"));
            let bytes = path.as_os_str().as_bytes();
            bytes.len() <= MAX_SOCKET_PATH && !bytes.contains(&b',')
        };
        let mut hasher = DefaultHasher::new();
        (&self.data_dir, self.account.uid().as_raw()).hash(&mut hasher);
        let name = format!("{}-{:016x}", self.name, hasher.finish());
        let shortest = Path::new("/tmp").join(&name);
        [self.data_dir.join("socket"), env::temp_dir().join(&name)]
            .into_iter()
            .find(fits)
            .unwrap_or(shortest)
    }

    fn start(&self, bin_dir: PathBuf, socket_dir: &Path) -> Result<Server, Error> {
        let began = Instant::now();
        let (log, log_start) = self.open_log()?;
        self.remove_stale_pid_file()?;
        let mut postgres = self.account.command(&bin_dir.join("postgres"));
        postgres
            .arg("-D")
            .arg(&self.pgdata)
            .args(["-p", PORT, "-k"])
            .arg(socket_dir)
            .args(["-c", &format!("cluster_name={}", self.name)]);
        for setting in settings::of(self.durability) {
            postgres.args(["-c", setting]);
        }
        postgres
            .stdout(log.try_clone().map_err(at("open", &self.log))?)
            .stderr(log);
        let mut child = postgres
            .spawn()
            .map_err(at("run", &bin_dir.join("postgres")))?;

        let pid = Pid::from_raw(child.id().cast_signed());
        loop {
            let announced = Postmaster::read(&self.pgdata);
            if let Some(postmaster) = announced.filter(|found| found.pid == pid && found.ready) {
                let milliseconds = began.elapsed().as_millis();
                info!(%pid, milliseconds, "started the PostgreSQL server");
                let pgdata = self.pgdata.clone();
                return Ok(Server {
                    postmaster,
                    child: Some(child),
                    bin_dir,
                    pgdata,
                    user: self.name,
                });
            }
            if !matches!(child.try_wait(), Ok(None)) {
                return Err(self.start_error("did not start".into(), log_start));
            }
            if began.elapsed() > START_TIMEOUT {
                let what = format!("was not ready after {} s", START_TIMEOUT.as_secs());
                let error = self.start_error(what, log_start);
                stop(&mut child)?;
                return Err(error);
            }
            thread::sleep(POLL);
        }
    }

    /// PostgreSQL sees for itself that a process id is free, but not that it is now another
    /// process's, as happens to containers: there, every run has the same ids. (The caller has made
    /// sure that no server is left.)
    fn remove_stale_pid_file(&self) -> Result<(), Error> {
        match Postmaster::read(&self.pgdata) {
            Some(postmaster) if kill(postmaster.pid, None).is_ok() => {
                let path = self.pgdata.join("postmaster.pid");
                fs::remove_file(&path).map_err(at("remove the stale", &path))
            }
            _ => Ok(()),
        }
    }

    /// Creates the database if it is missing, after every start and not only after `initdb`: a crash
    /// may have come between the two, or a user may have dropped it.
    fn create_database(&self, server: &Server) -> Result<(), Error> {
        // With no options, those in PGOPTIONS do not count.
        let url = format!("{}&options=", server.url("postgres"));
        let created = CopyConnection::establish(&url).and_then(|mut connection| {
            let name = self.name;
            let find = format!("select from pg_database where datname = '{name}'");
            if connection.query_row(&find)?.is_none() {
                connection.execute(&format!("create database \"{name}\" template template0"))?;
            }
            Ok(())
        });
        created.map_err(Error::CreateDatabase)
    }

    /// The server's log, and where in it the next start's messages begin.
    ///
    /// The log is also the server's lock: all of its processes inherit the open file and with it
    /// the lock on it. So those that a killed server left behind are waited for, and a server in
    /// another container, whose process id means nothing here, is noticed.
    fn open_log(&self) -> Result<(File, u64), Error> {
        let file = self
            .lock(&self.log, LINGER_TIMEOUT)?
            .ok_or_else(|| Error::InUse {
                data_dir: self.data_dir.clone(),
            })?;
        let length = file.metadata().map_err(at("read", &self.log))?.len();
        if length <= MAX_LOG_BYTES {
            return Ok((file, length));
        }
        // It grows by what goes wrong only, so this is rare.
        file.set_len(0).map_err(at("truncate", &self.log))?;
        Ok((file, 0))
    }

    fn start_error(&self, what: String, log_start: u64) -> Error {
        let mut said = Vec::new();
        // The error is worth more than a second one about the log.
        let _ = File::open(&self.log).and_then(|mut log| {
            let from = log_start.max(log.metadata()?.len().saturating_sub(4096));
            log.seek(SeekFrom::Start(from))?;
            log.read_to_end(&mut said)
        });
        Error::Start {
            what,
            said: last_lines(&said),
            log: self.log.clone(),
        }
    }
}

/// The end of what a program printed, as one line.
fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(6)..)
        .unwrap_or_default()
        .join(" | ")
}
