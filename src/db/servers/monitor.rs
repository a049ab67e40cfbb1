//! What a server is, and how far behind: asked from time to time.

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Database, libpq};
use super::{PATIENCE, Role};

/// Time between two questions to a server.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether it is in recovery, whether it takes no writes, and how many seconds ago the primary had what it has now. That is 0 where
/// it has replayed all that it has received, over a connection that is up; where it has replayed nothing since its start, and is
/// behind, nobody knows.
const STATE: &str = "
    select concat_ws(' ', pg_is_in_recovery(), current_setting('transaction_read_only')::boolean, case
        when not pg_is_in_recovery() then 0
        when exists (select from pg_stat_wal_receiver) and pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() then 0
        else greatest(extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()), 0)
    end)";

/// What a server has said of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// What it is.
    pub role: Role,
    /// How far it is behind the primary, if that is known.
    pub lag: Option<Duration>,
    pub(super) read_only: bool,
    /// When it was asked.
    at: Instant,
}

impl State {
    fn read(text: &str, at: Instant) -> Option<Self> {
        let mut words = text.split(' ');
        let mut boolean = || words.next().map(|word| word == "t");
        let (in_recovery, read_only) = (boolean()?, boolean()?);
        let lag = words.next().and_then(|seconds| seconds.parse().ok());
        Some(Self {
            role: if in_recovery {
                Role::Replica
            } else {
                Role::Primary
            },
            lag: lag.and_then(|lag| Duration::try_from_secs_f64(lag).ok()),
            read_only,
            at,
        })
    }
}

/// One server.
pub struct Server {
    /// Its place in the configuration, which gives nothing away.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its database.
    pub database: Database,
    url: String,
    /// None where it cannot be reached.
    state: Mutex<Option<State>>,
    /// Exports that run on it.
    pub(super) exports: AtomicUsize,
}

impl Server {
    pub(super) fn new(name: String, address: String, url: String, database: Database) -> Arc<Self> {
        Arc::new(Self {
            name,
            address,
            database,
            url,
            state: Mutex::default(),
            exports: AtomicUsize::new(0),
        })
    }

    /// What it has said of itself; `None` where it cannot be reached.
    pub fn state(&self) -> Option<State> {
        self.lock().filter(|state| state.at.elapsed() < PATIENCE)
    }

    /// Notes that it could not be reached.
    fn lost(&self) {
        if self.lock().take().is_some() {
            tracing::warn!(server = self.address, "a server cannot be reached");
        }
    }

    /// Asks it, on the connection that is there or a new one.
    fn ask(&self, connection: &mut Option<libpq::Connection>) {
        let at = Instant::now();
        let mut ask = || {
            if connection.is_none() {
                *connection = Some(libpq::Connection::establish(&self.url)?);
            }
            match connection {
                Some(connection) => connection.query_value(STATE),
                None => Ok(None),
            }
        };
        let answer = ask();
        let state = match answer {
            Ok(answer) => State::read(&answer.unwrap_or_default(), at),
            Err(error) => {
                tracing::debug!(server = self.address, %error, "no answer");
                None
            }
        };
        let Some(state) = state else {
            *connection = None;
            return self.lost();
        };
        let was = self.lock().replace(state);
        if was.is_none_or(|was| was.role != state.role) {
            tracing::info!(
                server = self.address,
                role = state.role.name(),
                "a server is there"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a server's state up to date until it is dropped.
pub(super) struct Monitor {
    /// Nothing is ever sent: that it is dropped tells the thread to end.
    _alive: Sender<Infallible>,
}

impl Monitor {
    /// Starts to ask; says so, by dropping `asked`, once there is an answer.
    pub(super) fn start(server: Arc<Server>, asked: Sender<Infallible>) -> Self {
        let (alive, watched) = mpsc::channel::<Infallible>();
        let ask = move || {
            let mut connection = None;
            server.ask(&mut connection);
            drop(asked);
            loop {
                if watched.recv_timeout(ASK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                server.ask(&mut connection);
            }
        };
        if let Err(error) = thread::Builder::new().name("monitor".into()).spawn(ask) {
            tracing::error!(%error, "no thread to look after a server: it counts as unreachable");
        }
        Self { _alive: alive }
    }
}
