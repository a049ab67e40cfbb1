//! The command line: its exit codes, its help, what it says.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::client::download;
use crate::support::program::{assert_no_connection, bare_program, export, program, stderr};
use crate::support::terminal::with_terminal;
use crate::support::{Server, TestDatabase, data};

pub(super) fn code(command: &mut Command) -> i32 {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the program runs")
        .code()
        .expect("no signal")
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
fn blanks_and_capitals_that_people_write_are_no_error() {
    let database = data::hostile();
    let read = |arguments: [&str; 3]| {
        let arguments = ["--columns", arguments[0], arguments[1], arguments[2]];
        export(&database.url, &arguments.map(str::to_owned))
    };
    let expected = read(["id,title", "--done=true", "--updated-by-id=none"]);
    assert!(expected.len() > 20);
    let written = read(["id, title", "--done=True", "--updated-by-id= None"]);
    assert_eq!(written, expected);
    let server = Server::start(&database.url);
    let query = "columns=id,+title&done=True&updated_by_id=None&fresh=True";
    assert_eq!(download(&server.address, query), expected);
}

#[test]
fn a_filter_of_several_values_is_one_flag_or_several_a_variable_or_a_name_and_a_value() {
    let database = data::hostile();
    let read = |arguments: &[&str]| {
        let columns = ["--columns", "id,title,asset_location_id,updated_by_id"];
        let arguments = columns.iter().chain(arguments);
        let arguments: Vec<String> = arguments.map(|argument| (*argument).to_owned()).collect();
        export(&database.url, &arguments)
    };
    let condition = "(t.updated_by_id in (12, 7) or t.updated_by_id is null)";
    let sql = format!(
        "copy (select t.id as \"ID\", t.title as \"Title\", a.location_id as \"Asset Location ID\", t.updated_by_id as \"Updated By ID\"
         from tasks t join assets a on a.id = t.asset_id join locations l on l.id = a.location_id where {condition} order by t.id)
         to stdout with (format csv, header)"
    );
    let expected = crate::support::oracle::psql(&database, &sql);
    assert!(expected.iter().filter(|byte| **byte == b'\n').count() > 3);
    for arguments in [
        &["--updated-by-id=none, 12,7"][..],
        &["--updated-by-id=12", "--updated-by-id", "none,7"],
        &["--filter=updated_by_id=none,12,7"],
        &[
            "--filter=updated_by_id=12",
            "--filter",
            "updated_by_id=none",
            "--updated-by-id=7",
        ],
    ] {
        assert!(read(arguments) == expected, "{arguments:?}");
    }
    let by_variables = program(&database.url)
        .args([
            "export",
            "--columns=id,title,asset_location_id,updated_by_id",
        ])
        .env("CMMS_UPDATED_BY_ID", "none,12,7")
        .output()
        .expect("the program runs");
    assert!(by_variables.stdout == expected);
    for (argument, said) in [
        ("--filter=colour=red", "the tasks have no filter `colour`"),
        ("--filter=colour", "expected NAME=VALUE"),
        ("--filter=title=", "expected NAME=VALUE"),
        (
            "--filter=location_id=here",
            "`location_id`: expected an id, which is an integer",
        ),
        ("--filter=title=a,b", ""),
    ] {
        let output = program(&database.url).args(["export", argument]).output();
        let output = output.expect("the program runs");
        let code = if said.is_empty() { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{argument}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
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
    assert_no_connection(&output);
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
fn help_does_not_print_the_password() {
    let output = program("postgresql://someone:s3cret@127.0.0.1:1/nowhere")
        .arg("--help")
        .output()
        .expect("runs");
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
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
    // What was drawn is taken away: the line begins again, and what comes after "clear" is the error.
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
                "--filter",
                "--location-id",
                "--name",
                "--name-is",
                "--title",
                "--title-is",
                "--updated-by-id",
                "--username",
                "--username-is",
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
                "--max-buffered-size",
                "--max-xlsx-rows",
                "--statement-timeout",
            ],
        ),
        ("Options", &["--datasets", "--help", "--strategy"]),
        (
            "Output",
            &[
                "--columns",
                "--delimiter",
                "--format",
                "--manifest",
                "--order",
                "--output",
                "--preset",
                "--time-zone",
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
