//! Counts, which read all rows, beside pages, which read a few.

use crate::support::client::{Download, send};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::{Server, TestDatabase};

#[test]
fn pages_and_choices_never_wait_behind_counts() {
    let gated = Gated::new();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let server = Server::start(&gated.url);
    let counts = ["/api/tasks/count", "/api/tasks"].map(|path| {
        [0; 4].map(|_| send(&server.address, "GET", path, &[("Host", &server.address)]))
    });
    gate.reached_by(2);
    for path in ["/", "/api/tasks?count=false", "/api/filters?of=users"] {
        let answer = Download::start(&server.address, path);
        assert_eq!(answer.status, 200, "{path}");
    }
    gate.reached_by(2);
    drop(gate);
    for answer in counts.into_iter().flatten().map(Download::read) {
        assert_eq!(answer.json()["count"], ROWS);
    }
}

#[test]
fn a_text_to_search_for_has_up_to_200_characters() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let ask = |path: &str, length: usize| {
        let text = "%C3%BC".repeat(length);
        Download::start(&server.address, &format!("{path}{text}")).status
    };
    for path in [
        "/?title=",
        "/tasks.csv?title=",
        "/api/tasks/count?title=",
        "/api/filters?of=users&q=",
    ] {
        assert_eq!(ask(path, 200), 200, "{path}");
        assert_eq!(ask(path, 201), 400, "{path}");
    }
}
