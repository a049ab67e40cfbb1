//! Whether a server is up to date with the primary.
//!
//! The check runs on the export's own connection, because another connection may lead to another server. It runs before the export's
//! snapshot: a standby goes on replaying, so within the snapshot it would report its current position, not that of the snapshot.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::{Database, Error, SERVER, libpq};

/// How long an export waits for a standby to catch up with the primary.
const WAIT: Duration = Duration::from_secs(2);
/// Interval between two checks of the standby's position.
const INTERVAL: Duration = Duration::from_millis(5);

/// What a fresh export demands of its server: that it is a primary, or a standby that has replayed the primary's log up to its current
/// position.
pub(crate) struct Freshness {
    /// `None` if the primary is known to be unreachable.
    primary: Option<Database>,
    /// Read when the first standby is checked; `None` if there is no such position.
    position: OnceLock<Option<i64>>,
}

/// Why a server could not be shown to be up to date with the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFresh {
    /// The primary's position is unknown.
    #[error("the server is a standby, and there is no primary to tell whether it is up to date")]
    Unknown,
    /// The server lags behind the primary.
    #[error("the standby has not replayed the primary's log in time")]
    Behind,
    /// A load balancer or a pooler has led one connection to two servers.
    #[error("the check whether the server is up to date ran on another server")]
    Elsewhere,
}

/// That a server is up to date, if that was demanded.
#[derive(Default)]
#[must_use]
pub(crate) struct FreshnessProof {
    server: Option<String>,
}

impl Freshness {
    /// Demands the state of `primary`; `None` if the primary is known to be unreachable.
    pub(super) fn of(primary: Option<Database>) -> Self {
        Self {
            primary,
            position: OnceLock::new(),
        }
    }

    /// Waits until the server of this connection is up to date. The connection is in no transaction.
    pub(crate) fn prove_on(
        &self,
        connection: &mut impl HasFreshness,
    ) -> Result<FreshnessProof, Error> {
        let mut answer = connection.is_fresh(None)?;
        if !answer.is_fresh {
            let position = self.position().ok_or(NotFresh::Unknown)?;
            let deadline = Instant::now() + WAIT;
            loop {
                answer = connection.is_fresh(Some(position))?;
                if answer.is_fresh {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(NotFresh::Behind.into());
                }
                thread::sleep(INTERVAL);
            }
        }
        Ok(FreshnessProof {
            server: Some(answer.server),
        })
    }

    fn position(&self) -> Option<i64> {
        *self.position.get_or_init(|| {
            let position = self.primary.as_ref()?.wal_position();
            position.unwrap_or_else(|error| {
                tracing::warn!(%error, "the primary's position cannot be read");
                None
            })
        })
    }
}

impl FreshnessProof {
    /// Demands that the snapshot, which has begun on this connection, is of the server that was checked: behind a pooler, a transaction may
    /// run on another server than the check before it.
    pub(crate) fn holds_on(self, connection: &mut impl HasFreshness) -> Result<(), Error> {
        match self.server {
            Some(server) if server != connection.is_fresh(None)?.server => {
                Err(NotFresh::Elsewhere.into())
            }
            _ => Ok(()),
        }
    }
}

/// What a server reports about itself.
#[derive(QueryableByName)]
pub(crate) struct Answer {
    #[diesel(sql_type = Bool)]
    is_fresh: bool,
    #[diesel(sql_type = Text)]
    server: String,
}

/// A connection on which the check can run.
pub(crate) trait HasFreshness {
    /// Returns whether its server is a primary, or has replayed the log up to this position.
    fn is_fresh(&mut self, position: Option<i64>) -> Result<Answer, Error>;
}

impl HasFreshness for PgConnection {
    fn is_fresh(&mut self, position: Option<i64>) -> Result<Answer, Error> {
        Ok(diesel::sql_query(question(position)).get_result(self)?)
    }
}

impl HasFreshness for libpq::CopyConnection {
    fn is_fresh(&mut self, position: Option<i64>) -> Result<Answer, Error> {
        let row = self.query_row(&question(position))?.unwrap_or_default();
        Ok(Answer {
            is_fresh: row.is("is_fresh"),
            server: row.get("server").flatten().unwrap_or_default().to_owned(),
        })
    }
}

fn question(position: Option<i64>) -> String {
    let has_replayed = position.map(|position| {
        format!(" or coalesce(pg_last_wal_replay_lsn() - '0/0' >= {position}, false)")
    });
    format!(
        "select not pg_is_in_recovery(){} as is_fresh, {SERVER} as server",
        has_replayed.unwrap_or_default()
    )
}
