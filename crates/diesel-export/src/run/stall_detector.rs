//! Detects that a download stalls: where its rows come from, what waits for its client, and since when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::db::servers::{ChosenServer, PATIENCE, Server, Servers};
use crate::{Observer, Summary};

/// The flow of bytes from the server to the export, and from there to the client.
pub struct StallDetector(Mutex<State>);

struct State {
    /// The server that the rows come from, once it is chosen.
    server: Option<Arc<Server>>,
    /// Bytes that wait for the client.
    bytes: usize,
    /// Of these, bytes that were handed on. They count as received when more is requested.
    handed: usize,
    /// Since when they have been waiting, or when the client last received some; without any, since when the client has been waiting.
    since: Instant,
    /// Whether all rows have arrived, so that the server is no longer needed; a workbook has yet to be finished.
    is_loaded: bool,
}

impl Default for StallDetector {
    fn default() -> Self {
        Self(Mutex::new(State {
            server: None,
            bytes: 0,
            handed: 0,
            since: Instant::now(),
            is_loaded: false,
        }))
    }
}

impl StallDetector {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records this many more waiting bytes.
    pub fn offered(&self, bytes: usize) {
        self.with(|state| {
            if state.bytes == 0 {
                state.since = Instant::now();
            }
            state.bytes += bytes;
        });
    }

    /// Records that only the end waits, which has no bytes of its own, and counts as one that the client does not receive.
    pub fn offered_end(&self) {
        self.with(|state| {
            if state.bytes == 0 {
                state.since = Instant::now();
                state.bytes = 1;
            }
        });
    }

    /// Records that this many of the oldest bytes were handed on.
    pub fn handed(&self, bytes: usize) {
        self.with(|state| state.handed = bytes);
    }

    /// Records that more is requested: the client has received what was handed on last.
    pub fn asked(&self) {
        self.with(|state| {
            if state.handed > 0 {
                state.since = Instant::now();
                state.bytes = state
                    .bytes
                    .saturating_sub(std::mem::take(&mut state.handed));
            }
        });
    }

    /// Returns for how long the client has received nothing of what waits for it.
    pub fn stalled_for(&self) -> Duration {
        self.with(|state| {
            if state.bytes > 0 {
                state.since.elapsed()
            } else {
                Duration::ZERO
            }
        })
    }

    /// Returns whether nothing more can be expected from a server that does not answer. A query may take long, and a silent server may yet
    /// send what it has: only both together mean that nothing will come.
    pub fn has_silent_server(&self, servers: &Servers) -> bool {
        self.with(|state| {
            // Before a server is chosen, the primary may be the one that does not answer.
            let server = state.server.as_deref().unwrap_or(servers.primary());
            let is_dry = state.bytes == 0 && state.since.elapsed() >= PATIENCE;
            is_dry && !state.is_loaded && server.is_silent()
        })
    }

    /// Returns whether the server that the rows come from does not answer: an export that was cancelled waits for nothing else.
    pub fn is_server_silent(&self, servers: &Servers) -> bool {
        self.with(|state| {
            let server = state.server.as_deref().unwrap_or(servers.primary());
            server.is_silent()
        })
    }
}

impl Observer for StallDetector {
    fn server(&self, server: &ChosenServer) {
        self.with(|state| state.server = Some(Arc::clone(server.server())));
    }

    fn progress(&self, _so_far: &Summary) {
        // A workbook is made for long before anything of it waits for the client.
        self.with(|state| {
            if state.bytes == 0 {
                state.since = Instant::now();
            }
        });
    }

    fn loaded(&self) {
        self.with(|state| state.is_loaded = true);
    }
}
