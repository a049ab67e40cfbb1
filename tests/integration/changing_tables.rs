//! Tables that change while the server runs: their columns' types, the tables themselves, and locks that keep everybody out.

use diesel::connection::SimpleConnection;

use crate::support::{Download, Server, TestDatabase, data};

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
