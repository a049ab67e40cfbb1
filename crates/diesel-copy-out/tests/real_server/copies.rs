//! A copy is complete, or it is an error.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Range, Text};
use diesel_copy_out::{CopyConnection, CopyOutDsl, Error, ErrorKind, Options};

use crate::cluster::Cluster;

diesel::table! {
    people (id) {
        id -> Integer,
        name -> Text,
    }
}

pub(crate) fn connect(cluster: &Cluster) -> CopyConnection {
    CopyConnection::establish(&cluster.url()).expect("a connection")
}

pub(crate) fn with_people(cluster: &Cluster) -> CopyConnection {
    let mut connection = connect(cluster);
    connection
        .execute("create table if not exists people (id int primary key, name text not null); truncate people; insert into people select n, case when n % 2 = 0 then 'it''s, ' || n else '' end from generate_series(1, 5) n")
        .expect("people");
    connection
}

#[test]
fn a_query_with_values_is_copied_in_each_format() {
    let cluster = Cluster::start();
    let mut connection = with_people(&cluster);
    let query = people::table
        .filter(people::name.ne("it's, 4").and(people::id.gt(1)))
        .order(people::id)
        .limit(2);
    let mut read = |options: Options| {
        let mut copy = query.copy_out(&mut connection, &options).expect("a copy");
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).expect("bytes");
        (bytes, copy.finish().expect("whole"))
    };
    assert_eq!(
        read(Options::csv()),
        (b"2,\"it's, 2\"\n3,\"\"\n".to_vec(), 2)
    );
    let csv = || Options::csv().with_header(true);
    for (options, expected) in [
        (csv().with_delimiter(b';'), "id;name\n2;it's, 2\n3;\"\"\n"),
        (
            csv().with_force_quote_all(),
            "id,name\n\"2\",\"it's, 2\"\n\"3\",\"\"\n",
        ),
        (
            csv().with_force_quote(["id"]),
            "id,name\n\"2\",\"it's, 2\"\n\"3\",\"\"\n",
        ),
        (
            csv().with_force_quote([""; 0]),
            "id,name\n2,\"it's, 2\"\n3,\"\"\n",
        ),
        (csv().with_quote(b'\''), "id,name\n2,'it''s, 2'\n3,''\n"),
        (
            csv().with_quote(b'\'').with_escape(b'\\'),
            "id,name\n2,'it\\'s, 2'\n3,''\n",
        ),
        (
            csv().with_null("").with_encoding("LATIN1"),
            "id,name\n2,\"it's, 2\"\n3,\"\"\n",
        ),
        (Options::text().with_null("'"), "2\tit's, 2\n3\t\n"),
    ] {
        assert_eq!(read(options), (expected.into(), 2));
    }
    assert_eq!(read(Options::text()), (b"2\tit's, 2\n3\t\n".to_vec(), 2));
    let (binary, rows) = read(Options::binary());
    assert!(binary.starts_with(b"PGCOPY\n\xff\r\n\0") && binary.ends_with(b"\xff\xff"));
    assert_eq!(rows, 2);
    let none = people::table.filter(people::id.eq(0));
    for options in [Options::binary(), Options::csv(), csv()] {
        let mut copy = none.copy_out(&mut connection, &options).expect("a copy");
        while copy.next_row().expect("no error").is_some() {}
        assert_eq!(copy.finish().expect("whole"), 0);
    }
    // The encoding is that of the bytes; and what is no character of one byte in PostgreSQL's encoding, the server refuses.
    let mut read = |options: Options| {
        let copy = connection.copy_out("select 'é', null as \"a\"\"b\"", &options);
        copy.map(|mut copy| {
            let mut bytes = Vec::new();
            copy.read_to_end(&mut bytes).expect("bytes");
            bytes
        })
    };
    let latin = Options::csv().with_encoding("LATIN1").with_null("it's");
    let bytes = read(latin.with_force_quote(["a\"b"]));
    assert_eq!(bytes.expect("a copy"), b"\xe9,it's\n");
    let error = read(Options::csv().with_delimiter(0xe9)).expect_err("no such delimiter");
    assert_eq!(error.sqlstate.as_deref(), Some("0A000"));
    assert!(connection.is_reusable());
}

#[test]
fn with_pauses_and_in_large_pieces_it_is_the_same_copy() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    let query = "select n, repeat('x', n % 1000) from generate_series(1, 20000) n";
    let mut bytes = [Vec::new(), Vec::new()];
    for (bytes, pause) in bytes.iter_mut().zip([0, 300]) {
        if pause > 0 {
            connection.take_large_pieces().expect("it can");
        }
        let copy = connection.copy_out(query, &Options::csv());
        let mut copy = copy
            .expect("a copy")
            .with_pauses(Duration::from_micros(pause));
        copy.read_to_end(bytes).expect("bytes");
        assert_eq!(copy.finish().expect("whole"), 20_000);
    }
    assert!(bytes[0] == bytes[1]);
    // A failure comes through them, too.
    let failing = "select 1 / (10000 - n) from generate_series(1, 20000) n";
    let copy = connection.copy_out(failing, &Options::text());
    let mut copy = copy
        .expect("a copy")
        .with_pauses(Duration::from_micros(300));
    let error = std::iter::from_fn(|| copy.next_row().map(|row| row.map(drop)).transpose())
        .find_map(Result::err);
    let error = error.expect("a division by zero");
    assert_eq!(error.sqlstate.as_deref(), Some("22012"));
}

