//! The server's peak memory, strategy by strategy, as the table grows: a Markdown table, in MiB.
//!
//! Each figure is the `VmHWM` of a server that was started afresh and has answered one download, read to its end, less that
//! of one that has answered none.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program to run by hand"
)]

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/integration/support/mod.rs"]
mod support;

use cmms_export::export::Strategy;

use support::client::download;
use support::{Server, TestDatabase};

const SIZES: [&str; 3] = ["10000", "100000", "1000000"];

fn main() {
    let databases = SIZES.map(|size| TestDatabase::seeded(&["--tasks", size]));
    let idle = Server::start(&databases[0].url).peak_memory();
    println!("Idle: {:.1} MiB. Above that, in MiB:\n", mebibytes(idle));
    println!(
        "| strategy | {} tasks |\n|---|{}",
        SIZES.join(" | "),
        "---:|".repeat(SIZES.len())
    );
    for strategy in Strategy::all() {
        let grown = databases.each_ref().map(|database| {
            let server = Server::start(&database.url);
            download(&server.address, &format!("strategy={}", strategy.name()));
            format!(
                "{:.1}",
                mebibytes(server.peak_memory().saturating_sub(idle))
            )
        });
        println!("| `{}` | {} |", strategy.name(), grown.join(" | "));
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
