//! A stream ends with the last row, or it is an error.

use std::ops::{Deref, DerefMut};
use std::pin::pin;

use bytes::Bytes;
use diesel::dsl::sql;
use diesel::r2d2::Pool;
use diesel::sql_types::{Integer, Text};
use diesel_copy_out::{CopyConnection, CopyOutDsl, Error, Manager, Options};
use futures_util::{FutureExt, Stream, StreamExt};

use crate::cluster::Cluster;
use crate::eventually;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    runtime.block_on(future)
}

/// All that comes until the first end, and how it ended.
fn read(stream: impl Stream<Item = Result<Bytes, Error>>) -> (Vec<u8>, Result<(), Error>) {
    block_on(async {
        let mut stream = pin!(stream);
        let mut bytes = Vec::new();
        while let Some(item) = stream.next().await {
            match item {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(error) => {
                    assert!(stream.next().await.is_none(), "the error is the last item");
                    return (bytes, Err(error));
                }
            }
        }
        (bytes, Ok(()))
    })
}

fn numbers(to: &str) -> impl CopyOutDsl + Send + use<> {
    diesel::select(sql::<Text>(&format!(
        "n::text from generate_series(1, {to}) n"
    )))
}

fn pool(cluster: &Cluster) -> Pool<Manager> {
    let pool = Pool::builder().max_size(1);
    pool.build(Manager::new(cluster.url())).expect("a pool")
}

/// How many other sessions run something.
fn busy(connection: &mut CopyConnection) -> Option<i64> {
    let busy = connection.query_row("select count(*) as n from pg_stat_activity where state <> 'idle' and datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()");
    busy.expect("a query").and_then(|row| row.read("n"))
}

#[test]
fn a_stream_has_all_rows_and_then_its_connection_is_free_again() {
    let cluster = Cluster::start();
    let pool = pool(&cluster);
    for rows in [0_u64, 1, 300_000] {
        let connection = pool.get().expect("the one connection");
        let stream = numbers(&rows.to_string()).copy_out_stream(connection, Options::csv());
        let mut stream = block_on(stream).expect("a stream");
        // Without a row, nothing has to be read: the stream may have ended by now.
        assert!(rows == 0 || stream.rows().is_none(), "{rows}");
        let (bytes, end) = read(&mut stream);
        end.expect("whole");
        assert_eq!(stream.rows(), Some(rows));
        let lines = (1..=rows).map(|n| format!("{n}\n"));
        assert!(bytes == lines.collect::<String>().into_bytes(), "{rows}");
    }
    assert_eq!(pool.state().connections, 1);
}

#[test]
fn a_stream_of_a_query_that_fails_ends_with_the_error() {
    let cluster = Cluster::start();
    let connect = || Box::new(CopyConnection::establish(&cluster.url()).expect("a connection"));
    let query = diesel::select(sql::<Integer>(
        "1 / (50000 - n) from generate_series(1, 100000) n",
    ));
    let stream = block_on(query.copy_out_stream(connect(), Options::csv()));
    let (bytes, end) = read(stream.expect("a stream"));
    assert!(bytes.len() < 2 * 49_999 + 1);
    assert_eq!(
        end.expect_err("it fails").sqlstate.as_deref(),
        Some("22012")
    );

    // One that is refused, or fails before its first row, never begins.
    let header = Options::csv().with_header(true);
    for (query, sqlstate) in [
        ("nothing", "42703"),
        ("1 / (1 - n) from generate_series(1, 10) n", "22012"),
    ] {
        let query = diesel::select(sql::<Integer>(query));
        let stream = block_on(query.copy_out_stream(connect(), header.clone()));
        let error = stream.map(drop).expect_err("it fails");
        assert_eq!(error.sqlstate.as_deref(), Some(sqlstate));
    }

    // The server ends the session.
    let sql = "n, case n when 50000 then pg_terminate_backend(pg_backend_pid()) end from generate_series(1, 100000) n";
    let stream = diesel::select(diesel::dsl::sql::<Integer>(sql));
    let stream = block_on(stream.copy_out_stream(connect(), Options::csv()));
    let (_, end) = read(stream.expect("a stream"));
    assert_eq!(end.expect_err("it ends").sqlstate.as_deref(), Some("57P01"));
}

