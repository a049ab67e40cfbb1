//! The benchmark: what it measures, and how it is run, shown and kept, without a browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use cmms_export::export::Strategy;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::client::Download;
use crate::support::cluster::temporary_directory;
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::{program, stderr};
use crate::support::{Server, TestDatabase, data, eventually};

/// Runs `cmms-export bench` with these arguments, and gives its JSON and its output.
fn bench(database: &TestDatabase, arguments: &[&str]) -> (Value, String) {
    let directory = temporary_directory("bench");
    let file = directory.join("result.json");
    let output = program(&database.url)
        .args(["bench", "--json"])
        .arg(&file)
        .args(arguments)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let json = std::fs::read(&file).expect("it was written");
    std::fs::remove_dir_all(directory).expect("ours");
    (
        serde_json::from_slice(&json).expect("JSON"),
        String::from_utf8(output.stdout).expect("UTF-8"),
    )
}

/// A strategy's part of the result.
fn of<'a>(report: &'a Value, strategy: &str) -> &'a Value {
    report["results"]
        .as_array()
        .expect("an array")
        .iter()
        .find(|result| result["strategy"] == strategy)
        .expect("it was asked for")
}

#[test]
fn every_strategy_is_measured_and_gives_the_same_bytes() {
    let database = data::hostile();
    let csv = crate::support::program::export(&database.url, &[]);
    let (report, table) = bench(&database, &["--runs", "2"]);
    for name in [
        "date",
        "kernel",
        "postgresql",
        "settings",
        "tables",
        "profile",
    ] {
        assert!(!report["environment"][name].is_null(), "{name}: {report}");
    }
    assert_eq!(report["same_bytes"], true);
    assert_eq!(report["order"].as_array().map(Vec::len), Some(2));
    let mut fastest = f64::INFINITY;
    for strategy in Strategy::all() {
        let result = of(&report, strategy.name());
        assert_eq!(result["bytes"], csv.len(), "{result}");
        assert_eq!(result["sha256"], report["results"][0]["sha256"]);
        for figure in [
            "seconds",
            "first_byte_seconds",
            "peak_memory_bytes",
            "memory_increase_bytes",
            "cpu_seconds",
        ] {
            let spread = &result[figure];
            assert_eq!(
                spread["runs"].as_array().map(Vec::len),
                Some(2),
                "{figure}: {result}"
            );
            let number = |name: &str| spread[name].as_f64().expect("a number");
            assert!(number("min") <= number("median") && number("median") <= number("max"));
        }
        assert!(
            result["first_byte_seconds"]["median"].as_f64() <= result["seconds"]["median"].as_f64()
        );
        assert!(
            result["peak_memory_bytes"]["min"].as_u64() > Some(1 << 20),
            "{result}"
        );
        fastest = fastest.min(result["ratio_to_fastest"].as_f64().expect("a number"));
        assert!(table.contains(strategy.name()), "{table}");
    }
    assert!((fastest - 1.0).abs() < 1e-9, "{fastest}");
    for result in report["results"].as_array().expect("an array") {
        let ratio = result["ratio_to_fastest"].as_f64().expect("a number");
        let rounds = &result["round_ratios_to_fastest"];
        let number = |name: &str| rounds[name].as_f64().expect("a number");
        if rounds.is_null() {
            assert!((ratio - 1.0).abs() < 1e-9, "the fastest: {result}");
        } else {
            assert_eq!(rounds["runs"].as_array().map(Vec::len), Some(2), "{result}");
            assert!(
                number("min") <= ratio + 1e-9 && ratio <= number("max") + 1e-9,
                "{result}"
            );
            let shown = format!("{ratio:.2} ({:.2}…{:.2})", number("min"), number("max"));
            assert!(table.contains(&shown), "{shown}: {table}");
        }
    }
    let commit = report["environment"]["commit"].as_str();
    assert_eq!(commit, option_env!("CMMS_BUILD_COMMIT"));
    assert!(table.contains("the same bytes"), "{table}");
}

