//! What breaks `lookup`, and which lost connections it survives.

use std::io;
use std::time::{Duration, Instant};

use diesel_export::Error;
use diesel_export::cancellation::Cancellation;
use serde_json::Value;

use super::{Outcome, TASKS, change, client, everything, lookup, run};
use crate::support::client::{Download, End};
use crate::support::{Server, TestDatabase, data, eventually, oracle, program};

/// The exports' server processes.
const BACKENDS: &str = "from pg_stat_activity where datname = current_database() and query like 'copy (SELECT%' and pid <> pg_backend_pid()";

/// Those that read, and those that wait for a range to read.
const IN_TRANSACTION: &str =
    "from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
    and state <> 'idle' and pid <> pg_backend_pid()";

/// Exports with a reader that waits for all but `active` connections to have read what they may read ahead, and terminates those
/// that `which` is true of; `place` counts the connections from the first one, which has the snapshot exported, from 1.
fn with_terminated(database: &TestDatabase, active: u32, which: &str) -> Outcome {
    let count = |condition: &str| {
        let sql = format!("select count(*) {IN_TRANSACTION} and {condition}");
        String::from_utf8(oracle::psql(database, &sql)).expect("a number")
    };
    let idle = "state = 'idle in transaction'";
    let outcome = run(
        &client(database),
        &everything(),
        || (),
        || {
            eventually("the others wait for ranges", || {
                count(idle) == format!("{}\n", 4 - active)
            });
            let before = count("true");
            change(
                database,
                &format!(
                    "select pg_terminate_backend(pid)
                     from (select pid, state, row_number() over (order by xact_start) as place {IN_TRANSACTION}) _ where {which}"
                ),
            );
            eventually("they are gone", || count("true") < before);
            Ok(())
        },
        &Cancellation::default(),
    );
    assert_eq!(outcome.plan.as_ref().expect("begun").connections, 4);
    outcome
}

#[test]
fn connections_that_are_lost_between_ranges_are_replaced_in_the_same_snapshot() {
    let database = data::wide(300_000);
    let expected = oracle::copy(&database, "true", ',');
    for which in ["place = 2", "place = 3", "place > 1"] {
        let outcome = with_terminated(&database, 0, which);
        outcome.result.as_ref().expect("whole");
        assert!(outcome.csv == expected, "{which}: other bytes than psql's");
    }
}

#[test]
fn without_the_connection_that_has_the_snapshot_the_export_breaks() {
    let database = data::wide(300_000);
    for which in ["place = 1", "true"] {
        let outcome = with_terminated(&database, 0, which);
        assert!(
            matches!(outcome.result, Err(Error::Database(_))),
            "{which}: {:?}",
            outcome.result
        );
        let next = lookup(&client(&database));
        assert_eq!(next.result.expect("whole").rows, 300_000);
    }
}

#[test]
fn a_connection_that_is_lost_within_a_range_breaks_the_export() {
    let database = data::wide(300_000);
    // The first range has more than its connection may read ahead: between its ids there are many that the histogram has not seen.
    for sql in [
        "alter table tasks set (autovacuum_enabled = false)",
        "set session_replication_role = replica; update tasks set id = -id * 1000; update tasks set id = -id",
        "vacuum full analyze tasks",
        "set session_replication_role = replica;
         insert into tasks select n, lpad(n::text, 100, 'title '), '', true, 1, 1, null from generate_series(1, 60000) n where n % 1000 > 0",
    ] {
        change(&database, sql);
    }
    let outcome = with_terminated(&database, 1, "state = 'active'");
    assert!(
        matches!(outcome.result, Err(Error::Database(_))),
        "{:?}",
        outcome.result
    );
}

#[test]
fn a_sink_that_fails_and_a_cancellation_end_all_queries() {
    let database = data::wide(300_000);
    let client = client(&database);
    let nothing_runs = || {
        let sql = format!("select count(*) {BACKENDS} and state <> 'idle'");
        oracle::psql(&database, &sql) == b"0\n"
    };
    for cancelled in [false, true] {
        let cancellation = Cancellation::default();
        let mut cancelling = None;
        let started = Instant::now();
        let outcome = run(
            &client,
            &everything(),
            || (),
            || {
                if cancelled {
                    let canceller = cancellation.clone();
                    cancelling = Some(std::thread::spawn(move || canceller.cancel()));
                    eventually("it is cancelled", || cancellation.is_cancelled());
                    return Ok(());
                }
                Err(io::ErrorKind::StorageFull.into())
            },
            &cancellation,
        );
        match outcome.result {
            Err(Error::Cancelled) => assert!(cancelled),
            Err(Error::Sink(_)) => assert!(!cancelled),
            other => panic!("{other:?}"),
        }
        if let Some(cancelling) = cancelling {
            cancelling.join().expect("returns");
        }
        assert!(started.elapsed() < Duration::from_secs(60));
        eventually("no query is left", nothing_runs);
        let next = lookup(&client);
        assert_eq!(next.result.expect("whole").rows, 300_000);
    }
}

#[test]
fn a_panic_on_any_connection_breaks_the_download_off() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    // In the first range, in one that is read ahead of its turn, and in the last.
    for task in ["5000", "25000", "60000"] {
        let server = Server::spawn(
            program(&database.url)
                .args(["serve", "--max-exports=1"])
                .env("FAULT_PANIC_AT_ID", task),
        );
        let download = Download::start(&server.address, "/tasks.csv?export_id=panicked");
        assert_eq!(download.header("x-export-strategy"), Some("lookup"));
        let (csv, end) = download.finish();
        assert_eq!(end, End::Broken, "{task}");
        assert!(!String::from_utf8_lossy(&csv).contains(&format!("\n{task},")));
        let manifest = server.ended("panicked");
        assert_eq!(manifest["state"], "failed", "{task}: {manifest}");
        assert_eq!(manifest["error"], "internal", "{task}: {manifest}");
        assert_eq!(manifest["sha256"], Value::Null, "{task}: {manifest}");
        eventually("the permit is free", || {
            Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
        });
        eventually("no query is left", || {
            oracle::psql(&database, &format!("select count(*) {IN_TRANSACTION}")) == b"0\n"
        });
    }
}
