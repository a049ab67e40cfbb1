//! What is kept of prepared exports: for how long, how many, and what happens to the room for them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::client::{Download, End, download};
use crate::support::gate::{Gate, Gated};
use crate::support::prepared::{
    by, delete, files, get, has_failed, ids, listed, order, post, prepare, serve_from,
};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, data, eventually, oracle};

#[test]
fn a_prepared_export_stays_until_it_expires_or_is_deleted_and_what_has_no_room_is_refused() {
    let database = data::wide(50_000);
    let expected = oracle::copy(&database, "true", ',');
    let spool = tempfile::tempdir().expect("a directory");
    // Room for two, and a little that a third one cannot use.
    let size = format!("--spool-size={}", 2 * expected.len() + 10_000);
    let server = serve_from(&database.url, spool.path(), &[&size]);
    let prepared = [by("copy"), by("lookup")].map(|what| prepare(&server, &what));
    let refused = post(&server, "application/json", "{}", &[]);
    assert_eq!(refused.status, 507);
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:spool-full");
    assert!(refused.header("retry-after").is_some());
    let refusals = "cmms_export_requests_rejected_total{reason=\"spool\"}";
    assert_eq!(server.metric(refusals), 1.0);
    // A CSV needs no room, and its slow reader takes none.
    let mut slow = Download::start(&server.address, "/tasks.csv?export_id=slow&strategy=copy");
    let mut csv = slow.chunk().expect("a chunk").expect("not the last");
    eventually("it waits for its reader", || {
        server.metric("cmms_export_spool_fallbacks_total{reason=\"full\"}") == 1.0
    });
    let (rest, end) = slow.finish();
    csv.extend(rest);
    assert_eq!(end, End::Clean);
    assert!(csv == expected);
    for (_, file) in &prepared {
        assert!(get(&server, file, &[]).body == expected);
    }
    // What turns out to have no room fails alone.
    assert_eq!(delete(&server, &prepared[0].0), 204);
    let large = json!({"columns": ["id", "title", "description", "asset", "asset_location", "done", "created_by", "asset_id"]});
    let id = order(&server, &large);
    has_failed(&server.ended(&id), "spool-full");
    assert!(get(&server, &prepared[1].1, &[]).body == expected);
    prepare(&server, &by("copy"));
}

#[test]
fn there_are_a_thousand_at_most_and_one_that_came_to_nothing_gives_way() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let spool = tempfile::tempdir().expect("a directory");
    let mut server = serve_from(&database.url, spool.path(), &[]);
    let (first, _) = prepare(&server, &json!({}));
    server.signal(Signal::SIGTERM);
    server.wait();
    let path = |id: &str, kind: &str| spool.path().join(format!("cmms-exports/{id}.{kind}"));
    let label = std::fs::read_to_string(path(&first, "json")).expect("there");
    for number in 1..1_000 {
        let id = format!("{number:032x}");
        let mut label = label.replace(&first, &id);
        if number == 500 {
            label = label.replace("\"complete\"", "\"cancelled\"");
        }
        std::fs::write(path(&id, "json"), label).expect("written");
        std::fs::copy(path(&first, "export"), path(&id, "export")).expect("copied");
    }
    let server = serve_from(&database.url, spool.path(), &[]);
    let cancelled = format!("/api/exports/{:032x}", 500);
    assert_eq!(get(&server, &cancelled, &[]).status, 200);
    let (id, _) = prepare(&server, &json!({}));
    assert_eq!(get(&server, &cancelled, &[]).status, 404);
    let refused = post(&server, "application/json", "{}", &[]);
    assert_eq!(refused.status, 507);
    let detail = refused.json()["detail"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(detail.contains("as many prepared exports as"), "{detail}");
    assert_eq!(server.metric("cmms_export_prepared_files "), 1_000.0);
    assert_eq!(delete(&server, &id), 204);
    prepare(&server, &json!({}));
}

