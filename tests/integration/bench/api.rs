//! How a benchmark is run, shown, kept and cancelled over HTTP, without a browser.

use diesel_export::Strategy;
use serde_json::{Value, json};

use super::service::{Service, gated, location};
use crate::support::client::Download;
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::{TestDatabase, data};

#[test]
fn the_page_runs_it_and_shows_it_and_results_are_kept_and_compared() {
    let database = data::hostile();
    let service = Service::start(&database.url);
    let html = service.page("");
    assert!(html.contains("There is none yet"));
    let article = "“The article” is “Export PostgreSQL data to CSV with Django” of";
    assert!(html.contains(article), "{html}");

    let id = service.run(&json!({"runs": 2}));
    // The events say how far it is, to the end.
    let (events, _) = service
        .get(&format!("/api/benchmarks/{id}/events"))
        .finish();
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

    // It is on the page, also of a server that is restarted.
    let service = service.restart(&database.url, &[]);
    let result = service.benchmark(&id);
    assert_eq!(result["state"], "complete");
    let tasks: i64 = {
        use diesel::prelude::*;
        cmms_export::schema::tasks::table
            .count()
            .get_result(&mut database.connect())
            .expect("counted")
    };
    let html = service.page("");
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
    let (before_table, table) = html.split_once("<table").expect("there is one");
    assert!(
        before_table.contains(" s (") && before_table.contains(" as fast as "),
        "{before_table}"
    );
    for line in [
        "PostgreSQL writes the CSV itself",
        "The seven values, row by row",
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }
    let rounds = "in parentheses the minimum and maximum of the ratios within one round";
    assert!(html.contains(rounds), "{html}");
    for forbidden in ["style=\"", "<style", "onclick", "<script>"] {
        assert!(
            !html.contains(forbidden),
            "the content security policy forbids {forbidden}"
        );
    }

    // A form does as well as a script.
    let answer = service.post_as(
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
    service.ends(&second, "complete");
    assert_eq!(
        service.benchmark(&second)["result"]["results"][1]["rows"],
        10
    );
    assert_eq!(service.list().len(), 2);
    let compared = service.page(&format!("?id={id}&with={second}"));
    assert!(
        compared.contains("Not alike") && compared.contains("They differ in their tasks."),
        "{compared}"
    );
    let third = service.run_whole(&json!({"runs": 1, "rows": 10}));
    let compared = service.page(&format!("?id={second}&with={third}"));
    assert!(compared.contains("✓ Alike"), "{compared}");
    assert_eq!(service.get("/benchmark?id=none").status, 404);
    assert_eq!(service.get("/benchmark?id=..%2F..%2Fetc").status, 404);
}

#[test]
fn one_runs_at_a_time_and_can_be_cancelled_down_to_its_query() {
    let (gated, service) = gated();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let id = service.run(&json!({"strategies": ["copy"], "runs": 1}));
    gate.reached();
    let mut second = service.post_as("application/json", "{}");
    assert_eq!(second.status(), 409);
    let problem: Value = second.body_mut().read_json().expect("JSON");
    assert_eq!(problem["type"], "urn:cmms-export:problem:benchmark-runs");
    assert_eq!(problem["location"], format!("/api/benchmarks/{id}"));
    let html = service.page("");
    assert!(
        html.contains("now copy") && html.contains(&format!("data-id=\"{id}\"")),
        "{html}"
    );

    let delete = || {
        let path = format!("/api/benchmarks/{id}");
        Download::request(
            &service.address,
            "DELETE",
            &path,
            &[("Host", &service.address)],
        )
        .status
    };
    assert_eq!(delete(), 204);
    service.ends(&id, "cancelled");
    assert_eq!(gate::running_queries(&gated.database), 0);
    drop(gate);
    assert_eq!(delete(), 204, "what has ended stays as it is");
    let html = service.page("");
    let neutral = "class=\"neutral\">The last benchmark was cancelled.";
    assert!(html.contains(neutral), "{html}");
    let again = service.run(&json!({"strategies": ["copy"], "runs": 1}));
    service.ends(&again, "complete");
}

#[test]
fn a_form_is_answered_by_a_page_where_it_is_refused_and_can_cancel() {
    let (gated, service) = gated();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let id = service.run(&json!({"strategies": ["copy"], "runs": 1}));
    gate.reached();
    let browsers = [
        ("Accept", "text/html,*/*;q=0.8"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    for (body, status, says) in [
        ("runs=1", 409, "Another benchmark is running"),
        ("runs=many", 400, "`runs`: `many` is not understood"),
    ] {
        let mut answer = service.post("/api/benchmarks", &browsers, body);
        assert_eq!(answer.status(), status);
        let html = answer.body_mut().read_to_string().expect("text");
        assert!(
            html.contains(says) && html.contains("href=\"/benchmark\""),
            "{html}"
        );
    }

    let cancel = format!("/api/benchmarks/{id}/cancel");
    let elsewhere = [("Origin", "https://elsewhere.example")];
    assert_eq!(service.post(&cancel, &elsewhere, "").status(), 403);
    assert_eq!(service.benchmark(&id)["state"], "running");
    let unknown = "/api/benchmarks/unknown/cancel";
    assert_eq!(service.post(unknown, &[], "").status(), 404);
    let answer = service.post(&cancel, &browsers, "");
    assert_eq!(answer.status(), 303);
    assert_eq!(location(&answer), format!("/benchmark?id={id}").as_str());
    service.ends(&id, "cancelled");
    assert_eq!(gate::running_queries(&gated.database), 0);
}

#[test]
fn the_page_says_where_lookup_was_copy_in_fact_and_what_failed() {
    let database = data::hostile();
    let limits = ["--lookup-memory=1", "--max-buffered-rows=3"];
    let service = Service::start_with(&database.url, &limits);
    service.run_whole(&json!({"runs": 1}));
    let html = service.page("");
    for shown in [
        "† lookup was copy: the tables of names are too large.",
        "failed: there are more than 3 rows",
        "The same bytes from the 4 strategies that did not fail",
    ] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
}

#[test]
fn it_takes_none_of_the_exports_places() {
    let gated = Gated::new();
    let service = Service::start_with(&gated.url, &["--max-exports=1"]);
    let mut gate = Gate::close(&gated, ROWS / 2);
    service.run(&json!({"strategies": ["copy"], "runs": 1}));
    gate.reached();
    assert_eq!(service.get("/tasks.csv?asset_id=0").status, 200);
    drop(gate);
}

#[test]
fn beyond_loopback_it_must_be_allowed() {
    let database = data::hostile();
    let beyond = [
        "--allow-unauthenticated",
        "--bind=0.0.0.0:0",
        "--allow-benchmarks",
    ];
    for allowed in [false, true] {
        let arguments = &beyond[..if allowed { 3 } else { 2 }];
        let service = Service::start_as_bound(&database.url, arguments);
        let answer = service.post_as("application/json", r#"{"runs": 1, "strategies": ["copy"]}"#);
        assert_eq!(answer.status(), if allowed { 201 } else { 403 });
        let form = service.page("").contains("action=\"/api/benchmarks\"");
        assert_eq!(form, allowed);
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let database = TestDatabase::new();
    let service = Service::start(&database.url);
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
        assert_eq!(service.post_as(kind, body).status(), 400, "{body}");
    }
    let long = format!("{{\"rows\": 1{}}}", " ".repeat(64 * 1024));
    assert_eq!(service.post_as("application/json", &long).status(), 413);
    assert_eq!(service.get("/api/benchmarks/none").status, 404);
    assert_eq!(service.get("/api/benchmarks/none/events").status, 404);
    assert_eq!(service.get("/benchmark?more=1").status, 400);
}
