//! What the process takes of its system, under the names that
//! [all programs](https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics) have for it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use diesel_export::memory::resident_bytes;

/// This process.
#[derive(Debug)]
pub(crate) struct Process {
    started: SystemTime,
}

impl Process {
    /// This process, which starts about now.
    pub(crate) fn new() -> Self {
        Self {
            started: SystemTime::now(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut gauge = |name, help, unit: Option<&Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        let started = self.started.duration_since(UNIX_EPOCH);
        gauge(
            "process_start_time",
            "Start time of the process since the Unix epoch",
            Some(&Unit::Seconds),
            started.unwrap_or_default().as_secs_f64(),
        )?;
        gauge(
            "process_resident_memory",
            "Resident memory",
            Some(&Unit::Bytes),
            resident_bytes() as f64,
        )?;
        // Without the one that counts them.
        if let Ok(open) = std::fs::read_dir("/dev/fd") {
            let open = open.count().saturating_sub(1);
            gauge(
                "process_open_fds",
                "Open file descriptors",
                None,
                open as f64,
            )?;
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            gauge(
                "process_max_fds",
                "Maximum number of open file descriptors",
                None,
                soft as f64,
            )?;
        }
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            let cpu = ConstCounter::new(seconds(usage.user_time()) + seconds(usage.system_time()));
            let help = "Processor time, of user and system";
            let kind = cpu.metric_type();
            let unit = Some(&Unit::Seconds);
            cpu.encode(encoder.encode_descriptor("process_cpu", help, unit, kind)?)?;
        }
        Ok(())
    }
}
