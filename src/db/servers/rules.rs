//! The servers that exports may run on, as the command line has them.

use std::time::Duration;

use super::Hosts;
use crate::db::libpq::InvalidUrl;

/// Where exports run, and when they run elsewhere, as the command line has it.
#[derive(Debug, Clone, clap::Args)]
pub struct Replicas {
    /// The servers that exports run on, hot standbys of the database: one or several hosts, as libpq takes them [default: the database]
    // Hidden: it may hold a password, and `--help` prints values. Not parsed here either: clap would print what is wrong.
    #[arg(
        long,
        env = "EXPORT_DATABASE_URL",
        help_heading = "Replicas",
        value_name = "URL",
        hide_env_values = true
    )]
    pub export_database_url: Option<String>,
    /// A file with that URL
    #[arg(long, env = "EXPORT_DATABASE_URL_FILE", help_heading = "Replicas", value_name = "FILE", conflicts_with = "export_database_url", value_parser = crate::secret::in_file)]
    pub export_database_url_file: Option<String>,
    /// How far a replica may be behind; if all are further behind, exports run on the primary
    #[arg(long, env = "CMMS_MAX_REPLICA_LAG", help_heading = "Replicas", value_name = "SECONDS", default_value = "30", value_parser = crate::units::seconds)]
    pub max_replica_lag: Duration,
    /// Never runs an export on the primary
    #[arg(long, env = "CMMS_REPLICA_ONLY", help_heading = "Replicas", value_parser = clap::builder::BoolishValueParser::new())]
    pub replica_only: bool,
}

/// Why the options are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReplicas {
    /// It is not a URL.
    #[error("EXPORT_DATABASE_URL: {0}")]
    Url(#[from] InvalidUrl),
    /// There are no replicas.
    #[error(
        "--replica-only (CMMS_REPLICA_ONLY) without --export-database-url (EXPORT_DATABASE_URL): there is no replica"
    )]
    None,
}

impl Replicas {
    /// Reads the rules for where exports run.
    pub fn rules(&self) -> Result<Rules, InvalidReplicas> {
        let url = self.export_database_url.as_deref();
        let hosts = url
            .or(self.export_database_url_file.as_deref())
            .map(Hosts::parse);
        if self.replica_only && hosts.is_none() {
            return Err(InvalidReplicas::None);
        }
        Ok(Rules {
            hosts: hosts.transpose()?,
            max_lag: self.max_replica_lag,
            replica_only: self.replica_only,
        })
    }
}

/// Where exports run, and when they run elsewhere.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) hosts: Option<Hosts>,
    pub(super) max_lag: Duration,
    pub(super) replica_only: bool,
}

impl Rules {
    /// Returns whether exports are meant to run on other servers than the database's own.
    pub fn have_replicas(&self) -> bool {
        self.hosts.is_some()
    }
}

/// Why an export does not run on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// No replica can be reached, or none is suitable.
    Unreachable,
    /// All are too far behind.
    Lag,
    /// The export has conflicted twice with what the primary did.
    Conflict,
    /// The replica did not get in time what the primary had when the export was asked for.
    Stale,
}

impl Fallback {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unreachable, Self::Lag, Self::Conflict, Self::Stale];

    /// The name by which metrics and logs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lag => "lag",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
        }
    }
}
