//! The fault matrix of exports that are prepared for later: every strategy × every fault, CSV and workbooks, at the moments that
//! `moments::of_all` names: each pair of strategy, moment and format. No file, a manifest that says what happened, nothing leaked, and the next export whole.

use std::io::Cursor;

use calamine::{Reader, Xlsx};
use diesel_export::Strategy;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::moments::{self, MOMENTS};
use crate::support::client::Download;
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::prepared::{
    by, delete, get, has_failed, leaves_only_its_label, order, prepare, serve_from,
};
use crate::support::program::program;
use crate::support::{Server, eventually};

/// One fault, one time.
struct Case<'a> {
    gated: &'a Gated,
    spool: tempfile::TempDir,
    server: Server,
    strategy: &'static str,
    /// Its file's format.
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
        let spool = tempfile::tempdir().expect("a directory");
        // One export at a time: what leaks is missed by the next one.
        let flags = [&["--max-exports=1"], flags].concat();
        Self {
            gated,
            server: serve_from(&gated.url, spool.path(), &flags),
            spool,
            strategy: strategy.name(),
            extension,
            row,
        }
    }

    fn name(&self) -> String {
        let (strategy, extension) = (self.strategy, self.extension);
        format!("{extension} by {strategy} at row {}", self.row)
    }

    fn export(&self) -> Value {
        json!({"strategy": self.strategy, "format": self.extension})
    }

    fn order(&self) -> String {
        order(&self.server, &self.export())
    }

    /// Demands that an export has ended so, and has no file.
    fn has_ended(&self, id: &str, state: &str, error: Value) {
        let manifest = self.server.ended(id);
        let told = (&manifest["state"], &manifest["error"]);
        assert_eq!(told, (&json!(state), &error), "{}: {manifest}", self.name());
        for nothing in ["sha256", "file"] {
            assert_eq!(
                manifest[nothing],
                Value::Null,
                "{}: {manifest}",
                self.name()
            );
        }
        leaves_only_its_label(self.spool.path(), id);
        let path = format!("/exports/{id}/tasks.{}", self.extension);
        assert_eq!(get(&self.server, &path, &[]).status, 404, "{}", self.name());
    }

    /// Demands that nothing is left of an export, and that the next one is complete.
    fn leaves_nothing_behind(&self) {
        eventually("the query is gone", || {
            gate::running_queries(&self.gated.database) == 0
        });
        let used = "cmms_export_spool_used_bytes ";
        eventually("its space is free", || self.server.metric(used) == 0.0);
        let (id, file) = prepare(&self.server, &self.export());
        let file = get(&self.server, &file, &[]).body;
        assert_eq!(lines(self.extension, file), ROWS + 1, "{}", self.name());
        assert_eq!(self.server.manifest(&id)["rows"], ROWS, "{}", self.name());
        let in_flight = "cmms_export_exports_in_flight ";
        eventually("no export is in flight", || {
            self.server.metric(in_flight) == 0.0
        });
    }
}

/// The header and the rows of a file that must be complete.
fn lines(extension: &str, file: Vec<u8>) -> u64 {
    if extension == "csv" {
        return file.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(file)).expect("whole");
    let sheet = workbook.worksheet_range_at(0).expect("a sheet");
    sheet.expect("whole").height() as u64
}