#[test]
fn a_spool_that_somebody_removes_under_the_service_is_made_again() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&database.url, spool.path(), &[]);
    let (lost, lost_file) = prepare(&server, &json!({}));
    std::fs::remove_dir_all(spool.path()).expect("removed");
    let (id, file) = prepare(&server, &json!({}));
    assert!(get(&server, &file, &[]).body == oracle::copy(&database, "true", ','));
    assert_eq!(ids(&listed(&server)), [id.as_str()]);
    assert_eq!(get(&server, &lost_file, &[]).status, 404);
    assert_eq!(delete(&server, &lost), 404);
    std::fs::remove_dir_all(spool.path()).expect("removed");
    assert_eq!(get(&server, "/tasks.xlsx", &[]).status, 200);
    eventually("nothing takes space", || {
        server.metric("cmms_export_spool_used_bytes ") == 0.0
    });
    // It is locked again.
    prepare(&server, &json!({}));
    let second = serve_from(&database.url, spool.path(), &[]);
    assert_eq!(post(&second, "application/json", "{}", &[]).status, 403);
}

#[test]
fn the_quota_holds_under_ten_exports_at_once() {
    let database = data::wide(50_000);
    let expected = oracle::copy(&database, "true", ',');
    let spool = tempfile::tempdir().expect("a directory");
    let size = expected.len() * 7 / 2;
    let flag = format!("--spool-size={size}");
    let server = serve_from(&database.url, spool.path(), &["--max-exports=20", &flag]);
    let ordered: Vec<String> = (0..10).map(|_| order(&server, &by("copy"))).collect();
    let used = || server.metric("cmms_export_spool_used_bytes ");
    eventually("all have ended", || {
        assert!(used() <= size as f64);
        let manifests = listed(&server);
        manifests
            .iter()
            .all(|it| it["state"] != "queued" && it["state"] != "running")
    });
    let mut whole = 0;
    for id in &ordered {
        let manifest = server.manifest(id);
        if manifest["state"] == "complete" {
            whole += 1;
            let file = manifest["file"].as_str().expect("a path");
            assert!(get(&server, file, &[]).body == expected);
        } else {
            assert_eq!(manifest["error"], "spool-full", "{manifest}");
        }
    }
    println!("{whole} of ten are complete and kept");
    assert!(whole <= 3);
    eventually("the space of the others is free", || {
        used() == whole as f64 * expected.len() as f64
    });
    eventually("nothing is there that is not complete", || {
        let kept = files(spool.path());
        let named = |kind| kept.iter().filter(|name| name.ends_with(kind)).count();
        named(".export") == whole && named(".part") == 0
    });
    assert!(whole > 0, "they do not all fail");
}

#[test]
fn it_is_kept_for_its_time_and_who_reads_it_then_reads_on() {
    let database = data::wide(50_000);
    let expected = oracle::copy(&database, "true", ',');
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&database.url, spool.path(), &["--keep-exports=2s"]);
    let (id, file) = prepare(&server, &by("copy"));
    let headers = [("Host", server.address.as_str())];
    let reading = Download::request(&server.address, "GET", &file, &headers);
    assert_eq!(reading.status, 200);
    // By itself: nobody asks for anything but the figures.
    let expired = "cmms_export_prepared_removed_total{reason=\"expired\"}";
    eventually("it expires", || server.metric(expired) == 1.0);
    assert_eq!(files(spool.path()), Vec::<String>::new());
    assert_eq!(get(&server, &file, &[]).status, 404);
    assert_eq!(get(&server, &format!("/api/exports/{id}"), &[]).status, 404);
    assert_eq!(
        server.metric("cmms_export_spool_used_bytes "),
        expected.len() as f64
    );
    let mut body = Vec::new();
    std::io::Read::read_to_end(&mut reading.into_stream(), &mut body).expect("whole");
    assert!(body == expected);
    eventually("its space is free", || {
        server.metric("cmms_export_spool_used_bytes ") == 0.0
    });
}

