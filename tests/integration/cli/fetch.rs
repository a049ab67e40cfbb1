//! `fetch`: a prepared export's file gets there whole, whatever breaks off on the way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::program::{bare_program, program, stderr};
use crate::support::proxy::Proxy;
use crate::support::{Server, TestDatabase, data, eventually, oracle};

/// A service with an export that is prepared, whose file has so many megabytes that no buffer on the way holds it.
pub(super) struct Prepared {
    database: TestDatabase,
    pub(super) server: Server,
    spool: tempfile::TempDir,
}

impl Prepared {
    pub(super) fn start() -> Self {
        let database = data::wide(100_000);
        let spool = tempfile::tempdir().expect("a directory");
        let server = Server::spawn(
            program(&database.url)
                .arg("serve")
                .env("CMMS_SPOOL_DIR", spool.path()),
        );
        Self {
            database,
            server,
            spool,
        }
    }

    /// Prepares an export, and returns its id and its file's path once that is there.
    pub(super) fn prepare(&self, parameters: &Value) -> (String, String) {
        let mut response = ureq::post(self.server.url("/api/exports"))
            .send_json(parameters)
            .expect("202");
        let manifest: Value = response.body_mut().read_json().expect("JSON");
        let id = manifest["id"].as_str().expect("it has one").to_owned();
        let manifest = self.server.ended(&id);
        let file = manifest["file"].as_str().expect("it is whole");
        (id, file.to_owned())
    }

    pub(super) fn expected(&self) -> Vec<u8> {
        oracle::copy(&self.database, "true", ',')
    }
}

pub(super) fn command(url: &str, output: &Path) -> Command {
    let mut command = bare_program();
    command.args(["fetch", url, "--output"]).arg(output);
    command
}

pub(super) fn fetch(url: &str, output: &Path) -> Output {
    command(url, output).output().expect("the program runs")
}

/// Where a file is to be fetched to: nothing else is in the directory.
pub(super) fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("tasks.csv");
    (directory, output)
}

/// Starts to fetch, and waits until some of the file is there.
fn begin(url: &str, output: &Path) -> Child {
    let mut begun = command(url, output);
    begun.stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = begun.spawn().expect("the program runs");
    eventually("some of the file is there", || is_begun(output));
    begun
}

/// What is in the directory besides the output.
pub(super) fn parts(output: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(output.parent().expect("a directory")).expect("readable");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path != output).collect()
}

/// Whether any byte of the file is there.
fn is_begun(output: &Path) -> bool {
    let length = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    parts(output).first().is_some_and(|path| length(path) > 0)
}

/// Starts to fetch, and kills the program once some of the file is there.
fn kill_amid(url: &str, output: &Path) {
    let mut child = begin(url, output);
    child.kill().expect("ours");
    child.wait().expect("ours");
    assert!(!output.exists(), "it was not whole");
}

#[test]
fn a_file_is_fetched_whole_and_alone() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let fetched = fetch(&prepared.server.url(&file), &output);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(fetched.stdout.starts_with(b"whole: "), "{fetched:?}");
    assert_eq!(stderr(&fetched), "", "a script gets only what it asked for");
    assert!(fs::read(&output).expect("there") == prepared.expected());
    assert!(parts(&output).is_empty());
}

#[test]
fn connections_that_break_off_are_gone_on_with() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let proxy = Proxy::to(&prepared.server, 3 << 20);
    let fetched = fetch(&proxy.url(&file), &output);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(fs::read(&output).expect("there") == prepared.expected());
    let expected = prepared.expected().len() / (3 << 20) + 1;
    assert_eq!(proxy.connections(), expected);
    assert_eq!(
        stderr(&fetched).matches("goes on after").count(),
        expected - 1
    );
    assert!(parts(&output).is_empty());
}

#[test]
fn it_gives_up_after_as_many_vain_attempts_as_it_may_make_and_the_next_call_goes_on() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let proxy = Proxy::that_holds(&prepared.server, 5 << 20);
    // Only the first connection brings anything.
    let mut child = command(&proxy.url(&file), &output);
    child.args(["--retries", "2"]).stderr(Stdio::piped());
    let child = child
        .stdout(Stdio::null())
        .spawn()
        .expect("the program runs");
    eventually("the first one is there", || proxy.connections() == 1);
    proxy.let_pass(0);
    proxy.break_off();
    let ended = child.wait_with_output().expect("ours");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(stderr(&ended).contains("not whole"), "{ended:?}");
    assert!(
        stderr(&ended).contains("the same command goes on"),
        "{ended:?}"
    );
    assert_eq!(proxy.connections(), 1 + 2);
    assert!(!output.exists());
    let kept = parts(&output);
    let length = fs::metadata(&kept[0]).expect("there").len();
    assert!(length > 4 << 20, "{length}");

    // Enough for the rest, and not for the whole.
    let rest = prepared.expected().len() as u64 - length;
    proxy.let_pass(rest + 4096);
    let fetched = fetch(&proxy.url(&file), &output);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(fs::read(&output).expect("there") == prepared.expected());
    assert_eq!(proxy.connections(), 1 + 2 + 1);
}

#[test]
fn what_a_killed_call_has_left_is_gone_on_with() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    // The answer stands still after two megabytes.
    let stalled = Proxy::that_holds(&prepared.server, 2 << 20);
    kill_amid(&stalled.url(&file), &output);
    let fetched = fetch(&prepared.server.url(&file), &output);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(stderr(&fetched).contains("goes on after"), "{fetched:?}");
    assert!(fs::read(&output).expect("there") == prepared.expected());
    assert!(parts(&output).is_empty());
}

