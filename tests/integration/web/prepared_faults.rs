//! Faults while an export is prepared, and while its file is read.

use std::io::Read;

use nix::sys::signal::Signal;
use serde_json::json;

use super::spool::serve_on_a_small_disk;
use crate::support::client::{Download, End, download, download_when_free};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::prepared::{
    by, complete, delete, files, get, has_failed, leaves_only_its_label, order, prepare, serve_from,
};
use crate::support::program::program;
use crate::support::{Server, data, eventually, oracle};

#[test]
fn what_is_prepared_survives_a_restart_with_the_same_tag_also_after_kill_9() {
    let database = data::wide(20_000);
    let expected = oracle::copy(&database, "true", ',');
    let spool = tempfile::tempdir().expect("a directory");
    let mut server = serve_from(&database.url, spool.path(), &[]);
    let (id, file) = prepare(&server, &by("copy"));
    let before = get(&server, &file, &[]);
    let manifest = server.manifest(&id);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        server.signal(signal);
        server.wait();
        server = serve_from(&database.url, spool.path(), &[]);
        assert_eq!(server.manifest(&id), manifest);
        let after = get(&server, &file, &[]);
        assert!(after.body == expected, "{signal}");
        for name in [
            "etag",
            "last-modified",
            "repr-digest",
            "content-disposition",
        ] {
            assert_eq!(after.header(name), before.header(name), "{name}");
        }
        assert_eq!(
            server.metric("cmms_export_spool_used_bytes "),
            expected.len() as f64
        );
    }
    assert_eq!(delete(&server, &id), 204);
    assert_eq!(files(spool.path()), Vec::<String>::new());
}

#[test]
fn kill_9_in_the_middle_of_preparing_leaves_a_failed_export_without_a_file() {
    let gated = Gated::new();
    let spool = tempfile::tempdir().expect("a directory");
    let mut gate = Gate::close(&gated, ROWS - 1);
    let mut server = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    let running = order(&server, &by("streamed"));
    let queued = order(&server, &by("copy"));
    gate.reached();
    assert!(files(spool.path()).contains(&format!("{running}.part")));
    server.signal(Signal::SIGKILL);
    server.wait();
    let server = serve_from(&gated.url, spool.path(), &[]);
    for id in [&running, &queued] {
        let manifest = server.manifest(id);
        has_failed(&manifest, "interrupted");
        assert!(
            manifest["file"].is_null() && manifest["sha256"].is_null(),
            "{manifest}"
        );
        leaves_only_its_label(spool.path(), id);
        assert_eq!(
            get(&server, &format!("/exports/{id}/tasks.csv"), &[]).status,
            404
        );
    }
    assert_eq!(server.metric("cmms_export_spool_used_bytes "), 0.0);
    drop(gate);
    prepare(&server, &by("copy"));
}

#[test]
fn kill_9_after_the_spool_was_removed_forgets_no_export_that_had_not_ended() {
    let gated = Gated::new();
    let spool = tempfile::tempdir().expect("a directory");
    let mut gate = Gate::close(&gated, 5);
    let mut server = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    let ids = [by("streamed"), by("copy")].map(|what| order(&server, &what));
    gate.reached();
    std::fs::remove_dir_all(spool.path()).expect("removed");
    eventually("their labels are there again", || {
        ids.iter().all(|id| {
            let label = spool.path().join(format!("cmms-exports/{id}.json"));
            label.exists()
        })
    });
    server.signal(Signal::SIGKILL);
    server.wait();
    let server = serve_from(&gated.url, spool.path(), &[]);
    for id in &ids {
        has_failed(&server.manifest(id), "interrupted");
    }
}

