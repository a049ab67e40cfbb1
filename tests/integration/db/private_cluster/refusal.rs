//! Clusters that cannot be started, and what the program then says.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::unistd::geteuid;
use private_postgres::{Durability, Error, PrivatePostgres};

use super::{holder, holder_of_another_account, psql, start, temp_dir};

fn error_of(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.trim_end().lines().count(), 1, "one line: {message}");
    message
}

#[test]
fn a_data_directory_behind_a_closed_one_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let temp = temp_dir();
    let closed = temp.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let message = error_of(holder(&closed.join("some/data")));
    let barrier = format!("cannot enter {closed:?} on the way");
    for said in [&barrier, "--data-dir"] {
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(
        fs::read_dir(&closed).unwrap().count(),
        0,
        "nothing was created"
    );
}

#[test]
fn a_server_that_cannot_be_seen_is_not_joined_by_a_second_one() {
    let temp = temp_dir();
    let embedded = start(temp.path());
    // As seen from another container: the process id is no server's.
    let pid_file = temp.path().join("postgresql/postmaster.pid");
    let content = fs::read_to_string(&pid_file).unwrap();
    let server_pid = embedded.postmaster_pid().unwrap().to_string();
    let own_pid = std::process::id().to_string();
    fs::write(&pid_file, content.replacen(&server_pid, &own_pid, 1)).unwrap();
    let error = PrivatePostgres::start(temp.path(), "cmms", Durability::ThrowAway).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(pid_file.exists());
    assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
}

#[test]
fn missing_programs_are_named_with_what_to_install() {
    let temp = temp_dir();
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut command = holder(&temp.path().join("data"));
    command.env("PG_BINDIR", &empty);
    let message = error_of(command);
    assert!(
        message.contains("PG_BINDIR") && message.contains(empty.to_str().unwrap()),
        "{message}"
    );
    assert!(message.contains("DATABASE_URL"), "{message}");
    let message = Error::NoBinaries.to_string();
    for way_out in [
        "apt-get install postgresql",
        "brew install postgresql@17",
        "PG_BINDIR",
    ] {
        assert!(message.contains(way_out), "{message}");
    }
}

#[test]
fn a_cluster_of_another_version_is_refused_with_both_versions_and_the_way_out() {
    let temp = temp_dir();
    let embedded = start(temp.path());
    let version = fs::read_to_string(temp.path().join("postgresql/PG_VERSION")).unwrap();
    embedded.stop().unwrap();
    fs::write(temp.path().join("postgresql/PG_VERSION"), "9\n").unwrap();
    let message = error_of(holder(temp.path()));
    assert!(
        message.contains("PostgreSQL 9,") && message.contains(version.trim()),
        "{message}"
    );
    let pgdata = temp.path().join("postgresql");
    let pgdata = pgdata.to_str().unwrap();
    for way_out in ["pg_dump", pgdata, "cmms-export database", "DATABASE_URL"] {
        assert!(message.contains(way_out), "{message}");
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let temp = temp_dir();
    start(temp.path()).stop().unwrap();
    fs::write(
        temp.path().join("postgresql/postgresql.conf"),
        "no_such_setting = 1\n",
    )
    .unwrap();
    let message = error_of(holder(temp.path()));
    assert!(message.contains("no_such_setting"), "{message}");
}

#[test]
fn a_user_without_a_passwd_entry_is_pointed_to_database_url() {
    if !geteuid().is_root() {
        return;
    }
    let temp = temp_dir();
    let programs = temp_dir();
    let message = error_of(holder_of_another_account(
        54321,
        programs.path(),
        temp.path(),
    ));
    assert!(
        message.contains("54321") && message.contains("DATABASE_URL"),
        "{message}"
    );
}
