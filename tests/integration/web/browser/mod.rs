//! The export page as it is used: in a real browser.

mod accessibility;
mod choice;
mod columns;
mod downloads;
mod saved;
mod without_scripts;

use std::fs;
use std::path::PathBuf;

use crate::support::browser::Browser;
use crate::support::{Server, TestDatabase};

/// The newest download of the page's list.
const ITEM: &str = "#downloads li:first-child";

fn small() -> TestDatabase {
    TestDatabase::seeded(&["--tasks=2000", "--locations=3", "--assets=12", "--users=4"])
}

fn open(server: &Server) -> Browser {
    let browser = Browser::start();
    browser.open(&server.url("/"));
    browser
}

/// Chooses CSV for programs.
fn choose_data(browser: &Browser) {
    browser.click("input[name=format][value=csv]");
    browser.click("input[name=preset][value=data]");
}

/// The item's text that says how the download stands.
fn state(browser: &Browser) -> String {
    browser.text(&format!("{ITEM} .state"))
}

/// The files that the browser has saved as whole. (Unfinished ones have other names.)
fn saved(browser: &Browser) -> Vec<PathBuf> {
    const FILES: [&str; 2] = ["csv", "xlsx"];
    let entries = fs::read_dir(browser.downloads()).expect("ours");
    entries
        .map(|entry| entry.expect("ours").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| FILES.iter().any(|file| extension == *file))
        })
        .collect()
}

/// Waits until the browser has saved one file, of these bytes.
fn saves(browser: &Browser, csv: &[u8]) {
    browser.eventually("the file is saved, and is psql's", || {
        let files = saved(browser);
        let first = files.first().and_then(|file| fs::read(file).ok());
        first.is_some_and(|saved| saved == csv)
    });
}
