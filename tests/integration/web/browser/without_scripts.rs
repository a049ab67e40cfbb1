//! The page in a browser that runs no scripts.

use crate::support::browser::Browser;
use crate::support::{Server, oracle};

use super::{choose_data, saved, saves, small};

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
    saves(&browser, &csv);
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
    browser.click("#filter-location_id option[value='1']");
    browser.click("input[name=done][value=false]");
    browser.click("#show");
    let csv = oracle::copy(&database, "l.id = 1 and not t.done", ',');
    let count = csv.iter().filter(|byte| **byte == b'\n').count() - 1;
    browser.sees("#count", &format!("{count} tasks match"));
    choose_data(&browser);
    browser.click("#download");
    saves(&browser, &csv);
}
