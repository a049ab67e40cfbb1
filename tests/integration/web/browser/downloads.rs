//! The list of downloads: how each gets on, and how it ends.

use std::fs;

use crate::support::Server;
use crate::support::browser::Browser;
use crate::support::client::{Download, End, send};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::program;

use super::{ITEM, open, saved, state};

#[test]
fn a_download_says_how_it_gets_on_and_that_it_is_whole() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    browser.sees("#count", &format!("{} tasks match", grouped(ROWS)));
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#download");
    gate.reached();
    let part = format!("of {} rows, ", grouped(ROWS));
    browser.sees(ITEM, &part);
    let text = state(&browser);
    assert!(
        text.contains(" a second, ") && text.ends_with(" left"),
        "{text}"
    );
    assert!(saved(&browser).is_empty());
    drop(gate);
    browser.sees(ITEM, "complete");
    assert!(
        state(&browser).starts_with(&format!("{0} of {0} rows, ", grouped(ROWS))),
        "{}",
        state(&browser)
    );
    assert_eq!(
        browser.text(&format!("{ITEM} .hash")),
        "",
        "it is folded away"
    );
    browser.click(&format!("{ITEM} summary"));
    let hash = browser.text(&format!("{ITEM} .hash"));
    browser.eventually("the file is saved", || !saved(&browser).is_empty());
    let file = fs::read(&saved(&browser)[0]).expect("there");
    let sum: String = <sha2::Sha256 as sha2::Digest>::digest(&file)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hash, sum);
    assert!(
        file.starts_with(b"PK"),
        "a workbook is what the page offers first"
    );
}

/// Starts a download, which stops at a gate in its middle.
fn start_gated(gated: &Gated, browser: &Browser) -> Gate {
    let mut gate = Gate::close(gated, ROWS / 2);
    browser.click("#download");
    gate.reached();
    browser.sees(ITEM, "rows, ");
    gate
}

fn grouped(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

#[test]
fn cancel_stops_the_download_down_to_its_query() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    let _gate = start_gated(&gated, &browser);
    browser.click(&format!("{ITEM} .cancel"));
    browser.sees(ITEM, "Cancelled after");
    browser.eventually("the query is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    assert!(saved(&browser).is_empty(), "{:?}", saved(&browser));
}

#[test]
fn a_killed_backend_is_a_failed_download_and_no_file() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    let mut gate = start_gated(&gated, &browser);
    gate.terminate();
    browser.sees(ITEM, "Failed after");
    // Nothing was sent of a workbook.
    browser.sees(ITEM, "The connection to the database was lost");
    assert!(!browser.text(ITEM).contains("The file is incomplete"));
    browser.sees("#now", "Failed after");
    assert!(saved(&browser).is_empty(), "{:?}", saved(&browser));
    browser.assert_accessible("a failed download");
    drop(gate);
    browser.click(&format!("{ITEM} .retry"));
    browser.sees(ITEM, "complete");
    browser.eventually("the file is saved", || saved(&browser).len() == 1);
}

#[test]
fn a_busy_server_is_told_from_a_broken_one_and_can_be_tried_again() {
    let gated = Gated::new();
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
    let browser = open(&server);
    let mut gate = Gate::close(&gated, ROWS / 2);
    let other = send(
        &server.address,
        "GET",
        "/tasks.csv",
        &[("Host", &server.address)],
    );
    gate.reached();
    browser.click("#download");
    browser.sees(ITEM, "Too many exports are running.");
    browser.sees(&format!("{ITEM} .retry"), "Try again in ");
    assert!(saved(&browser).is_empty());
    drop(gate);
    assert_eq!(Download::read(other).finish().1, End::Clean);
    browser.eventually("it can be tried again", || {
        browser.text(&format!("{ITEM} .retry")) == "Try again"
    });
    browser.click(&format!("{ITEM} .retry"));
    browser.sees(ITEM, "complete");
    browser.eventually("the file is saved", || saved(&browser).len() == 1);
}

#[test]
fn several_downloads_at_once_are_listed_and_leave_the_page_its_connections() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    let mut gate = Gate::close(&gated, ROWS / 2);
    for _ in 0..3 {
        // A double click is one.
        browser.click("#download");
        browser.click("#download");
        // As if a second had passed.
        browser.run("lastStart = -ONE_CLICK");
    }
    gate.reached();
    browser.sees("#downloads li:nth-child(3)", "rows, ");
    browser.sees("#downloads li:nth-child(2)", "rows, ");
    browser.sees(ITEM, "Waiting for another download");
    assert_eq!(
        browser.run("return document.querySelectorAll('#downloads li').length"),
        3
    );
    browser.sees("#now", "Waiting for another download");
    browser.click("#downloads li:nth-child(3) .cancel");
    browser.sees("#downloads li:nth-child(3)", "Cancelled");
    browser.sees(ITEM, "rows, ");
    drop(gate);
    browser.sees(ITEM, "complete");
    browser.sees("#downloads li:nth-child(2)", "complete");
}

#[test]
fn a_download_stays_listed_when_the_filters_are_cleared_and_the_page_is_loaded_anew() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    browser.type_into("#filter-title", "t");
    browser.sees("#count", "tasks match");
    let gate = start_gated(&gated, &browser);
    browser.click("#reset");
    browser.eventually("the filter is gone", || {
        browser.address().ends_with("/?format=xlsx")
    });
    browser.sees(ITEM, "rows, ");
    browser.open(&browser.address());
    browser.sees(ITEM, "Tasks: “t”");
    browser.sees(ITEM, "rows, ");
    browser.click(&format!("{ITEM} .cancel"));
    browser.sees(ITEM, "Cancelled after");
    drop(gate);
    browser.click(&format!("{ITEM} .retry"));
    browser.sees(ITEM, "complete");
    browser.open(&server.url("/users"));
    browser.sees(ITEM, "complete");
}
