//! Every strategy × every moment × every fault: no clean end, a manifest that says what happened, nothing leaked, and the next
//! export whole.

use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use cmms_export::datasets;
use cmms_export::export::Strategy;
use cmms_export::export::dataset::Dataset;
use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use crate::support::client::{
    Download, End, download, download_of, download_when_free, reset, send,
};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::program;
use crate::support::replicated::Replicated;
use crate::support::{Server, eventually};

/// When a fault strikes: before the first row, in the middle, on the last but one. (`lookup` reads the very first and last ids
/// beforehand.)
const MOMENTS: [u64; 3] = [1, ROWS / 2, ROWS - 1];

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
        Strategy::all()
            .iter()
            .flat_map(move |&strategy| Self::of(gated, strategy, flags))
    }

    fn of(
        gated: &'a Gated,
        strategy: Strategy,
        flags: &'a [&'a str],
    ) -> impl Iterator<Item = Self> {
        let csv = MOMENTS
            .into_iter()
            .map(move |row| Self::at(gated, strategy, row, flags));
        // Nothing of a workbook is sent before it is whole: one moment is as good as another, and the last has the most behind it.
        let workbook = std::iter::once_with(move || Self {
            extension: "xlsx",
            ..Self::at(gated, strategy, ROWS - 1, flags)
        });
        csv.chain(workbook)
    }

    fn at(gated: &'a Gated, strategy: Strategy, row: u64, flags: &[&str]) -> Self {
        // One export at a time: what leaks is missed by the next one.
        let mut command = program(&gated.url);
        command.args(["serve", "--max-exports=1"]).args(flags);
        if flags == PANIC {
            // Before the first byte is before any row is made.
            command.env(
                "CMMS_PANIC_AT_ROW",
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
            extension: "csv",
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

    /// Starts the download, lets `strike` do its worst when the export is where it is to strike, and demands the right end.
    fn strikes(&self, strike: impl FnOnce(), status: u16, error: &str) {
        let stream = self.send();
        strike();
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

    /// Demands that nothing is left of the export, and that the next one is whole.
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

#[test]
fn a_terminated_backend_breaks_the_export_off() {
    let gated = Gated::new();
    for case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        case.strikes(|| gate.terminate(), 503, "database-unavailable");
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_terminated_backend_breaks_the_export_of_every_other_dataset_off() {
    let others = datasets::all().filter(|dataset| *dataset != datasets::default());
    for dataset in others.map(Dataset::name) {
        let gated = Gated::of(dataset);
        let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
        let address = &server.address;
        for strategy in Strategy::all() {
            let name = strategy.name();
            let path = format!("/{dataset}.csv?strategy={name}&export_id={name}");
            let mut gate = Gate::close(&gated, ROWS / 2);
            let stream = send(address, "GET", &path, &[("Host", address)]);
            gate.terminate();
            let download = Download::read(stream);
            if strategy.is_buffered() {
                assert_eq!(download.status, 503, "{dataset} {name}");
            } else {
                assert_eq!(download.status, 200, "{dataset} {name}");
                assert_eq!(download.finish().1, End::Broken, "{dataset} {name}");
            }
            let manifest = server.ended(name);
            assert_eq!(manifest["state"], "failed", "{dataset} {name}");
            assert_eq!(
                manifest["error"], "database-unavailable",
                "{dataset} {name}"
            );
            assert_eq!(manifest["dataset"], dataset, "{dataset} {name}");
            drop(gate);
            // The only place is free again.
            let next = download_of(address, dataset, &format!("strategy={name}"));
            assert_eq!(lines(&next), 1 + ROWS, "{dataset} {name}");
        }
    }
}

#[test]
fn a_statement_timeout_breaks_the_export_off() {
    let gated = Gated::new();
    for case in Case::all(&gated, &["--statement-timeout=0.5"]) {
        let gate = Gate::close(&gated, case.row);
        case.strikes(|| (), 504, "statement-timeout");
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_statement_timeout_is_known_whatever_language_the_server_speaks() {
    let replicated = Replicated::start_new("lc_messages=C.UTF-8");
    let gated = Gated::install(replicated.database());
    let refused = gated.database.connect().batch_execute("select 1 / 0");
    let message = refused.expect_err("it cannot be").to_string();
    assert!(
        !message.contains("division by zero"),
        "this needs PostgreSQL's translations, which its packages bring along: {message}"
    );
    for &strategy in Strategy::all() {
        for case in Case::of(&gated, strategy, &["--statement-timeout=0.5"]) {
            let gate = Gate::close(&gated, case.row);
            case.strikes(|| (), 504, "statement-timeout");
            drop(gate);
            case.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_killed_and_restarted_postgresql_breaks_the_export_off() {
    for &strategy in Strategy::all() {
        // A new cluster for each: after every crash, the private cluster takes longer to dare another start.
        let gated = Gated::alone();
        for case in Case::of(&gated, strategy, &[]) {
            let mut gate = Gate::close(&gated, case.row);
            let kill = || {
                gate.reached();
                gated.database.kill_server();
            };
            case.strikes(kill, 503, "database-unavailable");
            drop(gate);
            case.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_server_that_stops_answering_breaks_the_exports_off_and_frees_their_places() {
    let gated = Gated::alone();
    let strategies = Strategy::all();
    // A CSV and a workbook by each.
    let places = 2 * strategies.len();
    let exports = || {
        let each = strategies.iter();
        each.flat_map(|strategy| [(*strategy, "csv"), (*strategy, "xlsx")])
    };
    let server =
        Server::spawn(program(&gated.url).args(["serve", &format!("--max-exports={places}")]));
    let address = &server.address;
    let start = |(strategy, extension): (Strategy, &str), when: &str| {
        let name = strategy.name();
        let path = format!("/tasks.{extension}?strategy={name}&export_id={name}-{extension}{when}");
        send(address, "GET", &path, &[("Host", address)])
    };
    // A connection that lies idle in each pool: it is tried before it is used.
    for strategy in ["streamed", "copy"] {
        download(address, &format!("strategy={strategy}"));
    }
    let mut gate = Gate::close(&gated, ROWS / 2);
    let running: Vec<_> = exports().map(|export| start(export, "")).collect();
    gate.reached_by(places);
    let frozen = gated.database.freeze_server();
    let since = Instant::now();
    for ((strategy, extension), stream) in exports().zip(running) {
        let name = format!("{}-{extension}", strategy.name());
        let download = Download::read(stream);
        if strategy.is_buffered() || extension == "xlsx" {
            assert_eq!(download.status, 503, "{name}");
        } else {
            assert_eq!(download.status, 200, "{name}");
            assert_eq!(download.finish().1, End::Broken, "{name}");
        }
        let manifest = server.ended(&name);
        assert_eq!(manifest["state"], "failed", "{name}: {manifest}");
        assert_eq!(
            manifest["error"], "database-unavailable",
            "{name}: {manifest}"
        );
    }
    let elapsed = since.elapsed();
    println!("all were broken off after {elapsed:?}");
    assert!(elapsed < Duration::from_secs(15), "{elapsed:?}");
    assert_eq!(server.metric("cmms_export_exports_in_flight "), 0.0);
    // All places are free while the server still says nothing; a busy service would keep no record of these.
    let waiting: Vec<_> = exports()
        .map(|export| start(export, "-meanwhile"))
        .collect();
    for ((strategy, extension), stream) in exports().zip(waiting) {
        let name = format!("{}-{extension}", strategy.name());
        assert_eq!(Download::read(stream).status, 503, "{name}");
        let manifest = server.ended(&format!("{name}-meanwhile"));
        assert_eq!(
            manifest["error"], "database-unavailable",
            "{name}: {manifest}"
        );
    }
    drop(frozen);
    drop(gate);
    eventually("the queries are gone", || {
        gate::running_queries(&gated.database) == 0
    });
    for strategy in strategies {
        let name = strategy.name();
        eventually("an export is made again", || {
            Download::start(address, &format!("/tasks.csv?strategy={name}")).status == 200
        });
        let csv = download(address, &format!("strategy={name}"));
        assert_eq!(lines(&csv), ROWS + 1, "{name}");
    }
}

#[test]
fn a_panic_breaks_the_export_off() {
    if !cfg!(feature = "fault-injection") {
        panic!(
            "run `make test`, or `cargo test --features fault-injection`: only then the program can be made to panic"
        );
    }
    let gated = Gated::new();
    for case in Case::all(&gated, PANIC) {
        // The rows of the buffered strategies, too, are encoded, and sent, one after the other.
        let early = case.row == 1;
        let nothing_sent = early || case.extension == "xlsx";
        let download = Download::start(&case.server.address, &case.path());
        if nothing_sent {
            assert_eq!(download.status, 500, "{}", case.name());
        } else {
            assert_eq!(download.status, 200, "{}", case.name());
            assert_eq!(download.finish().1, End::Broken, "{}", case.name());
        }
        case.is_recorded("failed", json!("internal"));
        // The next export would panic at the same row; one without rows is whole if the panic is not at 0.
        if !early {
            eventually("the permit is free", || {
                Download::start(&case.server.address, "/tasks.csv?location_id=-1").status == 200
            });
            assert_eq!(gate::running_queries(&gated.database), 0, "{}", case.name());
        }
    }
}

#[test]
fn a_client_that_resets_the_connection_takes_its_query_with_it() {
    let gated = Gated::new();
    for case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        let stream = case.send();
        gate.reached();
        let gone = Instant::now();
        reset(stream);
        case.is_cancelled(gone);
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_client_that_closes_its_connection_or_its_side_of_it_takes_its_query_with_it() {
    let gated = Gated::new();
    for &strategy in Strategy::all() {
        for half in [false, true] {
            // Before the first row, when nothing was sent that could come back.
            let case = Case::at(&gated, strategy, 1, &[]);
            let mut gate = Gate::close(&gated, case.row);
            let stream = case.send();
            gate.reached();
            let gone = Instant::now();
            let kept = if half {
                stream.shutdown(Shutdown::Write).expect("ours");
                Some(stream)
            } else {
                drop(stream);
                None
            };
            case.is_cancelled(gone);
            drop(kept);
            drop(gate);
            case.leaves_nothing_behind();
        }
    }
}

#[test]
fn a_client_that_stalls_is_cut_off() {
    // More than all buffers between the export and a client that takes nothing can hold.
    let database = crate::support::data::wide(200_000);
    for strategy in Strategy::all() {
        for (chunks, spool) in [(0, "0"), (20, "0"), (20, "1GiB")] {
            let server = Server::spawn(program(&database.url).args([
                "serve",
                "--max-exports=1",
                "--reader-timeout=0.5",
                "--spool-size",
                spool,
            ]));
            let path = format!("/tasks.csv?strategy={}&export_id=faulty", strategy.name());
            let stream = send(&server.address, "GET", &path, &[("Host", &server.address)]);
            let mut download = None;
            if chunks > 0 {
                let download = download.insert(Download::read(stream.try_clone().expect("ours")));
                for _ in 0..chunks {
                    download.chunk().expect("a chunk").expect("not the last");
                }
            }
            let manifest = server.ended("faulty");
            assert_eq!(
                manifest["state"],
                "failed",
                "{}: {manifest}",
                strategy.name()
            );
            assert_eq!(
                manifest["error"],
                "reader-timeout",
                "{}: {manifest}",
                strategy.name()
            );
            eventually("the query is gone", || {
                gate::running_queries(&database) == 0
            });
            // What it reads now, at last, does not look whole.
            let download = download.map(|download| download.finish().1);
            assert_ne!(download, Some(End::Clean), "{}", strategy.name());
            eventually("the permit is free", || {
                Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
            });
        }
    }
}

#[test]
fn a_delete_stops_an_export_down_to_its_query() {
    let gated = Gated::new();
    for case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        let stream = case.send();
        gate.reached();
        let stopped = Instant::now();
        let deleted = ureq::delete(case.server.url("/api/exports/faulty"))
            .call()
            .expect("known");
        assert_eq!(deleted.status(), 204, "{}", case.name());
        case.is_cancelled(stopped);
        drop(stream);
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_fault_after_a_part_was_spooled_breaks_the_download_off_at_once() {
    const MANY: u64 = 10 * ROWS;
    let gated = Gated::new();
    let sql = format!(
        "insert into tasks select n, lpad(n::text, 100, 'title '), '', true, 1, 1, null from generate_series({ROWS} + 1, {MANY}) n"
    );
    let mut connection = gated.database.connect();
    for sql in [&sql, "vacuum analyze"] {
        connection.batch_execute(sql).expect("ours");
    }
    for strategy in Strategy::unbuffered() {
        for deleted in [false, true] {
            let name = strategy.name();
            let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
            let mut gate = Gate::close(&gated, MANY - 1);
            let path = format!("/tasks.csv?strategy={name}&export_id=faulty");
            let mut download = Download::start(&server.address, &path);
            download.chunk().expect("a chunk").expect("not the last");
            gate.reached();
            eventually("a part is spooled", || {
                server.metric("cmms_export_spool_used_bytes ") > 0.0
            });
            let expected = if deleted {
                ureq::delete(server.url("/api/exports/faulty"))
                    .call()
                    .expect("known");
                (json!("cancelled"), Value::Null)
            } else {
                gate.terminate();
                (json!("failed"), json!("database-unavailable"))
            };
            eventually("the query is gone", || {
                gate::running_queries(&gated.database) == 0
            });
            let (csv, end) = download.finish();
            assert_eq!(end, End::Broken, "{name}");
            assert!(lines(&csv) < MANY, "{name}");
            let manifest = server.ended("faulty");
            let told = (manifest["state"].clone(), manifest["error"].clone());
            assert_eq!(told, expected, "{name}: {manifest}");
            assert_eq!(manifest["sha256"], Value::Null, "{name}");
            eventually("its space is free", || {
                server.metric("cmms_export_spool_used_bytes ") == 0.0
            });
            drop(gate);
            let next = download_when_free(&server.address, &format!("strategy={name}"));
            assert_eq!(lines(&next), MANY + 1, "{name}");
        }
    }
}

#[test]
fn before_the_first_byte_a_delete_is_answered_and_the_id_is_free_again() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let mut gate = Gate::close(&gated, 1);
    let path = "/tasks.csv?export_id=again";
    let stream = send(&server.address, "GET", path, &[("Host", &server.address)]);
    gate.reached();
    assert_eq!(
        ureq::delete(server.url("/api/exports/again"))
            .call()
            .expect("known")
            .status(),
        204
    );
    let stopped = Download::read(stream);
    assert_eq!(
        (stopped.status, stopped.header("x-export-id")),
        (409, Some("again"))
    );
    assert_eq!(
        stopped.json()["type"],
        "urn:cmms-export:problem:export-cancelled"
    );
    drop(gate);
    eventually("the query is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    assert_eq!(Download::start(&server.address, path).status, 200);
}
