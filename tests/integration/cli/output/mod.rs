//! Where the command line's exports go: to a file that is complete or not there, a link, a device, a pipe.

mod owners;
mod standard_output;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use diesel::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command_line::code;
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::oracle;
use crate::support::program::{in_shell, program, stderr};
use crate::support::{TestDatabase, data, eventually};

/// The server processes that run an export's query.
const RUNNING: &str =
    "from pg_stat_activity where datname = current_database() and state = 'active'
    and pid <> pg_backend_pid() and (query like '%creators%' or query like 'copy (SELECT%')";

/// The server processes of all clients but the one that asks.
const CLIENTS: &str =
    "from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
    and pid <> pg_backend_pid()";

/// Waits until an export's query runs.
fn running_export(database: &TestDatabase) {
    let mut connection = database.connect();
    eventually("an export runs", || rows(&mut connection, RUNNING) > 0);
}

/// Ends all connections of an export: `lookup` goes on without one that had nothing to do.
fn end_connections(database: &TestDatabase) {
    let sql = format!("pg_terminate_backend(pid) {CLIENTS}");
    assert!(rows(&mut database.connect(), &sql) > 0);
}

fn rows(connection: &mut PgConnection, sql: &str) -> usize {
    diesel::sql_query(format!("select {sql}"))
        .execute(connection)
        .expect("the SQL runs")
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect()
}

/// What a process has open in a directory, with or without a name: a path to it, which is in /proc.
fn open_file_in(process: &Child, directory: &Path) -> Option<PathBuf> {
    let open = fs::read_dir(format!("/proc/{}/fd", process.id())).ok()?;
    let mut open = open.filter_map(|entry| Some(entry.ok()?.path()));
    open.find(|file| fs::read_link(file).is_ok_and(|target| target.starts_with(directory)))
}

/// Exports to a file, which must succeed.
fn export_to(file: &Path, database: &TestDatabase) {
    let mut command = program(&database.url);
    assert_eq!(code(command.args(["export", "--output"]).arg(file)), 0);
}

#[test]
fn the_csv_and_its_manifest_cannot_go_to_one_place() {
    let database = TestDatabase::new();
    assert_eq!(
        code(program(&database.url).args(["export", "--output=a.csv", "--manifest=a.csv"])),
        2
    );
    assert_eq!(
        code(program(&database.url).args(["export", "--manifest=-"])),
        2
    );
}

#[test]
fn nothing_is_left_of_an_export_that_is_killed() {
    let gated = Gated::new();
    let _gate = Gate::close(&gated, ROWS / 2);
    let directory = tempfile::tempdir().expect("a directory");
    let mut export = program(&gated.url);
    export
        .args(["export", "--strategy=copy", "--output"])
        .arg(directory.path().join("tasks.csv"));
    let mut export = export.spawn().expect("the program runs");
    eventually("it has rows", || {
        open_file_in(&export, directory.path())
            .is_some_and(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0))
    });
    export.kill().expect("ours");
    export.wait().expect("ours");
    assert_eq!(entries(directory.path()), [""; 0]);
}

#[test]
fn an_output_beyond_the_limit_on_the_size_of_files_is_an_error() {
    let database = data::wide(20_000);
    let directory = tempfile::tempdir().expect("a directory");
    let mut program = program(&database.url);
    program
        .args(["export", "--output"])
        .arg(directory.path().join("tasks.csv"));
    let limited = r#"ulimit -f 100; exec "$0" "$@""#;
    let output = in_shell(limited, &program).output().expect("bash is there");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("File too large"), "{output:?}");
    assert_eq!(entries(directory.path()), [""; 0]);
}

#[test]
fn an_ending_of_another_format_is_a_wrong_use() {
    for name in ["a.csv.gz", "a.ZST", "a.zip", "a.json", "a.parquet", "a.tsv"] {
        // The database is not even looked for.
        let output = program("postgresql://127.0.0.1:1/nowhere")
            .args(["export", "--output", name])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{name}");
        let said = stderr(&output);
        assert!(
            said.contains("writes CSV, Excel workbooks (….xlsx) and JSON lines"),
            "{said}"
        );
    }
}

