//! The page of tables that the program does not know, in a browser: filters by dates, states and names, and more datasets than tabs.

use std::fs;

use super::init::{file, init};
use super::written;
use crate::support::browser::Browser;
use crate::support::{Server, TestDatabase, oracle, program};

const SQL: &str = "create schema mine; set search_path = mine;
    create type state as enum ('new', 'paid', 'lost, found');
    create table customers (id uuid primary key, name text not null);
    create table orders (id int primary key, customer_id uuid references customers, state state, placed_at timestamptz not null, due_on date,
        total numeric(12,2));
    insert into customers select md5(n::text)::uuid, 'Customer ' || n from generate_series(1, 500) n;
    insert into orders select n, case when n % 9 > 0 then md5((n % 500 + 1)::text)::uuid end, (enum_range(null::state))[n % 4 + 1],
        timestamptz '2026-03-01' + n * interval '37 minutes', date '2026-04-01' + n % 90, n * 1.5 from generate_series(1, 3000) n;
    create table line_items_1 (id int primary key); create table line_items_2 (id int primary key); create table line_items_3 (id int primary key);
    create table line_items_4 (id int primary key); create table line_items_5 (id int primary key); create table line_items_6 (id int primary key);
    create table line_items_7 (id int primary key);";

/// Sets a field, as its own calendar would.
fn set(browser: &Browser, selector: &str, value: &str) {
    browser.run(&format!(
        "const field = document.querySelector('{selector}'); field.value = '{value}'; field.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    ));
}

#[test]
fn rows_are_chosen_by_dates_states_and_names_and_the_file_has_them() {
    let database = TestDatabase::with(SQL);
    let (_directory, path) = written(file(init(&database.url, &["--schema", "mine"])));
    let server = Server::spawn(program(&database.url).args(["serve", "--datasets", &path]));
    let browser = Browser::start();
    browser.open(&server.url("/orders"));
    browser.sees("#count", "3,000 orders match");

    set(&browser, "[name=placed_at_from]", "2026-03-10");
    set(&browser, "[name=placed_at_to]", "2026-04-30");
    set(&browser, "[name=total_from]", "600.5");
    browser.click("[name=state][value=paid]");
    browser.click("[name=state][value='lost, found']");
    let by_dates = "placed_at >= '2026-03-10' and placed_at < '2026-05-01' and total >= 600.5 and state in ('paid', 'lost, found')";
    let rows = |condition: &str| {
        let sql = format!(
            "set timezone = 'UTC'; copy (select * from mine.orders where {condition} order by id) to stdout with (format csv, header)"
        );
        oracle::psql(&database, &sql)
    };
    let counted = |csv: &[u8]| csv.iter().filter(|byte| **byte == b'\n').count() - 1;
    browser.sees(
        "#count",
        &format!("{} orders match", counted(&rows(by_dates))),
    );
    browser.assert_accessible("dates and states");

    for name in ["Customer 378", "Customer 391"] {
        browser.choose("customer_id", name);
        browser.sees(".chips", name);
    }
    let condition = format!("{by_dates} and customer_id in (md5('378')::uuid, md5('391')::uuid)");
    let expected = rows(&condition);
    assert!(counted(&expected) > 0);
    browser.sees("#count", &format!("{} orders match", counted(&expected)));
    browser.click("input[name=format][value=csv]");
    browser.click("input[name=preset][value=data]");
    browser.click("#download");
    browser.sees("#downloads .state", "complete");
    let said = "Orders: Customer 378, Customer 391, State: paid, State: lost, found, Placed at from 2026-03-10, Placed at to 2026-04-30, Total from 600.5";
    browser.sees("#downloads .what", said);
    browser.eventually("the file is saved, and is psql's", || {
        let mut files = fs::read_dir(browser.downloads()).expect("ours");
        files.any(|file| fs::read(file.expect("ours").path()).is_ok_and(|csv| csv == expected))
    });

    // The address is the choice: also without a script.
    let other = Browser::without_scripts();
    other.open(&browser.address());
    other.sees("#count", &format!("{} orders match", counted(&expected)));
    assert_eq!(other.property("[name=placed_at_to]", "value"), "2026-04-30");
    assert_eq!(
        other.property("[name=state][value=paid]", "checked"),
        "true"
    );
    browser.click("#reset");
    browser.sees("#count", "3,000 orders match");
}

#[test]
fn more_datasets_than_tabs_are_a_list_in_which_one_finds_them() {
    let database = TestDatabase::with(SQL);
    let (_directory, path) = written(file(init(&database.url, &["--schema", "mine"])));
    let server = Server::spawn(program(&database.url).args(["serve", "--datasets", &path]));
    let browser = Browser::start();
    browser.open(&server.url("/orders"));
    browser.sees(".datasets summary", "Export something else (9)");
    browser.click(".datasets summary");
    browser.assert_accessible("the list of datasets");
    browser.type_into("#find-dataset", "ITEMS 4");
    browser.eventually("only it is listed", || {
        browser.text(".datasets nav") == "Line items 4"
    });
    browser.click(".datasets nav a:not([hidden])");
    browser.sees("h1", "Export line items 4");
    browser.sees("#empty", "There are no line items 4 yet");
}
