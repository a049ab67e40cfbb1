//! Where the command line's exports go: to a file that is complete or not there, a link, a device, a pipe.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid};

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

/// Another user, and a group that root is not in: no account has these numbers, and none needs to.
const NOBODY: u32 = 65_432;
const OTHERS: u32 = 65_433;

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
fn what_replaces_a_file_is_no_more_open_than_that_was_from_its_beginning() {
    let gated = Gated::new();
    let gate = Gate::close(&gated, ROWS / 2);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    let mut export = program(&gated.url);
    export
        .args(["export", "--strategy=copy", "--output"])
        .arg(&file);
    let mut export = export.spawn().expect("the program runs");
    let mode = |path: &Path| {
        let file = fs::metadata(path).expect("there");
        file.permissions().mode() & 0o777
    };
    let mut unfinished = None;
    eventually("the new file is there", || {
        unfinished = open_file_in(&export, directory.path());
        unfinished.is_some()
    });
    let modes = [0o600, 0o640];
    assert!(modes.contains(&mode(&unfinished.expect("just seen"))));
    drop(gate);
    assert!(export.wait().expect("ours").success());
    assert_eq!(entries(directory.path()), ["tasks.csv"]);
    assert_eq!(mode(&file), 0o640);
}

#[test]
fn what_replaces_a_file_has_its_owner_and_its_group() {
    // Nobody else can give files away.
    if !geteuid().is_root() {
        return;
    }
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    chown(&file, Some(NOBODY), Some(OTHERS)).expect("root may");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    export_to(&file, &database);
    let replaced = fs::metadata(&file).expect("there");
    assert!(replaced.len() > 20);
    assert_eq!((replaced.uid(), replaced.gid()), (NOBODY, OTHERS));
    assert_eq!(replaced.mode() & 0o777, 0o640);
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
fn what_another_user_has_put_where_everybody_may_write_is_no_output() {
    // Nobody else can make another user's files.
    if !geteuid().is_root() {
        return;
    }
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("target"), "precious").expect("written");
    fs::create_dir(path("shared")).expect("ours");
    for name in ["link", "file", "pipe", "ours"] {
        let name = path("shared").join(name);
        match name.file_name().and_then(|name| name.to_str()) {
            Some("link" | "ours") => symlink(path("target"), &name).expect("linked"),
            Some("file") => fs::write(&name, "").expect("written"),
            _ => nix::unistd::mkfifo(&name, Mode::S_IRWXU).expect("made"),
        }
        if !name.ends_with("ours") {
            lchown(&name, Some(NOBODY), None).expect("root may");
        }
    }
    let shared = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(path("shared"), shared).expect("ours");
    for name in ["link", "file", "pipe"] {
        let mut export = program(&database.url);
        let output = export
            .args(["export", "--output"])
            .arg(path("shared").join(name))
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{name}");
        let said = stderr(&output);
        assert!(said.contains("belongs to another user"), "{name}: {said}");
    }
    let target = || fs::read_to_string(path("target")).expect("there");
    assert_eq!(target(), "precious");

    // A link of one's own is as good there as anywhere, and another's elsewhere.
    export_to(&path("shared/ours"), &database);
    assert!(target().starts_with("ID,"));
    symlink(path("target"), path("elsewhere")).expect("linked");
    lchown(path("elsewhere"), Some(NOBODY), None).expect("root may");
    export_to(&path("elsewhere"), &database);
}

#[test]
fn a_file_in_a_sticky_directory_that_only_others_may_replace_is_refused_before_any_work() {
    // Nobody else can become another user.
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    };
    set_mode(directory.path(), 0o755);
    // Whether everybody or a group may make files there, and whose the directory and the file are.
    for (mode, owner, group, file_owner, is_refused) in [
        (0o1777, 0, 0, 0, true),
        (0o1777, 0, 0, NOBODY, false),
        (0o1770, 0, OTHERS, 0, true),
        (0o1770, 0, OTHERS, OTHERS, true),
        (0o1770, NOBODY, OTHERS, OTHERS, false),
        (0o770, 0, OTHERS, OTHERS, false),
    ] {
        let shared = directory.path().join("shared");
        fs::create_dir(&shared).expect("ours");
        let file = shared.join("tasks.csv");
        fs::write(&file, "an older export").expect("written");
        set_mode(&file, 0o666);
        chown(&file, Some(file_owner), None).expect("root may");
        chown(&shared, Some(owner), Some(group)).expect("root may");
        set_mode(&shared, mode);
        // No database is there. It is looked for only if the output is good.
        let output = program("postgresql://127.0.0.1:1/nowhere")
            .args(["export", "--output"])
            .arg(&file)
            .uid(NOBODY)
            .gid(OTHERS)
            .output()
            .expect("the program runs");
        let case = format!("{mode:o} {owner} {file_owner}: {output:?}");
        assert_eq!(output.status.code(), Some(1), "{case}");
        let said = stderr(&output);
        assert_eq!(said.contains("only a file's owner"), is_refused, "{case}");
        assert_eq!(said.contains("database"), !is_refused, "{case}");
        assert_eq!(entries(&shared), ["tasks.csv"], "{case}");
        fs::remove_dir_all(&shared).expect("ours");
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
    for name in [
        "a.csv.gz",
        "a.ZST",
        "a.zip",
        "a.json",
        "a.ndjson",
        "a.parquet",
        "a.tsv",
    ] {
        // The database is not even looked for.
        let output = program("postgresql://127.0.0.1:1/nowhere")
            .args(["export", "--output", name])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{name}");
        let said = stderr(&output);
        assert!(
            said.contains("writes only CSV and, to ….xlsx, Excel workbooks"),
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
