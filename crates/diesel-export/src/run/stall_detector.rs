//! How a download flows: where it comes from, what waits for its client, and since when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::db::servers::{Chosen, PATIENCE, Server, Servers};
use crate::{Observer, Summary};

/// How the bytes go from the server to the export, and from there to the client.
pub struct StallDetector(Mutex<State>);

struct State {
    /// Where the rows come from, once that is chosen.
    server: Option<Arc<Server>>,
    /// Bytes that wait for the client.
    bytes: usize,
    /// Of these, bytes that were handed on. They count as taken when more is asked for.
    handed: usize,
    /// Since when they have been waiting, or when it last took something; if there are none, since when they are waited for.
    since: Instant,
    /// Whether all rows have come, so that nothing more is needed of the server; a workbook has yet to be finished.
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

    /// Notes that so many more bytes wait.
    pub fn offered(&self, bytes: usize) {
        self.with(|state| {
            if state.bytes == 0 {
                state.since = Instant::now();
            }
            state.bytes += bytes;
        });
    }

    /// Notes that only the end waits, which has no bytes of its own, and counts as one that the client does not take.
    pub fn offered_end(&self) {
        self.with(|state| {
            if state.bytes == 0 {
                state.since = Instant::now();
                state.bytes = 1;
            }
        });
    }

    /// Notes that so many of the oldest bytes are handed on.
    pub fn handed(&self, bytes: usize) {
        self.with(|state| state.handed = bytes);
    }

    /// Notes that more is asked for: the client has taken what was handed on last.
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

    /// Returns how long the client has taken nothing of what waits for it.
    pub fn stalled_for(&self) -> Duration {
        self.with(|state| {
            if state.bytes > 0 {
                state.since.elapsed()
            } else {
                Duration::ZERO
            }
        })
    }

    /// Whether nothing comes any more from a server that does not answer. A query may take its time, and a silent server may yet
    /// send what it has: only both together say that nothing will come.
    pub fn is_dried_up(&self, servers: &Servers) -> bool {
        self.with(|state| {
            // Before a server is chosen, it is the primary that may be asked.
            let server = state.server.as_deref().unwrap_or(servers.primary());
            let is_dry = state.bytes == 0 && state.since.elapsed() >= PATIENCE;
            is_dry && !state.is_loaded && server.is_silent()
        })
    }
}

impl Observer for StallDetector {
    fn server(&self, server: &Chosen) {
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