#[test]
fn kill_9_in_the_middle_of_publishing_leaves_a_whole_file_or_none() {
    if !cfg!(feature = "fault-injection") {
        panic!(
            "run `make test`, or `cargo test --features fault-injection`: only then the program can be stopped there"
        );
    }
    let database = data::wide(20_000);
    let expected = oracle::copy(&database, "true", ',');
    // Before the file has its name, before its label says that it is complete, and after.
    for (point, file, is_whole) in [
        ("written", "part", false),
        ("renamed", "export", false),
        ("labelled", "export", true),
    ] {
        let spool = tempfile::tempdir().expect("a directory");
        let mut command = program(&database.url);
        command.args(["serve", "--spool-dir"]).arg(spool.path());
        let mut server = Server::spawn(command.env("FAULT_HALT_AT", point));
        let id = order(&server, &by("copy"));
        let label = spool.path().join(format!("cmms-exports/{id}.json"));
        eventually("it is where it is to be killed", || {
            server.has_logged(&format!("halted at {point}"))
        });
        assert!(files(spool.path()).contains(&format!("{id}.{file}")));
        let label = std::fs::read_to_string(&label).expect("it is there");
        assert_eq!(label.contains("\"complete\""), is_whole, "{point}: {label}");
        assert_eq!(server.manifest(&id)["state"], "running", "{point}");
        server.signal(Signal::SIGKILL);
        server.wait();
        let server = serve_from(&database.url, spool.path(), &[]);
        if is_whole {
            let file = complete(&server, &id);
            assert!(get(&server, &file, &[]).body == expected, "{point}");
        } else {
            has_failed(&server.manifest(&id), "interrupted");
            leaves_only_its_label(spool.path(), &id);
            assert_eq!(server.metric("cmms_export_spool_used_bytes "), 0.0);
            let file = format!("/exports/{id}/tasks.csv");
            assert_eq!(get(&server, &file, &[]).status, 404, "{point}");
        }
    }
}

#[test]
fn a_download_goes_on_where_kill_9_broke_it_off() {
    let database = data::wide(100_000);
    let expected = oracle::copy(&database, "true", ',');
    let spool = tempfile::tempdir().expect("a directory");
    let mut server = serve_from(&database.url, spool.path(), &[]);
    let (_, file) = prepare(&server, &by("copy"));
    let half = expected.len() / 2;
    let range = format!("bytes=1000-{}", expected.len() - 1);
    let headers = [("Host", server.address.as_str()), ("Range", &range)];
    let reading = Download::request(&server.address, "GET", &file, &headers);
    let etag = reading.header("etag").expect("it is there").to_owned();
    let mut stream = reading.into_stream();
    let mut got = expected[..1000].to_vec();
    let mut part = vec![0; half - 1000];
    stream.read_exact(&mut part).expect("a part");
    got.extend(part);
    server.signal(Signal::SIGKILL);
    server.wait();
    let mut rest = Vec::new();
    // What was under way still comes; then the connection breaks.
    let _ = stream.read_to_end(&mut rest);
    got.extend(rest);
    assert!(got.len() < expected.len(), "it was broken off");
    let server = serve_from(&database.url, spool.path(), &[]);
    let range = format!("bytes={}-", got.len());
    let rest = get(&server, &file, &[("Range", &range), ("If-Range", &etag)]);
    assert_eq!(rest.status, 206);
    got.extend(rest.body);
    assert!(got == expected);
}

