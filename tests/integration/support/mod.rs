//! What the tests share: throw-away clusters, a database and a server for each test, and psql as the oracle.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod data;
pub(crate) mod gate;
pub(crate) mod oracle;
pub(crate) mod program;
pub(crate) mod replicated;

use std::time::{Duration, Instant};

pub(crate) use client::Download;
pub(crate) use cluster::TestDatabase;
pub(crate) use program::{Server, program};

/// Waits until `condition` holds; fails the test where it does not in time.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
