//! The command line: its files, its exit codes, what it says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use diesel::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::oracle;
use crate::support::program::{bare_program, program, stderr};
use crate::support::terminal::with_terminal;
use crate::support::{TestDatabase, data, eventually};

fn code(command: &mut Command) -> i32 {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the program runs")
        .code()
        .expect("no signal")
}

fn entries(directory: &std::path::Path) -> Vec<String> {
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

/// Waits until an export's query runs, and returns the process that runs it.
fn running_export(database: &TestDatabase) -> i32 {
    let mut connection = database.connect();
    let sql = "select pid as value from pg_stat_activity where datname = current_database() and state = 'active'
        and pid <> pg_backend_pid() and (query like '%creators%' or query like 'copy (SELECT%')";
    let mut pid = None;
    eventually("an export runs", || {
        pid = diesel::sql_query(sql)
            .get_result::<Pid32>(&mut connection)
            .optional()
            .expect("readable");
        pid.is_some()
    });
    pid.expect("just found").value
}

#[derive(QueryableByName)]
struct Pid32 {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    value: i32,
}

#[test]
fn a_wrong_use_is_exit_code_2_and_says_what_is_right() {
    let database = TestDatabase::new();
    for arguments in [
        &["export", "--strategy", "fastest"][..],
        &["export", "--done", "perhaps"],
        &["export", "--location-id", "here"],
        &["export", "--updated-by-id", "nobody"],
        &["export", "--no-such-flag"],
        &["seed", "--tasks", "-1"],
        &["seed", "--assets", "0"],
        &["no-such-command"],
        &[],
    ] {
        assert_eq!(
            code(program(&database.url).args(arguments)),
            2,
            "{arguments:?}"
        );
    }
    let output = program(&database.url)
        .args(["export", "--strategy", "fastest"])
        .output()
        .expect("the program runs");
    assert!(
        stderr(&output).contains("possible values: joined, tuples, streamed, paged, copy, lookup"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn every_flag_has_a_variable() {
    let database = data::hostile();
    let by_flags = program(&database.url)
        .args([
            "export",
            "--strategy=paged",
            "--done=true",
            "--title=a",
            "--preset=excel",
            "--delimiter=;",
        ])
        .output()
        .expect("the program runs");
    let by_variables = program(&database.url)
        .arg("export")
        .env("CMMS_STRATEGY", "paged")
        .env("CMMS_DONE", "true")
        .env("CMMS_TITLE", "a")
        .env("CMMS_PRESET", "excel")
        .env("CMMS_DELIMITER", ";")
        .env("CMMS_MAX_BUFFERED_ROWS", "7")
        .output()
        .expect("the program runs");
    assert!(
        by_flags.status.success() && by_flags.stdout.len() > 100,
        "{by_flags:?}"
    );
    assert_eq!(by_variables.stdout, by_flags.stdout);
}

#[test]
fn an_unreachable_database_is_one_line_without_the_password() {
    let output = bare_program()
        .args([
            "export",
            "--database-url",
            "postgresql://someone:s3cret@127.0.0.1:1/nowhere",
        ])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("cmms-export: no connection to the database"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_malformed_url_is_a_wrong_use_and_its_password_stays_secret() {
    for url in [
        "postgres//someone:s3cret@127.0.0.1/x",
        "postgresql://someone:s3/cret@127.0.0.1/x",
        "s3cret",
    ] {
        let output = program(url)
            .arg("export")
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("cret"), "{said}");
    }
}

#[test]
fn an_interrupt_ends_an_export_whose_reader_takes_nothing() {
    let database = data::wide(200_000);
    for strategy in ["tuples", "copy"] {
        let child = program(&database.url)
            .args(["export", "--strategy", strategy])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        running_export(&database);
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("ours");
        // Its output is not read until it has ended.
        let mut child = child;
        let mut status = None;
        eventually("it ends", || {
            status = child.try_wait().expect("ours");
            status.is_some()
        });
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(1),
            "{strategy}"
        );
    }
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
fn what_replaces_a_file_is_no_more_open_than_that_was() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    assert_eq!(
        code(
            program(&database.url)
                .arg("export")
                .arg("--output")
                .arg(&file)
        ),
        0
    );
    assert_eq!(
        fs::metadata(&file).expect("there").permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn help_does_not_print_the_password() {
    let output = program("postgresql://someone:s3cret@127.0.0.1:1/nowhere")
        .arg("--help")
        .output()
        .expect("runs");
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
}

#[test]
fn a_file_is_whole_and_alone_and_has_ordinary_permissions() {
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    assert_eq!(
        code(
            program(&database.url)
                .arg("export")
                .arg("--output")
                .arg(&file)
        ),
        0
    );
    assert_eq!(
        fs::read(&file).expect("there"),
        oracle::copy(&database, "true", ',')
    );
    assert_eq!(entries(directory.path()), ["tasks.csv"]);

    let other = directory.path().join("other.csv");
    fs::write(&other, "").expect("written");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode();
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
fn a_device_is_written_to_and_not_replaced() {
    let database = TestDatabase::new();
    assert_eq!(
        code(program(&database.url).args(["export", "--output", "/dev/null"])),
        0
    );
    assert!(!fs::metadata("/dev/null").expect("there").is_file());
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
fn a_reader_that_goes_away_is_no_error_to_read_about() {
    let database = data::wide(200_000);
    let mut child = program(&database.url)
        .arg("export")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    running_export(&database);
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(128 + Signal::SIGPIPE as i32));
    assert_eq!(stderr(&output), "");
    eventually("its query is gone", || {
        let sql = "select count(*)::int as value from pg_stat_activity
            where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
        let others = diesel::sql_query(sql).get_result::<Pid32>(&mut database.connect());
        others.expect("readable").value == 0
    });
}

#[test]
fn an_export_of_which_head_takes_a_line_ends_quietly_by_every_strategy() {
    let database = data::wide(50_000);
    for strategy in ["joined", "tuples", "streamed", "paged", "copy", "lookup"] {
        let mut child = program(&database.url)
            .args(["export", "--strategy", strategy])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let head = Command::new("head")
            .arg("-1")
            .stdin(child.stdout.take().expect("piped"))
            .output()
            .expect("coreutils are there");
        assert!(head.stdout.starts_with(b"ID,"), "{head:?}");
        let output = child.wait_with_output().expect("ends");
        assert_eq!(
            output.status.code(),
            Some(128 + Signal::SIGPIPE as i32),
            "{strategy}"
        );
        assert_eq!(stderr(&output), "", "{strategy}");
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
            let backend = running_export(&database);
            if by_signal {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("ours");
            } else {
                diesel::sql_query(format!("select pg_terminate_backend({backend})"))
                    .execute(&mut database.connect())
                    .expect("allowed");
            }
            let status = child.wait().expect("ends");
            let said = std::io::read_to_string(child.stderr.take().expect("piped")).expect("UTF-8");
            assert_eq!(status.code(), Some(1), "{strategy}: {said}");
            assert_eq!(
                said.contains("the export was cancelled"),
                by_signal,
                "{strategy}: {said}"
            );
            assert_eq!(said.lines().count(), 1, "{strategy}: {said}");
            assert_eq!(entries(directory.path()), [""; 0], "{strategy}");
        }
    }
}

#[test]
fn a_terminal_is_told_how_far_an_export_is_and_what_it_came_to_and_a_script_is_not() {
    let database = data::wide(20_000);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    let export = || {
        let mut command = program(&database.url);
        command.arg("export");
        command
    };
    let (status, said) = with_terminal(export().arg("--output").arg(&file));
    assert!(status.success(), "{said}");
    let bytes = fs::metadata(&file).expect("there").len();
    assert_eq!(bytes.to_string().len(), 7);
    let grouped = bytes.to_string();
    let grouped = format!("{},{},{}", &grouped[..1], &grouped[1..4], &grouped[4..]);
    let summary = said.lines().last().expect("a line");
    assert!(
        summary.ends_with(" s")
            && summary.contains(&format!(
                "{}: 20,000 rows, {grouped} bytes in ",
                file.display()
            )),
        "{said:?}"
    );
    assert!(said.contains("Exporting"), "{said:?}");

    // Nor is a terminal disturbed by an export that goes to another program.
    let (status, said) = with_terminal(export().stdout(Stdio::null()));
    assert!(status.success());
    assert_eq!(said, "");
    let output = export().arg("--output").arg(&file).output().expect("runs");
    assert!(output.status.success());
    assert_eq!(
        (output.stdout.as_slice(), stderr(&output)),
        (&b""[..], String::new())
    );
}

#[test]
fn a_failed_export_leaves_its_error_alone_on_a_terminal() {
    let database = data::wide(10);
    let directory = tempfile::tempdir().expect("a directory");
    let (status, said) = with_terminal(
        program(&database.url)
            .args([
                "export",
                "--strategy=joined",
                "--max-buffered-rows=5",
                "--output",
            ])
            .arg(directory.path().join("tasks.csv")),
    );
    assert_eq!(status.code(), Some(1));
    // What was drawn is taken away: the line begins anew, and what comes after "clear" is the error.
    let left = said.rsplit(['\r', '\u{1b}']).nth(1).unwrap_or_default();
    assert!(
        left.contains("cmms-export: there are more than 5 rows"),
        "{said:?}"
    );
    assert!(!said.contains(" bytes in "), "{said:?}");
}

#[test]
fn the_help_of_export_has_its_flags_under_headings_and_none_amid_others() {
    let output = bare_program()
        .args(["export", "--help"])
        .output()
        .expect("runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut heading = "";
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in help.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            heading = name;
            found.push((name, Vec::new()));
        }
        let flag = line.split_whitespace().find(|word| word.starts_with("--"));
        let is_flag = line.trim_start().starts_with('-') && !line.starts_with("          ");
        if let (true, Some(flag), Some((_, flags))) = (is_flag, flag, found.last_mut()) {
            assert!(!heading.is_empty());
            flags.push(flag);
        }
    }
    for (_, flags) in &mut found {
        flags.sort_unstable();
    }
    found.sort_unstable();
    let expected: [(&str, &[&str]); 7] = [
        ("Arguments", &[]),
        (
            "Filters (all that are given must hold)",
            &[
                "--asset-id",
                "--created-by-id",
                "--done",
                "--location-id",
                "--name",
                "--title",
                "--updated-by-id",
                "--username",
            ],
        ),
        (
            "General",
            &[
                "--data-dir",
                "--database-url",
                "--database-url-file",
                "--log",
                "--log-format",
            ],
        ),
        (
            "Limits",
            &[
                "--lookup-memory",
                "--max-buffered-rows",
                "--max-xlsx-rows",
                "--statement-timeout",
            ],
        ),
        ("Options", &["--help", "--strategy"]),
        (
            "Output",
            &[
                "--columns",
                "--delimiter",
                "--format",
                "--manifest",
                "--output",
                "--preset",
            ],
        ),
        (
            "Replicas",
            &[
                "--export-database-url",
                "--export-database-url-file",
                "--fresh",
                "--max-replica-lag",
                "--replica-only",
            ],
        ),
    ];
    let expected = expected.map(|(heading, flags)| (heading, flags.to_vec()));
    assert_eq!(found, expected, "{help}");
}