#[test]
fn sigterm_interrupts_what_is_prepared_and_lets_a_reader_finish() {
    let gated = Gated::new();
    let spool = tempfile::tempdir().expect("a directory");
    let mut server = serve_from(&gated.url, spool.path(), &["--max-exports=2"]);
    let (whole, _) = prepare(&server, &by("copy"));
    let mut gate = Gate::close(&gated, ROWS / 2);
    let running = order(&server, &by("copy"));
    gate.reached();
    let queued = order(&server, &by("copy"));
    let path = format!("/api/exports/{running}/events");
    let reading = Download::start(&server.address, &path);
    server.signal(Signal::SIGTERM);
    let (events, end) = reading.finish();
    assert_eq!(end, End::Clean);
    let events = String::from_utf8(events).expect("text");
    assert!(events.contains("\"error\":\"interrupted\""), "{events}");
    assert_eq!(server.wait().code(), Some(0));
    eventually("the query is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    drop(gate);
    assert!(
        files(spool.path())
            .iter()
            .all(|name| !name.ends_with(".part"))
    );
    let server = serve_from(&gated.url, spool.path(), &[]);
    for id in [&running, &queued] {
        let manifest = server.manifest(id);
        has_failed(&manifest, "interrupted");
    }
    complete(&server, &whole);
}

#[test]
fn sigterm_lets_the_reader_of_a_prepared_file_finish() {
    let database = data::wide(100_000);
    let expected = oracle::copy(&database, "true", ',');
    let mut server = Server::start(&database.url);
    let (_, file) = prepare(&server, &by("copy"));
    let headers = [("Host", server.address.as_str())];
    let reading = Download::request(&server.address, "GET", &file, &headers);
    server.signal(Signal::SIGTERM);
    eventually("no new connection is taken", || {
        std::net::TcpStream::connect(&server.address).is_err()
    });
    let mut body = Vec::new();
    reading.into_stream().read_to_end(&mut body).expect("whole");
    assert!(body == expected);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_killed_postgresql_fails_one_export_and_the_files_that_are_there_are_still_served() {
    let gated = Gated::alone();
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    let (_, file) = prepare(&server, &by("copy"));
    let mut gate = Gate::close(&gated, ROWS / 2);
    let id = order(&server, &by("copy"));
    gate.reached();
    gated.database.kill_server();
    let manifest = server.ended(&id);
    has_failed(&manifest, "database-unavailable");
    leaves_only_its_label(spool.path(), &id);
    drop(gate);
    assert_eq!(get(&server, &file, &[]).status, 200);
    let expected = download_when_free(&server.address, "strategy=copy");
    let (_, file) = prepare(&server, &by("copy"));
    assert!(get(&server, &file, &[]).body == expected);
}

#[test]
fn a_delete_stops_it_down_to_its_query() {
    let gated = Gated::new();
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    let mut gate = Gate::close(&gated, ROWS / 2);
    let id = order(&server, &by("streamed"));
    gate.reached();
    assert_eq!(delete(&server, &id), 204);
    let manifest = server.ended(&id);
    assert_eq!(manifest["state"], "cancelled", "{manifest}");
    eventually("the query is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    leaves_only_its_label(spool.path(), &id);
    drop(gate);
    prepare(&server, &by("copy"));
}

#[test]
fn a_full_disk_fails_one_export_as_disk_full_and_nothing_else() {
    let database = data::wide(100_000);
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_on_a_small_disk(&database, directory.path());
    let users = json!({"dataset": "users"});
    let (_, before) = prepare(&server, &users);
    let id = order(&server, &by("copy"));
    let manifest = server.ended(&id);
    has_failed(&manifest, "disk-full");
    assert!(
        manifest["file"].is_null() && manifest["sha256"].is_null(),
        "{manifest}"
    );
    eventually("its space is free", || {
        server.metric("cmms_export_spool_used_bytes ") < f64::from(1 << 20)
    });
    // What was there is there, what fits is made, and a download has no need of the disk.
    assert_eq!(get(&server, &before, &[]).status, 200);
    prepare(&server, &users);
    assert!(download(&server.address, "") == oracle::copy(&database, "true", ','));
    assert!(
        server
            .into_log()
            .contains("the spool's disk has less room than the spool may take")
    );
}

#[test]
fn an_export_larger_than_the_spool_fails_as_spool_full() {
    let database = data::wide(100_000);
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&database.url, spool.path(), &["--spool-size=4MiB"]);
    let id = order(&server, &by("lookup"));
    let manifest = server.ended(&id);
    has_failed(&manifest, "spool-full");
    for counted in [
        "cmms_export_exports_total{strategy=\"lookup\",outcome=\"rejected\"}",
        "cmms_export_requests_rejected_total{reason=\"spool\"}",
    ] {
        eventually(counted, || server.metric(counted) == 1.0);
    }
    leaves_only_its_label(spool.path(), &id);
    eventually("the query is gone", || {
        gate::running_queries(&database) == 0
    });
    eventually("its space is free", || {
        server.metric("cmms_export_spool_used_bytes ") == 0.0
    });
    prepare(&server, &json!({"location_id": -1}));
}
