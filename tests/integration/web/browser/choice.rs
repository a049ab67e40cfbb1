//! Choosing rows and a file format: what one chooses shows at once.

use crate::support::browser::Browser;
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::{Server, TestDatabase, oracle};

use super::{ITEM, choose_data, open, saves, small, state};

#[test]
fn what_one_chooses_shows_at_once_and_is_what_one_gets() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    browser.sees("#count", "2,000 tasks match");
    browser.sees("#download", "Download 2,000 tasks");
    assert_eq!(browser.property("#rows tbody", "childElementCount"), "20");

    browser.choose("location_id", "Location 2");
    browser.click("input[name=done][value=true]");
    browser.type_into("#filter-title", "task 1");
    let condition = "l.id = 2 and t.done and t.title ilike '%task 1%'";
    let csv = oracle::copy(&database, condition, ',');
    let count = csv.iter().filter(|byte| **byte == b'\n').count() - 1;
    browser.sees("#count", &format!("{count} tasks match"));
    assert!(
        browser
            .address()
            .ends_with("/?location_id=2&done=true&title=task+1&format=xlsx"),
        "{}",
        browser.address()
    );
    browser.eventually("only the assets of the location are offered", || {
        let offered = browser.property("#filter-asset_id", "length");
        let sql = "select 1 + count(*) from assets where location_id = 2";
        offered == String::from_utf8_lossy(&oracle::psql(&database, sql)).trim()
    });

    choose_data(&browser);
    browser.eventually("the command is the matching one", || {
        browser
            .property("#curl", "value")
            .ends_with("/tasks.csv?location_id=2&done=true&title=task+1&preset=data'")
    });
    let file = browser.property("#file-link", "value");
    assert!(
        file.ends_with("/tasks.csv?location_id=2&done=true&title=task+1&preset=data"),
        "{file}"
    );
    assert_eq!(
        browser.property("#sheets-link", "value"),
        format!("=IMPORTDATA(\"{file}\")")
    );
    assert_eq!(browser.property("#page-link", "value"), browser.address());
    assert_eq!(
        browser.run("return document.title"),
        "Location 2, done, “task 1” · Export tasks"
    );
    browser.click("#download");
    browser.sees(ITEM, "complete");
    assert!(
        state(&browser).starts_with(&format!("{count} of {count} rows, ")),
        "{}",
        state(&browser)
    );
    saves(&browser, &csv);

    // What another dataset has, too, goes with its tab.
    let assets = browser.run("return document.querySelector('nav a[href*=assets]').search");
    assert_eq!(assets, "?location_id=2");

    // The address is the choice: another browser sees the same.
    let other = Browser::start();
    other.open(&browser.address());
    other.sees("#count", &format!("{count} tasks match"));
    assert_eq!(other.property("#filter-title", "value"), "task 1");

    browser.type_into("#filter-title", " and nothing like that");
    browser.sees("#preview", "No task is like that");
    browser.sees("#count", "0 tasks match");
}

#[test]
fn the_rows_are_shown_and_can_be_downloaded_while_their_count_is_awaited() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("input[name=done][value=true]");
    gate.reached();
    browser.sees("#count", "Counting the tasks…");
    assert_eq!(browser.property("#rows tbody", "childElementCount"), "20");
    assert_eq!(browser.text("#download"), "Download Excel");
    // Another choice: the count of this one is nobody's concern any more.
    browser.type_into("#filter-title", "nothing like that");
    drop(gate);
    browser.sees("#count", "0 tasks match");
}

#[test]
fn thousands_of_choices_are_found_by_typing() {
    let database = TestDatabase::with(
        "insert into locations select n, 'Hall ' || lpad(n::text, 4, '0') from generate_series(1, 3000) n;
         insert into users values (1, 'somebody'); insert into assets select n, 'Pump ' || n, '', n from generate_series(1, 3000) n;
         insert into tasks select n, 'Task', '', true, n, 1, null from generate_series(1, 3000) n; analyze",
    );
    let server = Server::start(&database.url);
    let browser = open(&server);
    // Words in any order, of a name that is not among the 100 that are listed.
    browser.choose("location_id", "2742");
    browser.sees("#count", "1 task matches");
    browser.eventually("only its asset is offered", || {
        browser.property("#filter-asset_id", "length") == "2"
    });
    assert!(browser.address().contains("location_id=2742"));
    browser.sees(".chips", "Hall 2742");
}

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const DOWN: &str = "\u{e015}";
const BACKSPACE: &str = "\u{e003}";

