//! Exports that are prepared for later: ordered, queued, listed, stopped, kept.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::client::{Download, End, download};
use crate::support::gate::{Gate, Gated};
use crate::support::prepared::{
    by, complete, delete, files, get, has_failed, order, post, prepare, serve_from,
};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, data, eventually, oracle};

const FORM: &str = "application/x-www-form-urlencoded";

fn listed(server: &Server) -> Vec<Value> {
    let answer = get(server, "/api/exports", &[]);
    assert_eq!(answer.status, 200);
    answer.json().as_array().expect("a list").clone()
}

fn ids(manifests: &[Value]) -> Vec<&str> {
    let ids = manifests.iter().map(|it| it["id"].as_str());
    ids.collect::<Option<_>>().expect("each has one")
}

#[test]
fn it_is_ordered_in_json_or_by_a_form_and_its_manifest_says_where_the_file_is() {
    let database = TestDatabase::seeded(&["--tasks=100"]);
    let server = Server::start(&database.url);
    let (id, file) = prepare(&server, &json!({"done": false, "preset": "excel"}));
    let manifest = server.manifest(&id);
    for (name, value) in [
        ("dataset", json!("tasks")),
        ("filter", json!({"done": false})),
        ("preset", json!("excel")),
        ("format", json!("csv")),
        ("error", Value::Null),
    ] {
        assert_eq!(manifest[name], value, "{manifest}");
    }
    assert!(manifest["queued"].is_null(), "{manifest}");
    let until = manifest["expires_at"].as_str().expect("a time");
    assert!(until > manifest["requested_at"].as_str().expect("a time"));
    let file = get(&server, &file, &[]);
    let expected = download(&server.address, "done=false&preset=excel");
    assert!(file.body == expected);

    let form = post(
        &server,
        FORM,
        "dataset=users&columns=username&columns=id&username=",
        &[],
    );
    assert_eq!(form.status, 202);
    let id = form.json()["id"].as_str().expect("a text").to_owned();
    let file = complete(&server, &id);
    assert_eq!(file, format!("/exports/{id}/users.csv"));
    assert!(get(&server, &file, &[]).body.starts_with(b"Username,ID\n"));
    let page = post(&server, FORM, "", &[("Accept", "text/html")]);
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/?preset=data#prepared"))
    );
}

#[test]
fn what_is_not_understood_is_refused_and_leaves_nothing() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&database.url, spool.path(), &[]);
    for wrong in [
        "{",
        "[]",
        r#"{"colour": "red"}"#,
        r#"{"dataset": "pumps"}"#,
        r#"{"done": 1}"#,
    ] {
        let answer = post(&server, "application/json", wrong, &[]);
        assert_eq!(answer.status, 400, "{wrong}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    assert_eq!(post(&server, FORM, "done=perhaps", &[]).status, 400);
    assert_eq!(get(&server, "/api/exports?after=x", &[]).status, 400);
    assert_eq!(get(&server, "/api/exports?before=none", &[]).status, 404);
    assert_eq!(listed(&server), Vec::<Value>::new());
    assert_eq!(files(spool.path()), Vec::<String>::new());
}

#[test]
fn another_sites_page_can_neither_order_nor_delete() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let server = Server::start(&database.url);
    let (id, _) = prepare(&server, &json!({}));
    let foreign = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Origin", "http://evil.example"),
    ];
    assert_eq!(post(&server, FORM, "", &foreign).status, 403);
    let mut headers = vec![("Host", server.address.as_str())];
    headers.extend(foreign);
    let path = format!("/api/exports/{id}");
    let refused = Download::request(&server.address, "DELETE", &path, &headers);
    assert_eq!(refused.status, 403);
    assert_eq!(ids(&listed(&server)), [id]);
}

