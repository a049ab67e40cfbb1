//! What an export may cost, and what the service is left to others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_export::Strategy;

use crate::support::client::{Download, End, download, send, start_when_free};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::prepared::{by, prepare};
use crate::support::program::{program, stderr};
use crate::support::{Server, TestDatabase, data, eventually, oracle};

#[test]
fn one_export_too_many_is_told_at_once_when_to_come_back() {
    let gated = Gated::new();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=2"]));
    let running = ["", "?strategy=tuples"].map(|query| {
        let stream = send(
            &server.address,
            "GET",
            &format!("/tasks.csv{query}"),
            &[("Host", &server.address)],
        );
        eventually("it runs", || {
            server.metric("cmms_export_exports_in_flight ") >= 1.0
        });
        stream
    });
    eventually("both run", || {
        server.metric("cmms_export_exports_in_flight ") == 2.0
    });
    gate.reached();

    let refused = Download::start(&server.address, "/tasks.csv");
    assert_eq!(refused.status, 503);
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:busy");
    assert_eq!(
        server.metric("cmms_export_requests_rejected_total{reason=\"busy\"}"),
        1.0
    );
    // Pages have connections of their own.
    for path in ["/", "/livez", "/readyz"] {
        assert_eq!(
            ureq::get(server.url(path)).call().expect("200").status(),
            200,
            "{path}"
        );
    }

    drop(gate);
    for stream in running {
        let (csv, end) = Download::read(stream).finish();
        assert_eq!(end, End::Clean);
        assert_eq!(
            csv.iter().filter(|byte| **byte == b'\n').count() as u64,
            ROWS + 1
        );
    }
}

#[test]
fn strategies_that_hold_all_rows_refuse_too_many_and_name_those_that_do_not() {
    let database = TestDatabase::seeded(&["--tasks=100", "--locations=1", "--assets=10"]);
    let server = Server::spawn(program(&database.url).args(["serve", "--max-buffered-rows=50"]));
    for strategy in Strategy::all() {
        let path = format!("/tasks.csv?export_id={0}&strategy={0}", strategy.name());
        let download = Download::start(&server.address, &path);
        if strategy.is_buffered() {
            assert_eq!(download.status, 422, "{path}");
            let problem = download.json();
            let detail = problem["detail"].as_str().expect("there is more to say");
            assert!(detail.contains("more than 50 rows"), "{detail}");
            assert!(
                Strategy::unbuffered().all(|other| detail.contains(other.name())),
                "{detail}"
            );
            assert_eq!(server.ended(strategy.name())["error"], "too-many-rows");

            let few = Download::start(
                &server.address,
                &format!("/tasks.csv?strategy={}&asset_id=3", strategy.name()),
            );
            assert_eq!(few.status, 200, "the filter leaves few enough");
        } else {
            assert_eq!(download.status, 200, "{path}");
        }
    }
    let exact = Server::spawn(program(&database.url).args(["serve", "--max-buffered-rows=100"]));
    assert_eq!(
        Download::start(&exact.address, "/tasks.csv?strategy=joined").status,
        200
    );

    let refused = program(&database.url)
        .args(["export", "--strategy=tuples", "--max-buffered-rows=99"])
        .output();
    let refused = refused.expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("more than 99 rows"),
        "{refused:?}"
    );
}

#[test]
fn rows_that_are_held_are_counted_whatever_the_planner_expects() {
    let database = TestDatabase::seeded(&["--tasks=100"]);
    let execute = |sql: &str| {
        diesel::sql_query(sql)
            .execute(&mut database.connect())
            .expect("the catalog can be changed");
    };
    // Else the server itself may write down another number meanwhile.
    execute("alter table tasks set (autovacuum_enabled = off)");
    for (expected, limit, status) in [(1, 99, 422), (1, 100, 200), (900_000_000, 100, 200)] {
        execute(&format!(
            "update pg_class set relpages = 1, reltuples = {expected} where oid = 'tasks'::regclass"
        ));
        let limit = format!("--max-buffered-rows={limit}");
        let server = Server::spawn(program(&database.url).args(["serve", &limit]));
        for strategy in ["joined", "tuples"] {
            let path = format!("/tasks.csv?strategy={strategy}");
            let answer = Download::start(&server.address, &path);
            assert_eq!(answer.status, status, "{strategy}, {expected}, {limit}");
        }
    }
}

