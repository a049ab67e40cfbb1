//! The server's memory, strategy by strategy: Markdown tables, in MiB above that of a server that has answered none.
//!
//! The first table has the peak (`VmHWM`) of a server that was started afresh and has answered one download, read to its
//! end, as the table of tasks grows: of CSV, and of a workbook by the strategies that do not hold all rows. The second has what ten downloads leave, one after another and eight at once, at
//! 100,000 tasks: the peak, and what is still resident (`VmRSS`) ten seconds later.
#![expect(clippy::print_stdout, reason = "a program to run by hand")]

use cmms_testkit as support;

use std::thread;
use std::time::Duration;

use diesel_export::Strategy;

use support::client::download;
use support::{Download, Server, TestDatabase};

const SIZES: [&str; 3] = ["10000", "100000", "1000000"];
/// Of the sizes, that of the second table.
const REPEATED: usize = 1;
const REPETITIONS: usize = 10;
const AT_ONCE: usize = 8;
const LATER: Duration = Duration::from_secs(10);

fn main() {
    let databases = SIZES.map(|size| TestDatabase::seeded(&["--tasks", size]));
    let idle = Server::start(&databases[0].url).peak_memory();
    let above_idle = |bytes: u64| format!("{:.1}", mebibytes(bytes.saturating_sub(idle)));
    println!("Idle: {:.1} MiB. Above that, in MiB:\n", mebibytes(idle));
    println!(
        "| strategy | {} tasks |\n|---|{}",
        SIZES.join(" | "),
        "---:|".repeat(SIZES.len())
    );
    for strategy in Strategy::all() {
        let grown = databases.each_ref().map(|database| {
            let server = Server::start(&database.url);
            download(&server.address, &query(*strategy));
            above_idle(server.peak_memory())
        });
        println!("| `{}` | {} |", strategy.name(), grown.join(" | "));
    }
    for strategy in Strategy::unbuffered() {
        let grown = databases.each_ref().map(|database| {
            let server = Server::start(&database.url);
            let path = format!("/tasks.xlsx?{}", query(strategy));
            Download::start(&server.address, &path).whole();
            above_idle(server.peak_memory())
        });
        println!("| `{}`, Excel | {} |", strategy.name(), grown.join(" | "));
    }

    println!(
        "\n{} tasks, in MiB above idle:\n\n\
         | strategy | peak after one | after ten | ten seconds later | eight at once | ten seconds later |\n\
         |---|---:|---:|---:|---:|---:|",
        SIZES[REPEATED]
    );
    let url = &databases[REPEATED].url;
    for strategy in Strategy::all() {
        let query = query(*strategy);
        let server = Server::start(url);
        download(&server.address, &query);
        let one = server.peak_memory();
        for _ in 1..REPETITIONS {
            download(&server.address, &query);
        }
        let ten = server.peak_memory();
        thread::sleep(LATER);
        let ten_later = server.resident_memory();

        let server = Server::start(url);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| download(&server.address, &query));
            }
        });
        let at_once = server.peak_memory();
        thread::sleep(LATER);
        let at_once_later = server.resident_memory();

        let figures = [one, ten, ten_later, at_once, at_once_later].map(above_idle);
        println!("| `{}` | {} |", strategy.name(), figures.join(" | "));
    }
}

fn query(strategy: Strategy) -> String {
    format!("strategy={}", strategy.name())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
