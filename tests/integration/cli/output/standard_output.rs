//! Outputs that exist already: the standard output, pipes, devices.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CLIENTS, entries, rows, running_export};
use crate::cli::command_line::code;
use crate::support::program::{in_shell, program, stderr};
use crate::support::{TestDatabase, data, eventually, oracle};

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
fn what_the_shell_has_opened_is_written_to() {
    let database = data::hostile();
    let expected = oracle::copy(&database, "true", ',');
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let export = |script: &str| {
        let mut program = program(&database.url);
        program.arg("export").env("FILE", &file);
        let script = format!("set -o pipefail; {script}");
        let output = in_shell(&script, &program).output().expect("bash is there");
        assert!(output.status.success(), "{script}: {output:?}");
        output.stdout
    };
    let pipes = [
        r#""$0" "$@" -o /dev/stdout | cat"#,
        r#""$0" "$@" -o /dev/fd/1 | cat"#,
        r#""$0" "$@" -o /proc/self/fd/1 | cat"#,
        r#""$0" "$@" -o /dev/stderr 2>&1 >/dev/null | cat"#,
        // bash does not wait for what is in the parentheses, but the other `cat` does.
        r#""$0" "$@" -o >(cat) | cat"#,
        r#"ln -s /dev/stdout "$FILE"; "$0" "$@" -o "$FILE" | cat; rm "$FILE""#,
    ];
    for script in pipes {
        assert!(export(script) == expected, "{script}");
        assert_eq!(entries(directory.path()), [""; 0], "{script}");
    }
    let files = [
        r#""$0" "$@" -o /dev/stdout >>"$FILE""#,
        r#"{ "$0" "$@" -o /dev/stdout; printf end; } >>"$FILE""#,
        r#"{ printf begin; "$0" "$@" -o /dev/stdout; printf end; } >"$FILE""#,
        r#""$0" "$@" -o /dev/fd/3 3>>"$FILE""#,
    ];
    for script in files {
        fs::write(&file, "begin").expect("written");
        assert_eq!(export(script), [0; 0]);
        let mut written = fs::read(&file).expect("there");
        if script.contains("end") {
            assert!(written.ends_with(b"end"), "{script}");
            written.truncate(written.len() - 3);
        }
        assert!(written == [b"begin", &expected[..]].concat(), "{script}");
        assert_eq!(entries(directory.path()), ["file"], "{script}");
    }
}

#[test]
fn a_standard_output_that_is_closed_is_an_error() {
    let database = TestDatabase::new();
    let mut program = program(&database.url);
    program.arg("export");
    let run = |script| in_shell(script, &program).output().expect("bash is there");
    for script in [
        r#"exec "$0" "$@" >&-"#,
        r#"exec "$0" "$@" <&- >&-"#,
        r#"exec "$0" "$@" -o /dev/stdout >&-"#,
    ] {
        let output = run(script);
        assert_eq!(output.status.code(), Some(1), "{script}");
        let said = stderr(&output);
        assert!(said.contains("the standard output is closed"), "{said}");
    }
    for script in [
        r#"exec "$0" "$@" >/dev/null"#,
        r#"exec "$0" "$@" -o /dev/null >&-"#,
    ] {
        assert!(run(script).status.success(), "{script}");
    }
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
        rows(&mut database.connect(), CLIENTS) == 0
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
