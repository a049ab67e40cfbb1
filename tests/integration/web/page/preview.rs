//! The first rows and their count.

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::client::{download, send};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, data, eventually};

use super::{get, page};

#[test]
fn the_preview_is_the_first_rows_of_the_download_and_their_exact_number() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    for query in [
        "",
        "done=true",
        "done=false&updated_by_id=none",
        "location_id=3",
        "asset_id=5",
        "created_by_id=7&done=",
        "updated_by_id=8",
        "title=%25",
        "location_id=3,4&updated_by_id=none&updated_by_id=8",
        "title_is=Task+99&title_is=Task+98",
        "title=%27",
        "location_id=-1",
    ] {
        let (status, preview) = get(&server, &format!("/api/tasks?{query}"));
        assert_eq!(status, 200, "{query}");
        let csv = download(&server.address, query);
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let header = reader.headers().expect("a header").clone();
        let records: Vec<csv::StringRecord> =
            reader.records().map(|row| row.expect("CSV")).collect();
        assert_eq!(preview["count"], records.len(), "{query}");
        let rows = preview["rows"].as_array().expect("an array");
        assert_eq!(rows.len(), records.len().min(20), "{query}");
        for (row, record) in rows.iter().zip(&records) {
            assert_eq!(row.as_object().expect("an object").len(), header.len());
            for (name, text) in header.iter().zip(record) {
                let value = match &row[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    number => number.to_string(),
                };
                assert_eq!(value, text, "{query}: {name}");
            }
        }
    }
}

#[test]
fn a_preview_has_the_beginning_of_long_texts_and_says_which_are_longer() {
    // 20 texts of 2 MB, and what is just short enough, and one character too long.
    let database = TestDatabase::with(
        "alter table locations alter name type text;
         insert into locations values (1, repeat('L', 255)); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks select n, 'Task', repeat('ü', 1000000), n % 2 = 0, 1, 1, null from generate_series(1, 20) n;
         update tasks set description = repeat('ü', 200) where id = 2;
         update tasks set description = repeat('ü', 201) where id = 3",
    );
    let server = Server::start(&database.url);
    let (status, _) = get(&server, "/api/tasks?columns=id");
    assert_eq!(status, 200);
    let before = server.peak_memory();
    for _ in 0..4 {
        let path = "/api/tasks?columns=id,description";
        let text = ureq::get(server.url(path)).call().expect("200");
        let text = text.into_body().read_to_string().expect("text");
        assert!(text.len() < 20_000, "{} bytes", text.len());
        let preview: Value = serde_json::from_str(&text).expect("JSON");
        let rows = preview["rows"].as_array().expect("an array");
        assert_eq!(rows.len(), 20);
        for row in rows {
            assert_eq!(row["Description"], "ü".repeat(200));
        }
        let cut: Vec<Value> = (0..20)
            .filter(|row| *row != 1)
            .map(|row| serde_json::json!({"row": row, "column": "Description"}))
            .collect();
        assert_eq!(preview["cut"], Value::from(cut));

        let (status, html) = page(&server, "/?columns=id,description");
        assert_eq!(status, 200);
        assert!(html.len() < 60_000, "{} bytes", html.len());
        let cut = format!(
            "{}<span role=\"img\" title=\"The file has all",
            "ü".repeat(200)
        );
        assert_eq!(html.matches(&cut).count(), 19);
        // The same of what a filter can be set to.
        let (_, choices) = get(&server, "/api/filters?of=locations");
        let name = format!("{}…", "L".repeat(200));
        assert_eq!(choices["choices"][0]["name"], name);
    }
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");

    let csv = download(&server.address, "columns=description");
    assert!(csv.len() > 36_000_000, "the file has all of it");
    assert_eq!(
        get(&server, "/api/tasks?columns=id").1["cut"],
        serde_json::json!([])
    );

    // The page's script shows the same.
    let browser = Browser::start();
    browser.open(&server.url("/?columns=id,description&done=false"));
    browser.click("input[name=done][value='']");
    browser.eventually("the texts are cut", || {
        browser.run("return document.querySelectorAll('#rows td [role=img]').length") == 19
    });
}

#[test]
fn a_preview_that_nobody_waits_for_is_given_up_down_to_its_query() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let mut gate = Gate::close(&gated, ROWS / 2);
    let host = [("Host", server.address.as_str())];
    let waiting = send(&server.address, "GET", "/api/tasks", &host);
    gate.reached();
    drop(waiting);
    eventually("the query is gone", || {
        gate::running_queries(&gated.database) == 0
    });
}

#[test]
fn a_page_never_waits_for_its_count_which_is_gone_once_nobody_does() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    // Behind the rows that the page shows, and before all that a count has to read: it takes for ever, however few rows there are.
    let mut gate = Gate::close(&gated, 100);
    let page_comes = || {
        let (status, html) = page(&server, "/");
        assert_eq!(status, 200);
        assert!(html.contains("too many to count quickly"), "{html}");
        assert_eq!(html.matches("<tr><td").count(), 20);
    };
    page_comes();
    eventually("the page has left no count behind", || {
        gate::running_queries(&gated.database) == 0
    });

    // What the page's script asks for afterwards.
    let host = [("Host", server.address.as_str())];
    let waiting = send(&server.address, "GET", "/api/tasks/count", &host);
    gate.reached();
    page_comes();
    assert_eq!(gate::running_queries(&gated.database), 1);
    drop(waiting);
    eventually("the count is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    drop(gate);
    assert_eq!(get(&server, "/api/tasks/count").1["count"], ROWS);
}

#[test]
fn rows_come_without_their_count_and_a_count_that_nobody_waits_for_is_given_up() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let mut gate = Gate::close(&gated, ROWS / 2);
    let (status, preview) = get(&server, "/api/tasks?count=false");
    assert_eq!(status, 200);
    assert_eq!(preview["rows"].as_array().map(Vec::len), Some(20));
    assert_eq!(preview["count"], Value::Null);

    let host = [("Host", server.address.as_str())];
    let waiting = send(&server.address, "GET", "/api/tasks/count", &host);
    gate.reached();
    drop(waiting);
    eventually("the count is gone", || {
        gate::running_queries(&gated.database) == 0
    });
    drop(gate);
    assert_eq!(get(&server, "/api/tasks/count").1["count"], ROWS);
    assert_eq!(get(&server, "/api/tasks/count?count=1").0, 400);
    assert_eq!(get(&server, "/api/tasks?count=maybe").0, 400);
}

#[test]
fn a_page_says_at_least_that_there_are_more_than_100_000_tasks() {
    if !cfg!(feature = "fault-injection") {
        panic!(
            "run `make test`, or `cargo test --features fault-injection`: only then the page waits longer than 50 ms"
        );
    }
    // To count the last one takes longer than the page waits; to find that there is one more than 100,000 does not, also on a busy machine:
    // there, 50 ms may be too short.
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks select n, 'Task', '', true, 1, 1, null from generate_series(1, 100001) n;
         alter table tasks rename to all_tasks;
         create function slow() returns boolean language plpgsql as
             'begin if current_query() ilike ''%count(%'' then perform pg_sleep(60); end if; return true; end';
         create view tasks as select * from all_tasks where id <= 100000 or slow()",
    );
    let mut command = program(&database.url);
    command.env("FAULT_COUNT_TIMEOUT_MS", "5000").arg("serve");
    let (_, html) = page(&Server::spawn(&mut command), "/");
    let said = "More than <strong>100,000</strong> tasks match";
    assert!(html.contains(said), "{html}");
}
