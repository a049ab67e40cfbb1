//! The commands on servers of which some are standbys.

use std::process::Command;

use serde_json::Value;

use super::{change, expected};
use crate::support::program::{bare_program, program, stderr};
use crate::support::replica_servers::Node;
use crate::support::replicated::Replicated;
use crate::support::{TestDatabase, data, oracle};

/// An export by the command line, which must be complete: where it came from, and its CSV.
fn export_by_command(
    database: &TestDatabase,
    export_url: &str,
    flags: &[&str],
) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("manifest.json");
    let output = program(&database.url)
        .args(["export", "--export-database-url", export_url])
        .args(flags)
        .arg("--manifest")
        .arg(&manifest)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let manifest = std::fs::read_to_string(manifest).expect("written");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let source = manifest["source"].as_str().expect("it is known");
    (source.to_owned(), output.stdout)
}

const NOWHERE: &str = "postgresql://cmms@/cmms?host=/nowhere,/neither";

#[test]
fn the_command_lines_export_comes_from_a_standby_too() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    replicated.catch_up();
    let standbys = replicated.export_url(database.name());
    let before = expected(&database);
    let export = |url: &str| export_by_command(&database, url, &[]);
    assert_eq!(export(&standbys), ("replica".into(), before.clone()));

    replicated.pause(&Node::STANDBYS);
    change(&database, "update tasks set title = 'new' where id = 0");
    assert_eq!(export(&standbys), ("replica".into(), before));
    assert_eq!(export(NOWHERE), ("primary".into(), expected(&database)));
    replicated.resume(&Node::STANDBYS);

    let refused = program(&database.url)
        .args(["export", "--replica-only"])
        .env("EXPORT_DATABASE_URL", NOWHERE)
        .output()
        .expect("the program runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(refused.stdout, b"");
    assert!(stderr(&refused).contains("replica"), "{refused:?}");
}

#[test]
fn a_server_is_taken_only_if_it_is_what_libpqs_attribute_asks_for() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    replicated.catch_up();
    let primary = replicated.url(Node::Primary, database.name());
    let (_, primary) = primary.split_once("host=").expect("one host");
    let (primary, _) = primary.split_once('&').expect("a port");
    let both = replicated.url(Node::Standby1, database.name());
    let both = both.replacen("host=", &format!("host={primary},"), 1);
    for (attribute, right) in [
        ("read-write", "primary"),
        ("primary", "primary"),
        ("read-only", "replica"),
        ("standby", "replica"),
        ("prefer-standby", "replica"),
    ] {
        let url = format!("{both}&target_session_attrs={attribute}");
        let (source, csv) = export_by_command(&database, &url, &[]);
        assert_eq!(source, right, "{attribute}");
        assert!(csv == expected(&database), "{attribute}");
    }
    let (_, csv) = export_by_command(&database, &both, &[]);
    assert!(csv == expected(&database));
}

#[test]
fn migrate_and_seed_never_go_to_a_replica() {
    let replicated = Replicated::new();
    let database = replicated.database();
    let standby = replicated.url(Node::Standby1, database.name());
    for export_url in [standby.as_str(), NOWHERE, "no URL at all"] {
        change(
            &database,
            "drop schema public cascade; create schema public",
        );
        for arguments in [&["migrate"][..], &["seed", "--tasks=10"]] {
            let output = program(&database.url)
                .args(arguments)
                .env("EXPORT_DATABASE_URL", export_url)
                .output()
                .expect("the program runs");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            let refused = program(&database.url)
                .args(arguments)
                .args(["--export-database-url", export_url])
                .output()
                .expect("the program runs");
            assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {refused:?}");
        }
        assert_eq!(
            oracle::psql(&database, "select count(*) from tasks"),
            b"10\n"
        );
    }
}

#[test]
fn an_export_database_url_that_is_none_is_a_usage_error() {
    for url in [
        "nonsense",
        "postgresql://cmms:secret@/cmms?nonsense=1",
        "postgresql://cmms:secret@host:port/cmms",
        "postgresql://cmms:secret@/cmms?host=/a,/b&target_session_attrs=sideways",
    ] {
        for command in ["serve", "export"] {
            let mut by_flag = bare_program();
            by_flag.args([command, "--export-database-url", url]);
            let mut by_environment = bare_program();
            by_environment.arg(command).env("EXPORT_DATABASE_URL", url);
            for mut program in [by_flag, by_environment] {
                program.env("DATABASE_URL", NOWHERE);
                let output = Command::output(&mut program).expect("the program runs");
                assert_eq!(output.status.code(), Some(2), "{url}: {output:?}");
                assert!(!stderr(&output).contains("secret"), "{output:?}");
            }
        }
    }
}
