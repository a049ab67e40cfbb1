//! The export page and its JSON, without a browser.

use std::io::Read;

use serde_json::Value;

use crate::support::client::{Download, download, send};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::{Server, TestDatabase, data, eventually};

fn get(server: &Server, path: &str) -> (u16, Value) {
    let answer = Download::start(&server.address, path);
    (answer.status, answer.json())
}

/// A page as a browser asks for it.
fn page(server: &Server, path: &str) -> (u16, String) {
    let answer = ureq::get(server.url(path))
        .header("Accept", "text/html,*/*;q=0.8")
        .config()
        .http_status_as_error(false)
        .build()
        .call();
    let mut answer = answer.expect("answers");
    let html = answer.body_mut().read_to_string().expect("text");
    assert_eq!(
        answer.headers()["content-type"],
        "text/html; charset=utf-8",
        "{html}"
    );
    (answer.status().as_u16(), html)
}

/// The value of an attribute: from the first `start` to the next quotation mark.
fn attribute<'a>(html: &'a str, start: &str) -> &'a str {
    let (_, rest) = html
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in {html}"));
    rest.split_once('"').expect("it ends").0
}

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
fn a_page_of_1_000_000_tasks_never_waits_for_its_count_which_is_gone_once_nobody_does() {
    const TASKS: u64 = 1_000_000;
    let gated = Gated::before_tasks(TASKS);
    let server = Server::start(&gated.url);
    // Behind the rows that the page shows, and before all that a count has to read.
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
    assert_eq!(get(&server, "/api/tasks/count").1["count"], TASKS);
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
    // Counting them calls a function that takes longer than the page waits; to find that there are more reads no more than it has to.
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks select n, 'Task', '', true, 1, 1, null from generate_series(1, 100001) n;
         alter table tasks rename to all_tasks;
         create function slow(id bigint) returns boolean language plpgsql cost 1 as
             'begin if id = 100001 and current_query() like ''%COUNT(%'' then perform pg_sleep(60); end if; return true; end';
         create view tasks as select * from all_tasks where slow(id)",
    );
    let server = Server::start(&database.url);
    eventually("the page says so", || {
        page(&server, "/")
            .1
            .contains("More than <strong>100,000</strong> tasks match")
    });
}

#[test]
fn the_choices_come_by_name_and_say_whether_there_are_more() {
    let database = TestDatabase::with(
        "insert into locations select n, case when n <= 200 then 'Hall ' else 'Yard 100% ' end || lpad(n::text, 3, '0')
             from generate_series(1, 250) n;
         insert into assets select n, 'Pump ' || n, '', 1 + n % 3 from generate_series(1, 9) n;
         insert into users values (2, 'same'), (1, 'same'), (3, 'Another')",
    );
    let server = Server::start(&database.url);
    let names = |query: &str| {
        let (status, answer) = get(&server, &format!("/api/filters?{query}"));
        assert_eq!(status, 200, "{query}: {answer}");
        let choices = answer["choices"].as_array().expect("an array");
        let names: Vec<String> = choices
            .iter()
            .map(|choice| {
                format!(
                    "{} {}",
                    choice["id"],
                    choice["name"].as_str().expect("text")
                )
            })
            .collect();
        (names, answer["more"] == true)
    };
    let (all, more) = names("of=locations");
    assert_eq!((all.len(), more), (200, true));
    assert_eq!(
        (all[0].as_str(), all[199].as_str()),
        ("1 Hall 001", "200 Hall 200")
    );
    assert_eq!(names("of=locations&q=YARD").0.len(), 50);
    assert!(!names("of=locations&q=YARD").1);
    assert_eq!(names("of=locations&q=0%25+201").0, ["201 Yard 100% 201"]);
    assert_eq!(names("of=locations&q=h_ll").0, [""; 0]);
    assert_eq!(
        names("of=assets&location_id=2").0,
        ["1 Pump 1", "4 Pump 4", "7 Pump 7"]
    );
    assert_eq!(names("of=assets&location_id=&q=9").0, ["9 Pump 9"]);
    assert_eq!(names("of=users&q=").0, ["3 Another", "1 same", "2 same"]);
}

