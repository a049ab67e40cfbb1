//! How a download flows: what waits for its client, and since when.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How the chunks go from the export to the client.
#[derive(Default)]
pub(super) struct Flow(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Chunks that wait for the client.
    chunks: usize,
    /// Since when they have been waiting, or when it last took something.
    since: Option<Instant>,
}

impl Flow {
    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A chunk begins to wait.
    pub(super) fn offered(&self) {
        self.with(|waiting| {
            if waiting.chunks == 0 {
                waiting.since = Some(Instant::now());
            }
            waiting.chunks += 1;
        });
    }

    /// The client has taken a piece of the chunk that has waited longest.
    pub(super) fn took_piece(&self, last_of_chunk: bool) {
        self.with(|waiting| {
            waiting.since = Some(Instant::now());
            waiting.chunks -= usize::from(last_of_chunk && waiting.chunks > 0);
        });
    }

    /// How long the client has taken nothing of what waits for it.
    pub(super) fn stalled_for(&self) -> Duration {
        self.with(|waiting| match waiting.since {
            Some(since) if waiting.chunks > 0 => since.elapsed(),
            _ => Duration::ZERO,
        })
    }
}
