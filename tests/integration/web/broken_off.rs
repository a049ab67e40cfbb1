//! How a connection ends on the wire: with a reset if its file is not complete, whatever breaks it off, and in good order if it is.

use std::io::{ErrorKind, Read};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::client::{Download, start_when_free};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::prepared::{by, prepare};
use crate::support::program::program;
use crate::support::{Server, data, eventually};

/// Tells a connection that was reset from one that was closed.
const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);

/// Reads what is left of a connection; the error at its end.
fn end(download: Download) -> Option<ErrorKind> {
    let mut rest = Vec::new();
    let read = download.into_stream().read_to_end(&mut rest);
    read.err().map(|error| error.kind())
}

/// An export that waits in its middle, when a part of it has been sent. Its client has taken all of that.
fn halfway(command: &mut Command, gated: &Gated, strategy: &str) -> (Server, Gate, Download) {
    let mut gate = Gate::close(gated, ROWS / 2);
    let server = Server::spawn(command.arg("serve"));
    let path = format!("/tasks.csv?strategy={strategy}&export_id=faulty");
    let mut download = Download::start(&server.address, &path);
    assert_eq!(download.status, 200);
    download.chunk().expect("a chunk").expect("not the last");
    gate.reached();
    (server, gate, download)
}

#[test]
fn a_body_that_fails_is_reset() {
    let gated = Gated::new();
    for strategy in ["streamed", "copy", "lookup"] {
        let (_server, mut gate, download) = halfway(&mut program(&gated.url), &gated, strategy);
        gate.terminate();
        assert_eq!(end(download), RESET, "{strategy}");
    }
}

#[test]
fn a_panic_is_a_reset() {
    if !cfg!(feature = "fault-injection") {
        panic!("run `make test`, or `cargo test --features fault-injection`");
    }
    let gated = Gated::new();
    let mut command = program(&gated.url);
    command.env("CMMS_PANIC_AT_ROW", (ROWS / 2).to_string());
    let server = Server::spawn(command.arg("serve"));
    let download = Download::start(&server.address, "/tasks.csv?strategy=copy");
    assert_eq!(download.status, 200);
    assert_eq!(end(download), RESET);
}

#[test]
fn a_delete_is_a_reset() {
    let gated = Gated::new();
    let (server, _gate, download) = halfway(&mut program(&gated.url), &gated, "copy");
    ureq::delete(server.url("/api/exports/faulty"))
        .call()
        .expect("known");
    assert_eq!(end(download), RESET);
}

#[test]
fn the_end_of_the_service_is_a_reset_also_if_it_is_killed() {
    let gated = Gated::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut command = program(&gated.url);
        command.env("CMMS_SHUTDOWN_TIMEOUT", "1");
        let (mut server, gate, download) = halfway(&mut command, &gated, "copy");
        server.signal(signal);
        assert_eq!(end(download), RESET, "{signal}");
        server.wait();
        drop(gate);
        eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
    }
}

#[test]
fn a_client_that_takes_nothing_is_reset_by_the_time_limit_and_by_a_delete() {
    // More than all buffers between the server and the client hold.
    let database = data::wide(100_000);
    let serve = |reader_timeout| {
        let mut command = program(&database.url);
        command.args(["serve", "--max-downloads=1", "--reader-timeout"]);
        Server::spawn(command.arg(reader_timeout))
    };
    let server = serve("0.5");
    let start = |server: &Server, whole: &str| {
        start_when_free(&server.address, &format!("whole={whole}&export_id={whole}"))
    };
    for whole in ["false", "true"] {
        let stalled = start(&server, whole);
        assert_eq!(server.ended(whole)["error"], "reader-timeout", "{whole}");
        assert_eq!(end(stalled), RESET, "{whole}");
    }
    eventually("the place is free", || {
        Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
    });
    let (_, file) = prepare(&server, &by("copy"));
    let stalled = Download::start(&server.address, &file);
    assert_eq!(stalled.status, 200);
    eventually("its place is free", || {
        Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
    });
    assert_eq!(end(stalled), RESET);

    let server = serve("600");
    for whole in ["false", "true"] {
        let stalled = start(&server, whole);
        eventually("all of it waits for its reader", || {
            server.manifest(whole)["loaded_seconds"].is_f64()
        });
        ureq::delete(server.url(&format!("/api/exports/{whole}")))
            .call()
            .expect("known");
        assert_eq!(end(stalled), RESET, "{whole}");
    }
}

#[test]
fn what_is_complete_is_never_reset_even_if_its_client_reads_after_it_has_ended() {
    // Less than the buffers between the server and the client hold.
    let database = data::wide(2_000);
    let server = Server::start(&database.url);
    let (_, prepared) = prepare(&server, &json!({}));
    for path in [
        "/tasks.csv?",
        "/tasks.csv?whole=true",
        "/tasks.xlsx?",
        &prepared,
    ] {
        for attempt in 0..20 {
            let id = format!("{}-{attempt}", path.len());
            let is_prepared = path == prepared;
            let path = if is_prepared {
                path.to_owned()
            } else {
                format!("{path}&export_id={id}")
            };
            let download = Download::start(&server.address, &path);
            assert_eq!(download.status, 200, "{path}");
            if !is_prepared {
                assert_eq!(server.ended(&id)["state"], "complete", "{path}");
            }
            assert_eq!(end(download), None, "{path}");
        }
    }
}
