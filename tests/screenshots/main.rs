//! Pictures of the pages, for the README and for whoever changes the pages: `make screenshots`.

#![expect(clippy::expect_used, reason = "a program to run by hand")]

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../integration/bench/service.rs"]
mod service;
use cmms_testkit as support;

use std::fs;
use std::path::Path;

use diesel::connection::SimpleConnection;
use serde_json::json;

use service::{Service, gated};
use support::browser::Browser;
use support::gate::{Gate, Gated, ROWS};
use support::program::program;
use support::{Server, TestDatabase};

/// Where those of the README are.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
/// Where all others are.
const OTHERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots");

/// Takes all of them, or those of the page that an argument names.
fn main() {
    let pages: [(&str, fn()); 4] = [
        ("export", of_the_export_page),
        ("tables", of_tables_of_others),
        ("prepared", of_prepared_exports),
        ("benchmark", of_the_benchmark_page),
    ];
    let only = std::env::args().nth(1);
    for (name, page) in pages {
        if only.as_deref().is_none_or(|only| only == name) {
            page();
        }
    }
}

fn take(browser: &Browser, width: u32, scheme: &str, directory: &str, name: &str) {
    browser.look(width, scheme);
    browser.run("document.activeElement.blur()");
    fs::create_dir_all(directory).expect("allowed");
    fs::write(
        Path::new(directory).join(format!("{name}.png")),
        browser.picture(width),
    )
    .expect("allowed");
}

fn of_the_export_page() {
    let database = TestDatabase::seeded(&[]);
    let server = Server::start(&database.url);
    let browser = Browser::start();
    browser.open(&server.url("/"));
    take(&browser, 320, "light", OTHERS, "320-light");
    take(&browser, 360, "light", OTHERS, "360-light");
    take(&browser, 360, "dark", OTHERS, "360-dark");
    take(&browser, 1280, "dark", OTHERS, "wide-dark");
    take(&browser, 1440, "light", OTHERS, "1440-light");
    take(&browser, 2560, "light", OTHERS, "2560-light");
    browser.click("input[name=format][value=csv]");
    take(&browser, 360, "dark", OTHERS, "csv-360-dark");
    take(&browser, 1280, "light", OTHERS, "csv");
    browser.click("input[name=format][value=xlsx]");
    browser.click("#picker summary");
    browser.click(".move[value='up:title']");
    take(&browser, 1280, "light", OTHERS, "columns");
    take(&browser, 390, "dark", OTHERS, "columns-narrow-dark");
    browser.click("#filter-location_id-box");
    fs::write(Path::new(OTHERS).join("list.png"), browser.picture(1280)).expect("allowed");
    browser.open(&server.url("/assets"));
    take(&browser, 1280, "light", OTHERS, "assets");
    browser.open(&server.url("/?done=false&updated_by_id=none"));
    browser.click("#download");
    browser.sees("#downloads", "complete");
    take(&browser, 1280, "light", OTHERS, "export-page");
    take(&browser, 390, "dark", OTHERS, "export-page-narrow-dark");
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
    take(&browser, 360, "dark", OTHERS, "failed-360-dark");
}