#[test]
fn a_terminated_backend_fails_the_prepared_export() {
    let gated = Gated::new();
    for case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        let id = case.order();
        gate.terminate();
        case.has_ended(&id, "failed", json!("database-unavailable"));
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_statement_timeout_fails_the_prepared_export() {
    let gated = Gated::new();
    for moment in MOMENTS {
        let cases = Case::of_moment(&gated, moment, &["--statement-timeout=1"]);
        let gate = Gate::close(&gated, moment.1);
        let ids: Vec<_> = cases.iter().map(Case::order).collect();
        for (case, id) in cases.iter().zip(&ids) {
            case.has_ended(id, "failed", json!("statement-timeout"));
        }
        drop(gate);
        cases.iter().for_each(Case::leaves_nothing_behind);
    }
}

#[test]
fn a_delete_stops_the_prepared_export_down_to_its_query() {
    let gated = Gated::new();
    for case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        let id = case.order();
        gate.reached();
        assert_eq!(delete(&case.server, &id), 204, "{}", case.name());
        case.has_ended(&id, "cancelled", Value::Null);
        eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_killed_and_restarted_postgresql_fails_the_prepared_export() {
    let gated = Gated::alone();
    let cases = Case::of_moment(&gated, ("csv", ROWS / 2), &[]);
    let mut gate = Gate::close(&gated, ROWS / 2);
    let ids: Vec<_> = cases.iter().map(Case::order).collect();
    gate.reached_by(cases.len());
    gated.database.kill_server();
    for (case, id) in cases.iter().zip(&ids) {
        case.has_ended(id, "failed", json!("database-unavailable"));
    }
    drop(gate);
    cases.iter().for_each(Case::leaves_nothing_behind);
}

#[test]
fn kill_9_interrupts_the_prepared_export() {
    let gated = Gated::new();
    for mut case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        let id = case.order();
        gate.reached();
        case.server.signal(Signal::SIGKILL);
        case.server.wait();
        case.server = serve_from(&gated.url, case.spool.path(), &["--max-exports=1"]);
        case.has_ended(&id, "failed", json!("interrupted"));
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_panic_fails_the_prepared_export() {
    if !cfg!(feature = "fault-injection") {
        panic!(
            "run `make test`, or `cargo test --features fault-injection`: only then the program can be made to panic"
        );
    }
    let gated = Gated::new();
    let middle = (ROWS / 2).to_string();
    for &strategy in Strategy::all() {
        // Before the first byte, and in the middle.
        for (row, extension) in [("0", "csv"), (&middle, "csv"), (&middle, "xlsx")] {
            let spool = tempfile::tempdir().expect("a directory");
            let mut command = program(&gated.url);
            command
                .args(["serve", "--max-exports=1", "--spool-dir"])
                .arg(spool.path());
            let server = Server::spawn(command.env("FAULT_PANIC_AT_ROW", row));
            let export = json!({"strategy": strategy.name(), "format": extension});
            let id = order(&server, &export);
            let manifest = server.ended(&id);
            has_failed(&manifest, "internal");
            leaves_only_its_label(spool.path(), &id);
            let used = "cmms_export_spool_used_bytes ";
            eventually("its space is free", || server.metric(used) == 0.0);
            // The next one with as many rows would panic, too.
            if row != "0" {
                prepare(
                    &server,
                    &json!({"location_id": -1, "strategy": strategy.name()}),
                );
            }
        }
    }
}

/// While the server says nothing, it does not notice a cancellation either.
#[test]
fn an_export_that_is_cancelled_while_its_server_does_not_answer_gives_its_permit_back() {
    let gated = Gated::alone();
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    for is_prepared in [true, false] {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let download = (!is_prepared)
            .then(|| Download::start(&server.address, "/tasks.csv?strategy=copy&export_id=left"));
        let stuck = if is_prepared {
            order(&server, &by("copy"))
        } else {
            "left".to_owned()
        };
        gate.reached();
        let frozen = gated.database.freeze_server();
        match download {
            Some(download) => drop(download),
            None => {
                let deleted = ureq::delete(server.url(&format!("/api/exports/{stuck}"))).call();
                assert!(deleted.is_ok(), "{deleted:?}");
            }
        }
        assert_eq!(server.ended(&stuck)["state"], "cancelled");
        // The only permit is there for the next one, which finds the server silent itself.
        eventually("another export begins", || {
            let next = Download::start(&server.address, "/tasks.csv?strategy=copy");
            let problem = String::from_utf8_lossy(&next.whole()).into_owned();
            problem.contains("database-unavailable")
        });
        drop(frozen);
        drop(gate);
        eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
    }
}

#[test]
fn a_server_that_stops_answering_fails_the_prepared_export_and_frees_its_place() {
    let gated = Gated::alone();
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    let mut gate = Gate::close(&gated, ROWS / 2);
    let stuck = order(&server, &by("copy"));
    gate.reached();
    let next = order(&server, &by("copy"));
    eventually("its file takes space", || {
        server.metric("cmms_export_spool_used_bytes ") > 0.0
    });
    let frozen = gated.database.freeze_server();
    for id in [&stuck, &next] {
        let manifest = server.ended(id);
        has_failed(&manifest, "database-unavailable");
    }
    let used = "cmms_export_spool_used_bytes ";
    eventually("its space is free", || server.metric(used) == 0.0);
    drop(frozen);
    drop(gate);
    eventually("the query is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    leaves_only_its_label(spool.path(), &stuck);
    prepare(&server, &by("copy"));
}