#[test]
fn what_the_apis_do_not_understand_is_a_400_that_names_it() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    for (path, named) in [
        ("/api/tasks?colour=red", "colour"),
        ("/api/tasks?strategy=copy", "strategy"),
        ("/api/tasks?preset=", "preset"),
        ("/api/tasks?delimiter=tab", "delimiter"),
        ("/api/tasks?export_id=a", "export_id"),
        ("/api/tasks?done=perhaps", "done"),
        ("/api/tasks?title=%ff", "UTF-8"),
        ("/api/filters", "of"),
        ("/api/filters?of=tasks", "of"),
        ("/api/filters?of=users&of=users", "of"),
        ("/api/filters?of=users&colour=red", "colour"),
        ("/api/filters?of=users&q=%00", "q"),
        ("/api/filters?of=users&location_id=here", "location_id"),
        ("/api/filters?of=assets&location_id=here", "location_id"),
    ] {
        let (status, problem) = get(&server, path);
        assert_eq!(status, 400, "{path}");
        let detail = problem["detail"].as_str().expect("there is more to say");
        assert!(detail.contains(named), "{path}: {detail}");
    }
}

#[test]
fn the_events_follow_an_export_to_its_end() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    download(&server.address, "export_id=followed");
    let events = ureq::get(server.url("/api/exports/followed/events")).call();
    let mut events = events.expect("200");
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    events
        .body_mut()
        .as_reader()
        .read_to_string(&mut text)
        .expect("it ends by itself");
    let last = text
        .trim_end()
        .rsplit("\n\n")
        .next()
        .and_then(|event| event.strip_prefix("data: "))
        .expect("an event");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last, server.manifest("followed"));
    assert_eq!(last["state"], "complete");
    assert_eq!(get(&server, "/api/exports/unknown/events").0, 404);
}

#[test]
fn the_page_shows_the_choice_in_its_address_without_a_script() {
    let database =
        TestDatabase::seeded(&["--tasks=3000", "--locations=2", "--assets=10", "--users=3"]);
    let server = Server::start(&database.url);
    eventually("the page has counted in time", || {
        page(&server, "/")
            .1
            .contains("<strong>3,000</strong> tasks match")
    });
    let (status, html) = page(&server, "/");
    assert_eq!(status, 200);
    assert_eq!(html.matches("<tr><td").count(), 20);
    assert!(html.contains("value=\"xlsx\" checked"), "it is for people");
    assert!(html.contains("Download 3,000 tasks as Excel"), "{html}");

    let choice = "location_id=1&done=true&updated_by_id=none&title=1&preset=data&delimiter=tab&strategy=paged";
    let (_, preview) = get(
        &server,
        "/api/tasks?location_id=1&done=true&updated_by_id=none&title=1",
    );
    let counted = format!("<strong>{}</strong> tasks match", preview["count"]);
    eventually("the page has counted in time", || {
        page(&server, &format!("/?{choice}")).1.contains(&counted)
    });
    let (status, html) = page(&server, &format!("/?{choice}"));
    assert_eq!(status, 200);
    for shown in [
        "<option value=\"1\" selected>Location 1</option>",
        "value=\"true\" checked",
        "<option value=\"none\" selected>",
        "id=\"title\" name=\"title\" type=\"search\" maxlength=\"1000\" value=\"1\"",
        "value=\"data\" checked",
        "<option value=\"tab\" selected>",
        "<option selected>paged</option>",
        "value=\"csv\" checked",
    ] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    // Only the assets of the location are offered.
    let assets = html.split("id=\"asset_id\"").nth(1).expect("a select");
    let assets = assets.split("</select>").next().expect("not empty");
    let (_, filters) = get(&server, "/api/filters?of=assets&location_id=1");
    assert_eq!(
        assets.matches("<option").count(),
        1 + filters["choices"].as_array().expect("an array").len()
    );

    let curl = attribute(&html, "id=\"curl\" readonly value=\"");
    let path = curl
        .strip_prefix(&format!("curl -fOJ &#39;{}", server.url("")))
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or_else(|| panic!("{curl}"))
        .replace("&#38;", "&");
    assert_eq!(
        Download::start(&server.address, &path).finish(),
        Download::start(&server.address, &format!("/tasks.csv?{choice}")).finish()
    );
    // The button without a script: the page leads to the file of the format that is chosen.
    for (form, file) in [
        (format!("{choice}&format=csv"), format!("{path}&fresh=true")),
        (
            "location_id=&done=true&format=xlsx&preset=excel&delimiter=%3B&strategy=lookup"
                .to_owned(),
            "/tasks.xlsx?done=true&fresh=true".to_owned(),
        ),
    ] {
        let led = Download::start(&server.address, &format!("/?{form}&download=true"));
        assert_eq!(
            (led.status, led.header("location")),
            (303, Some(file.as_str()))
        );
        assert_eq!(Download::start(&server.address, &file).status, 200);
    }
    assert_eq!(page(&server, "/?format=word").0, 400);
}