#[test]
fn a_file_is_whole_and_alone_and_has_ordinary_permissions() {
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    export_to(&file, &database);
    assert_eq!(
        fs::read(&file).expect("there"),
        oracle::copy(&database, "true", ',')
    );
    assert_eq!(entries(directory.path()), ["tasks.csv"]);

    let other = directory.path().join("other.csv");
    fs::write(&other, "").expect("written");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&file), mode(&other));
}

#[test]
fn what_a_link_points_to_is_replaced_and_not_the_link() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (file, link) = (
        directory.path().join("file.csv"),
        directory.path().join("link.csv"),
    );
    fs::write(&file, "an older export").expect("written");
    symlink(&file, &link).expect("linked");
    assert_eq!(
        code(
            program(&database.url)
                .arg("export")
                .arg("--output")
                .arg(&link)
        ),
        0
    );
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(fs::read_to_string(&file).expect("there").starts_with("ID,"));
}

#[test]
fn an_output_that_cannot_be_is_refused_before_any_work() {
    let directory = tempfile::tempdir().expect("a directory");
    for output in [
        directory.path().to_owned(),
        directory.path().join("missing/tasks.csv"),
    ] {
        // The database is not even looked for.
        let output = program("postgresql://127.0.0.1:1/nowhere")
            .arg("export")
            .arg("--output")
            .arg(&output)
            .output();
        let output = output.expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains(&directory.path().display().to_string()),
            "{output:?}"
        );
        assert!(!stderr(&output).contains("database"), "{output:?}");
    }
}

#[test]
fn what_a_link_points_to_is_made_if_it_is_not_there() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("exports")).expect("ours");
    // By way of another link, and each as seen from where it is.
    symlink("exports/newest.csv", path("link.csv")).expect("linked");
    symlink("today.csv", path("exports/newest.csv")).expect("linked");
    assert_eq!(
        code(
            program(&database.url)
                .arg("export")
                .arg("--output")
                .arg(path("link.csv"))
        ),
        0
    );
    for link in ["link.csv", "exports/newest.csv"] {
        assert!(
            fs::symlink_metadata(path(link))
                .expect("there")
                .is_symlink(),
            "{link}"
        );
    }
    let csv = fs::read_to_string(path("exports/today.csv")).expect("made");
    assert!(csv.starts_with("ID,"));

    // One that leads to itself leads nowhere.
    symlink("round.csv", path("round.csv")).expect("linked");
    let mut command = program(&database.url);
    command.arg("export").arg("--output").arg(path("round.csv"));
    assert_eq!(code(&mut command), 1);
    assert!(
        fs::symlink_metadata(path("round.csv"))
            .expect("there")
            .is_symlink()
    );
}

#[test]
fn a_failed_or_interrupted_export_leaves_no_file_and_no_query() {
    let database = data::wide(200_000);
    let exports = ["joined", "streamed", "copy", "lookup"]
        .into_iter()
        .flat_map(|strategy| ["tasks.csv", "tasks.xlsx"].map(|file| (strategy, file)));
    for (strategy, file) in exports {
        for by_signal in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut child = program(&database.url)
                .args(["export", "--strategy", strategy, "--output"])
                .arg(directory.path().join(file))
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs");
            running_export(&database);
            if by_signal {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("ours");
            } else {
                end_connections(&database);
            }
            let status = child.wait().expect("ends");
            let said = std::io::read_to_string(child.stderr.take().expect("piped")).expect("UTF-8");
            assert_eq!(status.code(), Some(1), "{strategy}: {said}");
            assert_eq!(
                said.contains("the export was cancelled"),
                by_signal,
                "{strategy}: {said}"
            );
            // Between the ends of two connections there may have been a third one.
            let is_error = |line: &&str| !line.contains("WARN a connection was lost");
            let errors = said.lines().filter(is_error).count();
            assert_eq!(errors, 1, "{strategy}: {said}");
            assert_eq!(entries(directory.path()), [""; 0], "{strategy}");
        }
    }
}
