//! Clients that go away, stall, or cancel the export.

use std::net::Shutdown;
use std::time::Instant;

use diesel_export::Strategy;

use crate::support::client::{Download, End, reset, send};
use crate::support::gate::{self, Gate, Gated};
use crate::support::program::program;
use crate::support::{Server, eventually};

use super::Case;

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
            let case = Case::at(&gated, strategy, ("csv", 1), &[]);
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
    for (nth, strategy) in Strategy::all().iter().enumerate() {
        // Before the first byte or later, with a spool or without: each pair of them, and each with each strategy.
        let spools = ["0", "1GiB"];
        for (chunks, spool) in [(0, spools[nth % 2]), (20, spools[(nth + 1) % 2])] {
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
            // What it reads now does not look complete.
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