#[test]
fn what_is_typed_and_highlighted_is_chosen_by_enter_and_on_leaving_the_field() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Harbour hall 3'), (2, 'Harbour hall 4'), (3, 'Office 3');
         insert into users values (1, 'somebody'); insert into assets select n, 'Pump ' || n, '', n from generate_series(1, 3) n;
         insert into tasks select n, 'Task', '', true, 1 + n % 3, 1, null from generate_series(1, 30) n; analyze",
    );
    let server = Server::start(&database.url);
    let browser = open(&server);
    let field = "#filter-location_id-box";
    browser.type_into(field, "3 harbour");
    browser.sees("#filter-location_id-list", "Harbour hall 3");
    browser.sees(".combobox .hint", "1 found");
    browser.type_into(field, ESCAPE);
    assert_eq!(browser.property(field, "value"), "", "Escape takes it back");
    assert_eq!(browser.property("#filter-location_id", "value"), "");
    // Who leaves the field has chosen what is highlighted, whether it was found already or not, and sees so.
    for typed in ["office", "nowhere"] {
        browser.type_into(field, typed);
        if typed == "office" {
            browser.sees(".combobox .hint", "1 found");
        }
        browser.click("#filter-title");
        browser.eventually("the field is empty", || {
            browser.property(field, "value").is_empty()
        });
        browser.sees(".chips", "Office 3");
    }
    assert!(browser.address().contains("location_id=3"));
    browser.type_into(field, "office");
    browser.sees(".combobox .hint", "1 found");
    browser.click("#filter-title");
    browser.eventually("the field is empty", || {
        browser.property(field, "value").is_empty()
    });
    assert!(
        browser.address().contains("location_id=3"),
        "not taken away"
    );
    // Nothing is downloaded before it is known what is meant, and nothing at all if that is not there.
    for (typed, downloads) in [("nowhere", 0), ("harbour hall 4", 1)] {
        browser.run(&format!(
            "const input = document.getElementById('filter-location_id-box');
             input.value = '{typed}';
             input.dispatchEvent(new Event('input'));
             form.requestSubmit(document.getElementById('download'));"
        ));
        browser.eventually("the search has ended", || {
            browser.run("return comboboxes.every(({ pending }) => !pending)") == true
        });
        let started = "return document.querySelectorAll('#downloads li').length";
        assert_eq!(browser.run(started), downloads, "{typed}");
    }
    // A search that is given up holds nothing back.
    browser.run(
        "const input = document.getElementById('filter-location_id-box');
         input.value = 'office';
         input.dispatchEvent(new Event('input'));
         input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
         lastStart = -ONE_CLICK;
         form.requestSubmit(document.getElementById('download'));",
    );
    let started = "return document.querySelectorAll('#downloads li').length";
    assert_eq!(browser.run(started), 2);
    browser.sees(ITEM, "Harbour hall 4");
    browser.sees(ITEM, "20 of 20 rows");
    browser.click(".chips button");
    browser.sees("#count", "10 tasks match");
    browser.click(".chips button");
    browser.sees("#count", "30 tasks match");
    browser.type_into(field, "harbour");
    browser.sees(".combobox .hint", "2 found");
    browser.type_into(field, &format!("{DOWN}{ENTER}"));
    browser.sees("#count", "10 tasks match");
    browser.sees(".chips", "Harbour hall 4");
    assert_eq!(browser.property(field, "value"), "");
    assert!(browser.address().contains("location_id=2"));
    browser.assert_accessible("a chosen location");
    // One more, by which there are more assets to choose from; then each is taken away.
    browser.type_into(field, &format!("office{ENTER}"));
    browser.sees("#count", "20 tasks match");
    browser.assert_accessible("two chosen locations");
    assert!(
        browser.address().contains("location_id=2&location_id=3"),
        "{}",
        browser.address()
    );
    browser.eventually("the assets of both are offered", || {
        browser.property("#filter-asset_id", "length") == "3"
    });
    browser.type_into(field, BACKSPACE);
    browser.sees("#count", "10 tasks match");
    browser.click(".chips button");
    browser.sees("#count", "30 tasks match");
    assert!(!browser.address().contains("location_id"));
    browser.type_into(field, "harbour");
    browser.sees(".combobox .hint", "2 found");
    browser.type_into(field, &format!("{DOWN}{ENTER}"));
    browser.sees("#count", "10 tasks match");
    // Enter comes before the answer: the first that is found is meant.
    browser.type_into("#filter-asset_id-box", &format!("pump{ENTER}"));
    browser.eventually("it is chosen", || {
        browser.property("#filter-asset_id", "value") == "2"
    });
    browser.click("#reset");
    browser.sees("#count", "30 tasks match");
    assert_eq!(browser.property(field, "value"), "");
    browser.eventually("all assets are offered again", || {
        browser.property("#filter-asset_id", "length") == "4"
    });
}

