//! Columns, chosen and put in order.

use crate::support::browser::Browser;
use crate::support::{Server, oracle};

use super::{ITEM, choose_data, open, saves, small};

/// The header of the preview.
fn header(browser: &Browser) -> String {
    let cells = browser.run(
        "return [...document.querySelectorAll('#rows th')].map((cell) => cell.textContent).join()",
    );
    cells.as_str().expect("text").to_owned()
}

#[test]
fn columns_are_chosen_and_ordered_and_are_in_the_address() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    let shows = |expected: &str| {
        browser.eventually(&format!("the preview shows {expected}"), || {
            header(&browser) == expected
        })
    };
    let default = "ID,Title,Asset,Asset Location,Done,Created By,Updated By";
    shows(default);
    browser.click("#picker summary");
    browser.click("input[name=columns][value=description]");
    shows(&format!("{default},Description"));
    for name in [
        "asset",
        "asset_location",
        "done",
        "created_by",
        "updated_by",
    ] {
        browser.click(&format!("input[name=columns][value={name}]"));
    }
    shows("ID,Title,Description");
    browser.sees("#chosen-columns", "3 of 12");
    // By a button, and by the keyboard.
    browser.click(".move[value='up:title']");
    shows("Title,ID,Description");
    assert!(
        browser
            .address()
            .ends_with("columns=title%2Cid%2Cdescription"),
        "{}",
        browser.address()
    );
    browser.run(
        "const box = document.querySelector('input[value=id]');
         box.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp', altKey: true, bubbles: true }));",
    );
    shows("ID,Title,Description");
    // By dragging.
    browser.run(
        "const item = (name) => document.querySelector(`input[value=${name}]`).closest('li');
         const fire = (name, type) => item(name).dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() }));
         fire('description', 'dragstart'); fire('id', 'dragover'); fire('id', 'drop'); fire('description', 'dragend');",
    );
    shows("Description,ID,Title");
    browser.sees("#count", "2,000 tasks match");
    browser.assert_accessible("the picker");
    choose_data(&browser);
    browser.click("#download");
    browser.sees(ITEM, "complete");
    let csv = oracle::psql(
        &database,
        "copy (select description as \"Description\", id as \"ID\", title as \"Title\" from tasks t order by t.id) to stdout with (format csv, header)",
    );
    saves(&browser, &csv);
    // The address is a saved export.
    browser.open(&browser.address());
    shows("Description,ID,Title");
    browser.click("#default-columns");
    shows(default);
    assert!(!browser.address().contains("columns"));
    browser.click(".tabs a[href='/users']");
    browser.sees("h1", "Export users");
    browser.sees("#count", "4 users match");
    shows("ID,Username");
    browser.type_into("#filter-username", "_1");
    browser.sees("#count", "1 user matches");
    browser.sees("#download", "Download 1 user");
}
