//! The service does what `/openapi.json` says, and refuses what it forbids: schemathesis asks, with its checks.

use crate::support::program::program;
use crate::support::python;
use crate::support::{Server, TestDatabase};

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml");

#[test]
fn schemathesis_finds_nothing_in_which_the_service_and_its_openapi_differ() {
    let database = TestDatabase::seeded(&["--tasks=500", "--assets=20", "--locations=5"]);
    // A full queue is a 503, which it takes for a failure.
    let server = Server::spawn(program(&database.url).args(["serve", "--max-queued=1000"]));
    // Its reports and its store of examples go to the working directory.
    let directory = tempfile::tempdir().expect("a directory");
    let output = python::tool("schemathesis")
        .current_dir(directory.path())
        .args([
            "--config-file",
            CONFIGURATION,
            "--no-color",
            "run",
            "--checks=all",
            // What the file turns off, `all` turns on again.
            "--exclude-checks=use_after_free",
        ])
        .arg(server.url("/openapi.json"))
        .output()
        .expect("schemathesis runs");
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.into_log()
    );
}
