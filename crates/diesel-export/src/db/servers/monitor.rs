//! Asks each server every second for its role and its lag.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Database, libpq};
use super::{PATIENCE, Role};

/// Interval between two queries of a server.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// A failure within this time is a refusal by the server or its host; a later one counts as no answer.
const REFUSAL: Duration = Duration::from_secs(1);

/// How many positions of the primary's log are remembered, one a second.
const POSITIONS: usize = 3600;

/// Reads `started`, in microseconds; `position`, how far the server has replayed the log or, on a primary, written it; `has_all`,
/// whether it has replayed all that it has received, over a connection that is up; `age`, how many seconds ago the last transaction
/// that it has replayed was committed, if there was one since its start.
const STATE: &str = "
    select pg_is_in_recovery() as in_recovery, current_setting('transaction_read_only')::boolean as read_only,
        (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint as started,
        coalesce(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end - '0/0', 0)
            as position,
        exists (select from pg_stat_wal_receiver)
            and coalesce(pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn(), false) as has_all,
        extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) as age";

/// What a server has reported about itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Its role.
    pub role: Role,
    /// Its lag behind the primary, if that is known.
    pub lag: Option<Duration>,
    pub(super) read_only: bool,
    /// When it started: distinguishes it from all other servers.
    pub(super) started: u64,
    position: u64,
    /// When it was asked.
    at: Instant,
}

impl State {
    fn read(row: &libpq::Row, at: Instant, primary: Option<&Server>) -> Option<Self> {
        let position = row.read("position")?;
        let role = if row.is("in_recovery") {
            Role::Replica
        } else {
            Role::Primary
        };
        let age = || {
            let age: f64 = row.read("age")?;
            Duration::try_from_secs_f64(age.max(0.0)).ok()
        };
        let lag = match (role, primary.map(|primary| primary.written_since(position))) {
            (Role::Primary, _) => Some(Duration::ZERO),
            (Role::Replica, Some(Written::Before(age))) => Some(age),
            // It lags further behind than the remembered positions go.
            (Role::Replica, Some(Written::LongBefore)) => age(),
            // Only the replica's own report is available.
            (Role::Replica, Some(Written::Unknown) | None) if row.is("has_all") => {
                Some(Duration::ZERO)
            }
            (Role::Replica, Some(Written::Unknown) | None) => age(),
        };
        Some(Self {
            role,
            lag,
            read_only: row.is("read_only"),
            started: row.read("started")?,
            position,
            at,
        })
    }
}

/// How long ago the primary wrote the log after a position.
enum Written {
    /// That long ago; zero if nothing follows.
    Before(Duration),
    /// Before the first position that is remembered.
    LongBefore,
    /// The primary is unreachable.
    Unknown,
}

