//! What axe-core says of the page in each of its states.

use crate::support::{Server, TestDatabase};

use super::{ITEM, open, small};

#[test]
fn axe_finds_nothing_wrong_in_any_state() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    browser.click("#get summary");
    browser.click("#picker summary");
    browser.click("#filter-location_id-box");
    browser.assert_accessible("an open list");
    browser.click("#download");
    browser.sees(ITEM, "complete");
    for width in [320, 1280, 2560] {
        for scheme in ["light", "dark"] {
            browser.look(width, scheme);
            browser.assert_accessible(&format!("{width}, {scheme}"));
        }
    }
    let empty = TestDatabase::new();
    let empty_server = Server::start(&empty.url);
    for url in [
        server.url("/?title=nothing+like+that"),
        server.url("/?done=perhaps"),
        empty_server.url("/"),
    ] {
        for scheme in ["light", "dark"] {
            browser.look(1280, scheme);
            browser.open(&url);
            browser.assert_accessible(&format!("{url}, {scheme}"));
        }
    }
}
