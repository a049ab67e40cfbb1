//! `GET /metrics`: the service seen from outside, for Prometheus
//! ([names](https://prometheus.io/docs/practices/naming/), [format](https://prometheus.io/docs/specs/om/open_metrics_spec/)).

mod labels;
mod process;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::prepared::row_cost::RowCosts;
use crate::problem::{Kind, Problem};
use crate::service::app::App;
use crate::service::application::Application;
use diesel_export::Strategy;
use diesel_export::db::servers::{Fallback, Role, Servers};
use diesel_export::manifest::{ErrorClass, Manifest};
use diesel_export::outcome::Outcome;
use diesel_export::parameters::names_of;

use self::process::Process;
use labels::{Ended, Reason, ServerLabels, Status};
pub(crate) use labels::{Rejection, Removal, SpoolFallback};

/// All counters and gauges.
pub(crate) struct Metrics {
    registry: Registry,
    /// Those whose names all programs have in common.
    common: Registry,
    exports: Family<Ended, Counter>,
    duration: Family<Ended, Histogram>,
    bytes: Counter,
    rows: Counter,
    in_flight: Gauge,
    responses: Family<Status, Counter>,
    rejected: Family<Reason, Counter>,
    pool_wait: Histogram,
    fallbacks: Family<Reason, Counter>,
    spooled: Counter,
    spool_used: Gauge,
    spool_size: Gauge,
    spool_fallbacks: Family<Reason, Counter>,
    queued: Gauge,
    kept: Gauge,
    removed: Family<Reason, Counter>,
    /// Bytes and seconds per row of earlier exports.
    pub(crate) row_costs: RowCosts,
    server_up: Family<ServerLabels, Gauge>,
    server_in_recovery: Family<ServerLabels, Gauge>,
    server_lag: Family<ServerLabels, Gauge<f64, AtomicU64>>,
}

/// The names of the metrics.
struct Names(Registry);

impl Names {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn add_in<M: Metric + Clone + Default>(&mut self, name: &str, unit: Unit, help: &str) -> M {
        self.add_as(name, unit, help, M::default())
    }

