//! What the log tells of requests: one line for an export, whatever became of it, and whose request it was.

use serde_json::{Value, json};

use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::program::{bare_program, program, stderr};
use crate::support::{Download, Server, data, eventually};

/// The lines of a log that is JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// The lines about a request of this client.
fn of_client(log: &str, client: &str) -> Vec<Value> {
    let mut lines = lines(log);
    lines.retain(|line| line["span"]["client"] == client);
    lines
}

/// A server that logs JSON and takes the word of a proxy on this machine.
fn server(url: &str) -> Server {
    let flags = ["serve", "--log-format=json", "--trusted-proxy=127.0.0.1"];
    Server::spawn(program(url).args(flags).arg("--max-buffered-rows=1"))
}

/// Sends a request on behalf of a client.
fn request_of(client: &str, server: &Server, path: &str) -> Download {
    let headers = [("Host", "localhost"), ("X-Forwarded-For", client)];
    Download::request(&server.address, "GET", path, &headers)
}

#[test]
fn an_export_is_one_line_with_all_that_it_was_also_if_it_breaks_off() {
    let gated = Gated::new();
    let server = server(&gated.url);
    // A tab that is closed, an export that fails in its middle, one that asks for too much, and one that is complete.
    let path = "/tasks.csv?strategy=copy&columns=id,title&done=true&export_id=";
    for (client, id) in [("192.0.2.1", "closed"), ("192.0.2.2", "failed")] {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let mut download = request_of(client, &server, &format!("{path}{id}"));
        download.chunk().expect("a chunk").expect("not the last");
        gate.reached();
        match id {
            "closed" => {
                // Somebody who watches it, and leaves.
                let watched = format!("/api/exports/{id}/events");
                drop(request_of("192.0.2.5", &server, &watched));
                eventually("it is noticed", || server.has_logged("\"aborted\""));
                drop(download);
            }
            _ => gate.terminate(),
        }
        server.ended(id);
        drop(gate);
    }
    let refused = request_of("192.0.2.3", &server, "/tasks.csv?strategy=joined");
    assert_eq!(refused.status, 422);
    let bytes = request_of("192.0.2.4", &server, &format!("{path}complete"))
        .finish()
        .0;
    server.ended("complete");
    eventually("all are counted", || {
        server.metric("cmms_export_exports_in_flight ") == 0.0
    });
    for (outcome, strategy, count) in [
        ("cancelled", "copy", 1.0),
        ("failed", "copy", 1.0),
        ("client_error", "joined", 1.0),
        ("failed", "joined", 0.0),
    ] {
        let labels = format!("{{strategy=\"{strategy}\",outcome=\"{outcome}\"}}");
        let counted = server.metric(&format!("cmms_export_exports_total{labels}"));
        assert_eq!(counted, count, "{labels}");
    }

    let log = server.into_log();
    let watcher = &of_client(&log, "192.0.2.5")[0]["fields"];
    let told = (&watcher["message"], &watcher["status"], &watcher["outcome"]);
    assert_eq!(told, (&json!("request"), &json!(200), &json!("aborted")));
    for (client, level, outcome) in [
        ("192.0.2.1", "INFO", "cancelled"),
        ("192.0.2.2", "ERROR", "failed"),
        ("192.0.2.3", "INFO", "client_error"),
        ("192.0.2.4", "INFO", "complete"),
    ] {
        let told = of_client(&log, client);
        assert_eq!(told.len(), 1, "{client}: {told:#?}");
        let (line, fields) = (&told[0], &told[0]["fields"]);
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(fields["message"], "export", "{line}");
        assert_eq!(fields["outcome"], outcome, "{line}");
        assert!(fields["server"].is_string(), "{line}");
        if outcome == "client_error" {
            assert_eq!(fields["error"], "too-many-rows", "{line}");
            continue;
        }
        assert_eq!(fields["columns"], "id,title", "{line}");
        assert_eq!(fields["filter"], "{\"done\":true}", "{line}");
        assert_eq!(fields["format"], "csv", "{line}");
        assert_eq!(fields["dataset"], "tasks", "{line}");
        let reason = fields["reason"].as_str().unwrap_or_default();
        assert_eq!(reason.contains("57P01"), outcome == "failed", "{line}");
        if outcome == "complete" {
            let told = (&fields["bytes"], &fields["rows"]);
            assert_eq!(told, (&json!(bytes.len()), &json!(ROWS)));
        }
    }
}

#[test]
fn each_line_of_a_request_names_its_client_and_none_obeys_what_it_quotes() {
    let database = data::hostile();
    let server = server(&database.url);
    // A control sequence of one character, one that turns the text around, and the end of a line.
    let path = "/tasks.csv?export_id=quoted&title=%C2%9B31m%E2%80%AE%E2%80%A8";
    let download = request_of("2001:db8::7", &server, path);
    assert_eq!(download.status, 200);
    download.finish();
    server.ended("quoted");
    for path in ["/", "/nowhere", "/api/tasks?title=x"] {
        request_of("2001:db8::7", &server, path).whole();
    }
    let log = server.into_log();
    let told = of_client(&log, "2001:db8::7");
    let of_kind = |message: &str| {
        let of_kind = told
            .iter()
            .filter(|line| line["fields"]["message"] == message);
        of_kind.count()
    };
    assert_eq!((of_kind("export"), of_kind("request")), (1, 3), "{log}");
    assert!(log.contains(r"\u009b31m\u202e\u2028"), "{log}");
    assert!(!log.contains(['\u{9b}', '\u{202e}', '\u{2028}']), "{log}");

    let mut command = program(&database.url);
    let command = command.args(["export", "--log=info", "--title=\u{9b}31m\u{202e}"]);
    let said = stderr(&command.output().expect("the program runs"));
    assert!(said.contains(r#"{"title":"\u009b31m\u202e"}"#), "{said}");
    assert!(!said.contains(['\u{9b}', '\u{202e}']), "{said}");
}

#[test]
fn an_error_obeys_nothing_of_a_files_name_or_a_manifest() {
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("m\u{1b}[2J\u{202e}.json");
    let verify = |text: Option<&str>| {
        if let Some(text) = text {
            std::fs::write(&manifest, text).expect("written");
        }
        let mut command = bare_program();
        let command = command.args(["verify", "-", "--manifest"]).arg(&manifest);
        stderr(&command.output().expect("the program runs"))
    };
    for said in [
        verify(None),
        verify(Some(r#"{"id": "a", "state": "\u001b[31m\u009b\u2066"}"#)),
    ] {
        assert!(said.contains(r"m\u001b[2J\u202e.json"), "{said}");
        assert!(
            !said.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}']),
            "{said}"
        );
    }
}