#[test]
fn only_the_memory_of_those_that_buffer_grows_with_the_rows() {
    let database = data::wide(100_000);
    let increase = |rows: &str| {
        let (report, _) = bench(&database, &["--runs", "1", "--rows", rows]);
        Strategy::all()
            .iter()
            .map(|strategy| {
                let result = of(&report, strategy.name());
                assert_eq!(result["rows"].to_string(), rows, "{result}");
                result["memory_increase_bytes"]["median"]
                    .as_u64()
                    .expect("a number")
            })
            .collect::<Vec<_>>()
    };
    let (few, many) = (increase("10000"), increase("100000"));
    for ((strategy, few), many) in Strategy::all().iter().zip(few).zip(many) {
        println!(
            "{}: {few} bytes for 10,000 rows, {many} for 100,000",
            strategy.name()
        );
        if strategy.is_buffered() {
            assert!(
                many > few + (10 << 20),
                "{}: {few}, {many}",
                strategy.name()
            );
        } else {
            assert!(many < few + (8 << 20), "{}: {few}, {many}", strategy.name());
        }
    }
}

#[test]
fn a_strategy_that_fails_is_shown_and_the_others_go_on() {
    let database = data::hostile();
    let (report, table) = bench(
        &database,
        &[
            "--runs",
            "1",
            "--strategies",
            "copy,joined",
            "--max-buffered-rows",
            "3",
            "--markdown",
        ],
    );
    assert_eq!(
        report["results"].as_array().map(Vec::len),
        Some(2),
        "those that were asked for"
    );
    let failed = of(&report, "joined");
    assert!(
        failed["error"]
            .as_str()
            .is_some_and(|error| error.contains("more than 3 rows")),
        "{failed}"
    );
    assert!(failed["seconds"].is_null());
    assert!(of(&report, "copy")["seconds"]["median"].is_f64());
    assert!(table.contains("| `joined` | failed |"), "{table}");
}

#[test]
fn where_lookup_was_copy_in_fact_the_result_says_so_and_why() {
    let database = data::wide(9_000);
    let arguments = ["--runs", "1", "--strategies", "copy,lookup"];
    let (report, table) = bench(&database, &arguments);
    let plans = |strategy: &str| of(&report, strategy)["plans"].clone();
    assert_eq!(
        plans("copy"),
        json!([{"strategy": "copy", "connections": 1}])
    );
    assert_eq!(plans("lookup")[0]["strategy"], "lookup");
    assert!(!table.contains('†'), "{table}");

    let tiny = [&arguments[..], &["--lookup-memory=1", "--markdown"]].concat();
    let (report, table) = bench(&database, &tiny);
    let because = "the tables of names are too large";
    assert_eq!(
        of(&report, "lookup")["plans"],
        json!([{"strategy": "copy", "connections": 1, "because": because}])
    );
    assert!(table.contains("| `lookup` † |"), "{table}");
    assert!(
        table.contains(&format!("† lookup was copy: {because}.")),
        "{table}"
    );
    assert!(table.contains("| `copy` |"), "{table}");
}

