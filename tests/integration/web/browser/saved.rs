//! Exports that the user has given a name.

use super::{open, small};
use crate::support::Server;

#[test]
fn a_choice_is_kept_by_its_name_and_can_be_renamed_deleted_and_brought_back() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    browser.choose("location_id", "Location 2");
    browser.click("input[name=done][value=false]");
    browser.eventually("both are in the address", || {
        browser.address().contains("location_id=2&done=false")
    });
    let address = browser.address();
    browser.type_into("#save-name", "Open, North plant");
    browser.click("#save-button");
    browser.sees("#save-said", "“Open, North plant” is saved");
    // Without a name, it is called as what is chosen.
    browser.click("#reset");
    browser.eventually("all rows", || !browser.address().contains("done"));
    browser.click("#save-button");
    browser.sees("#saved li:nth-child(2)", "All tasks");
    browser.assert_accessible("saved exports");

    browser.open(&server.url("/"));
    browser.click("#saved li:first-child a");
    browser.sees("#count", "tasks match");
    assert_eq!(browser.address(), address);
    assert_eq!(
        browser.property("#saved [aria-current]", "textContent"),
        "Open, North plant"
    );

    browser.click("#saved li:first-child button");
    browser.type_into("#save-name", "Open");
    browser.click("#save-button");
    browser.sees("#save-said", "“Open” is saved");
    browser.click("#saved li:first-child button:last-child");
    browser.sees("#save-said", "Deleted “Open”.");
    assert_eq!(browser.text("#saved ul a"), "All tasks");
    browser.click("#undo");
    browser.sees("#save-said", "“Open” is back.");
    assert_eq!(browser.text("#saved ul a"), "Open");

    // Whatever has been written there.
    for kept in ["{", "null", "[null]", "{}", "[{\"name\": 1}]"] {
        browser.run(&format!(
            "localStorage.setItem(SAVED, {})",
            serde_json::json!(kept)
        ));
        browser.open(&server.url("/"));
        browser.click("#save-button");
        browser.sees("#saved ul", "All tasks");
    }
}
