//! What HTTP adds to an export: headers, errors, health.

use std::io::Read;

use diesel::prelude::*;
use serde_json::{Value, json};

use crate::support::client::{Download, End};
use crate::support::{Server, TestDatabase, data};

fn problem(server: &Server, path: &str) -> (u16, Value) {
    let download = Download::start(&server.address, path);
    assert_eq!(
        download.header("content-type"),
        Some("application/problem+json"),
        "{path}"
    );
    let status = download.status;
    (status, download.json())
}

#[test]
fn a_download_says_what_it_is() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let download = Download::start(
        &server.address,
        "/tasks.csv?strategy=streamed&export_id=my-export_1",
    );
    assert_eq!(download.status, 200);
    assert_eq!(
        download.header("content-type"),
        Some("text/csv; charset=utf-8; header=present")
    );
    let name = download
        .header("content-disposition")
        .and_then(|value| value.strip_prefix("attachment; filename=\"tasks-"))
        .and_then(|rest| Some(rest.split_once(".csv\"; filename*=UTF-8''tasks-")?.0));
    // Year, month, day, hour, minute and second.
    assert!(
        name.is_some_and(|time| time.len() == "2026-11-24-143259".len()),
        "{:?}",
        download.header("content-disposition")
    );
    assert_eq!(download.header("x-export-id"), Some("my-export_1"));
    assert_eq!(download.header("x-export-strategy"), Some("streamed"));
    assert_eq!(
        download.header("cache-control"),
        Some("no-store, no-transform")
    );
    assert_eq!(download.header("x-accel-buffering"), Some("no"));
    assert_eq!(download.header("transfer-encoding"), Some("chunked"));
    assert!(
        download
            .header("server-timing")
            .is_some_and(|timing| timing.starts_with("first-bytes;dur="))
    );
    assert_eq!(download.finish().1, End::Clean);
}

#[test]
fn each_export_without_an_id_gets_its_own() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let id = || {
        Download::start(&server.address, "/tasks.csv")
            .header("x-export-id")
            .expect("given")
            .to_owned()
    };
    assert_ne!(id(), id());
}

#[test]
fn what_is_not_understood_is_a_400_that_names_it() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let too_long: &str = &format!("title={}", "x".repeat(201));
    for (query, named) in [
        ("strategy=fastest", "`strategy`: expected one of `joined`"),
        ("done=perhaps", "`done`"),
        ("location_id=here", "`location_id`"),
        ("asset_id=9223372036854775808", "`asset_id`"),
        ("created_by_id=1.0", "`created_by_id`"),
        (
            "updated_by_id=nobody",
            "`updated_by_id`: expected an id, which is an integer, or `none`",
        ),
        ("title=%00", "`title`: the text has a NUL character"),
        (too_long, "`title`: the text has more than 200 characters"),
        ("title=%ff", "not UTF-8"),
        ("preset=word", "`preset`: expected one of `data`, `excel`"),
        (
            "delimiter=%7C",
            "`delimiter`: expected one of `,`, `;`, `tab`",
        ),
        ("title=a&title=b", "`title`: given more than once"),
        (
            "location_id=1,2,x",
            "`location_id`: expected an id, which is an integer",
        ),
        (
            "location_id=1&location_id=2.0",
            "`location_id`: expected an id",
        ),
        (
            "asset_id=none",
            "`asset_id`: expected an id, which is an integer",
        ),
        ("colour=red", "unknown parameter `colour`: expected one of"),
        (
            "columns=",
            "`columns`: a column's name is empty: the columns of tasks are id, title, ",
        ),
        ("columns=id,,title", "a column's name is empty"),
        (
            "columns=id,colour",
            "there is no column `colour`: the columns of tasks are id, title, ",
        ),
        (
            "columns=id,title&columns=id",
            "the column `id` is there twice",
        ),
        ("username=x", "unknown parameter `username`"),
        ("whole=perhaps", "`whole`: expected `true` or `false`"),
        ("whole=true&whole=true", "`whole`: given more than once"),
        ("export_id=a/b", "`export_id`"),
        (
            "export_id=a&export_id=b",
            "`export_id`: given more than once",
        ),
    ] {
        let (status, problem) = problem(&server, &format!("/tasks.csv?{query}"));
        assert_eq!(status, 400, "{query}");
        assert_eq!(problem["type"], "urn:cmms-export:problem:invalid-parameter");
        assert_eq!(problem["status"], 400);
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(named)),
            "{query}: {problem}"
        );
    }
}

#[test]
fn what_a_form_leaves_empty_is_as_good_as_absent() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let empty = "done=&location_id=&asset_id=&created_by_id=&updated_by_id=&title=&strategy=&preset=&delimiter=";
    let whole =
        |query: &str| Download::start(&server.address, &format!("/tasks.csv?{query}")).finish();
    assert_eq!(whole(empty), whole(""));
}

