//! Exports on hot standbys.

mod command_line;
mod conflicts;
mod fresh;
mod locks;
mod routing;

use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use crate::support::client::{Download, End};
use crate::support::gate;
use crate::support::replica_servers::Node;
use crate::support::replicated::Replicated;
use crate::support::{Server, TestDatabase, eventually, oracle};

/// An export that must be complete: where it came from, and its CSV.
fn export(server: &Server, query: &str) -> (String, Vec<u8>) {
    let download = Download::start(&server.address, &format!("/tasks.csv?{query}"));
    assert_eq!(download.status, 200, "{query}");
    let source = download.header("x-export-source").map(str::to_owned);
    let (csv, end) = download.finish();
    assert_eq!(end, End::Clean, "{query}");
    (source.expect("it is said"), csv)
}

/// Where an export came from.
fn source(server: &Server) -> String {
    export(server, "location_id=-1").0
}

/// All tasks, as psql has them from the primary.
fn expected(database: &TestDatabase) -> Vec<u8> {
    oracle::copy(database, "true", ',')
}

fn fallbacks(server: &Server, reason: &str) -> f64 {
    server.metric(&format!(
        "cmms_export_replica_fallbacks_total{{reason=\"{reason}\"}}"
    ))
}

fn change(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    connection.batch_execute(sql).expect("the SQL runs");
}

/// Changes a task, and has removed what it was: a standby cannot replay that while somebody may still read it. (The last task
/// is on a page that no export has come to that waits at a gate before it: a page that is being read is another conflict.)
fn remove_what_is_read(database: &TestDatabase) {
    change(
        database,
        "update tasks set title = 'changed ' || txid_current() where id = (select max(id) from tasks)",
    );
    // The tasks may be a view of the table that has them.
    change(database, "vacuum");
}

fn contains(csv: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(csv).contains(text)
}

/// How many of a server's processes run an export of the database.
fn running(replicated: &Replicated, database: &TestDatabase, node: Node) -> i64 {
    gate::running_queries_at(&mut replicated.connect(node, database))
}

/// Starts an export that is larger than all buffers, takes some of it, and then nothing more.
fn stall(server: &Server, query: &str) -> Download {
    let mut download = Download::start(&server.address, &format!("/tasks.csv?{query}"));
    assert_eq!(download.status, 200, "{query}");
    assert_eq!(
        download.header("x-export-source"),
        Some("replica"),
        "{query}"
    );
    download.chunk().expect("a chunk").expect("not the last");
    download
}

/// Demands that an export is recorded as failed.
fn has_failed(server: &Server, id: &str, error: &str) {
    let manifest = server.ended(id);
    let told = ["state", "error", "source", "sha256"].map(|name| &manifest[name]);
    let right = [json!("failed"), json!(error), json!("replica"), Value::Null];
    assert_eq!(told, right.each_ref(), "{manifest}");
}

/// Demands that nothing of an ended export is left, on a server that allows one at a time.
fn nothing_is_left(server: &Server) {
    eventually("the permit is free", || {
        Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
    });
    eventually("no export is in flight", || {
        server.metric("cmms_export_exports_in_flight ") == 0.0
    });
}