#[test]
fn long_lists_are_narrowed_without_a_script_and_keep_what_is_chosen() {
    let database = TestDatabase::with(
        "insert into locations select n, 'Hall ' || lpad(n::text, 4, '0') from generate_series(1, 1000) n",
    );
    let server = Server::start(&database.url);
    let (_, html) = page(&server, "/?location_id=999&done=true");
    assert!(html.contains("<option value=\"999\" selected>Hall 0999</option>"));
    assert_eq!(html.matches(">Hall ").count(), 201);
    assert!(html.contains("name=\"location_q\""));
    assert!(html.contains("<input type=\"hidden\" name=\"location_id\" value=\"999\">"));
    let (_, html) = page(&server, "/?location_id=999&location_q=ALL+000");
    assert_eq!(html.matches(">Hall 000").count(), 9);
    assert!(html.contains("<option value=\"999\" selected>Hall 0999</option>"));
    assert!(html.contains("value=\"ALL 000\""));
    // The only one that is found is what was meant.
    let (_, html) = page(&server, "/?location_q=0042+hall&done=true");
    assert!(html.contains("<option value=\"42\" selected>Hall 0042</option>"));
    assert!(
        html.contains("/tasks.xlsx?location_id=42&#38;done=true'"),
        "{html}"
    );
}

#[test]
fn each_state_says_what_it_is() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let (status, html) = page(&server, "/");
    assert_eq!(status, 200);
    assert!(html.contains("There are no tasks yet"), "{html}");

    diesel::connection::SimpleConnection::batch_execute(
        &mut database.connect(),
        "insert into locations values (1, '<b>Here</b>'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1); insert into tasks values (1, '<script>alert(1)</script>', '', true, 1, 1, null)",
    )
    .expect("ours");
    let (_, html) = page(&server, "/");
    assert!(html.contains("<strong>1</strong> task matches"), "{html}");
    assert!(
        !html.contains("<script>alert") && !html.contains("<b>Here"),
        "{html}"
    );
    let (status, html) = page(&server, "/?done=false");
    assert_eq!(status, 200);
    assert!(html.contains("<strong>0</strong> tasks match"), "{html}");
    assert!(
        html.contains("<p id=\"none\">No task is like that"),
        "{html}"
    );

    let (status, html) = page(&server, "/?done=perhaps");
    assert_eq!(status, 400);
    assert!(
        html.contains("This address is not understood") && html.contains("`done`"),
        "{html}"
    );
    let (status, html) = page(&server, "/?location_id=77");
    assert_eq!(status, 200);
    assert!(html.contains("selected>unknown (77)</option>"), "{html}");

    drop(database);
    let (status, html) = page(&server, "/?done=true");
    assert_eq!(status, 503);
    assert!(
        html.contains("The database cannot be reached") && html.contains("href=\"/?done=true\""),
        "{html}"
    );
    let problem = Download::start(&server.address, "/api/tasks");
    assert_eq!(problem.status, 503);
    assert!(problem.header("retry-after").is_some());
}

#[test]
fn the_pages_are_small_and_their_parts_are_kept_for_ever() {
    let database = TestDatabase::seeded(&[]);
    let server = Server::start(&database.url);
    for path in ["/", "/benchmark"] {
        let (_, html) = page(&server, path);
        let mut total = html.len();
        let assets: Vec<&str> = html
            .split('"')
            .filter(|text| text.starts_with("/static/"))
            .collect();
        assert_eq!(assets.len(), if path == "/" { 6 } else { 4 }, "{assets:?}");
        for path in assets {
            let mut answer = ureq::get(server.url(path)).call().expect("200");
            let kind = match path.rsplit('.').next() {
                Some("css") => "text/css; charset=utf-8",
                Some("svg") => "image/svg+xml",
                _ => "text/javascript; charset=utf-8",
            };
            assert_eq!(answer.headers()["content-type"], kind);
            assert_eq!(
                answer.headers()["cache-control"],
                "public, max-age=31536000, immutable"
            );
            total += answer.body_mut().read_to_vec().expect("readable").len();
        }
        println!("{path}: {total} bytes in all");
        assert!(total < 85_000, "{path}: {total} bytes");
        assert!(
            !html.contains("style=\"") && !html.contains("<script>"),
            "the policy forbids it"
        );
    }
    assert_eq!(
        Download::start(&server.address, "/static/export-0000000000000000.js").status,
        404
    );
}