#[test]
fn what_is_damaged_is_fetched_anew() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let stalled = Proxy::that_holds(&prepared.server, 2 << 20);
    kill_amid(&stalled.url(&file), &output);
    // As after a crash of the system: the length is there, the bytes are not.
    let part = &parts(&output)[0];
    let length = fs::metadata(part).expect("there").len();
    fs::write(part, vec![0; usize::try_from(length).expect("small")]).expect("ours");
    let fetched = fetch(&prepared.server.url(&file), &output);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(stderr(&fetched).contains("damaged"), "{fetched:?}");
    assert!(fs::read(&output).expect("there") == prepared.expected());
}

#[test]
fn another_export_at_the_same_output_is_fetched_from_its_beginning() {
    let prepared = Prepared::start();
    let (_, all) = prepared.prepare(&json!({}));
    let (_, columns) = prepared.prepare(&json!({"columns": ["id"]}));
    let (_directory, output) = place();
    let stalled = Proxy::that_holds(&prepared.server, 1 << 20);
    kill_amid(&stalled.url(&all), &output);
    let fetched = fetch(&prepared.server.url(&columns), &output);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(stderr(&fetched).contains("another file"), "{fetched:?}");
    let csv = fs::read_to_string(&output).expect("there");
    assert!(csv.starts_with("ID\n1\n2\n"), "{}", &csv[..20]);
    assert_eq!(csv.lines().count(), 100_001);
    assert!(parts(&output).is_empty());
}

#[test]
fn of_a_deleted_export_nothing_is_left() {
    let prepared = Prepared::start();
    let (id, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let proxy = Proxy::that_holds(&prepared.server, 5 << 20);
    let child = begin(&proxy.url(&file), &output);
    let deleted = ureq::delete(prepared.server.url(&format!("/api/exports/{id}"))).call();
    assert!(deleted.expect("deleted").status().is_success());
    proxy.break_off();
    let ended = child.wait_with_output().expect("ours");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        stderr(&ended).contains("there is no such file"),
        "{ended:?}"
    );
    assert!(!output.exists());
    assert!(parts(&output).is_empty());
}

#[test]
fn a_service_that_is_killed_and_comes_back_is_gone_on_with() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let proxy = Proxy::that_holds(&prepared.server, 5 << 20);
    let child = begin(&proxy.url(&file), &output);
    let Prepared {
        database,
        server,
        spool,
    } = prepared;
    let address = server.address.clone();
    // By SIGKILL.
    drop(server);
    proxy.let_pass(u64::MAX);
    proxy.break_off();
    let _server = Server::spawn_as_bound(
        program(&database.url)
            .args(["serve", "--bind", &address])
            .env("CMMS_SPOOL_DIR", spool.path()),
    );
    let ended = child.wait_with_output().expect("ours");
    assert!(ended.status.success(), "{ended:?}");
    assert!(fs::read(&output).expect("there") == oracle::copy(&database, "true", ','));
}

#[test]
fn an_export_that_is_not_finished_is_waited_for() {
    let gated = Gated::new();
    let spool = tempfile::tempdir().expect("a directory");
    let server = Server::spawn(
        program(&gated.url)
            .arg("serve")
            .env("CMMS_SPOOL_DIR", spool.path()),
    );
    let gate = Gate::close(&gated, ROWS / 2);
    let mut response = ureq::post(server.url("/api/exports"))
        .send_json(json!({}))
        .expect("202");
    let manifest: Value = response.body_mut().read_json().expect("JSON");
    let id = manifest["id"].as_str().expect("it has one");
    let (_directory, output) = place();
    let url = server.url(&format!("/exports/{id}/tasks.csv"));
    let mut child = command(&url, &output);
    child.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the program runs");
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("UTF-8");
    assert!(line.contains("waits: the export is not finished"), "{line}");
    drop(gate);
    assert!(child.wait().expect("ours").success());
    assert!(fs::read(&output).expect("there") == oracle::copy(&gated.database, "true", ','));
}

#[test]
fn two_calls_do_not_write_into_one_file() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    let proxy = Proxy::that_holds(&prepared.server, 5 << 20);
    let mut first = begin(&proxy.url(&file), &output);
    let second = fetch(&prepared.server.url(&file), &output);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(
        stderr(&second).contains("it is being fetched already"),
        "{second:?}"
    );
    proxy.let_pass(u64::MAX);
    proxy.break_off();
    assert!(first.wait().expect("ours").success());
    assert!(fs::read(&output).expect("there") == prepared.expected());
}

#[test]
fn what_replaces_a_file_is_no_more_open_than_that_was_from_its_beginning_and_can_be_gone_on_with() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (_directory, output) = place();
    fs::write(&output, "an older one").expect("written");
    fs::set_permissions(&output, fs::Permissions::from_mode(0o440)).expect("ours");
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
    let proxy = Proxy::that_holds(&prepared.server, 5 << 20);
    let mut child = begin(&proxy.url(&file), &output);
    assert_eq!(
        parts(&output)
            .iter()
            .map(|part| mode(part))
            .collect::<Vec<_>>(),
        [0o640]
    );
    proxy.let_pass(u64::MAX);
    proxy.break_off();
    assert!(child.wait().expect("ours").success());
    assert_eq!(mode(&output), 0o440);
    assert!(fs::read(&output).expect("there") == prepared.expected());
}