/// One server.
pub struct Server {
    /// Its name, by its position in the configuration: it reveals no host.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its database.
    pub database: Database,
    url: String,
    /// `None` if it is unreachable.
    state: Mutex<Option<State>>,
    /// Since when it has not answered at all.
    unanswered: Mutex<Option<Instant>>,
    /// The positions of its log over time, if it is a primary.
    positions: Mutex<VecDeque<(Instant, u64)>>,
    /// The number of exports that run on it.
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
            unanswered: Mutex::default(),
            positions: Mutex::default(),
            exports: AtomicUsize::new(0),
        })
    }

    /// What it has reported; `None` if it is unreachable.
    pub fn state(&self) -> Option<State> {
        self.lock().filter(|state| state.at.elapsed() < PATIENCE)
    }

    /// Returns whether it was asked, and has not answered at all for so long that waiting for it is pointless. A server that refuses a
    /// connection, because it has too many, is not silent: what runs on it may be fine.
    pub fn is_silent(&self) -> bool {
        self.unanswered()
            .is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    fn unanswered(&self) -> MutexGuard<'_, Option<Instant>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that it is unreachable.
    fn lost(&self) {
        if self.lock().take().is_some() {
            tracing::warn!(server = self.address, "a server cannot be reached");
        }
    }

    fn written_since(&self, position: u64) -> Written {
        if self.state().is_none_or(|state| state.role != Role::Primary) {
            return Written::Unknown;
        }
        let positions = self.positions.lock();
        let positions = positions.unwrap_or_else(PoisonError::into_inner);
        match positions
            .iter()
            .position(|(_, written)| *written > position)
        {
            None => Written::Before(Duration::ZERO),
            Some(0) => Written::LongBefore,
            Some(index) => Written::Before(positions[index].0.elapsed()),
        }
    }

    fn remember(&self, state: &State) {
        let positions = self.positions.lock();
        let mut positions = positions.unwrap_or_else(PoisonError::into_inner);
        // If another server is the primary now, it may have written less.
        if positions
            .back()
            .is_some_and(|(_, last)| *last > state.position)
        {
            positions.clear();
        }
        if positions
            .back()
            .is_none_or(|(_, last)| *last < state.position)
        {
            positions.push_back((state.at, state.position));
        }
        if positions.len() > POSITIONS {
            positions.pop_front();
        }
    }

    /// Queries it, on the open connection or else a new one, and compares it with `primary`.
    fn ask(&self, connection: &mut Option<libpq::CopyConnection>, primary: Option<&Self>) {
        let at = Instant::now();
        // A server that was silent before this query still is.
        self.unanswered().get_or_insert(at);
        let there = connection.take();
        let answer = there.and_then(|connection| question(connection).ok());
        let answer = answer.map_or_else(
            || libpq::CopyConnection::establish(&self.url).and_then(question),
            Ok,
        );
        if answer.is_ok() || at.elapsed() < REFUSAL {
            *self.unanswered() = None;
        }
        let state = match answer {
            Ok((there, answer)) => {
                *connection = Some(there);
                State::read(&answer, at, primary)
            }
            Err(error) => {
                tracing::debug!(server = self.address, %error, "no answer");
                None
            }
        };
        let Some(state) = state else {
            return self.lost();
        };
        if state.role == Role::Primary {
            self.remember(&state);
        }
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

fn question(
    mut connection: libpq::CopyConnection,
) -> Result<(libpq::CopyConnection, libpq::Row), libpq::Error> {
    let answer = connection.query_row(STATE)?.unwrap_or_default();
    Ok((connection, answer))
}

/// Keeps a server's state up to date until it is dropped.
pub(super) struct Monitor {
    /// Nothing is ever sent: dropping this ends the thread.
    _alive: Sender<Infallible>,
}

impl Monitor {
    /// Starts the monitor. Drops `asked` after the first query, answered or not.
    pub(super) fn start(
        server: Arc<Server>,
        primary: Option<Arc<Server>>,
        asked: Sender<Infallible>,
    ) -> Self {
        let (alive, watched) = mpsc::channel::<Infallible>();
        let ask = move || {
            let mut connection = None;
            server.ask(&mut connection, primary.as_deref());
            drop(asked);
            loop {
                if watched.recv_timeout(ASK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                server.ask(&mut connection, primary.as_deref());
            }
        };
        if let Err(error) = thread::Builder::new().name("monitor".into()).spawn(ask) {
            tracing::error!(%error, "no thread to look after a server: it counts as unreachable");
        }
        Self { _alive: alive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these values, separated by blanks, in the order of `STATE`; the last may be missing.
    fn answer(values: &str) -> libpq::Row {
        let names = [
            "in_recovery",
            "read_only",
            "started",
            "position",
            "has_all",
            "age",
        ];
        names.into_iter().zip(values.split(' ')).collect()
    }

    fn lag(values: &str, primary: Option<&Server>) -> Option<f64> {
        let state = State::read(&answer(values), Instant::now(), primary)?;
        state.lag.map(|lag| lag.as_secs_f64().round())
    }

    #[test]
    fn without_the_primary_a_standbys_own_word_has_to_do() {
        assert_eq!(lag("f f 1 100 f", None), Some(0.0), "a primary");
        assert_eq!(lag("t t 1 100 t", None), Some(0.0));
        assert_eq!(lag("t t 1 100 t 12.2", None), Some(0.0));
        assert_eq!(lag("t t 1 100 f 12.2", None), Some(12.0));
        assert_eq!(lag("t t 1 100 f -0.1", None), Some(0.0), "another clock");
        assert_eq!(
            lag("t t 1 100 f", None),
            None,
            "nothing replayed since its start"
        );
        assert!(State::read(&answer(""), Instant::now(), None).is_none());
    }

    #[test]
    fn a_standby_is_as_far_behind_as_what_it_has_not_is_old() {
        let database = Database::new("", 1, Duration::from_secs(1));
        let primary = Server::new(String::new(), String::new(), String::new(), database);
        let tell = |seconds, position| {
            let at = Instant::now() - Duration::from_secs(seconds);
            let row = answer(&format!("f f 1 {position} f"));
            let state = State::read(&row, at, None).map(|state| {
                primary.remember(&state);
                State {
                    at: Instant::now(),
                    ..state
                }
            });
            *primary.lock() = state;
        };
        let behind = |values| lag(values, Some(&primary));
        assert_eq!(behind("t t 1 100 f 7.0"), Some(7.0), "the primary is away");
        for (seconds, position) in [(40, 100), (30, 200), (20, 200), (10, 300)] {
            tell(seconds, position);
        }
        // Whatever it says of itself.
        assert_eq!(behind("t t 1 300 f 7.0"), Some(0.0));
        assert_eq!(behind("t t 1 299 t 7.0"), Some(10.0));
        assert_eq!(behind("t t 1 199 t"), Some(30.0));
        assert_eq!(
            behind("t t 1 99 t 3600"),
            Some(3600.0),
            "older than is remembered"
        );
        assert_eq!(behind("t t 1 99 t"), None);
        // Another primary, which has less.
        tell(0, 150);
        assert_eq!(behind("t t 1 150 f 7.0"), Some(0.0));
    }
}
