//! The servers that exports can run on: the database's own, and hot standbys of it.
//!
//! Every second, a monitor asks each server for its role and its lag. An export takes one of the suitable servers, and stays on it.

mod hosts;
mod monitor;
mod rules;

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::hosts::Attributes;
pub use self::hosts::{Hosts, patient};
use self::monitor::Monitor;
pub use self::monitor::{Server, State};
use super::{Database, Freshness};

pub use self::rules::{Fallback, Rules};

/// Time without an answer after which a server counts as unreachable.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long the start waits for the servers' first answers.
const FIRST_ANSWERS_WAIT: Duration = Duration::from_secs(3);
/// How long to wait for a connection to a replica: briefly, as there are others.
const REPLICA_WAIT: Duration = Duration::from_secs(1);

/// What a server is.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A primary: it accepts writes.
    Primary,
    /// A hot standby: it has what the primary had a moment ago.
    Replica,
}

impl Role {
    /// The server's name in headers.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The name of the database's own server.
const DATABASE: &str = "database";

/// All servers that exports can run on.
pub struct Servers {
    primary: Arc<Server>,
    /// The role that the database's own server is assumed to have until it has answered.
    role: Role,
    replicas: Vec<Arc<Server>>,
    rules: Rules,
    on_fallback: Box<dyn Fn(Fallback) + Send + Sync>,
    _monitors: Vec<Monitor>,
}

/// No server is suitable for an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no replica is usable ({}), and exports may not run on the primary", .0.name())]
pub struct NoReplica(pub Fallback);

impl Servers {
    /// Starts to monitor the database's own server, at `url`, and its replicas. `open` opens a replica, with the time to wait for a
    /// connection. `on_fallback` is called each time that no replica can be read from.
    pub fn start(
        url: &str,
        database: Database,
        rules: Rules,
        open: impl Fn(&str, Duration) -> Database,
        on_fallback: impl Fn(Fallback) + Send + Sync + 'static,
    ) -> Self {
        let primary = Server::new(DATABASE.into(), address(url), url.to_owned(), database);
        let servers = rules
            .hosts
            .iter()
            .flat_map(|hosts| hosts.hosts.iter().zip(1..));
        let servers: Vec<_> = servers
            .map(|((address, url), number)| {
                Server::new(
                    format!("export-{number}"),
                    address.clone(),
                    url.clone(),
                    open(url, REPLICA_WAIT),
                )
            })
            .collect();
        let (asked, all_asked) = mpsc::channel();
        let monitor = |server: &Arc<Server>, primary| {
            Monitor::start(Arc::clone(server), primary, asked.clone())
        };
        let mut monitors = vec![monitor(&primary, None)];
        monitors.extend(
            servers
                .iter()
                .map(|server| monitor(server, Some(Arc::clone(&primary)))),
        );
        drop(asked);
        // A server that answers later is used later.
        let _ = all_asked.recv_timeout(FIRST_ANSWERS_WAIT);
        Self {
            primary,
            role: Role::Primary,
            replicas: servers,
            rules,
            on_fallback: Box::new(on_fallback),
            _monitors: monitors,
        }
    }

    /// Does the same for one export. Without replicas, no server needs to be asked: the database's own still has the role that it had a
    /// moment ago, `role`.
    pub fn for_one_export(
        url: &str,
        database: Database,
        role: Role,
        rules: Rules,
        open: impl Fn(&str, Duration) -> Database,
    ) -> Self {
        if rules.have_replicas() {
            return Self::start(url, database, rules, open, |_fallback| ());
        }
        Self {
            primary: Server::new(DATABASE.into(), address(url), url.to_owned(), database),
            role,
            replicas: Vec::new(),
            rules,
            on_fallback: Box::new(|_fallback| ()),
            _monitors: Vec::new(),
        }
    }

    /// All servers, the database's own first.
    pub fn all(&self) -> impl Iterator<Item = &Server> {
        [&self.primary]
            .into_iter()
            .chain(&self.replicas)
            .map(Arc::as_ref)
    }

    /// Returns whether exports are meant to run on other servers than the database's own.
    pub fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// Returns whether a replica is suitable now.
    pub fn has_usable_replica(&self) -> bool {
        self.replica(&[]).is_ok()
    }

    /// Returns whether exports run on replicas alone.
    pub fn is_replica_only(&self) -> bool {
        self.rules.replica_only
    }

