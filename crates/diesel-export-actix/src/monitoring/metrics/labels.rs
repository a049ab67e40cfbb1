//! The labels of the metrics.

use prometheus_client::encoding::EncodeLabelSet;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    pub(crate) strategy: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Status {
    pub(crate) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ServerLabels {
    pub(crate) server: String,
    pub(crate) address: String,
}

/// Why a request was rejected.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rejection {
    /// Too many exports are running.
    Busy,
    /// Too many requests are being served.
    Connections,
    /// Too many event streams are open.
    Events,
    /// Too many downloads are under way.
    Downloads,
    /// The preparation queue is full.
    Queue,
    /// The spool is full, or there are too many prepared exports.
    Spool,
    /// Its credentials are missing or wrong.
    Unauthorized,
    /// Too many attempts from its address have failed.
    TooManyTries,
}

impl Rejection {
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// Why an export had to wait for its client although there is a spool.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum SpoolFallback {
    /// The spool is full.
    Full,
    /// The disk has failed.
    Failed,
}

impl SpoolFallback {
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// Why a prepared export was removed.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Removal {
    /// It has expired.
    Expired,
    /// It was deleted by a request.
    Deleted,
}

impl Removal {
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}
