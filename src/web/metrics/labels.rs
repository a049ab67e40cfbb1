//! What the metrics tell apart.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::web::App;
use crate::web::pace::Paces;
use crate::web::problem::{Kind, Problem};
use crate::db::servers::{Fallback, Role, Servers};
use crate::export::Strategy;
use crate::export::manifest::{Manifest, State};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) strategy: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Status {
    pub(super) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ServerLabels {
    pub(super) server: String,
    pub(super) address: String,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rejection {
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
    const ALL: [Self; 5] = [
        Self::Busy,
        Self::Downloads,
        Self::Queue,
        Self::Unauthorized,
        Self::TooManyTries,
    ];

    pub(super) fn name(self) -> &'static str {
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
pub(super) enum SpoolFallback {
    /// The spool is full.
    Full,
    /// The disk has failed.
    Failed,
}

impl SpoolFallback {
    const ALL: [Self; 2] = [Self::Full, Self::Failed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

/// Why a prepared export is not kept any more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Removal {
    /// It was kept for as long as it is kept.
    Expired,
    /// There was no space without it.
    Evicted,
    /// Somebody has deleted it.
    Deleted,
}

impl Removal {
    const ALL: [Self; 3] = [Self::Expired, Self::Evicted, Self::Deleted];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Deleted => "deleted",
        }
    }
}
