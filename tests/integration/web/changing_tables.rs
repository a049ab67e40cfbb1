//! Tables that change while the server runs: their columns' types, the tables themselves, and locks that keep everybody out.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::support::client::send;
use crate::support::{Download, Server, TestDatabase, data, eventually, prepared};

/// What is read of the tables through Diesel.
const READS: [&str; 7] = [
    "/",
    "/api/filters?of=assets",
    "/api/tasks",
    "/tasks.csv?strategy=joined",
    "/tasks.csv?strategy=tuples",
    "/tasks.csv?strategy=streamed",
    "/tasks.csv?strategy=paged",
];

/// What the server answers to each of these.
fn statuses(server: &Server) -> Vec<(&'static str, u16)> {
    let status = |path| (path, Download::start(&server.address, path).status);
    READS.into_iter().map(status).collect()
}

/// Lets a running server read the tables, runs the SQL, and lets it read them again.
fn survives(sql: &str) {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let all = READS.map(|path| (path, 200));
    // Each of the pages' connections has had its turn.
    for _ in 0..4 {
        assert_eq!(statuses(&server), all);
    }
    run(&database, sql);
    for _ in 0..4 {
        assert_eq!(statuses(&server), all, "{sql}");
    }
}

fn run(database: &TestDatabase, sql: &str) {
    database.connect().batch_execute(sql).expect("the SQL runs");
}

#[test]
fn a_column_may_change_its_type_under_a_running_server() {
    survives(
        "alter table assets alter name type varchar(200); alter table locations alter name type varchar(200);
         alter table users alter username type varchar(200); alter table tasks alter title type varchar(200)",
    );
}

#[test]
fn a_table_may_be_made_anew_under_a_running_server() {
    survives(
        "create table new_assets (like assets including all); insert into new_assets select * from assets;
         alter table new_assets alter name type varchar(200); drop table assets cascade;
         alter table new_assets rename to assets",
    );
}

#[test]
fn another_schema_may_come_to_hold_the_tables_under_a_running_server() {
    survives(
        "create schema cmms; create table cmms.assets (like assets including all);
         alter table cmms.assets alter name type varchar(200); insert into cmms.assets select * from public.assets",
    );
}

#[test]
fn a_database_that_forgets_prepared_statements_is_no_worse_than_another() {
    // As a pooler's DISCARD ALL does, after each reading of the assets.
    survives(
        "create function forget() returns boolean language plpgsql volatile as
             'begin execute ''deallocate all''; return true; end';
         alter table assets rename to the_assets;
         create view assets as select * from the_assets where (select forget())",
    );
}

#[test]
fn tables_that_do_not_fit_any_more_are_why_nothing_works_and_nothing_has_to_be_restarted() {
    const MORE: [&str; 6] = [
        "/readyz",
        "/api/tasks/count?title=x",
        "/tasks.csv",
        "/tasks.csv?strategy=copy",
        "/tasks.xlsx",
        "/tasks.xlsx?strategy=streamed",
    ];
    let database = data::hostile();
    let server = Server::start(&database.url);
    let all = || {
        READS
            .into_iter()
            .chain(MORE)
            .filter(|path| !path.starts_with("/api/filters"))
    };
    let works = || {
        for path in all() {
            assert_eq!(Download::start(&server.address, path).status, 200, "{path}");
        }
    };
    let fails = |kind: &str| {
        for path in all() {
            let answer = Download::start(&server.address, path);
            assert_eq!(answer.status, 503, "{path}");
            assert_eq!(answer.header("retry-after"), Some("5"), "{path}");
            assert_eq!(answer.json()["type"], format!("{PROBLEM}{kind}"), "{path}");
        }
        let id = prepared::order(&server, &serde_json::json!({}));
        prepared::has_failed(&server.ended(&id), kind);
    };
    works();
    run(&database, "alter table tasks rename title to name");
    fails("tables-differ");
    run(&database, "alter table tasks rename name to title");
    works();
    run(&database, "alter table tasks rename to jobs");
    fails("tables-missing");
    run(&database, "alter table jobs rename to tasks");
    works();
    let log = server.into_log();
    for said in ["tasks.title: expected text", "title does not exist"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

/// The start of a problem's type.
const PROBLEM: &str = "urn:cmms-export:problem:";

/// What is read of the tables within a moment, or not at all.
const PAGES: [&str; 3] = ["/", "/api/filters?of=locations", "/api/tasks"];

/// Asks for all pages at once, four times each, and calls `meanwhile` as soon as one of them waits for a lock.
fn pages_beside(
    server: &Server,
    database: &TestDatabase,
    meanwhile: impl FnOnce(),
) -> Vec<Download> {
    let host = [("Host", server.address.as_str())];
    let asked = PAGES.repeat(4).into_iter();
    let streams: Vec<_> = asked
        .map(|path| send(&server.address, "GET", path, &host))
        .collect();
    eventually("a page waits for the lock", || waiting(database) > 0);
    meanwhile();
    streams.into_iter().map(Download::read).collect()
}

/// How many of the database's processes wait for a lock.
fn waiting(database: &TestDatabase) -> i64 {
    let waiting = diesel::dsl::sql::<BigInt>(
        "(select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    );
    diesel::select(waiting)
        .get_result(&mut database.connect())
        .expect("readable")
}

/// The export page as a browser gets it, whatever its status.
fn html(server: &Server) -> String {
    let request = ureq::get(server.url("/")).header("Accept", "text/html");
    let request = request.config().http_status_as_error(false).build();
    let mut response = request.call().expect("an answer");
    response.body_mut().read_to_string().expect("text")
}

fn all_are_locked(pages: impl IntoIterator<Item = Download>) {
    for page in pages {
        assert_eq!(page.status, 503);
        assert_eq!(page.header("retry-after"), Some("5"));
        assert_eq!(page.json()["type"], format!("{PROBLEM}table-locked"));
    }
}

#[test]
fn a_locked_table_is_said_to_be_locked_and_leaves_the_service_ready() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let mut locker = database.connect();
    locker
        .batch_execute("begin; lock table tasks, locations in access exclusive mode")
        .expect("ours");
    let pages = pages_beside(&server, &database, || {
        for _ in 0..10 {
            assert_eq!(Download::start(&server.address, "/readyz").status, 200);
        }
    });
    all_are_locked(pages);
    let page = html(&server);
    assert!(
        page.contains("A table of the database is being changed"),
        "{page}"
    );
    locker.batch_execute("rollback").expect("ours");
    for path in PAGES {
        assert_eq!(Download::start(&server.address, path).status, 200, "{path}");
    }
}

#[test]
fn a_table_that_somebody_waits_to_lock_is_locked_as_well() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let mut reader = database.connect();
    reader
        .batch_execute("begin; lock table tasks in access share mode")
        .expect("ours");
    let pages = std::thread::scope(|scope| {
        scope.spawn(|| {
            run(
                &database,
                "begin; lock table tasks in access exclusive mode; rollback",
            )
        });
        eventually("it waits for the lock", || waiting(&database) == 1);
        let pages = ["/", "/api/tasks"].map(|path| Download::start(&server.address, path));
        // Before anything is asserted: the thread above waits for this.
        reader.batch_execute("rollback").expect("ours");
        pages
    });
    all_are_locked(pages);
}
