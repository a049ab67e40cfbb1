//! On which server an export runs, and when on another one after all: as long as nothing was handed over, nobody notices.

use std::io;

use bytes::Bytes;

use super::cancellation::Cancellation;
use super::{Error, Export, Observer, Sink, Summary};
use crate::db::servers::{Chosen, Fallback, Servers};

/// Conflicts with recovery after which the next try is not a replica's.
const CONFLICTS: u32 = 2;

/// Exports to `sink`, as [`run`](super::run) does, from one of the servers; with `fresh`, from one that has what the primary has
/// now. A replica that fails before the first byte is made good by another one, or by the primary.
pub fn run(
    export: &Export,
    servers: &Servers,
    fresh: bool,
    cancellation: &Cancellation,
    observer: &dyn Observer,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    let mut sink = NotingSink { sink, begun: false };
    route(servers, fresh, |chosen| {
        observer.server(chosen.role);
        let run = super::run(export, &chosen.database, cancellation, observer, &mut sink);
        run.map_err(|error| Failure {
            is_final: sink.begun || cancellation.is_cancelled(),
            error,
        })
    })
}

/// Why one server did not do it.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether there is no use in trying another one.
    pub(crate) is_final: bool,
}

/// Lets `attempt` try one server after the other, for as long as it makes sense.
pub(crate) fn route<T>(
    servers: &Servers,
    fresh: bool,
    mut attempt: impl FnMut(&Chosen) -> Result<T, Failure>,
) -> Result<T, Error> {
    let mut tried = Vec::new();
    let mut conflicts = 0;
    loop {
        let chosen = if conflicts < CONFLICTS {
            servers.choose(&tried, fresh)?
        } else {
            servers.fall_back(Fallback::Conflict)?
        };
        let Failure { error, is_final } = match attempt(&chosen) {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if is_final || !chosen.is_replaceable() {
            return Err(error);
        }
        match &error {
            Error::Database(error) if error.is_recovery_conflict() => conflicts += 1,
            Error::Database(error) if error.is_unavailable() => tried.push(chosen.into_tried()),
            _ => return Err(error),
        }
        tracing::warn!(%error, "it is tried again");
    }
}

/// Notes whether anything was handed over.
struct NotingSink<'a> {
    sink: &'a mut dyn Sink,
    begun: bool,
}

impl Sink for NotingSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.begun = true;
        self.sink.write(chunk)
    }
}