#[test]
fn they_wait_in_a_queue_that_has_an_end_and_leave_half_the_places_to_downloads() {
    let gated = Gated::new();
    let server =
        Server::spawn(program(&gated.url).args(["serve", "--max-exports=4", "--max-queued=2"]));
    let mut gate = Gate::close(&gated, 5);
    let ordered: Vec<String> = (0..2).map(|_| order(&server, &by("copy"))).collect();
    gate.reached_by(2);
    let waiting: Vec<String> = (0..2).map(|_| order(&server, &by("copy"))).collect();
    for (id, place) in waiting.iter().zip(1..) {
        let manifest = server.manifest(id);
        assert_eq!(
            (&manifest["state"], &manifest["queued"]),
            (&json!("queued"), &json!(place)),
            "{manifest}"
        );
    }
    let refused = post(&server, "application/json", "{}", &[]);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:queue-full");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(
        server.metric("cmms_export_requests_rejected_total{reason=\"queue\"}"),
        1.0
    );
    assert_eq!(server.metric("cmms_export_exports_queued "), 2.0);
    // Those that run have two of the four places.
    let path = "/tasks.csv?strategy=copy";
    let headers = [("Host", server.address.as_str())];
    let direct: Vec<_> = (0..2)
        .map(|_| crate::support::client::send(&server.address, "GET", path, &headers))
        .collect();
    gate.reached_by(4);
    // Who leaves the queue lets the next one move up.
    assert_eq!(delete(&server, &waiting[0]), 204);
    assert_eq!(server.manifest(&waiting[0])["state"], "cancelled");
    assert_eq!(server.manifest(&waiting[1])["queued"], 1);
    drop(gate);
    for stream in direct {
        assert_eq!(Download::read(stream).finish().1, End::Clean);
    }
    for id in ordered.iter().chain(&waiting[1..]) {
        complete(&server, id);
    }
    eventually("nothing is in flight", || {
        server.metric("cmms_export_exports_in_flight ") == 0.0
    });
    assert_eq!(server.metric("cmms_export_prepared_files "), 3.0);
}

#[test]
fn the_list_has_the_newest_first_a_hundred_a_page() {
    let database = TestDatabase::seeded(&["--tasks=1"]);
    let server = Server::spawn(program(&database.url).args(["serve", "--max-queued=200"]));
    let users = json!({"dataset": "users"});
    let ordered: Vec<String> = (0..103).map(|_| order(&server, &users)).collect();
    let newest: Vec<&str> = ordered.iter().rev().map(String::as_str).collect();
    let first = get(&server, "/api/exports", &[]);
    assert_eq!(ids(first.json().as_array().expect("a list")), newest[..100]);
    let link = first.header("link").expect("there are more");
    let next = link
        .strip_prefix('<')
        .and_then(|link| link.strip_suffix(">; rel=\"next\""));
    let second = get(&server, next.expect("a link"), &[]);
    assert_eq!(
        ids(second.json().as_array().expect("a list")),
        newest[100..]
    );
    assert_eq!(second.header("link"), None);
    // The pages for people: the latest five, and all.
    let shown = |path: &str| {
        let page = get(&server, path, &[]);
        let page = String::from_utf8(page.body).expect("text");
        (page.matches("<li id=\"export-").count(), page)
    };
    let (count, page) = shown("/exports?latest=true");
    assert!(
        count == 5 && page.contains("href=\"/exports\">All prepared exports"),
        "{page}"
    );
    assert_eq!(shown("/").0, 5);
    let (count, page) = shown("/exports");
    let older = format!("/exports?before={}", newest[99]);
    assert!(
        count == 100 && page.contains(&format!("href=\"{older}\">Older ones")),
        "{page}"
    );
    assert_eq!(shown(&older).0, 3);
    assert_eq!(shown("/exports?before=gone").0, 100);
    assert_eq!(get(&server, "/exports?page=2", &[]).status, 400);
    // Downloads are not among them.
    download(&server.address, "export_id=mine");
    assert_eq!(ids(&listed(&server)), newest[..100]);
}

#[test]
fn a_prepared_exports_id_is_no_downloads() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let server = Server::start(&database.url);
    let (id, _) = prepare(&server, &json!({}));
    let path = format!("/tasks.csv?export_id={id}");
    assert_eq!(Download::start(&server.address, &path).status, 409);
}

#[test]
fn events_tell_how_it_goes_from_the_queue_to_its_end() {
    let gated = Gated::new();
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
    let mut gate = Gate::close(&gated, 5);
    order(&server, &by("copy"));
    gate.reached();
    let id = order(&server, &by("copy"));
    let events = Download::start(&server.address, &format!("/api/exports/{id}/events"));
    drop(gate);
    let (events, end) = events.finish();
    assert_eq!(end, End::Clean);
    let events = String::from_utf8(events).expect("text");
    let states: Vec<Value> = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).expect("JSON")["state"].clone())
        .collect();
    assert_eq!(states.first(), Some(&json!("queued")));
    assert_eq!(states.last(), Some(&json!("complete")));
}

#[test]
fn a_prepared_export_stays_until_it_expires_or_is_deleted_and_what_has_no_room_is_refused() {
    let database = data::wide(50_000);
    let expected = oracle::copy(&database, "true", ',');
    let spool = tempfile::tempdir().expect("a directory");
    // Room for two.
    let size = format!("--spool-size={}", 2 * expected.len());
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
    println!("{whole} of ten are whole and kept");
    assert!(whole <= 3);
    eventually("the space of the others is free", || {
        used() == whole as f64 * expected.len() as f64
    });
    eventually("nothing is there that is not whole", || {
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