/// Reads a download that must be `expected` to its end: a quarter slowly, and the rest not before it is told to hurry.
fn read_slowly(mut download: Download, hurry: &AtomicBool, expected: &[u8]) {
    let mut rest = expected;
    while let Some(chunk) = download.chunk().expect("it is not broken off") {
        rest = rest.strip_prefix(&chunk[..]).expect("psql's bytes");
        let is_told = || hurry.load(Ordering::Relaxed);
        if rest.len() > expected.len() / 4 * 3 {
            if !is_told() {
                std::thread::park_timeout(Duration::from_secs(2));
            }
        } else {
            while !is_told() {
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
    assert!(rest.is_empty(), "{} bytes are missing", rest.len());
}

#[test]
fn two_hundred_slow_readers_hold_neither_pages_nor_database_nor_memory_and_get_the_whole() {
    const READERS: usize = 200;
    const TIME: Duration = Duration::from_secs(5);
    // 2.5 MB: more than a connection's buffers and the handover's memory hold.
    let database = data::wide(20_000);
    let expected = &oracle::copy(&database, "true", ',');
    let server = Server::spawn(program(&database.url).args([
        "serve",
        &format!("--max-downloads={READERS}"),
        // So slow a reader seems to take nothing for some seconds.
        "--reader-timeout=600",
    ]));
    for path in ["/livez", "/"] {
        ureq::get(server.url(path)).call().expect("200");
    }
    let idle = server.resident_memory();

    let hurry = AtomicBool::new(false);
    let under_way = || server.metric("cmms_export_exports_in_flight ");
    std::thread::scope(|scope| {
        // However the test ends.
        let _hurry = Hurry(&hurry);
        for _ in 0..READERS {
            let download = start_when_free(&server.address, "");
            let hurry = &hurry;
            scope.spawn(move || read_slowly(download, hurry, expected));
        }
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut times = Vec::new();
        let mut peak = idle;
        let mut free_since = None;
        while free_since.is_none_or(|since: Instant| since.elapsed() < TIME) {
            for path in ["/livez", "/"] {
                let asked = Instant::now();
                let page = ureq::get(server.url(path)).call().expect("answers");
                assert_eq!(page.status(), 200);
                times.push(asked.elapsed());
            }
            peak = peak.max(server.resident_memory());
            if free_since.is_none()
                && under_way() == READERS as f64
                && gate::running_queries(&database) == 0
            {
                free_since = Some(Instant::now());
            }
            assert!(
                free_since.is_some() || Instant::now() < deadline,
                "{} of them are served, {} queries run",
                under_way(),
                gate::running_queries(&database)
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
        times.sort();
        let p99 = times[times.len() * 99 / 100];
        let grown = peak.saturating_sub(idle);
        println!(
            "{} pages, p99 {p99:?}, slowest {:?}; {} KiB above idle, {} bytes on disk",
            times.len(),
            times.last(),
            grown >> 10,
            server.metric("cmms_export_spool_used_bytes ")
        );
        assert_eq!(gate::running_queries(&database), 0);
        assert_eq!(under_way(), READERS as f64);
        assert!(grown < 128 << 20, "{grown} bytes above idle");

        // One more than there are places for, although the database is free.
        let refused = Download::start(&server.address, "/tasks.csv");
        assert_eq!(refused.status, 503);
        assert!(refused.header("retry-after").is_some());
        let problem = refused.json();
        assert_eq!(problem["type"], "urn:cmms-export:problem:busy");
        assert_eq!(problem["detail"], "too many downloads are under way");
        assert_eq!(
            server.metric("cmms_export_requests_rejected_total{reason=\"downloads\"}"),
            1.0
        );
        prepare(&server, &by("copy"));
    });
    eventually("all exports have ended", || under_way() == 0.0);
    let complete = "cmms_export_exports_total{strategy=\"lookup\",outcome=\"complete\"}";
    assert_eq!(server.metric(complete), READERS as f64);
    eventually("nothing is in the spool but the prepared file", || {
        server.metric("cmms_export_spool_used_bytes ") == expected.len() as f64
    });
    assert!(
        download(&server.address, "location_id=-1").starts_with(b"ID,"),
        "the service is as before"
    );
}

/// Tells the readers to hurry when it is dropped.
struct Hurry<'a>(&'a AtomicBool);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn pages_and_previews_of_a_server_that_does_not_answer_are_given_up() {
    let gated = Gated::alone();
    let server = Server::start(&gated.url);
    let gate = Gate::close(&gated, 1);
    // One that waits for its rows already, and those that find the server like that.
    let waiting = send(
        &server.address,
        "GET",
        "/api/tasks",
        &[("Host", &server.address)],
    );
    eventually("its query runs", || {
        gate::running_queries(&gated.database) > 0
    });
    let frozen = gated.database.freeze_server();
    assert_eq!(Download::read(waiting).status, 503);
    for path in ["/", "/api/tasks"] {
        assert_eq!(Download::start(&server.address, path).status, 503, "{path}");
    }
    drop(frozen);
    drop(gate);
}

/// Tasks with descriptions of 600 bytes, of which `joined` holds some 60 MiB.
fn described(tasks: u32) -> TestDatabase {
    let database = data::wide(tasks);
    diesel::sql_query("update tasks set description = rpad('', 600, 'x')")
        .execute(&mut database.connect())
        .expect("the SQL runs");
    database
}

#[test]
fn strategies_that_hold_all_rows_share_their_memory_and_some_of_them_are_whole() {
    const TASKS: u32 = 60_000;
    const BUDGET: u64 = 96 << 20;
    /// What the allocator has not given back yet, and what 8 connections take.
    const OVERHEAD: u64 = 48 << 20;
    let database = described(TASKS);
    let expected = oracle::psql(
        &database,
        r#"copy (select id as "ID" from tasks order by id) to stdout with (format csv, header)"#,
    );
    let limit = format!("--max-buffered-size={BUDGET}");
    let server = Server::spawn(program(&database.url).args(["serve", &limit]));
    ureq::get(server.url("/livez")).call().expect("200");
    let idle = server.peak_memory();
    let path = "/tasks.csv?columns=id&strategy=joined";
    let ask = || send(&server.address, "GET", path, &[("Host", &server.address)]);
    // All of them begin at once.
    let mut lock = database.connect();
    lock.batch_execute("begin; lock table tasks in access exclusive mode")
        .expect("nobody else has it");
    let asked: Vec<_> = (0..8).map(|_| ask()).collect();
    eventually("all of them wait", || {
        server.metric("cmms_export_exports_in_flight ") == 8.0
            // And the lock's own connection.
            && gate::running_queries(&database) == 9
    });
    drop(lock);
    let whole = asked.into_iter().map(|stream| {
        let answer = Download::read(stream);
        if answer.status == 503 {
            let seconds = answer.header("retry-after").map(str::parse::<u32>);
            assert!(matches!(seconds, Some(Ok(_))), "{seconds:?}");
            let problem = answer.json();
            assert_eq!(problem["type"], "urn:cmms-export:problem:busy");
            let detail = problem["detail"].as_str().expect("there is more to say");
            assert!(detail.contains("the rest of 96MiB"), "{detail}");
            return false;
        }
        assert_eq!(answer.status, 200);
        assert!(answer.finish() == (expected.clone(), End::Clean));
        true
    });
    let whole = whole.filter(|is_whole| *is_whole).count();
    assert!((1..8).contains(&whole), "{whole} of 8 are complete");
    assert_eq!(
        server.metric("cmms_export_requests_rejected_total{reason=\"busy\"}"),
        (8 - whole) as f64
    );
    let grown = server.peak_memory() - idle;
    println!(
        "{whole} of 8 are complete; the server has grown by {} KiB",
        grown >> 10
    );
    assert!(grown < BUDGET + OVERHEAD, "by {grown} bytes");

    // All is given back, by those that were refused and by those that were not.
    for strategy in ["joined", "tuples", "joined"] {
        let path = format!("/tasks.csv?columns=id&strategy={strategy}");
        let later = Download::start(&server.address, &path);
        assert_eq!(later.status, 200, "{strategy}");
        assert!(later.finish() == (expected.clone(), End::Clean));
    }
}

#[test]
fn rows_of_more_bytes_than_may_be_held_are_refused_before_the_first_byte() {
    let database = described(2_000);
    let server = Server::spawn(program(&database.url).args(["serve", "--max-buffered-size=1MiB"]));
    for strategy in Strategy::all() {
        let name = strategy.name();
        let path = format!("/tasks.csv?columns=id,description&export_id={name}&strategy={name}");
        let download = Download::start(&server.address, &path);
        if strategy.is_buffered() {
            assert_eq!(download.status, 422, "{name}");
            let problem = download.json();
            assert_eq!(
                problem["type"],
                "urn:cmms-export:problem:too-large-to-buffer"
            );
            let detail = problem["detail"].as_str().expect("there is more to say");
            assert!(detail.contains("more than 1MiB"), "{detail}");
            assert!(
                Strategy::unbuffered().all(|other| detail.contains(other.name())),
                "{detail}"
            );
            assert_eq!(server.ended(name)["error"], "too-large-to-buffer");
            let few = format!("/tasks.csv?strategy={name}&title=title+7");
            assert_eq!(Download::start(&server.address, &few).status, 200);
        } else {
            assert_eq!(download.status, 200, "{name}");
        }
    }
    let refused = program(&database.url)
        .env("CMMS_MAX_BUFFERED_SIZE", "1MiB")
        .args(["export", "--strategy=joined", "--columns=id"])
        .output();
    let refused = refused.expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(refused.stdout, b"");
    assert_eq!(
        stderr(&refused).trim_end(),
        "cmms-export: the rows take more than 1MiB, in which the strategy joined would hold them in memory: choose one of streamed, \
         paged, copy, lookup"
    );
}