    /// Returns whether the primary has answered recently.
    pub fn has_primary(&self) -> bool {
        self.primary.state().is_some()
    }

    /// The database's own server.
    pub fn primary(&self) -> &Server {
        &self.primary
    }

    /// Returns whether the database's own server is known to be a primary.
    pub fn knows_primary(&self) -> bool {
        let state = self.primary.state();
        state.is_some_and(|state| state.role == Role::Primary)
    }

    /// The demand of an export that must have all that the primary has now.
    pub(crate) fn freshness(&self) -> Freshness {
        // Only with replicas is it known that the primary is unreachable; the export then does not wait for it.
        let is_away = self.has_replicas() && !self.has_primary();
        Freshness::of((!is_away).then(|| self.primary.database.clone()))
    }

    /// Chooses a server for an export: a suitable replica that was not `tried`, else the primary.
    pub fn choose(&self, tried: &[Arc<Server>]) -> Result<ChosenServer, NoReplica> {
        if !self.has_replicas() {
            return Ok(self.choose_primary());
        }
        match self.replica(tried) {
            Ok((server, role)) => Ok(ChosenServer::new(server, role)),
            Err(reason) => self.fall_back(reason),
        }
    }

    /// The suitable replica with the fewest exports; of equals, the first.
    fn replica(&self, tried: &[Arc<Server>]) -> Result<(&Arc<Server>, Role), Fallback> {
        let mut reason = Fallback::Unreachable;
        let Some(hosts) = &self.rules.hosts else {
            return Err(reason);
        };
        let mut candidates = Vec::new();
        let untried = |server: &&Arc<Server>| !tried.iter().any(|tried| Arc::ptr_eq(tried, server));
        for server in self.replicas.iter().filter(untried) {
            // Of two primaries, the one that is not the database's own has changes of its own.
            let astray = |state: &State| {
                let primary = self.primary.state();
                state.role == Role::Primary
                    && primary.is_some_and(|primary| {
                        primary.role == Role::Primary && primary.started != state.started
                    })
            };
            let accepted = |state: &State| {
                hosts.attributes.accept(state)
                    && !(self.rules.replica_only && state.role == Role::Primary)
                    && !astray(state)
            };
            let Some(state) = server.state().filter(accepted) else {
                continue;
            };
            if state.role == Role::Replica && state.lag.is_none_or(|lag| lag > self.rules.max_lag) {
                reason = Fallback::Lag;
                continue;
            }
            let second_choice =
                hosts.attributes == Attributes::PreferStandby && state.role == Role::Primary;
            let exports = if hosts.balanced {
                server.exports.load(Ordering::Relaxed)
            } else {
                0
            };
            candidates.push(((second_choice, exports), (server, state.role)));
        }
        let best = candidates.into_iter().min_by_key(|(rank, _)| *rank);
        best.map(|(_, best)| best).ok_or(reason)
    }

    /// Chooses the primary, if exports may run there.
    pub fn fall_back(&self, reason: Fallback) -> Result<ChosenServer, NoReplica> {
        (self.on_fallback)(reason);
        if self.rules.replica_only {
            return Err(NoReplica(reason));
        }
        tracing::warn!(
            reason = reason.name(),
            "no replica is suitable: the primary is read"
        );
        Ok(self.choose_primary())
    }

    fn choose_primary(&self) -> ChosenServer {
        let state = self.primary.state();
        ChosenServer::new(&self.primary, state.map_or(self.role, |state| state.role))
    }
}

/// The server of one export.
pub struct ChosenServer {
    server: Arc<Server>,
    /// What it is.
    pub role: Role,
}

impl ChosenServer {
    fn new(server: &Arc<Server>, role: Role) -> Self {
        server.exports.fetch_add(1, Ordering::Relaxed);
        Self {
            server: Arc::clone(server),
            role,
        }
    }

    /// Returns whether another server may take its place.
    pub fn is_replaceable(&self) -> bool {
        self.server.name != DATABASE
    }

    /// The server, to be watched.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The server, so that it is not tried again.
    pub fn into_tried(self) -> Arc<Server> {
        Arc::clone(&self.server)
    }
}

impl Deref for ChosenServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for ChosenServer {
    fn drop(&mut self) {
        self.server.exports.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the first host and port of a connection string, for people.
fn address(url: &str) -> String {
    Hosts::parse(url, "")
        .ok()
        .and_then(|hosts| Some(hosts.hosts.first()?.0.clone()))
        .unwrap_or_default()
}
