//! Exports that are prepared for later: ordered, queued, listed, followed.

use serde_json::{Value, json};

use crate::support::client::{Download, End, download};
use crate::support::gate::{Gate, Gated};
use crate::support::prepared::{
    by, complete, delete, files, get, ids, listed, order, post, prepare, serve_from,
};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, eventually};

const FORM: &str = "application/x-www-form-urlencoded";

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
