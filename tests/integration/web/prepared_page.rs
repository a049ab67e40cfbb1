//! Exports that are prepared for later, on the page: in a real browser.

use std::fs;
use std::path::PathBuf;

use crate::support::browser::Browser;
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::prepared::{by, complete, order, serve_from};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, data, oracle};

/// The newest of the page's list.
const ITEM: &str = "#prepared li:first-child";

fn open(server: &Server, path: &str) -> Browser {
    let browser = Browser::start();
    browser.open(&server.url(path));
    browser
}

/// The CSV files that the browser has saved as whole.
fn saved(browser: &Browser) -> Vec<PathBuf> {
    let entries = fs::read_dir(browser.downloads()).expect("ours");
    let paths = entries.map(|entry| entry.expect("ours").path());
    let is_csv = |path: &PathBuf| path.extension().is_some_and(|it| it == "csv");
    paths.filter(is_csv).collect()
}

#[test]
fn what_is_prepared_is_listed_fetched_and_deleted() {
    let database =
        TestDatabase::seeded(&["--tasks=2000", "--locations=3", "--assets=12", "--users=4"]);
    let server = Server::start(&database.url);
    let browser = open(&server, "/?preset=data&done=false&location_id=2");
    browser.sees("#prepared", "There are none");
    browser.assert_accessible("nothing is prepared");
    browser.click("#prepare");
    browser.sees(ITEM, "complete");
    let csv = oracle::copy(&database, "not t.done and l.id = 2", ',');
    let text = browser.text(ITEM);
    for part in [
        "Tasks, not done, Location 2 · CSV for programs",
        "Kept until ",
        "Download",
        "Delete",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let sum: String = <sha2::Sha256 as sha2::Digest>::digest(&csv)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(!text.contains(&sum), "it is folded away: {text}");
    browser.click(&format!("{ITEM} summary"));
    browser.sees(ITEM, &sum);
    browser.assert_accessible("one is prepared");
    browser.click(&format!("{ITEM} .button"));
    browser.eventually("the file is saved, and is psql's", || {
        saved(&browser)
            .first()
            .is_some_and(|file| fs::read(file).is_ok_and(|saved| saved == csv))
    });
    // Another browser, and the page of another dataset, see the same.
    let other = open(&server, "/users");
    other.sees(ITEM, "complete");
    for says in ["Delete", "Really delete?"] {
        other.sees(ITEM, says);
        other.click(&format!("{ITEM} .actions button"));
    }
    other.sees("#prepared", "There are none");
    browser.open(&browser.address());
    browser.sees("#prepared", "There are none");
}

#[test]
fn it_says_how_it_goes_over_reloads_and_can_be_cancelled() {
    let gated = Gated::new();
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
    let browser = open(&server, "/?strategy=copy&preset=data");
    browser.sees("#count", "tasks match");
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#prepare");
    gate.reached();
    browser.sees(ITEM, "so far");
    browser.eventually("how many there are to be", || {
        browser.property(&format!("{ITEM} progress"), "max") == ROWS.to_string()
    });
    browser.click("#prepare");
    browser.sees(ITEM, "Waiting, next in line");
    browser.assert_accessible("one runs, and one waits");
    browser.open(&browser.address());
    browser.sees(ITEM, "Waiting, next in line");
    browser.sees("#prepared li:last-child", "so far");
    browser.click(&format!("{ITEM} .actions button"));
    browser.sees(ITEM, "Cancelled before its first row");
    gate.terminate();
    browser.sees("#prepared li:last-child", "Failed after ");
    browser.sees(
        "#prepared li:last-child",
        "The connection to the database was lost.",
    );
    browser.assert_accessible("one has failed");
    // The page's count, which waits at the gate as well, is given up after its time.
    browser.eventually("no query is left", || {
        gate::running_queries(&gated.database) == 0
    });
    drop(gate);
    browser.click(&format!("{ITEM} .actions button"));
    browser.click("#prepare");
    browser.sees(ITEM, "complete");
}

#[test]
fn it_says_beforehand_what_it_will_come_to_and_that_it_is_the_better_way_for_many_rows() {
    let database = data::wide(100_000);
    let server = Server::start(&database.url);
    let id = order(&server, &by("copy"));
    complete(&server, &id);
    let browser = open(&server, "/?preset=data");
    browser.sees("#count", "100,000");
    browser.sees("#estimate", "ready in about ");
    browser.sees("#estimate", "this is the better way");
    let bytes = server.manifest(&id)["bytes"].as_u64().expect("a number") as f64 / 1e6;
    browser.sees("#estimate", &format!("About {bytes:.1} MB"));
    // Of a workbook nothing is known yet.
    browser.click("input[name=format][value=xlsx]");
    browser.eventually("no estimate", || {
        !browser.text("#estimate").contains("About")
    });
    browser.type_into("#filter-title", "no such task");
    browser.eventually("no many rows", || {
        browser.text("#estimate").starts_with("The server makes")
    });
}

#[test]
fn rows_that_cannot_be_counted_quickly_are_many() {
    let gated = Gated::before_tasks(1_000);
    let server = Server::start(&gated.url);
    let _gate = Gate::close(&gated, 100);
    let browser = open(&server, "/");
    browser.sees("#count", "Counting the tasks");
    browser.sees("#estimate", "this is the better way");
}

#[test]
fn a_full_queue_is_told_from_a_broken_server() {
    let gated = Gated::new();
    let server =
        Server::spawn(program(&gated.url).args(["serve", "--max-exports=1", "--max-queued=1"]));
    let browser = open(&server, "/?strategy=copy&preset=data");
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#prepare");
    gate.reached();
    browser.click("#prepare");
    browser.sees(ITEM, "Waiting, ");
    browser.click("#prepare");
    browser.sees("#prepare-trouble", "The preparation queue is full.");
    drop(gate);
}

#[test]
fn without_scripts_and_on_plain_http_it_is_prepared_and_deleted_too() {
    let database =
        TestDatabase::seeded(&["--tasks=2000", "--locations=3", "--assets=12", "--users=4"]);
    let mut command = program(&database.url);
    let server = Server::spawn(command.args(["serve", "--allowed-host=cmms.test"]));
    let browser = Browser::without_scripts();
    let address = server.url("/?done=true&location_id=1");
    browser.open(&address.replace("127.0.0.1", "cmms.test"));
    browser.click("#prepare");
    let chosen = "/?location_id=1&done=true&format=xlsx#prepared";
    browser.eventually("the choice is kept", || browser.address().ends_with(chosen));
    browser.eventually("it is complete", || {
        browser.click(".without-script a");
        browser.text(ITEM).contains("complete")
    });
    assert!(
        browser
            .text(ITEM)
            .contains("done, location number 1 · Excel"),
        "{}",
        browser.text(ITEM)
    );
    browser.click(&format!("{ITEM} .actions button"));
    browser.sees("#prepared", "There are none");
}

#[test]
fn where_nothing_can_be_prepared_the_page_does_not_offer_it() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let spool = tempfile::tempdir().expect("a directory");
    let server = serve_from(&database.url, spool.path(), &["--spool-size=0"]);
    let browser = open(&server, "/?preset=data");
    browser.sees("#count", "10 tasks match");
    assert_eq!(
        browser.run("return document.querySelector('#prepare, #prepared')"),
        serde_json::Value::Null
    );
    browser.click("#download");
    browser.sees("#downloads", "complete");
}