#[test]
fn elsewhere_is_404_and_another_method_405_with_those_allowed() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    assert_eq!(problem(&server, "/nothing").0, 404);
    let response = ureq::post(server.url("/tasks.csv"))
        .config()
        .http_status_as_error(false)
        .build()
        .send_empty();
    let response = response.expect("answers");
    assert_eq!(response.status(), 405);
    assert_eq!(
        response.headers().get("allow").expect("required"),
        "GET, HEAD"
    );
}

#[test]
fn a_head_is_a_get_without_its_body_and_starts_no_export() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    for path in [
        "/",
        "/benchmark",
        "/api/tasks",
        "/api/filters?of=users",
        "/openapi.json",
        "/favicon.ico",
        "/tasks.csv?done=true&export_id=asked",
    ] {
        let head = Download::request(&server.address, "HEAD", path, &[("Host", &server.address)]);
        assert_eq!(head.status, 200, "{path}");
        if path.starts_with("/tasks.csv") {
            assert_eq!(manifest_status(&server, "asked"), 404);
        }
        let get = Download::start(&server.address, path);
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        let mut rest = Vec::new();
        head.into_stream().read_to_end(&mut rest).expect("it ends");
        assert_eq!(rest, b"", "{path}");
    }
    let bad = Download::request(
        &server.address,
        "HEAD",
        "/tasks.csv?done=perhaps",
        &[("Host", &server.address)],
    );
    assert_eq!(bad.status, 400);
}

fn manifest_status(server: &Server, id: &str) -> u16 {
    Download::start(&server.address, &format!("/api/exports/{id}")).status
}

#[test]
fn responses_are_counted_by_their_status_and_probes_are_not_logged_with_what_people_ask_for() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    for path in ["/livez", "/readyz", "/api/tasks", "/nothing"] {
        Download::start(&server.address, path);
    }
    let mut metrics = ureq::get(server.url("/metrics")).call().expect("200");
    let metrics = metrics.body_mut().read_to_string().expect("text");
    for line in [
        "cmms_export_http_responses_total{status=\"200\"} 3",
        "cmms_export_http_responses_total{status=\"404\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    let log = server.into_log();
    for (path, is_logged) in [
        ("/livez", false),
        ("/readyz", false),
        ("/metrics", false),
        ("/api/tasks", true),
        ("/nothing", true),
    ] {
        assert_eq!(
            log.contains(&format!("\"{path}\"")),
            is_logged,
            "{path}: {log}"
        );
    }
}

#[test]
fn an_early_failure_has_its_own_status_and_keeps_what_the_database_said_from_the_client() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    diesel::sql_query("alter table tasks rename column title to secret_name")
        .execute(&mut database.connect())
        .expect("ours");
    for strategy in ["joined", "tuples", "streamed", "paged", "copy", "lookup"] {
        let (status, problem) = problem(&server, &format!("/tasks.csv?strategy={strategy}"));
        assert_eq!(status, 503, "{strategy}");
        assert_eq!(
            problem,
            serde_json::json!({"type": "urn:cmms-export:problem:tables-differ", "title": "The database's tables are not as expected", "status": 503})
        );
    }
    assert!(
        server.into_log().contains("title"),
        "the log says what the database said"
    );
}

#[test]
fn health_tells_the_process_from_the_database() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let text = |path| {
        let mut response = ureq::get(server.url(path)).call().expect("200");
        response.body_mut().read_to_string().expect("text")
    };
    assert_eq!(text("/livez"), "ok\n");
    let readiness: Value = serde_json::from_str(&text("/readyz")).expect("JSON");
    assert_eq!(
        readiness,
        json!({"servers": [{"name": "database", "reachable": true, "role": "primary", "lag_seconds": 0.0}]})
    );
    drop(database);
    assert_eq!(
        ureq::get(server.url("/livez"))
            .call()
            .expect("200")
            .status(),
        200
    );
    let download = Download::start(&server.address, "/readyz");
    assert_eq!(download.status, 503);
    assert!(download.header("retry-after").is_some());
}

#[test]
fn each_request_is_logged_with_its_time_and_peak_memory() {
    let database = data::wide(10_000);
    let server = Server::spawn(crate::support::program(&database.url).args([
        "serve",
        "--log-format",
        "json",
    ]));
    let bytes = Download::start(&server.address, "/api/tasks").whole().len();
    let log = server.into_log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let request = lines
        .map(|line| line["fields"].clone())
        .find(|fields| fields["message"] == "request");
    let request = request.unwrap_or_else(|| panic!("no such line: {log}"));
    assert_eq!(request["path"], "/api/tasks");
    assert_eq!(request["status"], 200);
    assert_eq!(request["outcome"], "complete");
    assert_eq!(request["bytes"], bytes, "measured to its last byte");
    assert!(
        request["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0),
        "{request}"
    );
    assert!(
        request["peak_memory_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 1 << 20),
        "{request}"
    );
}

#[test]
fn the_page_offers_the_download() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let html = ureq::get(server.url("/"))
        .call()
        .expect("200")
        .body_mut()
        .read_to_string()
        .expect("text");
    assert!(html.contains("/tasks.xlsx'"), "{html}");
}
