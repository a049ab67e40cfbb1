//! The command line, the service, its counts, previews and pages say the same of such data.

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use serde_json::Value;

use super::{CHOICES, Fixture, MARK, TASKS, says_unexpected_null};
use crate::support::client::{Download, End};
use crate::support::expected_rows::ExpectedRows;
use crate::support::in_process::Choice;
use crate::support::program::{program, stderr};
use crate::support::{Server, TestDatabase};

/// The parameters of a choice, as a query string.
fn query(choice: &Choice, strategy: Strategy) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("strategy", strategy.name());
    if let Some(columns) = choice.columns {
        query.append_pair("columns", columns);
    }
    if let Some([name, value, _]) = choice.filter {
        query.append_pair(name, value);
    }
    query.finish()
}

fn json(server: &Server, path: &str) -> Value {
    let answer = Download::start(&server.address, path);
    assert_eq!(answer.status, 200, "{path}");
    answer.json()
}

/// Demands of the service and of the command line what psql says, of each choice.
fn check(database: &TestDatabase, url: &str) {
    let server = Server::start(url);
    for choice in &CHOICES {
        let expected = ExpectedRows::of(database, url, choice);
        let filter = choice
            .filter
            .map(|[name, value, _]| format!("{name}={value}"))
            .unwrap_or_default();
        assert_eq!(
            json(&server, &format!("/api/tasks/count?{filter}"))["count"],
            expected.count()
        );
        let columns = choice
            .columns
            .map(|names| format!("&columns={names}"))
            .unwrap_or_default();
        let preview = json(&server, &format!("/api/tasks?{filter}{columns}"));
        assert_eq!(preview["count"], expected.count());
        assert_eq!(
            preview["rows"].as_array().map(Vec::len),
            Some(expected.count().min(20))
        );
        for strategy in Strategy::all() {
            let name = strategy.name();
            let download = Download::start(
                &server.address,
                &format!("/tasks.csv?{}", query(choice, *strategy)),
            );
            if *strategy == Strategy::Joined && download.status == 422 {
                let problem = download.json();
                assert_eq!(
                    problem["type"], "urn:cmms-export:problem:unexpected-null",
                    "{problem}"
                );
                assert!(
                    says_unexpected_null(&problem.to_string(), (database, url), choice),
                    "{problem}"
                );
                assert!(!problem.to_string().contains(MARK), "{problem}");
            } else {
                assert_eq!(download.status, 200, "{name} {choice:?}");
                let (csv, end) = download.finish();
                assert_eq!(end, End::Clean, "{name} {choice:?}");
                assert_eq!(expected.difference(&csv), None, "{name} {choice:?}");
            }
            let mut command = program(url);
            command.args(["export", "--strategy", name]);
            if let Some(columns) = choice.columns {
                command.args(["--columns", columns]);
            }
            if let Some([name, value, _]) = choice.filter {
                command.arg(format!("--{}={value}", name.replace('_', "-")));
            }
            let output = command.output().expect("the program runs");
            let said = stderr(&output);
            assert!(!said.contains(MARK), "{name}: {said}");
            if *strategy == Strategy::Joined && output.status.code() == Some(1) {
                assert!(
                    says_unexpected_null(&said, (database, url), choice),
                    "{said}"
                );
            } else {
                assert!(output.status.success(), "{name} {choice:?}: {said}");
                assert_eq!(
                    expected.difference(&output.stdout),
                    None,
                    "{name} {choice:?}"
                );
            }
        }
    }
    let expected = ExpectedRows::of(database, url, &Choice::ALL);
    let page = ureq::get(server.url("/"))
        .call()
        .expect("200")
        .body_mut()
        .read_to_string()
        .expect("text");
    // With the thousands apart, however the page does that.
    let digits: String = page
        .chars()
        .filter(|character| !matches!(character, ',' | '\u{202f}' | '\u{2009}' | '\u{a0}'))
        .collect();
    assert!(
        digits.contains(&expected.count().to_string()),
        "the page says another number than {}",
        expected.count()
    );
    let log = server.into_log();
    assert!(!log.contains(MARK), "{log}");
}

#[test]
fn everybody_is_told_the_same_of_optional_and_hidden_references_and_empty_values() {
    let database = super::views::of_django(TASKS, "bigint");
    database
        .connect()
        .batch_execute(
            "update cmms_task set done = null where id % 11 = 0;
             create view locations as select id, name from cmms_location;
             create view assets as select id, name, description, location_id from cmms_asset;
             create view users as select id::bigint as id, username from auth_user where is_active;
             create view tasks as select id, title, description, done, asset_id, created_by_id::bigint as created_by_id,
                 updated_by_id::bigint as updated_by_id from cmms_task; analyze",
        )
        .expect("ours");
    check(&database, &database.url);
}

#[test]
fn everybody_is_told_the_same_of_rows_that_a_role_does_not_see() {
    let fixture = Fixture::new(TASKS);
    let reader = fixture.role("reader");
    fixture.set(
        "create table tasks as select * from all_tasks; create table users as select * from all_users;
         alter table users enable row level security; create policy seen on users using (id % 3 > 0);
         alter table tasks enable row level security; create policy seen on tasks using (id % 3 > 0)",
    );
    fixture.run(&format!(
        "grant select on locations, assets, users, tasks to {reader}"
    ));
    check(&fixture.database, &fixture.url_of(&reader));
}