    fn add_as<M: Metric + Clone>(&mut self, name: &str, unit: Unit, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

/// A histogram of seconds whose first bucket ends here.
fn seconds_from(least: f64) -> Histogram {
    Histogram::new(exponential_buckets(least, 4.0, 10))
}

impl Metrics {
    pub(crate) fn new(application: &Application) -> Self {
        let mut names = Names(Registry::with_prefix(application.name.replace('-', "_")));
        let mut metrics = Self {
            exports: names.add("exports", "Exports that have ended"),
            duration: names.add_as(
                "export_duration",
                Unit::Seconds,
                "Duration of exports",
                Family::new_with_constructor(|| seconds_from(0.01)),
            ),
            bytes: names.add_in("exported", Unit::Bytes, "Bytes of exported files"),
            rows: names.add("exported_rows", "Rows exported"),
            in_flight: names.add(
                "exports_in_flight",
                "Exports that are running or still being downloaded",
            ),
            responses: names.add("http_responses", "Responses by status"),
            rejected: names.add("requests_rejected", "Rejected requests"),
            pool_wait: names.add_as(
                "pool_wait",
                Unit::Seconds,
                "Time that exports waited for a connection",
                seconds_from(0.001),
            ),
            fallbacks: names.add(
                "replica_fallbacks",
                "Exports and previews without a usable replica: run on the primary, or rejected",
            ),
            spooled: names.add_in(
                "spooled",
                Unit::Bytes,
                "Bytes written to the spool, for slow clients and for workbooks",
            ),
            spool_used: names.add_in("spool_used", Unit::Bytes, "Bytes in the spool"),
            spool_size: names.add_in("spool_size", Unit::Bytes, "Maximum size of the spool"),
            spool_fallbacks: names.add(
                "spool_fallbacks",
                "Exports that waited for their clients because the spool was full or had failed",
            ),
            queued: names.add("exports_queued", "Length of the preparation queue"),
            kept: names.add("prepared_files", "Prepared exports with a file"),
            removed: names.add("prepared_removed", "Prepared exports that were removed"),
            row_costs: RowCosts::default(),
            server_up: names.add("server_up", "Whether a server can be reached"),
            server_in_recovery: names.add("server_in_recovery", "Whether a server is a replica"),
            server_lag: names.add_in(
                "server_replay_lag",
                Unit::Seconds,
                "Replication lag of a server",
            ),
            registry: names.0,
            common: Registry::default(),
        };
        let build = Info::new([
            ("version", application.version),
            ("commit", application.commit.unwrap_or("unknown")),
        ]);
        let help = "What program this is";
        metrics.registry.register("build", help, build);
        metrics.common.register_collector(Box::new(Process::new()));
        metrics.begin_at_zero();
        metrics
    }

    /// Initializes counters with 0, so that an alert sees even the first event.
    fn begin_at_zero(&self) {
        for strategy in Strategy::all() {
            for outcome in names_of::<Outcome>() {
                drop(self.exports.get_or_create(&Ended {
                    strategy: strategy.name(),
                    outcome,
                }));
            }
        }
        drop(self.responses.get_or_create(&Status { status: 500 }));
        let families = [
            (&self.rejected, names_of::<Rejection>()),
            (&self.fallbacks, names_of::<Fallback>()),
            (&self.spool_fallbacks, names_of::<SpoolFallback>()),
            (&self.removed, names_of::<Removal>()),
        ];
        for (family, reasons) in families {
            for reason in reasons {
                drop(family.get_or_create(&Reason { reason }));
            }
        }
    }

    pub(crate) fn started(&self) {
        self.in_flight.inc();
    }

    pub(crate) fn ended(&self, manifest: &Manifest) {
        self.row_costs.note(manifest);
        let outcome = Outcome::of(manifest.state, manifest.error);
        if outcome == Outcome::Rejected {
            self.rejected(match manifest.error {
                Some(ErrorClass::SpoolFull) => Rejection::Spool,
                _ => Rejection::Busy,
            });
        }
        let ended = Ended {
            strategy: manifest.strategy.name(),
            outcome: outcome.name(),
        };
        self.exports.get_or_create(&ended).inc();
        self.duration
            .get_or_create(&ended)
            .observe(manifest.seconds);
        self.bytes.inc_by(manifest.bytes);
        self.rows.inc_by(manifest.rows);
        // Last: when nothing is in flight any more, all is counted.
        self.in_flight.dec();
    }

    pub(crate) fn responded(&self, status: u16) {
        self.responses.get_or_create(&Status { status }).inc();
    }

    pub(crate) fn rejected(&self, rejection: Rejection) {
        let reason = rejection.name();
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn fell_back(&self, fallback: Fallback) {
        let reason = fallback.name();
        self.fallbacks.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn spooled(&self, bytes: u64) {
        self.spooled.inc_by(bytes);
    }

    pub(crate) fn spool_fell_back(&self, fallback: SpoolFallback) {
        let reason = fallback.name();
        self.spool_fallbacks.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn removed(&self, removal: Removal) {
        let reason = removal.name();
        self.removed.get_or_create(&Reason { reason }).inc();
    }

    /// Records the servers' present state. Unknown values are not shown.
    fn look_at(&self, servers: &Servers) {
        for server in servers.all() {
            let labels = ServerLabels {
                server: server.name.clone(),
                address: server.address.clone(),
            };
            let state = server.state();
            self.server_up
                .get_or_create(&labels)
                .set(state.is_some().into());
            match state {
                Some(state) => {
                    let in_recovery = (state.role == Role::Replica).into();
                    self.server_in_recovery
                        .get_or_create(&labels)
                        .set(in_recovery);
                }
                None => {
                    self.server_in_recovery.remove(&labels);
                }
            }
            match state.and_then(|state| state.lag) {
                Some(lag) => {
                    let seconds = lag.as_secs_f64();
                    self.server_lag.get_or_create(&labels).set(seconds);
                }
                None => {
                    self.server_lag.remove(&labels);
                }
            }
        }
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.pool_wait.observe(time.as_secs_f64());
    }
}

/// Metrics for Prometheus.
#[utoipa::path(
    method(get, head),
    path = "/metrics",
    responses((status = 200, description = "Metrics in the OpenMetrics text format", content_type = "application/openmetrics-text", body = String))
)]
pub(crate) async fn metrics(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    app.metrics.look_at(&app.servers);
    let spool = app.settings.spool.as_ref();
    let (used, size) = spool.map_or((0, 0), |spool| (spool.used(), spool.size()));
    app.metrics.spool_used.set(used.cast_signed());
    app.metrics.spool_size.set(size.cast_signed());
    let (queued, kept) = app.prepared.counts();
    app.metrics.queued.set(queued as i64);
    app.metrics.kept.set(kept as i64);
    let mut text = String::new();
    let encoded = encode_registry(&mut text, &app.metrics.common);
    let encoded = encoded.and_then(|()| encode(&mut text, &app.metrics.registry));
    encoded.map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Problem::new(Kind::Internal)
    })?;
    Ok(HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text))
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of all series that `/metrics` can show.
    fn series() -> BTreeSet<String> {
        let metrics = Metrics::new(&Application::named("cmms-export"));
        let labels = ServerLabels {
            server: String::new(),
            address: String::new(),
        };
        drop(metrics.server_up.get_or_create(&labels));
        drop(metrics.server_in_recovery.get_or_create(&labels));
        drop(metrics.server_lag.get_or_create(&labels));
        let outcome = Ended {
            strategy: "lookup",
            outcome: "complete",
        };
        drop(metrics.duration.get_or_create(&outcome));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("text");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .map(str::to_owned)
            .collect()
    }

    /// The names of ours that a text has.
    fn named(text: &str) -> BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("cmms_export_"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_alerting_rules_and_the_dashboard_name_series_that_there_are() {
        let series = series();
        let rules = named(include_str!("../../../../packaging/monitoring/alerts.yml"));
        let dashboard = include_str!("../../../../packaging/monitoring/dashboard.json");
        let _: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
        let dashboard = named(dashboard);
        for name in rules.iter().chain(&dashboard) {
            assert!(series.contains(name), "{name} is none of {series:#?}");
        }
        // And every metric has its place in the dashboard.
        let base = |name: &String| {
            let suffix = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            suffix.unwrap_or(name).to_owned()
        };
        let shown: BTreeSet<String> = dashboard.iter().map(base).collect();
        let all: BTreeSet<String> = series.iter().map(base).collect();
        let missing: Vec<_> = all.difference(&shown).collect();
        assert_eq!(
            missing,
            ["cmms_export_build_info", "cmms_export_server_in_recovery"]
        );
    }

    #[test]
    fn what_has_not_happened_yet_is_shown_as_zero() {
        let metrics = Metrics::new(&Application::named("cmms-export"));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("text");
        for line in [
            r#"cmms_export_exports_total{strategy="lookup",outcome="failed"} 0"#,
            r#"cmms_export_exports_total{strategy="lookup",outcome="client_error"} 0"#,
            r#"cmms_export_requests_rejected_total{reason="busy"} 0"#,
            r#"cmms_export_spool_fallbacks_total{reason="full"} 0"#,
            r#"cmms_export_replica_fallbacks_total{reason="lag"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
