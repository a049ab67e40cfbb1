//! Pictures of the page, for the README and for whoever changes the page: `make screenshots`.

use std::fs;
use std::path::Path;

use crate::support::browser::Browser;
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::{Server, TestDatabase};

/// Where those of the README are.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
/// Where all others are.
const OTHERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots");

fn take(browser: &Browser, width: u32, scheme: &str, directory: &str, name: &str) {
    browser.look(width, scheme);
    browser.run("document.activeElement.blur()");
    fs::create_dir_all(directory).expect("allowed");
    fs::write(
        Path::new(directory).join(format!("{name}.png")),
        browser.picture(),
    )
    .expect("allowed");
}

#[test]
#[ignore = "it tests nothing"]
fn of_the_page() {
    let database = TestDatabase::seeded(&[]);
    let server = Server::start(&database.url);
    let browser = Browser::start();
    browser.open(&server.url("/"));
    take(&browser, 320, "light", OTHERS, "320-light");
    take(&browser, 390, "light", OTHERS, "narrow-light");
    take(&browser, 1280, "dark", OTHERS, "wide-dark");
    take(&browser, 1440, "light", OTHERS, "1440-light");
    take(&browser, 2560, "light", OTHERS, "2560-light");
    browser.open(&server.url("/?done=false&updated_by_id=none"));
    browser.click("#download");
    browser.sees("#downloads", "whole");
    take(&browser, 1280, "light", DOCS, "export-page");
    take(&browser, 390, "dark", DOCS, "export-page-narrow-dark");
    browser.open(&server.url("/?title=no+such+task"));
    take(&browser, 1280, "light", OTHERS, "no-rows");
    browser.open(&server.url("/?done=perhaps"));
    take(&browser, 1280, "light", OTHERS, "not-understood");

    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    browser.open(&server.url("/"));
    take(&browser, 1280, "light", OTHERS, "empty");
    drop(database);
    browser.open(&server.url("/"));
    take(&browser, 1280, "light", OTHERS, "no-database");
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    browser.open(&server.url("/?strategy=copy"));
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#download");
    gate.reached();
    browser.sees("#downloads", "left");
    take(&browser, 1280, "light", OTHERS, "running");
    gate.terminate();
    browser.sees("#downloads", "Failed");
    take(&browser, 1280, "light", OTHERS, "failed");
}
