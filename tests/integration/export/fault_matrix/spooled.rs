//! Faults after a part of the export went to the spool.

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use serde_json::{Value, json};

use crate::support::client::{Download, End, download_when_free};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::program;
use crate::support::{Server, eventually};

use super::lines;

#[test]
fn a_fault_after_a_part_was_spooled_breaks_the_download_off_at_once() {
    const MANY: u64 = 10 * ROWS;
    let gated = Gated::new();
    let sql = format!(
        "insert into tasks select n, lpad(n::text, 100, 'title '), '', true, 1, 1, null from generate_series({ROWS} + 1, {MANY}) n"
    );
    let mut connection = gated.database.connect();
    for sql in [&sql, "vacuum analyze"] {
        connection.batch_execute(sql).expect("ours");
    }
    for strategy in Strategy::unbuffered() {
        for deleted in [false, true] {
            let name = strategy.name();
            let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
            let mut gate = Gate::close(&gated, MANY - 1);
            let path = format!("/tasks.csv?strategy={name}&export_id=faulty");
            let mut download = Download::start(&server.address, &path);
            download.chunk().expect("a chunk").expect("not the last");
            gate.reached();
            eventually("a part is spooled", || {
                server.metric("cmms_export_spool_used_bytes ") > 0.0
            });
            let expected = if deleted {
                ureq::delete(server.url("/api/exports/faulty"))
                    .call()
                    .expect("known");
                (json!("cancelled"), Value::Null)
            } else {
                gate.terminate();
                (json!("failed"), json!("database-unavailable"))
            };
            eventually("the query is gone", || {
                gate::running_queries(&gated.database) == 0
            });
            let (csv, end) = download.finish();
            assert_eq!(end, End::Broken, "{name}");
            assert!(lines(&csv) < MANY, "{name}");
            let manifest = server.ended("faulty");
            let told = (manifest["state"].clone(), manifest["error"].clone());
            assert_eq!(told, expected, "{name}: {manifest}");
            assert_eq!(manifest["sha256"], Value::Null, "{name}");
            eventually("its space is free", || {
                server.metric("cmms_export_spool_used_bytes ") == 0.0
            });
            drop(gate);
            let next = download_when_free(&server.address, &format!("strategy={name}"));
            assert_eq!(lines(&next), MANY + 1, "{name}");
        }
    }
}
