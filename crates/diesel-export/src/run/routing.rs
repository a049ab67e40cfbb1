//! Chooses an export's server, and another one if that fails: unnoticed as long as no byte was handed over.

use std::io;

use bytes::Bytes;

use crate::cancellation::Cancellation;
use crate::db;
use crate::db::servers::{ChosenServer, Fallback, Servers};
use crate::{Error, Export, Observer, Sink, Summary, Target};

/// How often an export starts over because a table was changed meanwhile.
const CHANGES: u32 = 3;

/// After this many conflicts with recovery, the next attempt is not on a replica.
const CONFLICTS: u32 = 2;

/// Exports to `sink`, as [`run`](crate::run) does, from one of the servers; with `fresh`, from one that is shown to be up to date with the
/// primary. If a replica fails before the first byte, or the sink can start over, another one or the primary takes its place.
pub fn run(
    export: &Export,
    servers: &Servers,
    fresh: bool,
    cancellation: &Cancellation,
    observer: &dyn Observer,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    let mut sink = NotingSink { sink, begun: false };
    let freshness = fresh.then(|| servers.freshness());
    route(servers, export.dataset().name(), |chosen| {
        observer.server(chosen);
        let target = Target {
            database: &chosen.database,
            freshness: freshness.as_ref(),
            role: Some(chosen.role),
        };
        let run = crate::run_on(&target, export, cancellation, observer, &mut sink);
        run.map_err(|error| Failure {
            is_final: cancellation.is_cancelled() || !sink.start_over(),
            error,
        })
    })
}

/// Why the attempt on one server failed.
pub struct Failure {
    /// The error.
    pub error: Error,
    /// Whether another server would fail, too.
    pub is_final: bool,
}

/// Lets `attempt` try one server after the other, as long as another may succeed.
pub fn route<T>(
    servers: &Servers,
    dataset: &str,
    mut attempt: impl FnMut(&ChosenServer) -> Result<T, Failure>,
) -> Result<T, Error> {
    let mut tried = Vec::new();
    let mut conflicts = 0;
    let mut changes = 0;
    let mut no_replica = None;
    loop {
        let chosen = match no_replica {
            None => servers.choose(&tried)?,
            Some(reason) => servers.fall_back(reason)?,
        };
        let failure = match attempt(&chosen) {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        match Next::after(&failure, chosen.is_replaceable()) {
            Next::GiveUp => return Err(failure.error.because_of_tables(&chosen.database, dataset)),
            Next::AfterConflict => {
                conflicts += 1;
                no_replica = (conflicts == CONFLICTS).then_some(Fallback::Conflict);
            }
            Next::AfterChange if changes == CHANGES => return Err(failure.error),
            Next::AfterChange => changes += 1,
            Next::OnAnother => tried.push(chosen.into_tried()),
            Next::OnPrimary => no_replica = Some(Fallback::Stale),
        }
        tracing::warn!(error = %failure.error, "it is tried again");
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Give up.
    GiveUp,
    /// Try again, on any server: the recovery conflict on this standby may be over.
    AfterConflict,
    /// Try again: the tables may stay as they are now.
    AfterChange,
    /// Try again, on another server.
    OnAnother,
    /// Try again, on the primary, which needs no proof that it is up to date.
    OnPrimary,
}

impl Next {
    fn after(failure: &Failure, is_replaceable: bool) -> Self {
        match &failure.error {
            _ if failure.is_final => Self::GiveUp,
            Error::Database(db::Error::Moved) => Self::AfterChange,
            _ if !is_replaceable => Self::GiveUp,
            Error::Database(db::Error::NotFresh(_)) => Self::OnPrimary,
            Error::Database(error) if error.is_recovery_conflict() => Self::AfterConflict,
            Error::Database(error) if error.is_unavailable() => Self::OnAnother,
            _ => Self::GiveUp,
        }
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

    fn start_over(&mut self) -> bool {
        !self.begun || self.sink.start_over()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use diesel::IntoSql as _;
    use diesel::sql_types::{Integer, Range};

    use super::*;
    use crate::db::NotFresh;
    use crate::db::libpq::{self, CopyOutDsl as _, ErrorKind};
    use crate::manifest::ErrorClass;

    fn lost(is_final: bool) -> Failure {
        failure(libpq::Error::new(ErrorKind::Connection, ""), is_final)
    }

    fn refused(sqlstate: &str) -> Failure {
        let mut error = libpq::Error::new(ErrorKind::Server, "");
        error.sqlstate = Some(sqlstate.to_owned());
        failure(error, false)
    }

    fn failure(error: libpq::Error, is_final: bool) -> Failure {
        Failure {
            error: Error::Database(db::Error::Copy(error)),
            is_final,
        }
    }

    #[test]
    fn only_what_another_server_can_make_good_is_tried_again() {
        let after = |failure: &Failure| Next::after(failure, true);
        assert_eq!(after(&refused("40001")), Next::AfterConflict);
        assert_eq!(after(&lost(false)), Next::OnAnother);
        assert_eq!(after(&refused("57P01")), Next::OnAnother);
        // A query that every server would refuse, and one that took too long.
        assert_eq!(after(&refused("42703")), Next::GiveUp);
        assert_eq!(after(&refused("57014")), Next::GiveUp);
        let stale = Failure {
            error: Error::Database(NotFresh::Behind.into()),
            is_final: false,
        };
        assert_eq!(after(&stale), Next::OnPrimary);
        assert_eq!(Next::after(&stale, false), Next::GiveUp);
    }

    #[test]
    fn what_no_server_has_seen_is_not_sent_to_another_one() {
        let range = (Bound::Included(1), Bound::Excluded(3));
        let unwritable = diesel::select(range.into_sql::<Range<Integer>>()).literal_sql();
        let Err(error) = unwritable else {
            panic!("a range has no literal without a connection");
        };
        assert_eq!(error.sqlstate, None);
        let failure = failure(error, false);
        assert_eq!(Next::after(&failure, true), Next::GiveUp);
        assert_eq!(failure.error.class(), Some(ErrorClass::Database));
        for kind in [
            ErrorKind::Unwritable,
            ErrorKind::Incomplete,
            ErrorKind::Other,
        ] {
            let failure = self::failure(libpq::Error::new(kind, ""), false);
            assert_eq!(Next::after(&failure, true), Next::GiveUp, "{kind:?}");
        }
    }

    #[test]
    fn nothing_is_tried_again_once_bytes_are_out_or_without_another_server() {
        assert_eq!(Next::after(&lost(true), true), Next::GiveUp);
        assert_eq!(Next::after(&lost(false), false), Next::GiveUp);
    }
}