#[test]
fn what_has_come_is_not_held_back() {
    let cluster = Cluster::start();
    let mut control = CopyConnection::establish(&cluster.url()).expect("a connection");
    control.execute("select pg_advisory_lock(1)").expect("held");
    let connection = Box::new(CopyConnection::establish(&cluster.url()).expect("a connection"));
    // The server sends at least as much as its buffer of 8 KiB holds, and then waits for the lock.
    let sql = "case n when 2000 then pg_advisory_lock(1)::text else 'a line' end from generate_series(1, 4000) n";
    let query = diesel::select(diesel::dsl::sql::<Text>(sql));
    let stream = block_on(query.copy_out_stream(connection, Options::csv()));
    let mut stream = stream.expect("a stream");
    let first = block_on(stream.next()).expect("an item").expect("a chunk");
    assert!(first.starts_with(b"a line\n") && first.ends_with(b"\n"));
    eventually("the stream waits", || {
        while let Some(Some(item)) = stream.next().now_or_never() {
            item.expect("no error");
        }
        busy(&mut control) == Some(1)
    });
    control
        .execute("select pg_advisory_unlock(1)")
        .expect("free");
    read(&mut stream).1.expect("whole");
    assert_eq!(stream.rows(), Some(4_000));
}

#[test]
fn dropping_a_stream_cancels_its_query_and_no_other() {
    let cluster = Cluster::start();
    let mut control = CopyConnection::establish(&cluster.url()).expect("a connection");
    let pool = pool(&cluster);
    let start = |query: &str| {
        let connection = pool.get().expect("a connection");
        let query = diesel::select(sql::<Text>(query));
        Box::pin(query.copy_out_stream(connection, Options::csv()))
    };
    // One that waits for its reader, one that waits for the server, one that has hardly begun, and one that has not.
    let mut stream =
        block_on(start("repeat('x', 1000) from generate_series(1, 1000000)")).expect("a stream");
    block_on(stream.next()).expect("an item").expect("a chunk");
    drop(stream);
    let mut stream = start("pg_sleep(3600)::text");
    assert!(stream.as_mut().now_or_never().is_none());
    eventually("it runs", || busy(&mut control) == Some(1));
    drop(stream);
    assert!(start("pg_sleep(3600)::text").now_or_never().is_none());
    drop(start("pg_sleep(3600)::text"));
    eventually("nothing runs", || busy(&mut control) == Some(0));
    // A stream that has ended cancels nothing when it is dropped.
    for _ in 0..50 {
        let mut stream = block_on(start("'x'")).expect("a stream");
        read(&mut stream).1.expect("whole");
        let mut connection = pool.get().expect("a connection");
        drop(stream);
        connection
            .execute("select pg_sleep(0.001)")
            .expect("nobody cancels it");
    }
}

/// A connection that cannot be used.
struct Panics(CopyConnection);

impl Deref for Panics {
    type Target = CopyConnection;

    fn deref(&self) -> &CopyConnection {
        &self.0
    }
}

impl DerefMut for Panics {
    fn deref_mut(&mut self) -> &mut CopyConnection {
        panic!("as it should");
    }
}

#[test]
fn a_thread_that_panics_is_an_error_and_no_end() {
    let cluster = Cluster::start();
    let connection = Panics(CopyConnection::establish(&cluster.url()).expect("a connection"));
    let stream = block_on(numbers("10").copy_out_stream(connection, Options::csv()));
    let error = stream.map(drop).expect_err("no end");
    assert_eq!(error.message, "the COPY's thread has panicked");
}
