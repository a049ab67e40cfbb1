//! Where exports may run, and why they run elsewhere.

use std::time::Duration;

use super::Hosts;

/// Where exports run, and when they run elsewhere.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The servers that exports run on; `None` is the database's own.
    pub hosts: Option<Hosts>,
    /// How far a replica may be behind.
    pub max_lag: Duration,
    /// Never runs an export on the primary.
    pub replica_only: bool,
}

impl Default for Rules {
    /// On the database's own server.
    fn default() -> Self {
        Self {
            hosts: None,
            max_lag: Duration::from_secs(30),
            replica_only: false,
        }
    }
}

impl Rules {
    /// Returns whether exports are meant to run on other servers than the database's own.
    pub fn have_replicas(&self) -> bool {
        self.hosts.is_some()
    }
}

/// Why an export does not run on a replica.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
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
    /// The name by which metrics and logs know it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
