//! Real failures: an export is complete, or visibly broken.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::support::client::{Download, End, download};
use crate::support::{Server, TestDatabase, data, eventually, program};

const ROWS: u32 = 300_000;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn count(database: &TestDatabase, sql: &str) -> i64 {
    diesel::sql_query(sql)
        .get_result::<Count>(&mut database.connect())
        .expect("the SQL runs")
        .count
}

/// The exports' server processes that run a query.
const RUNNING: &str =
    "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
    and state <> 'idle' and (query like '%creators%' or query like 'copy (SELECT%')";

fn lines(csv: &[u8]) -> usize {
    csv.iter().filter(|byte| **byte == b'\n').count()
}

/// A server whose exports wait for their readers.
fn without_spool(database: &TestDatabase) -> Server {
    Server::spawn(program(&database.url).args(["serve", "--spool-size=0"]))
}

#[test]
fn a_backend_that_is_killed_in_the_middle_breaks_the_transfer_and_the_next_export_is_whole() {
    let database = data::wide(ROWS);
    let server = without_spool(&database);
    for strategy in ["streamed", "copy"] {
        let query = format!("strategy={strategy}");
        let mut broken = Download::start(&server.address, &format!("/tasks.csv?{query}"));
        assert_eq!(broken.status, 200);
        broken
            .chunk()
            .expect("the first one")
            .expect("not the last");
        assert_eq!(
            count(
                &database,
                &format!("select count(pg_terminate_backend(pid)) {RUNNING}")
            ),
            1,
            "{strategy}"
        );
        let (body, end) = broken.finish();
        assert_eq!(end, End::Broken, "{strategy}");
        assert!(lines(&body) < ROWS as usize, "{strategy}");

        assert_eq!(
            lines(&download(&server.address, &query)),
            ROWS as usize + 1,
            "{strategy}"
        );
    }
}

#[test]
fn an_error_in_the_middle_of_the_query_breaks_the_transfer() {
    // After half of the rows, the filter's ILIKE meets a row that makes the query fail.
    let database = data::wide(ROWS);
    diesel::connection::SimpleConnection::batch_execute(
        &mut database.connect(),
        &format!(
            "alter table locations rename to real_locations;
             create view locations as select id, case when (select count(*) from assets) > 0 then name end as name from real_locations;
             alter table tasks rename to real_tasks;
             create view tasks as select id, case when id = {} then (1 / (id - id))::text else title end as title, description,
                done, asset_id, created_by_id, updated_by_id from real_tasks",
            ROWS / 2
        ),
    )
    .expect("ours");
    let server = Server::start(&database.url);
    for strategy in ["lookup", "streamed", "paged", "copy"] {
        let download = Download::start(&server.address, &format!("/tasks.csv?strategy={strategy}"));
        assert_eq!(download.status, 200, "{strategy}");
        let (body, end) = download.finish();
        assert_eq!(end, End::Broken, "{strategy}");
        assert!(
            lines(&body) <= ROWS as usize / 2,
            "{strategy}: {}",
            lines(&body)
        );
    }
}

#[test]
fn a_client_that_goes_away_takes_its_query_with_it() {
    let database = data::wide(ROWS);
    let server = Server::start(&database.url);
    for strategy in ["lookup", "streamed", "paged", "copy"] {
        let mut download =
            Download::start(&server.address, &format!("/tasks.csv?strategy={strategy}"));
        download
            .chunk()
            .expect("the first one")
            .expect("not the last");
        drop(download);
        eventually("the query is gone", || {
            count(&database, &format!("select count(*) {RUNNING}")) == 0
        });
    }
}

#[test]
fn without_a_spool_a_slow_client_holds_the_query_back_and_not_the_memory() {
    let database = data::wide(ROWS);
    let server = without_spool(&database);
    let idle = server.peak_memory();
    let downloads: Vec<Download> = ["lookup", "streamed", "paged", "copy"]
        .map(|strategy| {
            Download::start(&server.address, &format!("/tasks.csv?strategy={strategy}"))
        })
        .into();
    for download in downloads {
        assert_eq!(lines(&download.finish().0), ROWS as usize + 1);
    }
    let grown = server.peak_memory() - idle;
    // Less than a single one of the four: what waits in their queues comes to 15 to 17 MiB, with what the allocator keeps.
    assert!(
        grown < 24 << 20,
        "the server has grown by {grown} bytes, and each export has 37 MB"
    );
}

#[test]
fn one_export_is_one_snapshot() {
    let database = data::wide(ROWS);
    // The query waits for the client, which takes one piece before the rows change.
    let server = without_spool(&database);
    let mut rows = ROWS as usize;
    let strategies = ["lookup", "streamed", "paged", "copy"];
    for (nth, strategy) in strategies.into_iter().enumerate() {
        let mut download =
            Download::start(&server.address, &format!("/tasks.csv?strategy={strategy}"));
        let first = download
            .chunk()
            .expect("the first one")
            .expect("not the last");
        // Near the end, where no export is yet, and each time other rows.
        let changed = format!("changed under {strategy}");
        diesel::sql_query(format!(
            "update tasks set title = '{changed}' where id > 280000"
        ))
        .execute(&mut database.connect())
        .expect("ours");
        let deleted = diesel::sql_query(format!(
            "delete from tasks where id > 290000 and id % 100 = {nth}"
        ))
        .execute(&mut database.connect())
        .expect("ours");
        let (rest, end) = download.finish();
        assert_eq!(end, End::Clean);
        let csv = [first, rest].concat();
        assert!(
            !String::from_utf8_lossy(&csv).contains(&changed),
            "{strategy}"
        );
        assert_eq!(lines(&csv), rows + 1, "{strategy}");
        rows -= deleted;
    }
}
