//! What the tests share: throw-away clusters, a database and a server for each test, and psql as the oracle.
//!
//! * [`cluster`]: PostgreSQL for a test process, and a database for each test; [`replica_servers`], [`replicated`]: a primary with standbys;
//!   [`tls`], [`proxy`], [`contender`], [`gate`]: what happens to connections, locks and queries.
//! * [`mod@program`]: the program as its users run it; [`in_process`]: an export without it; [`terminal`], [`python`].
//! * [`client`], [`browser`], [`prepared`]: the service's clients.
//! * [`data`], [`datasets`], [`expected_rows`], [`oracle`]: rows, what can be exported, and psql's result; [`strategies`]: that every strategy
//!   writes it; [`workbook`]: the parts of a
//!   workbook that depend on the data; [`findings`]: all failures of a matrix.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::new_without_default,
    reason = "what is made again starts servers"
)]

mod clients;
mod expectations;
mod faults;
mod postgres;
mod programs;

use std::ops::Range;
use std::time::{Duration, Instant};

pub use clients::client::Download;
pub use clients::{browser, client, prepared};
pub use expectations::{data, datasets, expected_rows, findings, oracle, strategies, workbook};
pub use faults::{contender, gate, proxy};
pub use postgres::cluster::TestDatabase;
pub use postgres::{cluster, replica_servers, replicated, tls};
pub use programs::program::{Server, program};
pub use programs::{in_process, program, python, terminal};

/// Waits until `condition` holds; fails the test after a time limit that is generous even for a busy machine.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    let in_time = wait(
        Duration::from_secs(120),
        Duration::from_millis(5)..Duration::from_millis(50),
        condition,
    );
    assert!(in_time, "never happened: {what}");
}

/// Polls `condition` until it holds; returns whether it did in time. The pauses grow within `pauses`: each look may cost a connection,
/// and what is not there at once often takes a second.
fn wait(limit: Duration, pauses: Range<Duration>, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let mut pause = pauses.start;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(pauses.end);
    }
    true
}
