//! The benchmark page as it is used: in a real browser.

use diesel_export::Strategy;
use serde_json::json;

use super::service::{Service, gated};
use crate::support::TestDatabase;
use crate::support::browser::Browser;
use crate::support::gate::{self, Gate, ROWS};

const RUN: &str = "#form .button";
const CANCEL: &str = "#cancel button";

/// Chooses these strategies of all, and no more than the first tasks, beyond the gate.
fn choose(browser: &Browser, strategies: &[Strategy]) {
    for strategy in Strategy::all() {
        if !strategies.contains(strategy) {
            browser.click(&format!("input[value={}]", strategy.name()));
        }
    }
    browser.type_into("#rows", "4000");
}

#[test]
fn pressing_run_shows_how_far_it_is_and_then_the_table() {
    let (gated, service) = gated();
    let browser = Browser::start();
    browser.open(&service.url("/benchmark"));
    browser.sees("main", "There is none yet");
    choose(&browser, &[Strategy::Paged, Strategy::Copy]);
    let mut gate = Gate::close_to_runs(&gated, ROWS / 2);
    browser.click(RUN);
    gate.reached();
    // Five runs of each, and one that warms up.
    browser.sees("#progress-text", "0 of 12 runs, now ");
    browser.sees("#progress-text", "(warm-up)");
    assert_eq!(browser.property("#progress", "max"), "12");
    assert_eq!(browser.text(RUN), "", "there is one at a time");
    browser.assert_accessible("it runs");
    let other = Browser::start();
    other.open(&service.url("/benchmark"));
    other.sees("#progress-text", "0 of 12 runs, now ");

    drop(gate);
    browser.sees("#results", "The same bytes from all 2 strategies");
    let rows = browser.run(
        "return [...document.querySelectorAll('table.runs tbody tr')]
            .map((row) => [row.cells[0].textContent, row.cells[4].textContent])",
    );
    assert_eq!(rows, json!([["paged", "4,000"], ["copy", "4,000"]]));
    assert!(
        browser.address().contains("/benchmark?id="),
        "{}",
        browser.address()
    );
    assert_eq!(browser.text(RUN), "Run");
    other.sees("#results", "The same bytes from all 2 strategies");
}

#[test]
fn pressing_cancel_stops_it_with_and_without_scripts() {
    let (gated, service) = gated();
    for browser in [Browser::start(), Browser::without_scripts()] {
        browser.open(&service.url("/benchmark"));
        choose(&browser, &[Strategy::Copy]);
        let mut gate = Gate::close_to_runs(&gated, ROWS / 2);
        browser.click(RUN);
        gate.reached();
        browser.sees("#progress-text", "0 of 6 runs, now copy (warm-up)");
        browser.click(CANCEL);
        browser.sees("#message", "benchmark was cancelled");
        assert_eq!(browser.property("#message", "className"), "neutral");
        browser.eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
        drop(gate);
        assert_eq!(browser.text(RUN), "Run");
        assert_eq!(browser.text(CANCEL), "");
        browser.sees("main", "There is none yet");
    }
}

#[test]
fn without_scripts_the_page_runs_it_and_comes_to_its_result() {
    let (_gated, service) = gated();
    let browser = Browser::without_scripts();
    browser.open(&service.url("/benchmark"));
    choose(&browser, &[Strategy::Copy, Strategy::Lookup]);
    browser.click(RUN);
    browser.sees("#results", "The same bytes from all 2 strategies");
    browser.sees("#results", "4,000 tasks");
}

#[test]
fn axe_finds_nothing_wrong_with_any_result() {
    let database =
        TestDatabase::seeded(&["--tasks=2000", "--locations=3", "--assets=12", "--users=4"]);
    let limits = ["--lookup-memory=1", "--max-buffered-rows=1000"];
    let service = Service::start_with(&database.url, &limits);
    let browser = Browser::start();
    let look = |path: &str| {
        browser.open(&service.url(path));
        browser
            .run("document.querySelectorAll('details').forEach((part) => { part.open = true; })");
        for width in [320, 1280, 2560] {
            for scheme in ["light", "dark"] {
                browser.look(width, scheme);
                browser.assert_accessible(&format!("{path}, {width}, {scheme}"));
            }
        }
    };
    look("/benchmark");
    // Two sizes, in one of which two strategies fail, and another is not what was asked for.
    let [few, all] = [json!({"runs": 2, "rows": 500}), json!({"runs": 1})]
        .map(|options| service.run_whole(&options));
    look(&format!("/benchmark?id={all}&with={few}"));
    look("/benchmark?id=unknown");
}