#[test]
fn a_copy_that_fails_in_the_middle_is_an_error_and_no_end() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    let query = diesel::select(sql::<Integer>(
        "1 / (50000 - n) from generate_series(1, 100000) n",
    ));
    let mut copy = query
        .copy_out(&mut connection, &Options::csv())
        .expect("a copy");
    let error = copy
        .read_to_end(&mut Vec::new())
        .expect_err("a division by zero");
    let error = Error::from_io(&error).expect("ours");
    assert_eq!(error.sqlstate.as_deref(), Some("22012"));
    let first = error.to_string();
    // Whoever reads on gets no more bytes; the calls that tell whether all rows came go on to say why they did not.
    assert_eq!(copy.fill_buf().expect("an end"), b"");
    for _ in 0..3 {
        let again = copy.next_row().map(drop).expect_err("kept");
        assert_eq!(again.to_string(), first);
        assert_eq!(again.sqlstate.as_deref(), Some("22012"));
    }
    let kept = copy.finish().expect_err("kept");
    assert_eq!((kept.to_string(), kept.kind()), (first, ErrorKind::Server));
    // The session itself is as good as before.
    assert!(connection.is_reusable());
    let error = connection
        .execute("select nothing")
        .expect_err("no such column");
    assert_eq!(
        (error.sqlstate.as_deref(), error.position),
        (Some("42703"), Some(8))
    );
    let people = "create table unique_people (id int primary key); insert into unique_people values (1), (1)";
    let error = connection
        .execute(people)
        .expect_err("one is there already");
    assert_eq!(
        error.detail.as_deref(),
        Some("Key (id)=(1) already exists.")
    );
    assert_eq!(error.constraint(), Some("unique_people_pkey"));
    let raised = "do $$ begin raise exception 'no' using hint = 'do it otherwise'; end $$";
    let error = connection.execute(raised).expect_err("raised");
    assert_eq!(error.hint(), Some("do it otherwise"));
}

#[test]
fn lines_that_skip_errors_end_and_finish_still_says_that_it_failed() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    let failing = "select 1 / (50000 - n) from generate_series(1, 100000) n";
    let mut copy = connection
        .copy_out(failing, &Options::text())
        .expect("a copy");
    let lines = copy.by_ref().lines().inspect(|line| {
        if let Err(error) = line {
            assert!(error.to_string().contains("22012"), "{error}");
        }
    });
    assert!(lines.map_while(|line| Some(line.ok())).flatten().count() < 50_000);
    let error = copy.finish().expect_err("a division by zero");
    assert_eq!(error.sqlstate.as_deref(), Some("22012"));

    // An error that came by rows is the file's, too, once.
    let mut copy = connection
        .copy_out(failing, &Options::text())
        .expect("a copy");
    while copy.next_row().is_ok() {}
    assert!(copy.fill_buf().is_err());
    assert_eq!(copy.read(&mut [0]).expect("an end"), 0);
    assert!(copy.finish().is_err());
}

#[test]
fn a_value_has_the_same_text_whatever_the_roles_defaults() {
    let cluster = Cluster::start();
    connect(&cluster)
        .execute(
            "create role ann superuser login password 'open-sesame'; create table orders (id int, placed_at timestamptz);
             insert into orders values (1, '2026-02-01 23:30+00'), (2, '2026-02-02 00:30+00');
             alter role ann set datestyle = 'German, DMY'; alter role ann set intervalstyle = 'iso_8601';
             alter role ann set timezone = 'Asia/Tokyo'; alter role ann set bytea_output = 'escape';
             alter role ann set extra_float_digits = '-5'",
        )
        .expect("a role");
    let url = cluster.url().replace("user=postgres", "user=ann");
    let mut connection = CopyConnection::establish(&url).expect("a connection");
    let values = "select placed_at, interval '1 day 2 hours', '\\x00ff'::bytea, 0.1::float8 + 0.2::float8 from orders where id = 1";
    let copy = connection
        .copy_out(values, &Options::csv())
        .expect("a copy");
    let text = io::read_to_string(copy).expect("whole");
    assert_eq!(
        text,
        "2026-02-01 23:30:00+00,1 day 02:00:00,\\x00ff,0.30000000000000004\n"
    );

    // The same rows as on Diesel's own connection.
    let of_the_day = "date(placed_at) = date '2026-02-01'";
    let count = diesel::select(sql::<diesel::sql_types::BigInt>(&format!(
        "count(*) from orders where {of_the_day}"
    )));
    let mut diesels = PgConnection::establish(&url).expect("a connection");
    assert_eq!(count.get_result::<i64>(&mut diesels), Ok(1));
    let copy = connection
        .copy_out(
            &format!("select id from orders where {of_the_day}"),
            &Options::csv(),
        )
        .expect("a copy");
    assert_eq!(io::read_to_string(copy).expect("whole"), "1\n");

    // The order of day and month is the database's own.
    let row = connection.query_row("show datestyle").expect("a row");
    assert_eq!(
        row.and_then(|row| row.get("DateStyle")?.map(str::to_owned)),
        Some("ISO, DMY".into())
    );
}

