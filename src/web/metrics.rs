//! `GET /metrics`: the service seen from outside, for Prometheus
//! ([names](https://prometheus.io/docs/practices/naming/), [format](https://prometheus.io/docs/specs/om/open_metrics_spec/)).

use std::time::Duration;

use actix_web::{HttpResponse, web};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::App;
use super::problem::{Kind, Problem};
use crate::export::manifest::Manifest;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    strategy: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rejection {
    /// As many exports as are allowed run already.
    Busy,
    /// Its credentials are missing or wrong.
    Unauthorized,
    /// Its address has tried wrong credentials too often.
    TooManyTries,
}

/// All that is counted and measured.
pub(super) struct Metrics {
    registry: Registry,
    exports: Family<Outcome, Counter>,
    duration: Family<Outcome, Histogram>,
    bytes: Counter,
    rows: Counter,
    in_flight: Gauge,
    rejected: Family<Reason, Counter>,
    pool_wait: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 4.0, 10));
        let mut metrics = Self {
            registry: Registry::with_prefix("cmms_export"),
            exports: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 4.0, 10))
            }),
            bytes: Counter::default(),
            rows: Counter::default(),
            in_flight: Gauge::default(),
            rejected: Family::default(),
            pool_wait: seconds(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "exports",
            "Exports that have ended",
            metrics.exports.clone(),
        );
        let duration = metrics.duration.clone();
        registry.register_with_unit(
            "export_duration",
            "Time that exports took",
            Unit::Seconds,
            duration,
        );
        registry.register_with_unit("exported", "CSV made", Unit::Bytes, metrics.bytes.clone());
        registry.register("exported_rows", "Rows exported", metrics.rows.clone());
        registry.register(
            "exports_in_flight",
            "Exports that run now",
            metrics.in_flight.clone(),
        );
        registry.register(
            "requests_rejected",
            "Requests that were turned away",
            metrics.rejected.clone(),
        );
        let wait = metrics.pool_wait.clone();
        registry.register_with_unit(
            "pool_wait",
            "Time that exports waited for a connection",
            Unit::Seconds,
            wait,
        );
        metrics
    }

    pub(super) fn started(&self) {
        self.in_flight.inc();
    }

    pub(super) fn ended(&self, manifest: &Manifest) {
        self.in_flight.dec();
        let outcome = Outcome {
            strategy: manifest.strategy.name(),
            outcome: manifest.state.name(),
        };
        self.exports.get_or_create(&outcome).inc();
        self.duration
            .get_or_create(&outcome)
            .observe(manifest.seconds);
        self.bytes.inc_by(manifest.bytes);
        self.rows.inc_by(manifest.rows);
    }

    pub(super) fn rejected(&self, rejection: Rejection) {
        let reason = match rejection {
            Rejection::Busy => "busy",
            Rejection::Unauthorized => "unauthorized",
            Rejection::TooManyTries => "too_many_tries",
        };
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn waited(&self, time: Duration) {
        self.pool_wait.observe(time.as_secs_f64());
    }
}

/// What the service has counted and measured, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String))
)]
pub(super) async fn metrics(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    let mut text = String::new();
    encode(&mut text, &app.metrics.registry).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Problem::new(Kind::Internal)
    })?;
    Ok(HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text))
}
