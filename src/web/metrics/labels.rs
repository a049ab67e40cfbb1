//! What the metrics tell apart.

use prometheus_client::encoding::EncodeLabelSet;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::web) struct Ended {
    pub(super) strategy: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::web) struct Status {
    pub(super) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::web) struct Reason {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(in crate::web) struct ServerLabels {
    pub(super) server: String,
    pub(super) address: String,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) enum Rejection {
    /// As many exports as are allowed run already.
    Busy,
    /// As many downloads as are allowed are under way.
    Downloads,
    /// As many exports as are allowed wait to be prepared.
    Queue,
    /// Its credentials are missing or wrong.
    Unauthorized,
    /// Its address has tried wrong credentials too often.
    TooManyTries,
}

impl Rejection {
    pub(in crate::web) const ALL: [Self; 5] = [
        Self::Busy,
        Self::Downloads,
        Self::Queue,
        Self::Unauthorized,
        Self::TooManyTries,
    ];

    pub(in crate::web) fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Downloads => "downloads",
            Self::Queue => "queue",
            Self::Unauthorized => "unauthorized",
            Self::TooManyTries => "too_many_tries",
        }
    }
}

/// Why an export had to wait for its client although there is a spool.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) enum SpoolFallback {
    /// The spool is full.
    Full,
    /// The disk has failed.
    Failed,
}

impl SpoolFallback {
    pub(in crate::web) const ALL: [Self; 2] = [Self::Full, Self::Failed];

    pub(in crate::web) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

/// Why a prepared export is not kept any more.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) enum Removal {
    /// It was kept for as long as it is kept.
    Expired,
    /// There was no space without it.
    Evicted,
    /// Somebody has deleted it.
    Deleted,
}

impl Removal {
    pub(in crate::web) const ALL: [Self; 3] = [Self::Expired, Self::Evicted, Self::Deleted];

    pub(in crate::web) fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Deleted => "deleted",
        }
    }
}