#[test]
fn an_error_says_what_kind_it_is() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    let kind = |outcome: Result<(), Error>| outcome.expect_err("an error").kind();
    assert_eq!(
        kind(connection.execute("select nothing")),
        ErrorKind::Server
    );
    assert_eq!(
        kind(connection.execute("select '\0'")),
        ErrorKind::Unwritable
    );
    let range = (std::ops::Bound::Included(1), std::ops::Bound::Excluded(3));
    let range = diesel::select(range.into_sql::<Range<Integer>>());
    assert_eq!(kind(range.literal_sql().map(drop)), ErrorKind::Unwritable);
    let mut copy = connection
        .copy_out("select n from generate_series(1, 3) n", &Options::csv())
        .expect("a copy");
    copy.next_row().expect("a row");
    assert_eq!(kind(copy.finish().map(drop)), ErrorKind::Incomplete);

    let mut connection = connect(&cluster);
    let ended = connection.execute("select pg_terminate_backend(pg_backend_pid())");
    let ended = ended.expect_err("the session has ended");
    assert_eq!(
        (ended.kind(), ended.sqlstate.as_deref()),
        (ErrorKind::Server, Some("57P01"))
    );
    assert_eq!(kind(connection.execute("select 1")), ErrorKind::Connection);

    // What the server said when the connection was idle came with the last rows.
    let mut connection = connect(&cluster);
    let pid = connection.query_row("select pg_backend_pid() as pid");
    let pid = pid.expect("a query").expect("a row");
    let pid = pid.get("pid").flatten().expect("no NULL").to_owned();
    let mut copy = connection
        .copy_out(
            "select repeat('x', 100) from generate_series(1, 800)",
            &Options::csv(),
        )
        .expect("a copy");
    copy.next_row().expect("a row");
    let mut other = connect(&cluster);
    let mut is_there = |condition: &str| {
        let sql = format!(
            "select count(*) = 1 as so from pg_stat_activity where pid = {pid} and {condition}"
        );
        let row = other.query_row(&sql).expect("a query").expect("a row");
        row.is("so")
    };
    while !is_there("state = 'idle'") {}
    let mut third = connect(&cluster);
    third
        .execute(&format!("select pg_terminate_backend({pid})"))
        .expect("a superuser may");
    while is_there("true") {}
    while copy.next_row().expect("they were sent").is_some() {}
    copy.finish().expect("all rows were sent");
    let ended = connection.execute("select 1");
    let ended = ended.expect_err("the session has ended");
    assert_eq!(ended.sqlstate.as_deref(), Some("57P01"), "{ended}");

    let nowhere = CopyConnection::establish("host=/nowhere dbname=nothing").map(drop);
    assert_eq!(kind(nowhere), ErrorKind::Connection);
}

#[test]
fn rows_left_unread_are_no_success_and_dropping_ends_the_command() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    let endless = diesel::select(sql::<Text>(
        "repeat('x', 100) from generate_series(1, 1000000) n",
    ));
    let mut copy = endless
        .clone()
        .copy_out(&mut connection, &Options::csv())
        .expect("a copy");
    assert!(copy.next_row().expect("a row").is_some());
    let error = copy.finish().expect_err("there are more");
    assert_eq!(error.message, "not all rows of the COPY were read");
    assert!(!connection.is_reusable());

    let mut connection = connect(&cluster);
    let cancel = connection.cancel_handle().expect("a handle");
    let mut copy = endless
        .copy_out(&mut connection, &Options::csv())
        .expect("a copy");
    assert!(copy.next_row().expect("a row").is_some());
    std::thread::spawn(move || cancel.cancel())
        .join()
        .expect("no panic")
        .expect("asked");
    let error = loop {
        match copy.next_row() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate.as_deref(), Some("57014"));
}

#[test]
fn sql_that_is_no_query_is_refused_and_a_query_may_end_with_a_comment() {
    let cluster = Cluster::start();
    let mut connection = with_people(&cluster);
    let error = connection.copy_out("drop table people", &Options::csv());
    let error = error.map(drop).expect_err("no query");
    assert_eq!(error.sqlstate.as_deref(), Some("42601"));
    let error = connection.copy_out("select nothing", &Options::csv());
    let error = error.map(drop).expect_err("no such column");
    assert_eq!(error.position, Some(8));
    let mut copy = connection
        .copy_out("select id from people -- all of them", &Options::csv())
        .expect("a copy");
    while copy.next_row().expect("a row").is_some() {}
    assert_eq!(copy.finish().expect("whole"), 5);
}