#[test]
fn the_file_format_is_remembered_and_fits_the_browsers_language() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    let delimiter = || browser.property("#delimiter", "value");
    let command = || browser.property("#curl", "value");
    assert_eq!(delimiter(), ",");
    assert!(command().ends_with("/tasks.xlsx'"), "{}", command());
    assert_eq!(browser.text("#download"), "Download 2,000 tasks as Excel");
    assert_eq!(browser.property("#delimiter", "offsetHeight"), "0");
    browser.click("input[name=format][value=csv]");
    browser.sees("#download", "Download 2,000 tasks as CSV");
    assert_ne!(browser.property("#delimiter", "offsetHeight"), "0");
    let agent = browser.run("return navigator.userAgent");
    browser.devtools(
        "Emulation.setUserAgentOverride",
        &serde_json::json!({"userAgent": agent, "acceptLanguage": "de-DE"}),
    );
    browser.open(&server.url("/"));
    browser.eventually("Excel's separator in German", || delimiter() == ";");
    assert!(command().ends_with("/tasks.csv?preset=excel&delimiter=%3B'"));
    browser.open(&server.url("/?format=xlsx"));
    assert!(command().ends_with("/tasks.xlsx'"), "the address says it");
    browser.open(&server.url("/?preset=excel"));
    assert_eq!(delimiter(), ",", "the address says it");
    browser.click("#delimiter option[value=tab]");
    browser.eventually("it is chosen", || delimiter() == "tab");
    choose_data(&browser);
    browser.open(&server.url("/assets"));
    browser.eventually("what was chosen is remembered", || delimiter() == "tab");
    assert!(command().ends_with("/assets.csv?preset=data&delimiter=tab'"));
    browser.click("input[name=format][value=xlsx]");
    browser.open(&server.url("/users"));
    browser.eventually("a workbook is what was chosen", || {
        command().ends_with("/users.xlsx'")
    });
}

#[test]
fn the_order_in_the_address_is_that_of_the_file() {
    let database = small();
    let server = Server::start(&database.url);
    let csv = oracle::psql(
        &database,
        "copy (select id as \"ID\", title as \"Title\" from tasks where title like '%1%' order by done desc, id)
         to stdout with (format csv, header)",
    );
    for browser in [Browser::start(), Browser::without_scripts()] {
        browser.open(&server.url("/?columns=id,title&order=-done"));
        browser.type_into("#filter-title", &format!("1{ENTER}"));
        browser.eventually("the choice is in the address", || {
            browser.address().contains("title=1&")
        });
        assert!(browser.address().contains("order=-done"));
        choose_data(&browser);
        browser.click("#download");
        saves(&browser, &csv);
    }
}

#[test]
fn a_click_on_a_columns_head_sorts_the_rows_and_the_file() {
    let database = small();
    let server = Server::start(&database.url);
    let csv = oracle::psql(
        &database,
        "copy (select id as \"ID\", title as \"Title\" from tasks order by title desc, id) to stdout with (format csv, header)",
    );
    for browser in [Browser::start(), Browser::without_scripts()] {
        browser.open(&server.url("/?columns=id,title"));
        let head = "#rows th:nth-child(2)";
        for sorted in ["ascending", "descending"] {
            browser.click(&format!("{head} .sort"));
            browser.eventually(sorted, || browser.property(head, "ariaSort") == sorted);
        }
        browser.sees("#rows tbody td:nth-child(2)", "Task 99");
        choose_data(&browser);
        browser.click("#download");
        saves(&browser, &csv);
    }
}

#[test]
fn a_database_that_is_away_shows() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    drop(database);
    browser.click("input[name=done][value=true]");
    browser.sees("#trouble", "The database is unavailable. Trying again in ");
    browser.click("#download");
    browser.sees(ITEM, "Failed");
    browser.assert_accessible("no database");
}