/// The orders of a shop that this project has not made, by the file that `datasets init` writes.
fn of_tables_of_others() {
    let database = TestDatabase::with(
        "drop schema public cascade; create schema public; set session_replication_role = replica",
    );
    let mut connection = database.connect();
    for sql in [
        include_str!("../integration/tables/schemas/django.sql"),
        ORDERS,
    ] {
        connection.batch_execute(sql).expect("the SQL runs");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("datasets.toml");
    let serve = |datasets: &[u8]| {
        fs::write(&file, datasets).expect("ours");
        let serve = ["serve", "--datasets", file.to_str().expect("UTF-8")];
        Server::spawn(program(&database.url).args(serve))
    };
    let browser = Browser::start();
    let server = serve(include_bytes!("orders.toml"));
    let november = "placed_from=2026-11-01&placed_to=2026-11-30";
    browser.open(&server.url(&format!("/?{november}&total_from=100&customer_id=3,5")));
    browser.sees("#count", "match");
    take(&browser, 1280, "light", DOCS, "tables-of-others");
    take(&browser, 390, "dark", OTHERS, "tables-of-others-390-dark");
    drop(server);

    let init = program(&database.url).args(["datasets", "init"]).output();
    let server = serve(&init.expect("the program runs").stdout);
    browser.open(&server.url("/order_order"));
    browser.sees("#count", "match");
    browser.click(".datasets summary");
    browser.type_into("#find-dataset", "order");
    take(&browser, 1440, "light", OTHERS, "tables-of-others-list");
    browser.devtools(
        "Emulation.setEmulatedMedia",
        &json!({"features": [{"name": "forced-colors", "value": "active"}]}),
    );
    let forced = Path::new(OTHERS).join("tables-of-others-forced.png");
    fs::write(forced, browser.picture(1280)).expect("allowed");
}

/// Rows of Oscar's orders and customers.
const ORDERS: &str = "insert into auth_user (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
        select n, '', false, (array['ada', 'grace', 'linus', 'margaret', 'dennis', 'barbara'])[n], '', '', '', false, true, now() from generate_series(1, 6) n;
    insert into order_order (number, currency, total_incl_tax, total_excl_tax, shipping_incl_tax, shipping_excl_tax, shipping_method, shipping_code,
            status, guest_email, date_placed, user_id, analytics_tracked)
        select 100000 + n, 'EUR', n % 977 + 0.95, n % 977, 4.9, 4, (array['Post', 'Courier', 'Pick up'])[1 + n % 3], '',
            (array['Pending', 'Paid', 'Sent', 'Returned'])[1 + n % 4], '', timestamptz '2026-10-01 08:00+00' + n * interval '7 minutes', 1 + n % 6, true
        from generate_series(1, 20000) n; analyze";

fn of_prepared_exports() {
    let database = TestDatabase::seeded(&[]);
    let server = Server::start(&database.url);
    let browser = Browser::start();
    browser.open(&server.url("/?format=xlsx"));
    take(&browser, 360, "light", OTHERS, "prepared-none-360");
    for query in ["", "?done=false&location_id=3&preset=data"] {
        browser.open(&server.url(&format!("/{query}")));
        browser.click("#prepare");
        browser.sees("#prepared li:first-child", "complete");
    }
    browser.click("#prepared li:first-child summary");
    both(&browser, "prepared");
    browser.open(&server.url("/?title=no+such+task"));
    browser.click("#prepare");
    browser.sees("#prepared li:first-child", "0 rows");
    take(&browser, 1280, "light", OTHERS, "prepared-no-rows");
    take(&browser, 360, "dark", OTHERS, "prepared-no-rows-360-dark");

    let gated = Gated::new();
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.open(&server.url("/?strategy=copy&preset=data"));
    browser.click("#prepare");
    browser.sees("#prepared li:first-child", "so far");
    gate.reached();
    browser.click("#prepare");
    browser.sees("#prepared li:first-child", "next in line");
    both(&browser, "prepared-running");
    gate.terminate();
    browser.sees("#prepared li:last-child", "Failed");
    drop(gate);
    browser.sees("#prepared li:first-child", "complete");
    both(&browser, "prepared-failed");
}

fn both(browser: &Browser, name: &str) {
    for (width, scheme) in [
        (360, "light"),
        (360, "dark"),
        (1280, "light"),
        (1280, "dark"),
    ] {
        take(
            browser,
            width,
            scheme,
            OTHERS,
            &format!("{name}-{width}-{scheme}"),
        );
    }
}

fn of_the_benchmark_page() {
    let database = TestDatabase::seeded(&[]);
    let service = Service::start(&database.url);
    let browser = Browser::start();
    browser.open(&service.url("/benchmark"));
    take(&browser, 390, "light", OTHERS, "benchmark-none");
    let sizes = [10_000, 30_000, 60_000];
    let smaller = sizes.map(|rows| service.run_whole(&json!({"runs": 3, "rows": rows})));
    service.run_whole(&json!({"runs": 5}));
    browser.open(&service.url("/benchmark"));
    for width in [320, 390, 1280, 1920] {
        for scheme in ["light", "dark"] {
            take(
                &browser,
                width,
                scheme,
                OTHERS,
                &format!("benchmark-{width}-{scheme}"),
            );
        }
    }
    browser.open(&service.url(&format!("/benchmark?with={}", smaller[0])));
    take(&browser, 1280, "light", OTHERS, "benchmark-compared");
    // For the README no more than what it is about.
    browser.open(&service.url("/benchmark"));
    browser.run(
        "document.querySelectorAll('#results ~ section, details, details ~ p').forEach((part) => part.remove())",
    );
    take(&browser, 1280, "light", DOCS, "benchmark");

    let limits = ["--max-buffered-rows=50000", "--lookup-memory=1"];
    let service = service.restart(&database.url, &limits);
    service.run_whole(&json!({"runs": 2}));
    browser.open(&service.url("/benchmark"));
    take(&browser, 1280, "light", OTHERS, "benchmark-failed");
    take(&browser, 390, "dark", OTHERS, "benchmark-failed-390-dark");

    let (gated, service) = gated();
    browser.open(&service.url("/benchmark"));
    let mut gate = Gate::close(&gated, ROWS / 2);
    browser.click("#form .button");
    gate.reached();
    browser.sees("#progress-text", "now ");
    take(&browser, 1280, "dark", OTHERS, "benchmark-running");
    take(&browser, 320, "light", OTHERS, "benchmark-running-320");
    browser.click("#cancel button");
    browser.sees("#message", "cancelled");
    take(&browser, 390, "light", OTHERS, "benchmark-cancelled");
    drop(gate);
}
