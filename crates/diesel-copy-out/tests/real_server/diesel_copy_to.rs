//! The programs of docs/diesel-copy-to.md still show what it says. If one fails, Diesel has fixed that: say so there.

use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::CopyFormat;
use diesel::prelude::*;

use crate::cluster::Cluster;
use crate::eventually;

diesel::table! {
    quotients (id) {
        id -> Integer,
        quotient -> Nullable<Integer>,
        rest -> Nullable<Integer>,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable)]
struct Quotient {
    id: i32,
    quotient: Option<i32>,
    rest: Option<i32>,
}

/// A table with 100,000 rows, of which the one with the id 50,000 cannot be read by the role `reader` (`create role reader`).
fn create_quotients(connection: &mut PgConnection) -> QueryResult<()> {
    connection.batch_execute(
        "create table quotients as
             select n as id, 1 as quotient, 1 as rest from generate_series(1, 100000) n;
         create policy division on quotients using (1 / (50000 - id) is not null);
         alter table quotients enable row level security;
         grant select on quotients to reader;
         set role reader",
    )
}

fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::establish(&cluster.url()).expect("a connection")
}

fn failing(cluster: &Cluster) -> PgConnection {
    let mut connection = connect(cluster);
    create_quotients(&mut connection).expect("a table");
    connection
}

fn one_row(cluster: &Cluster) -> PgConnection {
    let mut connection = connect(cluster);
    connection
        .batch_execute("create table quotients as select 1 as id, null::int as quotient, 3 as rest")
        .expect("a table");
    connection
}

fn raw(connection: &mut PgConnection) -> Result<(), Box<dyn std::error::Error>> {
    let copy = diesel::copy_to(quotients::table).with_format(CopyFormat::Csv);
    let lines = copy.load_raw(connection)?.lines();
    let lines = lines.collect::<Result<Vec<String>, _>>()?;
    assert_eq!(lines.len(), 49_999); // And no error.

    let next = diesel::sql_query("select 1").execute(connection);
    let error = next.expect_err("what the COPY should have said");
    assert_eq!(error.to_string(), "division by zero");
    Ok(())
}

#[test]
fn a_failure_in_the_middle_is_the_end() {
    let cluster = Cluster::start();
    raw(&mut failing(&cluster)).expect("the defect is still there");
}

fn typed(connection: &mut PgConnection) -> QueryResult<usize> {
    let rows = diesel::copy_to(quotients::table).load::<Quotient, _>(connection)?;
    Ok(rows.count()) // Panics.
}

#[test]
fn a_failure_in_the_middle_of_a_typed_load_is_a_panic() {
    let cluster = Cluster::start();
    let mut connection = failing(&cluster);
    let panic = catch_unwind(AssertUnwindSafe(|| typed(&mut connection)));
    assert_eq!(
        message(panic),
        "range end index 2 out of range for slice of length 0"
    );
    // In the first row, too: the buffer that should have the header is empty.
    let mut connection = connect(&cluster);
    connection
        .batch_execute("delete from quotients where id < 50000; set role reader")
        .expect("done");
    let panic = catch_unwind(AssertUnwindSafe(|| typed(&mut connection)));
    assert_eq!(
        message(panic),
        "range end index 11 out of range for slice of length 0"
    );
}

fn message<T: std::fmt::Debug>(panic: std::thread::Result<T>) -> String {
    let panic = panic.expect_err("the defect is still there");
    *panic.downcast::<String>().expect("a text")
}

/// On a table with one row: 1, NULL, 3.
fn after_null(connection: &mut PgConnection) -> QueryResult<()> {
    let rows = diesel::copy_to(quotients::table).load::<Quotient, _>(connection)?;
    let rows = rows.collect::<QueryResult<Vec<Quotient>>>()?;
    // `rest` should be Some(3).
    let seen = Quotient {
        id: 1,
        quotient: None,
        rest: None,
    };
    assert_eq!(rows, [seen]);
    Ok(())
}

#[test]
fn a_column_after_a_null_is_lost() {
    let cluster = Cluster::start();
    after_null(&mut one_row(&cluster)).expect("the defect is still there");
}

fn afterwards(connection: &mut PgConnection) -> QueryResult<usize> {
    let rows = diesel::copy_to(quotients::table).load::<Quotient, _>(connection)?;
    assert_eq!(rows.count(), 1);
    diesel::sql_query("select 1").execute(connection) // Does not return.
}

#[test]
fn after_a_typed_load_the_connection_hangs() {
    let cluster = Cluster::start();
    let mut connection = one_row(&cluster);
    connection
        .batch_execute("set application_name = 'hangs'")
        .expect("set");
    let (returned, returns) = mpsc::channel();
    std::thread::spawn(move || returned.send(afterwards(&mut connection)));
    // The server has long done all that it was asked to.
    let mut control =
        diesel_copy_out::CopyConnection::establish(&cluster.url()).expect("connected");
    eventually("the server is idle", || {
        let sql = "select from pg_stat_activity where datname = current_database() and application_name = 'hangs' and state = 'idle' and query ilike 'copy %'";
        control.query_row(sql).expect("a query").is_some()
    });
    let patience = returns.recv_timeout(Duration::from_secs(3));
    assert_eq!(patience, Err(mpsc::RecvTimeoutError::Timeout));
}

#[test]
fn a_typed_load_of_no_row_has_none() {
    let cluster = Cluster::start();
    let mut connection = one_row(&cluster);
    connection
        .batch_execute("truncate quotients")
        .expect("empty");
    assert_eq!(typed(&mut connection), Ok(0));
}

/// The documentation's programs are these here, but for indentation.
#[test]
fn the_documentation_shows_these_programs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/diesel-copy-to.md");
    let documentation = std::fs::read_to_string(path).expect("the documentation");
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let here = plain(include_str!("diesel_copy_to.rs"));
    let programs = documentation.split("```").skip(1).step_by(2);
    let programs: Vec<&str> = programs
        .filter_map(|code| code.strip_prefix("rust"))
        .collect();
    assert!(programs.len() >= 4);
    for program in programs {
        assert!(here.contains(&plain(program)), "{program}");
    }
}
