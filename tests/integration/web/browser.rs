//! The export page as it is used: in a real browser.

use std::fs;
use std::path::PathBuf;

use crate::support::browser::Browser;
use crate::support::client::{Download, End, send};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, oracle};

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

/// The files that the browser has saved as whole: it gives others names of its own.
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
    browser.type_into("#title", "task 1");
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
        let offered = browser.property("#asset_id", "length");
        let sql = "select 1 + count(*) from assets where location_id = 2";
        offered == String::from_utf8_lossy(&oracle::psql(&database, sql)).trim()
    });

    choose_data(&browser);
    browser.eventually("the command is the matching one", || {
        browser
            .property("#curl", "value")
            .ends_with("/tasks.csv?location_id=2&done=true&title=task+1&preset=data'")
    });
    browser.click("#download");
    browser.sees(ITEM, "whole");
    assert!(
        state(&browser).starts_with(&format!("{count} of {count} rows, ")),
        "{}",
        state(&browser)
    );
    browser.eventually("the file is saved, and is psql's", || {
        let files = saved(&browser);
        files
            .first()
            .is_some_and(|file| fs::read(file).is_ok_and(|saved| saved == csv))
    });

    // The address is the choice: another browser sees the same.
    let other = Browser::start();
    other.open(&browser.address());
    other.sees("#count", &format!("{count} tasks match"));
    assert_eq!(other.property("#title", "value"), "task 1");

    browser.type_into("#title", " and nothing like that");
    browser.sees("#preview", "No task is like that");
    browser.sees("#count", "0 tasks match");
}

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
    assert!(text.contains("/s, ") && text.ends_with(" left"), "{text}");
    assert!(saved(&browser).is_empty());
    drop(gate);
    browser.sees(ITEM, "whole");
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
    browser.type_into("#title", "nothing like that");
    drop(gate);
    browser.sees("#count", "0 tasks match");
}

fn grouped(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

#[test]
fn cancel_stops_the_download_down_to_its_query() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#download");
    gate.reached();
    browser.sees(ITEM, "rows, ");
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
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#download");
    gate.reached();
    browser.sees(ITEM, "rows, ");
    gate.terminate();
    browser.sees(ITEM, "Failed after");
    browser.sees(ITEM, "The file is not whole");
    assert!(saved(&browser).is_empty(), "{:?}", saved(&browser));
    browser.assert_accessible("a failed download");
    drop(gate);
    browser.click(&format!("{ITEM} .retry"));
    browser.sees(ITEM, "whole");
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
    browser.sees(ITEM, "As many exports as are allowed run already");
    browser.sees(&format!("{ITEM} .retry"), "Try again in ");
    assert!(saved(&browser).is_empty());
    drop(gate);
    assert_eq!(Download::read(other).finish().1, End::Clean);
    browser.eventually("it can be tried again", || {
        browser.text(&format!("{ITEM} .retry")) == "Try again"
    });
    browser.click(&format!("{ITEM} .retry"));
    browser.sees(ITEM, "whole");
    browser.eventually("the file is saved", || saved(&browser).len() == 1);
}

#[test]
fn several_downloads_at_once_are_listed_and_leave_the_page_its_connections() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    let mut gate = Gate::close(&gated, ROWS / 2);
    for _ in 0..3 {
        browser.click("#download");
    }
    gate.reached();
    browser.sees("#downloads li:nth-child(3)", "rows, ");
    browser.sees("#downloads li:nth-child(2)", "rows, ");
    browser.sees(ITEM, "Waits for another download");
    browser.click("#downloads li:nth-child(3) .cancel");
    browser.sees("#downloads li:nth-child(3)", "Cancelled");
    browser.sees(ITEM, "rows, ");
    drop(gate);
    browser.sees(ITEM, "whole");
    browser.sees("#downloads li:nth-child(2)", "whole");
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
    // Words in any order, of a name that is not among the 200 that are listed.
    browser.choose("location_id", "2742");
    browser.sees("#count", "1 task matches");
    browser.eventually("only its asset is offered", || {
        browser.property("#asset_id", "length") == "2"
    });
    assert!(browser.address().contains("location_id=2742"));
    assert_eq!(browser.property("#location_id-box", "value"), "Hall 2742");
}

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const DOWN: &str = "\u{e015}";