#[test]
fn who_reads_a_file_that_is_deleted_reads_on() {
    let database = data::wide(50_000);
    let server = Server::start(&database.url);
    let (id, file) = prepare(&server, &by("copy"));
    let headers = [("Host", server.address.as_str())];
    let reading = Download::request(&server.address, "GET", &file, &headers);
    assert_eq!(delete(&server, &id), 204);
    assert_eq!(get(&server, &file, &[]).status, 404);
    let mut body = Vec::new();
    std::io::Read::read_to_end(&mut reading.into_stream(), &mut body).expect("whole");
    assert!(body == oracle::copy(&database, "true", ','));
}

#[test]
fn a_second_service_on_the_same_spool_prepares_nothing_until_the_first_has_ended() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let spool = tempfile::tempdir().expect("a directory");
    let mut first = serve_from(&database.url, spool.path(), &[]);
    let second = serve_from(&database.url, spool.path(), &[]);
    let refused = post(&second, "application/json", "{}", &[]);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["type"],
        "urn:cmms-export:problem:preparing-off"
    );
    download(&second.address, "");
    let (_, file) = prepare(&first, &json!({}));
    let expected = get(&first, &file, &[]).body;
    assert_eq!(get(&second, &file, &[]).status, 404);
    first.signal(Signal::SIGTERM);
    first.wait();
    eventually("it has what the first has prepared", || {
        get(&second, &file, &[]).status == 200
    });
    assert!(get(&second, &file, &[]).body == expected);
    prepare(&second, &json!({}));
    let without = Server::spawn(program(&database.url).args(["serve", "--spool-size=0"]));
    assert_eq!(post(&without, "application/json", "{}", &[]).status, 403);
}

#[test]
fn a_service_whose_spool_another_one_has_taken_leaves_that_alone_until_it_has_it_again() {
    let gated = Gated::new();
    let spool = tempfile::tempdir().expect("a directory");
    let first = serve_from(&gated.url, spool.path(), &["--max-exports=1"]);
    let mut second = serve_from(&gated.url, spool.path(), &[]);
    let (lost, _) = prepare(&first, &json!({}));
    let mut gate = Gate::close(&gated, 5);
    let running = order(&first, &by("copy"));
    gate.reached();
    // So that the second one is faster.
    first.signal(Signal::SIGSTOP);
    std::fs::remove_dir_all(spool.path()).expect("removed");
    eventually("the second has it", || {
        get(&second, "/exports", &[]).status == 200
    });
    first.signal(Signal::SIGCONT);
    has_failed(&first.ended(&running), "output");
    assert_eq!(
        get(&first, &format!("/api/exports/{lost}"), &[]).status,
        404
    );
    assert_eq!(post(&first, "application/json", "{}", &[]).status, 403);
    drop(gate);
    let (id, file) = prepare(&second, &json!({}));
    let seconds = [format!("{id}.export"), format!("{id}.json")];
    assert_eq!(files(spool.path()), seconds);
    second.signal(Signal::SIGTERM);
    second.wait();
    eventually("the first has it, and what is there", || {
        get(&first, &file, &[]).status == 200
    });
    prepare(&first, &json!({}));
}

#[test]
fn a_store_that_cannot_be_opened_at_the_start_is_opened_as_soon_as_it_can_be() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let spool = tempfile::tempdir().expect("a directory");
    let store = spool.path().join("cmms-exports");
    std::fs::create_dir(&store).expect("made");
    let allow = |mode| std::fs::set_permissions(&store, Permissions::from_mode(mode));
    allow(0o755).expect("others can look into it");
    let server = serve_from(&database.url, spool.path(), &[]);
    assert_eq!(post(&server, "application/json", "{}", &[]).status, 403);
    allow(0o700).expect("nobody can");
    eventually("exports can be prepared", || {
        post(&server, "application/json", "{}", &[]).status == 202
    });
}