#[test]
fn what_cannot_be_measured_is_said_in_one_line() {
    let empty = TestDatabase::new();
    let output = program(&empty.url)
        .arg("bench")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no tasks to measure"),
        "{output:?}"
    );
    for arguments in [["--runs", "0"], ["--rows", "0"], ["--strategies", "fast"]] {
        let output = program(&empty.url).arg("bench").args(arguments).output();
        assert_eq!(
            output.expect("the program runs").status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

/// A command for a server that keeps its results in a directory of its own.
pub(crate) fn serve(url: &str, data_dir: &Path) -> Command {
    let mut command = program(url);
    command.arg("serve").arg("--data-dir").arg(data_dir);
    command
}

fn post(server: &Server, kind: &str, body: &str) -> ureq::http::Response<ureq::Body> {
    post_to(server, "/api/benchmarks", &[("Content-Type", kind)], body)
}

fn post_to(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> ureq::http::Response<ureq::Body> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into();
    let request = headers
        .iter()
        .fold(agent.post(server.url(path)), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.send(body).expect("an answer")
}

fn start(server: &Server, options: &Value) -> String {
    let mut answer = post(server, "application/json", &options.to_string());
    assert_eq!(answer.status(), 201);
    let status: Value = answer.body_mut().read_json().expect("JSON");
    let id = status["id"].as_str().expect("an id").to_owned();
    let location = answer
        .headers()
        .get("location")
        .and_then(|location| location.to_str().ok());
    assert_eq!(location, Some(format!("/api/benchmarks/{id}").as_str()));
    id
}

fn benchmark(server: &Server, id: &str) -> Value {
    Download::start(&server.address, &format!("/api/benchmarks/{id}")).json()
}

/// Runs a benchmark to its end, and gives its id.
pub(crate) fn run(server: &Server, options: &Value) -> String {
    let id = start(server, options);
    eventually("the benchmark ends", || {
        benchmark(server, &id)["state"] == "complete"
    });
    id
}

fn page(server: &Server, query: &str) -> String {
    ureq::get(server.url(&format!("/benchmark{query}")))
        .call()
        .expect("200")
        .body_mut()
        .read_to_string()
        .expect("text")
}

/// A gated database, of which no strategy gets further than the gate, and a server on it.
pub(crate) fn gated() -> (Gated, PathBuf, Server) {
    let gated = Gated::new();
    let data_dir = temporary_directory("results");
    let server = Server::spawn(&mut serve(&gated.url, &data_dir));
    (gated, data_dir, server)
}

#[test]
fn the_page_runs_it_and_shows_it_and_results_are_kept_and_compared() {
    let database = data::hostile();
    let data_dir = temporary_directory("results");
    let server = Server::spawn(&mut serve(&database.url, &data_dir));
    let html = page(&server, "");
    assert!(html.contains("There is none yet"));
    let article = "“The article” is “Export PostgreSQL data to CSV with Django” of";
    assert!(html.contains(article), "{html}");

    let id = start(&server, &json!({"runs": 2}));
    // The events say how far it is, to the end.
    let (events, _) =
        Download::start(&server.address, &format!("/api/benchmarks/{id}/events")).finish();
    let events = String::from_utf8(events).expect("UTF-8");
    let last = events
        .trim_end()
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("data: "));
    let last: Value = serde_json::from_str(last.expect("an event")).expect("JSON");
    assert_eq!(last["state"], "complete", "{events}");
    assert_eq!(
        last["progress"]["done"], last["progress"]["total"],
        "{events}"
    );

    // It is on the page, also of a server that is started anew.
    drop(server);
    let server = Server::spawn(&mut serve(&database.url, &data_dir));
    let result = benchmark(&server, &id);
    assert_eq!(result["state"], "complete");
    let tasks: i64 = {
        use diesel::prelude::*;
        cmms_export::schema::tasks::table
            .count()
            .get_result(&mut database.connect())
            .expect("counted")
    };
    let html = page(&server, "");
    let shown = html.matches(&format!("<td>{tasks}</td>")).count();
    assert_eq!(
        shown,
        Strategy::all().len(),
        "every strategy shows all rows of the table"
    );
    for strategy in Strategy::all() {
        assert!(
            html.contains(&format!("id=\"{}\"", strategy.name())),
            "{} is explained",
            strategy.name()
        );
        assert_eq!(result["result"]["results"][0]["rows"], tasks);
    }
    assert!(
        html.contains(
            result["result"]["results"][0]["sha256"]
                .as_str()
                .expect("a hash")
        )
    );
    assert!(
        html.contains("another machine, Django")
            && html.contains("“Export PostgreSQL data to CSV with Django” of <time datetime=\"2026-02-09\">9 February 2026<")
            && html.contains("<svg"),
        "{html}"
    );
    let before_table = html.split("<table").next().expect("there is one");
    for line in [
        "PostgreSQL writes the CSV itself",
        "The seven values, row by row",
    ] {
        assert!(before_table.contains(line), "{line}: {before_table}");
    }
    let rounds = "in brackets the least and the most of the ratios of two runs of one round";
    assert!(html.contains(rounds), "{html}");
    for forbidden in ["style=\"", "<style", "onclick", "<script>"] {
        assert!(
            !html.contains(forbidden),
            "the content security policy forbids {forbidden}"
        );
    }

    // A form does as well as a script.
    let answer = post(
        &server,
        "application/x-www-form-urlencoded",
        "strategies=copy&strategies=paged&runs=1&rows=10",
    );
    assert_eq!(answer.status(), 303);
    let location = answer.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let second = location
        .strip_prefix("/benchmark?id=")
        .expect("the page")
        .to_owned();
    eventually("the benchmark ends", || {
        benchmark(&server, &second)["state"] == "complete"
    });
    assert_eq!(
        benchmark(&server, &second)["result"]["results"][1]["rows"],
        10
    );
    let list = Download::start(&server.address, "/api/benchmarks").json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let compared = page(&server, &format!("?id={id}&with={second}"));
    assert!(
        compared.contains("Not alike") && compared.contains("They differ in their tasks."),
        "{compared}"
    );
    let third = run(&server, &json!({"runs": 1, "rows": 10}));
    let compared = page(&server, &format!("?id={second}&with={third}"));
    assert!(compared.contains("✓ Alike"), "{compared}");
    assert_eq!(
        Download::start(&server.address, "/benchmark?id=none").status,
        404
    );
    assert_eq!(
        Download::start(&server.address, "/benchmark?id=..%2F..%2Fetc").status,
        404
    );
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn one_runs_at_a_time_and_can_be_cancelled_down_to_its_query() {
    let (gated, data_dir, server) = gated();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let id = start(&server, &json!({"strategies": ["copy"], "runs": 1}));
    gate.reached();
    let mut second = post(&server, "application/json", "{}");
    assert_eq!(second.status(), 409);
    let problem: Value = second.body_mut().read_json().expect("JSON");
    assert_eq!(problem["type"], "urn:cmms-export:problem:benchmark-runs");
    assert_eq!(problem["location"], format!("/api/benchmarks/{id}"));
    let html = page(&server, "");
    assert!(
        html.contains("now copy") && html.contains(&format!("data-id=\"{id}\"")),
        "{html}"
    );

    let delete = || {
        let path = format!("/api/benchmarks/{id}");
        Download::request(
            &server.address,
            "DELETE",
            &path,
            &[("Host", &server.address)],
        )
        .status
    };
    assert_eq!(delete(), 204);
    eventually("the benchmark ends", || {
        benchmark(&server, &id)["state"] == "cancelled"
    });
    assert_eq!(gate::running_queries(&gated.database), 0);
    drop(gate);
    assert_eq!(delete(), 204, "what has ended stays as it is");
    let html = page(&server, "");
    let neutral = "class=\"neutral\">The last benchmark was cancelled.";
    assert!(html.contains(neutral), "{html}");
    let again = start(&server, &json!({"strategies": ["copy"], "runs": 1}));
    eventually("the next one ends", || {
        benchmark(&server, &again)["state"] == "complete"
    });
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn a_form_is_answered_by_a_page_where_it_is_refused_and_can_cancel() {
    let (gated, data_dir, server) = gated();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let id = start(&server, &json!({"strategies": ["copy"], "runs": 1}));
    gate.reached();
    let browsers = [
        ("Accept", "text/html,*/*;q=0.8"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    for (body, status, says) in [
        ("runs=1", 409, "Another benchmark runs already"),
        ("runs=many", 400, "`runs`: `many` is not understood"),
    ] {
        let mut answer = post_to(&server, "/api/benchmarks", &browsers, body);
        assert_eq!(answer.status(), status);
        let html = answer.body_mut().read_to_string().expect("text");
        assert!(
            html.contains(says) && html.contains("href=\"/benchmark\""),
            "{html}"
        );
    }

    let cancel = format!("/api/benchmarks/{id}/cancel");
    let elsewhere = [("Origin", "https://elsewhere.example")];
    assert_eq!(post_to(&server, &cancel, &elsewhere, "").status(), 403);
    assert_eq!(benchmark(&server, &id)["state"], "running");
    let unknown = "/api/benchmarks/unknown/cancel";
    assert_eq!(post_to(&server, unknown, &[], "").status(), 404);
    let answer = post_to(&server, &cancel, &browsers, "");
    assert_eq!(answer.status(), 303);
    assert_eq!(
        answer.headers()["location"],
        format!("/benchmark?id={id}").as_str()
    );
    eventually("the benchmark ends", || {
        benchmark(&server, &id)["state"] == "cancelled"
    });
    assert_eq!(gate::running_queries(&gated.database), 0);
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn the_page_says_where_lookup_was_copy_in_fact_and_what_failed() {
    let database = data::hostile();
    let data_dir = temporary_directory("results");
    let mut command = serve(&database.url, &data_dir);
    let server = Server::spawn(command.args(["--lookup-memory=1", "--max-buffered-rows=3"]));
    run(&server, &json!({"runs": 1}));
    let html = page(&server, "");
    for shown in [
        "† lookup was copy: the tables of names are too large.",
        "failed: there are more than 3 rows",
        "The same bytes from the 4 strategies that did not fail",
    ] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn it_takes_none_of_the_exports_places() {
    let gated = Gated::new();
    let data_dir = temporary_directory("results");
    let server = Server::spawn(serve(&gated.url, &data_dir).arg("--max-exports=1"));
    let mut gate = Gate::close(&gated, ROWS / 2);
    start(&server, &json!({"strategies": ["copy"], "runs": 1}));
    gate.reached();
    assert_eq!(
        Download::start(&server.address, "/tasks.csv?asset_id=0").status,
        200
    );
    drop(gate);
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn whoever_ends_it_its_process_ends_too() {
    let (gated, data_dir, server) = gated();
    let bench = |signal: Signal| {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let mut child = program(&gated.url)
            .args(["bench", "--runs=1", "--strategies=copy"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program runs");
        gate.reached();
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("ours");
        let status = child.wait().expect("ours");
        eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
        status.code()
    };
    assert_eq!(bench(Signal::SIGINT), Some(1));
    assert_eq!(bench(Signal::SIGKILL), None);
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn beyond_loopback_it_must_be_allowed() {
    let database = data::hostile();
    let data_dir = temporary_directory("results");
    for allowed in [false, true] {
        let mut command = serve(&database.url, &data_dir);
        command.args(["--allow-unauthenticated", "--bind", "0.0.0.0:0"]);
        if allowed {
            command.arg("--allow-benchmarks");
        }
        let server = Server::spawn_as_bound(&mut command);
        let answer = post(
            &server,
            "application/json",
            r#"{"runs": 1, "strategies": ["copy"]}"#,
        );
        assert_eq!(answer.status(), if allowed { 201 } else { 403 });
        let imported = post_to(&server, IMPORT, &JSON, "{}");
        assert_eq!(imported.status(), if allowed { 400 } else { 403 });
        for action in ["/api/benchmarks", IMPORT] {
            let action = format!("action=\"{action}\"");
            assert_eq!(page(&server, "").contains(&action), allowed, "{action}");
        }
    }
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn what_is_not_understood_is_refused() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    for (kind, body) in [
        ("application/json", r#"{"runs": 0}"#),
        ("application/json", r#"{"rows": 0}"#),
        ("application/json", r#"{"strategies": ["fast"]}"#),
        ("application/json", r#"{"more": 1}"#),
        ("application/json", "["),
        ("application/x-www-form-urlencoded", "runs=many"),
        ("application/x-www-form-urlencoded", "strategies=fast"),
        ("application/x-www-form-urlencoded", "more=1"),
    ] {
        assert_eq!(post(&server, kind, body).status(), 400, "{body}");
    }
    assert_eq!(
        Download::start(&server.address, "/api/benchmarks/none").status,
        404
    );
    assert_eq!(
        Download::start(&server.address, "/api/benchmarks/none/events").status,
        404
    );
    assert_eq!(
        Download::start(&server.address, "/benchmark?more=1").status,
        400
    );
}

/// A result as another machine gives it, which has another processor and another day.
pub(crate) fn from_elsewhere(database: &TestDatabase, date: &str) -> Value {
    let arguments = ["--runs", "2", "--strategies", "copy,paged"];
    let (mut report, _) = bench(database, &arguments);
    report["environment"]["processor"] = json!("Abacus <9000>");
    report["environment"]["date"] = json!(date);
    report
}

/// Whether two results are the same, but for the last digits of numbers, which JSON may change on each of its ways.
fn are_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let in_b = |(name, a)| b.get(name).is_some_and(|b| are_alike(a, b));
            a.len() == b.len() && a.iter().all(in_b)
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs(),
            _ => a == b,
        },
    }
}

/// The body of a form with a file and a name, and its content type.
fn import_form(file: &str, name: &str) -> (String, String) {
    let part = |name: &str, more: &str, value: &str| {
        format!(
            "--boundary\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n"
        )
    };
    let file = part("file", "; filename=\"result.json\"", file);
    let body = format!("{file}{}--boundary--\r\n", part("name", "", name));
    (body, "multipart/form-data; boundary=boundary".to_owned())
}

/// Imports a result, and gives its id.
pub(crate) fn import(server: &Server, report: &Value) -> String {
    let mut answer = post_to(server, IMPORT, &JSON, &report.to_string());
    let entry: Value = answer.body_mut().read_json().expect("JSON");
    entry["id"].as_str().expect("an id").to_owned()
}

const IMPORT: &str = "/api/benchmarks/import";
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

#[test]
fn a_result_of_another_machine_is_imported_and_shown_beside_this_ones() {
    let database = data::hostile();
    let data_dir = temporary_directory("results");
    let server = Server::spawn(&mut serve(&database.url, &data_dir));
    // Later than anything that is measured here.
    let report = from_elsewhere(&database, "2999-01-01T00:00:00Z");
    let mut answer = post_to(
        &server,
        &format!("{IMPORT}?name=the+old+one"),
        &JSON,
        &report.to_string(),
    );
    assert_eq!(answer.status(), 201);
    let entry: Value = answer.body_mut().read_json().expect("JSON");
    assert_eq!(entry["imported"]["machine"], "the old one");
    let id = entry["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        answer.headers()["location"],
        format!("/api/benchmarks/{id}").as_str()
    );
    let html = page(&server, "");
    let machine = "the old one (Abacus &#60;9000&#62;)";
    assert!(
        html.contains("<strong>Not of this machine</strong>") && html.contains(machine),
        "{html}"
    );
    // What it gives is what came, but for where it comes from.
    let mut given = benchmark(&server, &id)["result"].take();
    assert!(given["imported"]["date"].is_string());
    given.as_object_mut().expect("an object").remove("imported");
    assert!(are_alike(&given, &report), "{given} {report}");

    let own = run(&server, &json!({"runs": 1, "strategies": ["copy"]}));
    let html = page(&server, "");
    assert!(
        !html.contains("<strong>Not of this machine</strong>"),
        "this machine's is shown first: {html}"
    );
    assert!(html.contains(&format!("imported: {machine}")), "{html}");

    // The same by a form: the file as the service of the other machine gives it.
    let downloaded = json!({"id": "there", "state": "complete", "progress": null, "error": null, "result": report});
    let (body, kind) = import_form(&downloaded.to_string(), "another name");
    let form = [("Content-Type", kind.as_str()), ("Accept", "text/html")];
    let answer = post_to(&server, IMPORT, &form, &body);
    assert_eq!(answer.status(), 303);
    assert_eq!(
        answer.headers()["location"],
        format!("/benchmark?with={id}#compared").as_str(),
        "it is there already"
    );
    let html = page(&server, &format!("?with={id}"));
    assert!(html.contains("They differ in the machine"), "{html}");
    assert!(html.contains("another name (Abacus"), "{html}");
    let list = || Download::start(&server.address, "/api/benchmarks").json();
    assert_eq!(list().as_array().map(Vec::len), Some(2), "{}", list());

    // One of this machine that comes back is still of this machine.
    let back = Download::start(&server.address, &format!("/api/benchmarks/{own}")).json();
    let answer = post_to(&server, IMPORT, &JSON, &back.to_string());
    assert_eq!(
        answer.headers()["location"],
        format!("/api/benchmarks/{own}").as_str()
    );
    assert_eq!(list().as_array().map(Vec::len), Some(2), "{}", list());
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn what_is_no_result_is_not_imported() {
    let database = data::hostile();
    let data_dir = temporary_directory("results");
    let server = Server::spawn(&mut serve(&database.url, &data_dir));
    let report = from_elsewhere(&database, "2026-11-22T14:16:26Z");
    let mut wrong = report.clone();
    wrong["results"][0]["seconds"]["runs"] = json!([-1.0, 1.0]);
    let (no_file, kind) = import_form("", "");
    let form = [("Content-Type", kind.as_str())];
    let large = " ".repeat((2 << 20) + 1);
    let larger = " ".repeat(9 << 20);
    let report = report.to_string();
    let tests = [
        (IMPORT, &JSON, "{}", 400, "missing field"),
        (IMPORT, &JSON, "{", 400, "no JSON"),
        (
            IMPORT,
            &JSON,
            &wrong.to_string(),
            400,
            "not 2 times in seconds",
        ),
        (IMPORT, &JSON, &large, 413, "2 MiB at most"),
        (IMPORT, &JSON, &larger, 413, "2 MiB at most"),
        (
            &format!("{IMPORT}?name={}", "x".repeat(61)),
            &JSON,
            &report,
            400,
            "`name`",
        ),
        (&format!("{IMPORT}?nam=x"), &JSON, &report, 400, "nam"),
        (IMPORT, &form, &no_file, 400, "`file`: choose one"),
        (IMPORT, &form, &report, 400, "the form is not whole"),
    ];
    for (path, headers, body, status, detail) in tests {
        let mut answer = post_to(&server, path, headers, body);
        assert_eq!(answer.status(), status, "{detail}");
        let problem: Value = answer.body_mut().read_json().expect("JSON");
        let text = problem["detail"].as_str().unwrap_or_default();
        assert!(text.contains(detail), "{detail}: {problem}");
    }
    let browser = [form[0], ("Accept", "text/html")];
    let mut answer = post_to(&server, IMPORT, &browser, &no_file);
    let html = answer.body_mut().read_to_string().expect("text");
    assert!(
        html.contains("`file`: choose one") || html.contains("choose one"),
        "{html}"
    );
    let elsewhere = [JSON[0], ("Origin", "https://elsewhere.example")];
    assert_eq!(post_to(&server, IMPORT, &elsewhere, &report).status(), 403);
    assert_eq!(Download::start(&server.address, IMPORT).status, 405);
    let list = Download::start(&server.address, "/api/benchmarks").json();
    assert_eq!(list, json!([]));
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn the_newest_fifty_results_are_kept() {
    let database = data::hostile();
    let data_dir = temporary_directory("results");
    let report = from_elsewhere(&database, "2026-11-22T14:16:26Z");
    let directory = data_dir.join("benchmarks");
    std::fs::create_dir_all(&directory).expect("ours");
    let file = |id: &str| directory.join(id).with_extension("json");
    for minute in 0..50 {
        let mut old = report.clone();
        old["environment"]["date"] = json!(format!("2026-11-01T00:{minute:02}:00Z"));
        // As an older version wrote it.
        for result in old["results"].as_array_mut().expect("an array") {
            let figures = result.as_object_mut().expect("an object");
            figures.remove("round_ratios_to_fastest");
        }
        std::fs::write(file(&format!("old-{minute:02}")), old.to_string()).expect("ours");
    }
    std::fs::write(file("unreadable"), "{}").expect("ours");
    let server = Server::spawn(&mut serve(&database.url, &data_dir));
    let old = benchmark(&server, "old-00")["result"]["results"].take();
    let given = &report["results"];
    assert!(
        are_alike(&old, given),
        "what it lacks is computed: {old} {given}"
    );
    // It is of long ago, but came last.
    let long_ago = from_elsewhere(&database, "2000-01-01T00:00:00Z");
    let imported = import(&server, &long_ago);
    assert!(file(&imported).exists() && !file("old-00").exists());
    let own = run(&server, &json!({"runs": 1, "strategies": ["copy"]}));
    eventually("the next oldest is gone", || !file("old-01").exists());
    for kept in [&imported, &own, "old-02", "old-49", "unreadable"] {
        assert!(file(kept).exists(), "{kept}");
    }
    let list = Download::start(&server.address, "/api/benchmarks").json();
    assert_eq!(list.as_array().map(Vec::len), Some(50));
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}