#[test]
fn what_is_typed_is_no_choice_until_it_is_chosen() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Harbour hall 3'), (2, 'Harbour hall 4'), (3, 'Office 3');
         insert into users values (1, 'somebody'); insert into assets select n, 'Pump ' || n, '', n from generate_series(1, 3) n;
         insert into tasks select n, 'Task', '', true, 1 + n % 3, 1, null from generate_series(1, 30) n; analyze",
    );
    let server = Server::start(&database.url);
    let browser = open(&server);
    let field = "#location_id-box";
    browser.type_into(field, "3 harbour");
    browser.sees("#location_id-list", "Harbour hall 3");
    browser.sees(".combobox .hint", "1 found");
    browser.type_into(field, ESCAPE);
    assert_eq!(browser.property(field, "value"), "", "Escape takes it back");
    assert_eq!(browser.property("#location_id", "value"), "");
    // Who leaves the field has chosen nothing, and sees so.
    browser.type_into(field, "harbour");
    browser.sees(".combobox .hint", "2 found");
    browser.click("#title");
    browser.eventually("the field is as it was", || {
        browser.property(field, "value").is_empty()
    });
    assert!(!browser.address().contains("location_id"));
    browser.type_into(field, "harbour");
    browser.sees(".combobox .hint", "2 found");
    browser.type_into(field, &format!("{DOWN}{ENTER}"));
    browser.sees("#count", "10 tasks match");
    assert_eq!(browser.property(field, "value"), "Harbour hall 4");
    assert!(browser.address().contains("location_id=2"));
    browser.assert_accessible("a chosen location");
    // Enter comes before the answer: the first that is found is meant.
    browser.type_into("#asset_id-box", &format!("pump{ENTER}"));
    browser.eventually("it is chosen", || {
        browser.property("#asset_id", "value") == "2"
    });
    browser.click("#reset");
    browser.sees("#count", "30 tasks match");
    assert_eq!(browser.property(field, "value"), "");
    browser.eventually("all assets are offered again", || {
        browser.property("#asset_id", "length") == "4"
    });
}

#[test]
fn a_download_stays_listed_when_the_filters_are_cleared_and_the_page_is_loaded_anew() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let browser = open(&server);
    browser.type_into("#title", "t");
    browser.sees("#count", "tasks match");
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#download");
    gate.reached();
    browser.sees(ITEM, "rows, ");
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
    browser.sees(ITEM, "whole");
    browser.open(&server.url("/users"));
    browser.sees(ITEM, "whole");
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
    browser.sees(ITEM, "whole");
    let csv = oracle::psql(
        &database,
        "copy (select description as \"Description\", id as \"ID\", title as \"Title\" from tasks t order by t.id) to stdout with (format csv, header)",
    );
    browser.eventually("the file is psql's", || {
        let files = saved(&browser);
        files
            .first()
            .is_some_and(|file| fs::read(file).is_ok_and(|saved| saved == csv))
    });
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
    browser.type_into("#username", "_1");
    browser.sees("#count", "1 user matches");
    browser.sees("#download", "Download 1 user");
}

#[test]
fn without_scripts_columns_and_tabs_work_too() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = Browser::without_scripts();
    browser.open(&server.url("/"));
    browser.click(".tabs a[href='/assets']");
    browser.sees("#count", "12 assets match");
    browser.sees("#rows thead", "ID Name Location");
    browser.click("#picker summary");
    browser.click("input[name=columns][value=description]");
    browser.click("input[name=columns][value=id]");
    browser.click("#show");
    browser.sees("#rows thead", "Name Location Description");
    browser.click(".move[value='up:location']");
    browser.sees("#rows thead", "Location Name Description");
    choose_data(&browser);
    browser.click("#download");
    let csv = oracle::psql(
        &database,
        "copy (select l.name as \"Location\", a.name as \"Name\", a.description as \"Description\"
         from assets a join locations l on l.id = location_id order by a.id) to stdout with (format csv, header)",
    );
    browser.eventually("the file is psql's", || {
        let files = saved(&browser);
        files
            .first()
            .is_some_and(|file| fs::read(file).is_ok_and(|saved| saved == csv))
    });
    browser.click("#default-columns");
    browser.sees("#rows thead", "ID Name Location");
    browser.click("input[name=format][value=xlsx]");
    browser.click("#download");
    browser.eventually("the workbook is saved", || saved(&browser).len() == 2);
}

#[test]
fn without_scripts_the_page_filters_previews_and_downloads() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = Browser::without_scripts();
    browser.open(&server.url("/"));
    browser.click("#location_id option[value='1']");
    browser.click("input[name=done][value=false]");
    browser.click("#show");
    let csv = oracle::copy(&database, "l.id = 1 and not t.done", ',');
    let count = csv.iter().filter(|byte| **byte == b'\n').count() - 1;
    browser.sees("#count", &format!("{count} tasks match"));
    choose_data(&browser);
    browser.click("#download");
    browser.eventually("the file is saved, and is psql's", || {
        let files = saved(&browser);
        files
            .first()
            .is_some_and(|file| fs::read(file).is_ok_and(|saved| saved == csv))
    });
}

#[test]
fn a_database_that_is_away_shows() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    drop(database);
    browser.click("input[name=done][value=true]");
    browser.sees("#trouble", "The database cannot be reached now");
    browser.click("#download");
    browser.sees(ITEM, "Failed");
    browser.assert_accessible("no database");
}

#[test]
fn axe_finds_nothing_wrong_in_any_state() {
    let database = small();
    let server = Server::start(&database.url);
    let browser = open(&server);
    browser.click("#get summary");
    browser.click("#picker summary");
    browser.click("#location_id-box");
    browser.assert_accessible("an open list");
    browser.click("#download");
    browser.sees(ITEM, "whole");
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
