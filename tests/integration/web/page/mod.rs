//! The export page and its JSON, without a browser.

mod choices;
mod html;
mod preview;

use std::io::Read;

use serde_json::Value;

use crate::support::client::{Download, download};
use crate::support::{Server, TestDatabase, data};

fn get(server: &Server, path: &str) -> (u16, Value) {
    let answer = Download::start(&server.address, path);
    (answer.status, answer.json())
}

/// A page as a browser asks for it.
fn page(server: &Server, path: &str) -> (u16, String) {
    let answer = ureq::get(server.url(path))
        .header("Accept", "text/html,*/*;q=0.8")
        .config()
        .http_status_as_error(false)
        .build()
        .call();
    let mut answer = answer.expect("answers");
    let html = answer.body_mut().read_to_string().expect("text");
    assert_eq!(
        answer.headers()["content-type"],
        "text/html; charset=utf-8",
        "{html}"
    );
    (answer.status().as_u16(), html)
}

#[test]
fn what_the_apis_do_not_understand_is_a_400_that_names_it() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    for (path, named) in [
        ("/api/tasks?colour=red", "colour"),
        ("/api/tasks?strategy=copy", "strategy"),
        ("/api/tasks?preset=", "preset"),
        ("/api/tasks?delimiter=tab", "delimiter"),
        ("/api/tasks?export_id=a", "export_id"),
        ("/api/tasks?done=perhaps", "done"),
        ("/api/tasks?title=%ff", "UTF-8"),
        ("/api/filters", "of"),
        ("/api/filters?of=tasks", "of"),
        ("/api/filters?of=users&of=users", "of"),
        ("/api/filters?of=users&colour=red", "colour"),
        ("/api/filters?of=users&q=%00", "q"),
        ("/api/filters?of=users&location_id=here", "location_id"),
        ("/api/filters?of=assets&location_id=here", "location_id"),
    ] {
        let (status, problem) = get(&server, path);
        assert_eq!(status, 400, "{path}");
        let detail = problem["detail"].as_str().expect("there is more to say");
        assert!(detail.contains(named), "{path}: {detail}");
    }
}

#[test]
fn the_events_follow_an_export_to_its_end() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    download(&server.address, "export_id=followed");
    let events = ureq::get(server.url("/api/exports/followed/events")).call();
    let mut events = events.expect("200");
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    events
        .body_mut()
        .as_reader()
        .read_to_string(&mut text)
        .expect("it ends by itself");
    let last = text
        .trim_end()
        .rsplit("\n\n")
        .next()
        .and_then(|event| event.strip_prefix("data: "))
        .expect("an event");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last, server.manifest("followed"));
    assert_eq!(last["state"], "complete");
    assert_eq!(get(&server, "/api/exports/unknown/events").0, 404);
}
