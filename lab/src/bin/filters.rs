//! `lookup` beside `copy` on each filter, whatever it leaves: a Markdown table of milliseconds and of ratios.
//!
//! `cargo run --release --bin filters -- [tasks…] [--runs N]`; without numbers 100,000 and 1,000,000 tasks, and nine runs. The exports come
//! over one kept connection, to the last byte. Each run begins with the other strategy, and a ratio is that of two times of one run.
#[path = "../../../benches/shared/arguments.rs"]
mod arguments;
#[path = "../../../benches/shared/mod.rs"]
mod shared;
use cmms_testkit as support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use diesel_export::Strategy;
use private_postgres::{Durability, PrivatePostgres};

use arguments::{sizes_and_runs, thousands};
use shared::spread;
use support::client::End;
use support::cluster::temporary_directory;
use support::{Download, Server, program};

const EXPORTS: [&str; 17] = [
    "tasks.csv?asset_id=-1",
    "tasks.csv?asset_id=5",
    "tasks.csv?created_by_id=7",
    "tasks.csv?updated_by_id=7",
    "tasks.csv?updated_by_id=none",
    "tasks.csv?location_id=-1",
    "tasks.csv?location_id=3",
    "tasks.csv?location_id=3&done=false",
    "tasks.csv?done=true",
    "tasks.csv?title=99",
    "tasks.csv?title=nothing",
    "tasks.csv?",
    "assets.csv?location_id=3",
    "assets.csv?name=1",
    "assets.csv?",
    "users.csv?username=1",
    "locations.csv?name=1",
];

fn main() {
    let (sizes, runs) = sizes_and_runs(&[100_000, 1_000_000]);
    // As the program sets up its own: the tests' cluster has little memory.
    let directory = temporary_directory("bench");
    let cluster = PrivatePostgres::start(&directory, "cmms", Durability::Durable)
        .expect("the cluster starts");
    let url = cluster.database_url();
    run(program(url).arg("migrate"));
    for tasks in sizes {
        run(program(url).args(["seed", "--reset", "--tasks", &tasks.to_string()]));
        let server = Server::start(url);
        println!(
            "\n{} tasks, {runs} runs:\n\n| export | rows | made as | `copy`, ms | `lookup`, ms | `lookup` / `copy` |\n|---|---:|---|---:|---:|---:|",
            thousands(tasks)
        );
        for export in EXPORTS {
            measure(&server.address, export, runs);
        }
    }
    cluster.stop().expect("the cluster stops");
    let _ = fs::remove_dir_all(directory);
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
}

fn measure(address: &str, export: &str, runs: usize) {
    let mut kept = TcpStream::connect(address).expect("the server listens");
    let mut milliseconds = [Vec::new(), Vec::new()];
    let mut files = [Vec::new(), Vec::new()];
    let mut made_as = String::new();
    // The first of each is not counted.
    for run in 0..=runs {
        for what in [run % 2, 1 - run % 2] {
            let strategy = [Strategy::Copy, Strategy::Lookup][what];
            let started = Instant::now();
            let (used, file) = download(&mut kept, address, export, strategy);
            if run > 0 {
                milliseconds[what].push(started.elapsed().as_secs_f64() * 1_000.0);
            }
            files[what] = file;
            if strategy == Strategy::Lookup {
                made_as = used;
            }
        }
    }
    assert!(files[0] == files[1], "both have the same bytes");
    let [copy, lookup] = &milliseconds;
    let ratios = copy.iter().zip(lookup).map(|(copy, lookup)| lookup / copy);
    println!(
        "| `{}` | {} | `{made_as}` | {} | {} | {} |",
        export.trim_end_matches('?'),
        thousands(files[0].iter().filter(|byte| **byte == b'\n').count() as u64 - 1),
        spread(copy, 1),
        spread(lookup, 1),
        spread(&ratios.collect::<Vec<_>>(), 2),
    );
}

/// Reads an export to its end on a connection that stays open; returns how it was made, and its bytes.
fn download(
    kept: &mut TcpStream,
    address: &str,
    export: &str,
    strategy: Strategy,
) -> (String, Vec<u8>) {
    let request = format!(
        "GET /{export}&strategy={} HTTP/1.1\r\nHost: {address}\r\n\r\n",
        strategy.name()
    );
    kept.write_all(request.as_bytes()).expect("sent");
    let download = Download::read(kept.try_clone().expect("another handle"));
    assert_eq!(download.status, 200);
    let used = download.header("x-export-strategy").expect("said");
    let used = used.to_owned();
    let (body, end) = download.finish();
    assert_eq!(end, End::Clean, "the body is whole");
    (used, body)
}
