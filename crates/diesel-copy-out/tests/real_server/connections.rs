//! Connections: a shared snapshot, a time limit, a pool.

use std::io;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::r2d2::Pool;
use diesel::sql_types::Text;
use diesel_copy_out::{CopyConnection, CopyOutDsl, Error, ErrorKind, Manager, Options};

use crate::cluster::Cluster;
use crate::copies::{connect, people, with_people};

#[test]
fn connections_share_an_exported_snapshot() {
    let cluster = Cluster::start();
    let mut first = with_people(&cluster);
    first.begin_snapshot().expect("begun");
    let snapshot = first.export_snapshot().expect("a name");
    let mut second = connect(&cluster);
    second.execute("delete from people").expect("deleted");
    second.begin_exported_snapshot(&snapshot).expect("begun");
    let rows = |connection: &mut CopyConnection| {
        let mut copy = people::table
            .copy_out(connection, &Options::csv())
            .expect("a copy");
        while copy.next_row().expect("a row").is_some() {}
        copy.finish().expect("whole")
    };
    assert_eq!((rows(&mut first), rows(&mut second)), (5, 5));
    second.commit().expect("ended");
    assert_eq!(rows(&mut second), 0);
}

#[test]
fn a_statement_that_takes_too_long_is_given_up() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    let timeout = Some(Duration::from_millis(20));
    connection.set_statement_timeout(timeout).expect("set");
    let endless = diesel::select(sql::<Text>("pg_sleep(3600)::text"));
    let mut copy = endless
        .copy_out(&mut connection, &Options::csv())
        .expect("a copy");
    let error = copy.next_row().expect_err("given up");
    assert_eq!(error.sqlstate.as_deref(), Some("57014"));
    assert!(copy.finish().is_err());
    connection.set_statement_timeout(None).expect("set");
    let row = connection
        .query_row("show statement_timeout")
        .expect("a row");
    let row = row.expect("a row");
    assert_eq!(row.get("statement_timeout"), Some(Some("0")));
}

#[test]
fn a_transaction_is_committed_or_rolled_back_and_nothing_else_is_a_success() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    connection
        .execute("create table numbers (n int unique deferrable initially deferred)")
        .expect("a table");
    let insert = |connection: &mut CopyConnection, n: i32| {
        connection.execute(&format!("insert into numbers values ({n})"))
    };
    connection
        .transaction(|connection| insert(connection, 1))
        .expect("committed");
    let failed: Result<(), Error> = connection.transaction(|connection| {
        insert(connection, 2)?;
        Err(Error::new(ErrorKind::Other, "no"))
    });
    assert_eq!(failed.expect_err("no").message, "no");
    let failed = connection.transaction(|connection| insert(connection, 1));
    let failed = failed.expect_err("it is there already");
    assert_eq!(failed.constraint(), Some("numbers_n_key"));
    // A failure that the work ignores, or that comes before a `commit`.
    let failed = connection.transaction(|connection| {
        insert(connection, 3)?;
        connection
            .execute("select nothing")
            .expect_err("no such column");
        Ok::<_, Error>(())
    });
    assert_eq!(
        failed.expect_err("rolled back").kind(),
        ErrorKind::RolledBack
    );
    connection.begin_snapshot().expect("begun");
    let open = connection.transaction(|_| Ok::<_, Error>(()));
    assert_eq!(open.expect_err("there is one").kind(), ErrorKind::Other);
    connection
        .execute("select nothing")
        .expect_err("no such column");
    let failed = connection.commit().expect_err("rolled back");
    assert_eq!(failed.kind(), ErrorKind::RolledBack);

    assert!(connection.is_reusable());
    let row = connection
        .query_row("select sum(n) as n, null as none from numbers")
        .expect("a query")
        .expect("a row");
    assert_eq!(
        (row.get("n"), row.get("none"), row.get("nothing")),
        (Some(Some("1")), Some(None), None)
    );
    connection.execute("").expect("nothing to do");
    connection.execute(" -- nothing").expect("nothing to do");

    // A COPY that was left cannot be rolled back.
    let left: Result<(), Error> = connection.transaction(|connection| {
        let mut copy = connection.copy_out(
            "select repeat('x', 100) from generate_series(1, 1000000)",
            &Options::text(),
        )?;
        copy.next_row()?;
        Err(Error::new(ErrorKind::Other, "no"))
    });
    assert_eq!(left.expect_err("no").message, "no");
    assert!(!connection.is_reusable());
    connection
        .execute("select 1")
        .expect_err("it cannot be used");
}

#[test]
fn the_error_of_a_malformed_url_does_not_show_its_password() {
    for url in [
        "postgresql://ann:sec/ret@localhost/people",
        "postgresql://ann:1:secret@localhost:5432secret/people",
        "postgresql://ann:pass@secret@/nowhere/people",
        "postgresql://ann:secret%zz@localhost/people",
        "postgres//ann:secret@localhost",
        "host=/nowhere password='secret",
    ] {
        let error = CopyConnection::establish(url).expect_err("no connection");
        assert!(!error.to_string().contains("ret"), "{url}: {error}");
        assert_eq!(error.kind(), ErrorKind::Other, "{url}");
    }
}

#[test]
fn a_pool_gets_back_a_connection_whose_copy_has_ended_and_closes_one_whose_copy_was_left() {
    let cluster = Cluster::start();
    let pool = Pool::builder().max_size(1);
    let pool = pool.build(Manager::new(cluster.url())).expect("a pool");
    let process = || {
        let mut connection = pool.get().expect("a connection");
        let row = connection.query_row("select pg_backend_pid() as pid");
        row.expect("a row").and_then(|row| row.read::<i32>("pid"))
    };
    let rows = diesel::select(sql::<Text>("'x' from generate_series(1, 1000000) n"));
    let first = process();
    let mut connection = pool.get().expect("a connection");
    let mut copy = rows
        .clone()
        .copy_out(&mut connection, &Options::csv())
        .expect("a copy");
    io::copy(&mut copy, &mut io::sink()).expect("all");
    assert_eq!(copy.finish().expect("whole"), 1_000_000);
    drop(connection);
    assert_eq!(process(), first);

    let mut connection = pool.get().expect("a connection");
    let mut copy = rows
        .copy_out(&mut connection, &Options::csv())
        .expect("a copy");
    assert!(copy.next_row().expect("a row").is_some());
    drop(copy);
    drop(connection);
    assert_ne!(process(), first);
    // So is one that is left in a transaction.
    let second = process();
    pool.get()
        .expect("a connection")
        .begin_snapshot()
        .expect("begun");
    assert_ne!(process(), second);
}
