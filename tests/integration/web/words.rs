//! Each text on the pages is in `docs/page-words.md`, with the reason why it is there. (So is each text in every state that the
//! browser's tests hold against axe-core.)

use cmms_export::datasets;

use crate::support::browser::Browser;
use crate::support::words::{assert_listed, assert_listed_on, is_made, listed, literals, sources};
use crate::support::{Server, TestDatabase, program};

#[test]
fn every_text_on_the_pages_is_listed_with_its_reason() {
    let database = TestDatabase::seeded(&["--tasks=500", "--locations=300", "--assets=300"]);
    let empty = TestDatabase::new();
    let server = Server::start(&database.url);
    let of_nothing = Server::start(&empty.url);
    let without_spool = Server::spawn(program(&database.url).args(["serve", "--spool-size=0"]));
    let pages: Vec<String> = datasets::all()
        .map(|dataset| format!("/{}", dataset.name()))
        .collect();
    let mut urls = vec![
        server.url("/?location_id=77&title=nothing+like+that"),
        server.url("/?done=perhaps"),
        server.url("/exports"),
        server.url("/benchmark"),
        server.url("/benchmark?id=unknown"),
        without_spool.url("/exports"),
    ];
    for page in &pages {
        urls.extend([
            server.url(page),
            of_nothing.url(page),
            without_spool.url(page),
        ]);
    }
    for browser in [Browser::start(), Browser::without_scripts()] {
        for url in &urls {
            browser.open(url);
            assert_listed_on(&browser, url);
        }
    }
    drop(database);
    let browser = Browser::start();
    browser.open(&server.url("/"));
    assert_listed_on(&browser, "no database");
}

#[test]
fn every_text_in_the_pages_code_is_listed() {
    for file in [
        "templates/page.js",
        "templates/columns.js",
        "templates/export.js",
        "templates/combobox.js",
        "templates/downloads.js",
        "templates/prepared.js",
        "templates/benchmark.js",
        "src/web/failures.rs",
        "src/web/prepared_page.rs",
        "src/web/export_page/count.rs",
        "src/web/export_page/filters.rs",
        "src/web/html.rs",
        "src/web/problem/kind.rs",
    ] {
        assert_listed(&literals(file), file);
    }
}

#[test]
fn every_text_that_is_listed_is_on_a_page() {
    let sources = sources();
    let listed = listed();
    assert!(listed.len() > 100, "the list is not read");
    let gone: Vec<_> = listed
        .iter()
        .filter(|words| !is_made(words, &sources))
        .collect();
    assert!(
        gone.is_empty(),
        "docs/page-words.md lists what no page has: {gone:#?}"
    );
}
