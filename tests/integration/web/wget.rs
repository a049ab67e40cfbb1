//! wget, which tries again by itself, and by default 20 times: it never ends with 0 on a file that is not one complete export.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use diesel::connection::SimpleConnection;
use serde_json::json;

use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::prepared::{get, prepare};
use crate::support::proxy::Proxy;
use crate::support::workbook::without_about;
use crate::support::{Server, TestDatabase, eventually, oracle};

/// The exit code of wget for an answer that is an error.
const ERROR_RESPONSE: Option<i32> = Some(8);

/// Starts wget, with its defaults but for the file's name.
fn wget(url: &str, file: &Path) -> Child {
    Command::new("wget")
        .args(["--no-config", "--no-proxy", "-O"])
        .arg(file)
        .arg(url)
        .stderr(Stdio::null())
        .spawn()
        .expect("wget is there: scripts/install-packages wget")
}

/// Waits until a part of a file has come.
fn has_begun(file: &Path) {
    eventually("a part has come", || {
        file.metadata().is_ok_and(|file| file.len() > 0)
    });
}

fn change_all(database: &TestDatabase) {
    database
        .connect()
        .batch_execute("update tasks set title = 'now ' || id")
        .expect("ours");
}

#[test]
fn wget_does_not_take_a_stream_that_breaks_off_for_a_file() {
    let gated = Gated::new();
    let server = Server::start(&gated.url);
    let directory = tempfile::tempdir().expect("a directory");
    for strategy in ["streamed", "copy", "lookup"] {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let file = directory.path().join(strategy);
        let url = server.url(&format!("/tasks.csv?strategy={strategy}"));
        let mut wget = wget(&url, &file);
        gate.reached();
        // Else it begins again from the start, and may succeed.
        has_begun(&file);
        gate.terminate();
        drop(gate);
        let status = wget.wait().expect("ours");
        assert_eq!(status.code(), ERROR_RESPONSE, "{strategy}");
    }
}

#[test]
fn wget_does_not_put_a_file_together_from_two_exports() {
    let database = TestDatabase::seeded(&["--tasks=2000"]);
    let server = Server::start(&database.url);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    for path in ["/tasks.xlsx", "/tasks.csv?whole=true"] {
        // The first connection breaks off; those after it do not.
        let proxy = Proxy::that_holds(&server, 20_000);
        let mut wget = wget(&proxy.url(path), &file);
        has_begun(&file);
        proxy.let_pass(u64::MAX);
        change_all(&database);
        proxy.break_off();
        let status = wget.wait().expect("ours");
        assert_eq!(status.code(), ERROR_RESPONSE, "{path}");
        assert_eq!(proxy.connections(), 2, "{path}");
        std::fs::remove_file(&file).expect("ours");
    }
}

#[test]
fn wget_gets_what_is_complete_and_goes_on_with_a_prepared_file() {
    let database = TestDatabase::seeded(&["--tasks=2000"]);
    let server = Server::start(&database.url);
    let expected = oracle::copy(&database, "true", ',');
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let fetch = |url: &str| {
        let status = wget(url, &file).wait().expect("ours");
        assert_eq!(status.code(), Some(0), "{url}");
        std::fs::read(&file).expect("written")
    };
    for path in ["/tasks.csv", "/tasks.csv?whole=true"] {
        assert!(fetch(&server.url(path)) == expected, "{path}");
    }
    let workbook = get(&server, "/tasks.xlsx", &[]).body;
    let fetched = fetch(&server.url("/tasks.xlsx"));
    assert!(without_about(&fetched) == without_about(&workbook));

    let (_, prepared) = prepare(&server, &json!({}));
    std::fs::remove_file(&file).expect("ours");
    let proxy = Proxy::that_holds(&server, 20_000);
    let mut wget = wget(&proxy.url(&prepared), &file);
    has_begun(&file);
    change_all(&database);
    proxy.let_pass(u64::MAX);
    proxy.break_off();
    assert_eq!(wget.wait().expect("ours").code(), Some(0));
    assert!(std::fs::read(&file).expect("written") == expected);
    assert_eq!(proxy.connections(), 2);
}
