//! Faults of PostgreSQL: a backend that is terminated, a statement that times out, a server that is killed or stops answering.

use std::time::{Duration, Instant};

use cmms_export::datasets;
use diesel::connection::SimpleConnection;
use diesel_export::Strategy;

use crate::export::moments::MOMENTS;
use crate::support::client::{Download, End, download, download_of, send};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::program;
use crate::support::replicated::Replicated;
use crate::support::{Server, eventually};

use super::{Case, lines};

#[test]
fn a_terminated_backend_breaks_the_export_off() {
    let gated = Gated::new();
    for case in Case::all(&gated, &[]) {
        let mut gate = Gate::close(&gated, case.row);
        case.strikes(|| gate.terminate(), 503, "database-unavailable");
        drop(gate);
        case.leaves_nothing_behind();
    }
}

#[test]
fn a_terminated_backend_breaks_the_export_of_every_other_dataset_off() {
    let catalog = datasets::catalog();
    let others = catalog
        .all()
        .filter(|dataset| *dataset != catalog.default());
    for dataset in others.map(|dataset| dataset.name()) {
        let gated = Gated::of(dataset);
        let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
        let address = &server.address;
        for strategy in Strategy::all() {
            let name = strategy.name();
            let path = format!("/{dataset}.csv?strategy={name}&export_id={name}");
            let mut gate = Gate::close(&gated, ROWS / 2);
            let stream = send(address, "GET", &path, &[("Host", address)]);
            gate.terminate();
            let download = Download::read(stream);
            if strategy.is_buffered() {
                assert_eq!(download.status, 503, "{dataset} {name}");
            } else {
                assert_eq!(download.status, 200, "{dataset} {name}");
                assert_eq!(download.finish().1, End::Broken, "{dataset} {name}");
            }
            let manifest = server.ended(name);
            assert_eq!(manifest["state"], "failed", "{dataset} {name}");
            assert_eq!(
                manifest["error"], "database-unavailable",
                "{dataset} {name}"
            );
            assert_eq!(manifest["dataset"], dataset, "{dataset} {name}");
            drop(gate);
            // The only place is free again.
            let next = download_of(address, dataset, &format!("strategy={name}"));
            assert_eq!(lines(&next), 1 + ROWS, "{dataset} {name}");
        }
    }
}

fn statement_timeouts_break_exports_off(gated: &Gated) {
    for moment in MOMENTS {
        let cases = Case::of_moment(gated, moment, &["--statement-timeout=1"]);
        let gate = Gate::close(gated, moment.1);
        Case::strikes_all(&cases, || (), 504, "statement-timeout");
        drop(gate);
        cases.iter().for_each(Case::leaves_nothing_behind);
    }
}

#[test]
fn a_statement_timeout_breaks_the_export_off() {
    let gated = Gated::new();
    statement_timeouts_break_exports_off(&gated);
}

#[test]
fn a_statement_timeout_is_known_whatever_language_the_server_speaks() {
    let replicated = Replicated::start_new("lc_messages=C.UTF-8");
    let gated = Gated::install(replicated.database());
    let refused = gated.database.connect().batch_execute("select 1 / 0");
    let message = refused.expect_err("it cannot be").to_string();
    assert!(
        !message.contains("division by zero"),
        "this needs PostgreSQL's translations, which its packages bring along: {message}"
    );
    statement_timeouts_break_exports_off(&gated);
}

#[test]
fn a_killed_and_restarted_postgresql_breaks_the_export_off() {
    let gated = Gated::alone();
    for moment in MOMENTS {
        let cases = Case::of_moment(&gated, moment, &[]);
        let mut gate = Gate::close(&gated, moment.1);
        let kill = || {
            gate.reached_by(cases.len());
            gated.database.kill_server();
        };
        Case::strikes_all(&cases, kill, 503, "database-unavailable");
        drop(gate);
        cases.iter().for_each(Case::leaves_nothing_behind);
    }
}

#[test]
fn a_server_that_stops_answering_breaks_the_exports_off_and_frees_their_places() {
    let gated = Gated::alone();
    let strategies = Strategy::all();
    // A CSV and a workbook by each.
    let places = 2 * strategies.len();
    let exports = || {
        let each = strategies.iter();
        each.flat_map(|strategy| [(*strategy, "csv"), (*strategy, "xlsx")])
    };
    let server =
        Server::spawn(program(&gated.url).args(["serve", &format!("--max-exports={places}")]));
    let address = &server.address;
    let start = |(strategy, extension): (Strategy, &str), when: &str| {
        let name = strategy.name();
        let path = format!("/tasks.{extension}?strategy={name}&export_id={name}-{extension}{when}");
        send(address, "GET", &path, &[("Host", address)])
    };
    // A connection that lies idle in each pool: it is tried before it is used.
    for strategy in ["streamed", "copy"] {
        download(address, &format!("strategy={strategy}"));
    }
    let mut gate = Gate::close(&gated, ROWS / 2);
    let running: Vec<_> = exports().map(|export| start(export, "")).collect();
    gate.reached_by(places);
    let frozen = gated.database.freeze_server();
    let since = Instant::now();
    for ((strategy, extension), stream) in exports().zip(running) {
        let name = format!("{}-{extension}", strategy.name());
        let download = Download::read(stream);
        if strategy.is_buffered() || extension == "xlsx" {
            assert_eq!(download.status, 503, "{name}");
        } else {
            assert_eq!(download.status, 200, "{name}");
            assert_eq!(download.finish().1, End::Broken, "{name}");
        }
        let manifest = server.ended(&name);
        assert_eq!(manifest["state"], "failed", "{name}: {manifest}");
        assert_eq!(
            manifest["error"], "database-unavailable",
            "{name}: {manifest}"
        );
    }
    let elapsed = since.elapsed();
    println!("all were broken off after {elapsed:?}");
    assert!(elapsed < Duration::from_secs(15), "{elapsed:?}");
    eventually("nothing is in flight", || {
        server.metric("cmms_export_exports_in_flight ") == 0.0
    });
    eventually("the workbooks' space is free", || {
        server.metric("cmms_export_spool_used_bytes ") == 0.0
    });
    // All places are free while the server still says nothing; a busy service would keep no record of these.
    let waiting: Vec<_> = exports()
        .map(|export| start(export, "-meanwhile"))
        .collect();
    for ((strategy, extension), stream) in exports().zip(waiting) {
        let name = format!("{}-{extension}", strategy.name());
        assert_eq!(Download::read(stream).status, 503, "{name}");
        let manifest = server.ended(&format!("{name}-meanwhile"));
        assert_eq!(
            manifest["error"], "database-unavailable",
            "{name}: {manifest}"
        );
    }
    drop(frozen);
    drop(gate);
    eventually("the queries are gone", || {
        gate::running_queries(&gated.database) == 0
    });
    for strategy in strategies {
        let name = strategy.name();
        eventually("an export is made again", || {
            Download::start(address, &format!("/tasks.csv?strategy={name}")).status == 200
        });
        let csv = download(address, &format!("strategy={name}"));
        assert_eq!(lines(&csv), ROWS + 1, "{name}");
    }
}
