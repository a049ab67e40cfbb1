//! `cmms-export bench`: what it measures, and what it says of it.

use std::process::Stdio;

use diesel_export::Strategy;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::{bench, program, stderr};
use crate::support::{TestDatabase, data, eventually};

/// A strategy's part of the result.
fn of<'a>(report: &'a Value, strategy: &str) -> &'a Value {
    report["results"]
        .as_array()
        .expect("an array")
        .iter()
        .find(|result| result["strategy"] == strategy)
        .expect("it was asked for")
}

#[test]
fn every_strategy_is_measured_and_gives_the_same_bytes() {
    let database = data::hostile();
    let csv = crate::support::program::export(&database.url, &[]);
    let (report, table) = bench(&database.url, &["--runs", "2"]);
    for name in [
        "date",
        "kernel",
        "postgresql",
        "settings",
        "tables",
        "profile",
    ] {
        assert!(!report["environment"][name].is_null(), "{name}: {report}");
    }
    assert_eq!(report["same_bytes"], true);
    assert_eq!(report["order"].as_array().map(Vec::len), Some(2));
    let mut fastest = f64::INFINITY;
    for strategy in Strategy::all() {
        let result = of(&report, strategy.name());
        assert_eq!(result["bytes"], csv.len(), "{result}");
        assert_eq!(result["sha256"], report["results"][0]["sha256"]);
        for figure in [
            "seconds",
            "first_byte_seconds",
            "peak_memory_bytes",
            "memory_increase_bytes",
            "cpu_seconds",
        ] {
            let spread = &result[figure];
            assert_eq!(
                spread["runs"].as_array().map(Vec::len),
                Some(2),
                "{figure}: {result}"
            );
            let number = |name: &str| spread[name].as_f64().expect("a number");
            assert!(number("min") <= number("median") && number("median") <= number("max"));
        }
        assert!(
            result["first_byte_seconds"]["median"].as_f64() <= result["seconds"]["median"].as_f64()
        );
        assert!(
            result["peak_memory_bytes"]["min"].as_u64() > Some(1 << 20),
            "{result}"
        );
        fastest = fastest.min(result["ratio_to_fastest"].as_f64().expect("a number"));
        assert!(table.contains(strategy.name()), "{table}");
    }
    assert!((fastest - 1.0).abs() < 1e-9, "{fastest}");
    for result in report["results"].as_array().expect("an array") {
        let ratio = result["ratio_to_fastest"].as_f64().expect("a number");
        let rounds = &result["round_ratios_to_fastest"];
        let number = |name: &str| rounds[name].as_f64().expect("a number");
        if rounds.is_null() {
            assert!((ratio - 1.0).abs() < 1e-9, "the fastest: {result}");
        } else {
            assert_eq!(rounds["runs"].as_array().map(Vec::len), Some(2), "{result}");
            assert!(
                number("min") <= ratio + 1e-9 && ratio <= number("max") + 1e-9,
                "{result}"
            );
            let shown = format!("{ratio:.2} ({:.2}…{:.2})", number("min"), number("max"));
            assert!(table.contains(&shown), "{shown}: {table}");
        }
    }
    let commit = report["environment"]["commit"].as_str();
    assert_eq!(commit, option_env!("CMMS_BUILD_COMMIT"));
    assert!(table.contains("the same bytes"), "{table}");
}

#[test]
fn only_the_memory_of_those_that_buffer_grows_with_the_rows() {
    let database = data::wide(100_000);
    let increase = |rows: &str| {
        let (report, _) = bench(&database.url, &["--runs", "1", "--rows", rows]);
        Strategy::all()
            .iter()
            .map(|strategy| {
                let result = of(&report, strategy.name());
                assert_eq!(result["rows"].to_string(), rows, "{result}");
                result["memory_increase_bytes"]["median"]
                    .as_u64()
                    .expect("a number")
            })
            .collect::<Vec<_>>()
    };
    let (few, many) = (increase("10000"), increase("100000"));
    for ((strategy, few), many) in Strategy::all().iter().zip(few).zip(many) {
        println!(
            "{}: {few} bytes for 10,000 rows, {many} for 100,000",
            strategy.name()
        );
        if strategy.is_buffered() {
            assert!(
                many > few + (10 << 20),
                "{}: {few}, {many}",
                strategy.name()
            );
        } else {
            assert!(many < few + (8 << 20), "{}: {few}, {many}", strategy.name());
        }
    }
}

#[test]
fn a_strategy_that_fails_is_shown_and_the_others_go_on() {
    let database = data::hostile();
    let (report, table) = bench(
        &database.url,
        &[
            "--runs",
            "1",
            "--strategies",
            "copy,joined",
            "--max-buffered-rows",
            "3",
            "--markdown",
        ],
    );
    assert_eq!(
        report["results"].as_array().map(Vec::len),
        Some(2),
        "those that were asked for"
    );
    let failed = of(&report, "joined");
    assert!(
        failed["error"]
            .as_str()
            .is_some_and(|error| error.contains("more than 3 rows")),
        "{failed}"
    );
    assert!(failed["seconds"].is_null());
    assert!(of(&report, "copy")["seconds"]["median"].is_f64());
    assert!(table.contains("| `joined` | failed |"), "{table}");
}

#[test]
fn where_lookup_was_copy_in_fact_the_result_says_so_and_why() {
    let database = data::wide(9_000);
    let arguments = ["--runs", "1", "--strategies", "copy,lookup"];
    let (report, table) = bench(&database.url, &arguments);
    let plans = |strategy: &str| of(&report, strategy)["plans"].clone();
    assert_eq!(
        plans("copy"),
        json!([{"strategy": "copy", "connections": 1}])
    );
    assert_eq!(plans("lookup")[0]["strategy"], "lookup");
    assert!(!table.contains('†'), "{table}");

    let tiny = [&arguments[..], &["--lookup-memory=1", "--markdown"]].concat();
    let (report, table) = bench(&database.url, &tiny);
    let because = "the tables of names are too large";
    assert_eq!(
        of(&report, "lookup")["plans"],
        json!([{"strategy": "copy", "connections": 1, "because": because}])
    );
    assert!(table.contains("| `lookup` † |"), "{table}");
    assert!(
        table.contains(&format!("† lookup was copy: {because}.")),
        "{table}"
    );
    assert!(table.contains("| `copy` |"), "{table}");
}

#[test]
fn what_cannot_be_measured_is_said_in_one_line() {
    let empty = TestDatabase::new();
    let output = program(&empty.url)
        .arg("bench")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no tasks to measure"),
        "{output:?}"
    );
    for arguments in [["--runs", "0"], ["--rows", "0"], ["--strategies", "fast"]] {
        let output = program(&empty.url).arg("bench").args(arguments).output();
        assert_eq!(
            output.expect("the program runs").status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn whoever_ends_it_its_process_ends_too() {
    let gated = Gated::new();
    let bench = |signal: Signal| {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let mut child = program(&gated.url)
            .args(["bench", "--runs=1", "--strategies=copy"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        gate.reached();
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("ours");
        let status = child.wait().expect("ours");
        eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
        status.code()
    };
    assert_eq!(bench(Signal::SIGINT), Some(1));
    assert_eq!(bench(Signal::SIGKILL), None);
}
