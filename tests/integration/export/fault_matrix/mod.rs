//! Every strategy × every fault: no clean end, a manifest that says what happened, nothing leaked, and the next export whole. Faults that
//! strike many exports together, a statement timeout and a killed PostgreSQL, meet every strategy at every moment. The others, a
//! terminated backend, a reset, a DELETE and a panic, meet what `moments::of_all` names: each pair of strategy, moment and format.

mod client;
mod database;
mod program;
mod spooled;

use std::net::TcpStream;
use std::time::Instant;

use diesel_export::Strategy;
use serde_json::{Value, json};

use crate::export::moments;
use crate::support::client::{Download, End, download, send};
use crate::support::gate::{self, Gated, ROWS};
use crate::support::program::program;
use crate::support::{Server, eventually};

/// One fault, one time.
struct Case<'a> {
    gated: &'a Gated,
    server: Server,
    strategy: Strategy,
    /// What the file's name ends in.
    extension: &'static str,
    row: u64,
}

impl<'a> Case<'a> {
    fn all(gated: &'a Gated, flags: &'a [&'a str]) -> impl Iterator<Item = Self> {
        moments::of_all().map(|(strategy, moment)| Self::at(gated, strategy, moment, flags))
    }

    /// Those of one moment, which one fault strikes together: each strategy's, on a service of its own.
    fn of_moment(gated: &'a Gated, moment: (&'static str, u64), flags: &[&str]) -> Vec<Self> {
        let strategies = Strategy::all().iter();
        let cases = strategies.map(|&strategy| Self::at(gated, strategy, moment, flags));
        cases.collect()
    }

    fn at(
        gated: &'a Gated,
        strategy: Strategy,
        (extension, row): (&'static str, u64),
        flags: &[&str],
    ) -> Self {
        // One export at a time: if it leaks its place, the next one fails.
        let mut command = program(&gated.url);
        command.args(["serve", "--max-exports=1"]).args(flags);
        if flags == PANIC {
            // Before the first byte is before any row is made.
            command.env(
                "FAULT_PANIC_AT_ROW",
                if row == 1 {
                    "0".to_owned()
                } else {
                    row.to_string()
                },
            );
        }
        Self {
            gated,
            server: Server::spawn(&mut command),
            strategy,
            extension,
            row,
        }
    }

    fn path(&self) -> String {
        format!(
            "/tasks.{}?strategy={}&export_id=faulty",
            self.extension,
            self.strategy.name()
        )
    }

    fn name(&self) -> String {
        let (strategy, extension) = (self.strategy.name(), self.extension);
        format!("{extension} by {strategy} at row {}", self.row)
    }

    /// Whether nothing can have been sent when the fault strikes.
    fn is_early(&self) -> bool {
        self.row == 1 || self.strategy.is_buffered() || self.extension == "xlsx"
    }

    fn send(&self) -> TcpStream {
        let address = &self.server.address;
        send(address, "GET", &self.path(), &[("Host", address)])
    }

    /// Waits until the query of an export that was given up is gone, and demands that the export counts as cancelled.
    fn is_cancelled(&self, since: Instant) {
        eventually("the query is gone", || {
            gate::running_queries(&self.gated.database) == 0
        });
        println!(
            "{}: the query was gone after {:?}",
            self.name(),
            since.elapsed()
        );
        self.is_recorded("cancelled", Value::Null);
    }

    /// Starts the download, calls `strike`, and demands the right end.
    fn strikes(&self, strike: impl FnOnce(), status: u16, error: &str) {
        let stream = self.send();
        strike();
        self.breaks_off(stream, status, error);
    }

    /// Starts the downloads of one moment, calls `strike`, and demands the right end of each.
    fn strikes_all(cases: &[Self], strike: impl FnOnce(), status: u16, error: &str) {
        let streams: Vec<_> = cases.iter().map(Self::send).collect();
        strike();
        for (case, stream) in cases.iter().zip(streams) {
            case.breaks_off(stream, status, error);
        }
    }

    /// Demands the right end of a download that has been struck.
    fn breaks_off(&self, stream: TcpStream, status: u16, error: &str) {
        let download = Download::read(stream);
        if self.is_early() {
            assert_eq!(download.status, status, "{}", self.name());
            assert_eq!(
                download.header("content-type"),
                Some("application/problem+json"),
                "{}",
                self.name()
            );
        } else {
            assert_eq!(download.status, 200, "{}", self.name());
            let (body, end) = download.finish();
            assert_eq!(end, End::Broken, "{}", self.name());
            assert!(lines(&body) <= ROWS, "{}", self.name());
        }
        self.is_recorded("failed", json!(error));
    }

    fn is_recorded(&self, state: &str, error: Value) {
        let manifest = self.server.ended("faulty");
        assert_eq!(manifest["state"], state, "{}: {manifest}", self.name());
        assert_eq!(manifest["error"], error, "{}: {manifest}", self.name());
        assert_eq!(
            manifest["sha256"],
            Value::Null,
            "{}: {manifest}",
            self.name()
        );
    }

    /// Demands that nothing is left of the export, and that the next one is complete.
    fn leaves_nothing_behind(&self) {
        eventually("the query is gone", || {
            gate::running_queries(&self.gated.database) == 0
        });
        eventually("the permit is free", || {
            let probe = Download::start(&self.server.address, "/tasks.csv?location_id=-1");
            probe.status == 200
        });
        eventually("no export is in flight", || {
            self.server.metric("cmms_export_exports_in_flight ") == 0.0
        });
        let csv = download(
            &self.server.address,
            &format!("strategy={}&export_id=next", self.strategy.name()),
        );
        assert_eq!(lines(&csv), ROWS + 1, "{}", self.name());
        let manifest = self.server.ended("next");
        assert_eq!(
            (&manifest["state"], &manifest["rows"]),
            (&json!("complete"), &json!(ROWS)),
            "{}",
            self.name()
        );
    }
}

const PANIC: &[&str] = &["--log=info"];

fn lines(csv: &[u8]) -> u64 {
    csv.iter().filter(|byte| **byte == b'\n').count() as u64
}
