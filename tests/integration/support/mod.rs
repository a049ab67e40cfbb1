//! What the tests share: throw-away clusters, a database and a server for each test, and psql as the oracle.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod contender;
pub(crate) mod data;
pub(crate) mod datasets;
pub(crate) mod expected_rows;
pub(crate) mod findings;
pub(crate) mod gate;
pub(crate) mod in_process;
pub(crate) mod oracle;
pub(crate) mod prepared;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod replica_servers;
pub(crate) mod replicated;
pub(crate) mod terminal;
pub(crate) mod tls;

use std::time::{Duration, Instant};

pub(crate) use client::Download;
pub(crate) use cluster::TestDatabase;
pub(crate) use program::{Server, program};

/// Waits until `condition` holds; fails the test if it does not in time: so much that a machine that is busy otherwise has it, too.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    let in_time = wait(
        Duration::from_secs(120),
        Duration::from_millis(5),
        condition,
    );
    assert!(in_time, "never happened: {what}");
}

/// Asks again, `interval` after each answer, until `condition` holds; returns whether it did in time.
fn wait(limit: Duration, interval: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(interval);
    }
    true
}
