//! Small exports over one kept connection, strategy by strategy, to the last byte, beside the time that PostgreSQL itself needs
//! for the same rows: a Markdown table of milliseconds. And a second one: all tasks by the command line, as a whole process, beside
//! the same over HTTP.
//!
//! `cargo bench --bench small -- [runs]`; without a number, 15 runs. Each run has every filter with every strategy once, and begins
//! with another strategy: so what else the machine does meanwhile falls on all of them alike.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program to run by hand"
)]

use cmms_testkit as support;

mod shared;

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Instant;

use cmms_export::datasets;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_export::format::FileType;
use diesel_export::parameters::Parameters;
use diesel_export::{Limits, Strategy};
use serde_json::Value;

use shared::spread;
use support::client::End;
use support::oracle::{self, Filter};
use support::{Download, Server, TestDatabase};

const TASKS: &str = "100000";

const FILTERS: [Filter; 5] = [
    Filter {
        parameters: &[("asset_id", "5")],
        sql: "t.asset_id = 5",
    },
    Filter {
        parameters: &[("created_by_id", "7")],
        sql: "t.created_by_id = 7",
    },
    Filter {
        parameters: &[("location_id", "3")],
        sql: "a.location_id = 3",
    },
    Filter {
        parameters: &[("title", "99")],
        sql: "t.title ilike '%99%'",
    },
    Filter {
        parameters: &[("asset_id", "-1")],
        sql: "t.asset_id = -1",
    },
];

const ALL: Filter = Filter {
    parameters: &[],
    sql: "true",
};

#[derive(QueryableByName)]
struct Explained {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    plan: String,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter(|flag| flag != "--bench");
    let runs: usize = numbers
        .next_back()
        .map_or(15, |runs| runs.parse().expect("a number of runs"));
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    let server = Server::start(&database.url);
    let mut kept = TcpStream::connect(&server.address).expect("the server listens");
    let mut connection = database.connect();
    diesel::sql_query("set jit = off")
        .execute(&mut connection)
        .expect("a known setting");

    let strategies = Strategy::all();
    let mut queries = vec![Vec::new(); FILTERS.len()];
    let mut exports = vec![vec![Vec::new(); strategies.len()]; FILTERS.len()];
    let mut sizes = vec![0; FILTERS.len()];
    // The first run opens the connections to the database, and does not count.
    for run in 0..=runs {
        for (index, filter) in FILTERS.iter().enumerate() {
            let query = query_milliseconds(&mut connection, filter);
            if run > 0 {
                queries[index].push(query);
            }
            for place in 0..strategies.len() {
                let place = (run + place) % strategies.len();
                let started = Instant::now();
                sizes[index] = download(&mut kept, &server.address, filter, strategies[place]);
                if run > 0 {
                    exports[index][place].push(started.elapsed().as_secs_f64() * 1_000.0);
                }
            }
        }
    }

    println!("{TASKS} tasks; milliseconds, medians (min…max) of {runs} runs:\n");
    let names = strategies
        .iter()
        .map(|strategy| format!("`{}`", strategy.name()));
    println!(
        "| filter | rows | bytes | the query itself | {} |\n|---|---:|---:|---:|{}",
        names.collect::<Vec<_>>().join(" | "),
        "---:|".repeat(strategies.len())
    );
    for (index, filter) in FILTERS.iter().enumerate() {
        let csv = oracle::copy(&database, filter.sql, ',');
        assert_eq!(csv.len(), sizes[index], "the export is what psql has");
        let rows = csv.iter().filter(|byte| **byte == b'\n').count() - 1;
        let times = exports[index].iter().map(|times| spread(times, 1));
        println!(
            "| `{}` | {rows} | {} | {} | {} |",
            parameters(filter),
            csv.len(),
            spread(&queries[index], 1),
            times.collect::<Vec<_>>().join(" | ")
        );
    }
    command_line(&database, (&mut kept, &server.address), runs);
}

/// Exports all tasks by the command line, as a whole process that writes to nowhere, and over HTTP, by turns.
fn command_line(database: &TestDatabase, (kept, address): (&mut TcpStream, &str), runs: usize) {
    println!(
        "\n| all tasks | command line, ms | HTTP, ms | ratio by pairs |\n|---|---:|---:|---:|"
    );
    for strategy in Strategy::all() {
        let mut milliseconds = [Vec::new(), Vec::new()];
        // The first of each is not counted.
        for run in 0..=runs {
            for what in [run % 2, 1 - run % 2] {
                let started = Instant::now();
                if what == 0 {
                    let mut command = support::program(&database.url);
                    command.args(["export", "--strategy", strategy.name()]);
                    let status = command.stdout(Stdio::null()).status();
                    assert!(status.expect("the program runs").success());
                } else {
                    download(kept, address, &ALL, *strategy);
                }
                if run > 0 {
                    milliseconds[what].push(started.elapsed().as_secs_f64() * 1_000.0);
                }
            }
        }
        let [command, http] = &milliseconds;
        let ratios: Vec<f64> = command.iter().zip(http).map(|(c, h)| c / h).collect();
        println!(
            "| `{}` | {} | {} | {} |",
            strategy.name(),
            spread(command, 1),
            spread(http, 1),
            spread(&ratios, 2)
        );
    }
}

fn parameters(filter: &Filter) -> String {
    let pairs = filter.parameters.iter();
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Reads an export to its end on a connection that stays open, and tells its size.
fn download(kept: &mut TcpStream, address: &str, filter: &Filter, strategy: Strategy) -> usize {
    // In one packet: it is the server's writes that are measured.
    let request = format!(
        "GET /tasks.csv?{}&strategy={} HTTP/1.1\r\nHost: {address}\r\n\r\n",
        parameters(filter),
        strategy.name()
    );
    kept.write_all(request.as_bytes()).expect("sent");
    let download = Download::read(kept.try_clone().expect("another handle"));
    assert_eq!(download.status, 200);
    let (body, end) = download.finish();
    assert_eq!(end, End::Clean, "the body is complete");
    body.len()
}

/// How long the server plans and runs the query of `copy`, by its own clock: without the way to it, and without making text of the
/// rows.
fn query_milliseconds(connection: &mut PgConnection, filter: &Filter) -> f64 {
    let pairs = filter.parameters.iter();
    let pairs = pairs.map(|(name, value)| ((*name).into(), (*value).into()));
    let parameters = Parameters::from_pairs(datasets::catalog().default(), FileType::Csv, pairs)
        .expect("known filters");
    let export = parameters.into_export(Limits::default());
    let sql = format!(
        "explain (analyze, timing off, format json) {}",
        export.sql().expect("SQL")
    );
    let explained: Explained = diesel::sql_query(sql)
        .get_result(connection)
        .expect("the SQL runs");
    let plan: Value = serde_json::from_str(&explained.plan).expect("JSON");
    let time = |name: &str| plan[0][name].as_f64().expect("milliseconds");
    time("Planning Time") + time("Execution Time")
}
