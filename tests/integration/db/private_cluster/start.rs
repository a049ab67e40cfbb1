//! What a start keeps, tidies up and copes with.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use private_postgres::{Durability, Error, PrivatePostgres};

use crate::support::oracle::psql_program;

use super::{Holder, holder, processes_of, psql, start, temp_dir};

#[test]
fn a_restart_keeps_the_data() {
    let temp = temp_dir();
    let data_dir = temp.path().join("new/data");
    let embedded = PrivatePostgres::start(&data_dir, "cmms", Durability::Durable).unwrap();
    assert!(embedded.is_owner());
    assert_eq!(psql(&embedded, "show fsync").unwrap(), "on");
    assert_eq!(psql(&embedded, "show wal_level").unwrap(), "minimal");
    assert_eq!(psql(&embedded, "show listen_addresses").unwrap(), "");
    assert_eq!(
        psql(&embedded, "select 'STRASSE ÄÖÜ ЖЩ' ilike 'strasse äöü жщ'").unwrap(),
        "t"
    );
    psql(&embedded, "create table kept as select 42 as answer").unwrap();
    embedded.stop().unwrap();
    assert_eq!(processes_of(&data_dir), [0_u32; 0]);
    assert!(
        !data_dir.join("postgresql/postmaster.pid").exists(),
        "a clean shutdown"
    );

    let embedded = start(&data_dir);
    assert_eq!(psql(&embedded, "select answer from kept").unwrap(), "42");
    assert_eq!(psql(&embedded, "show fsync").unwrap(), "off");
    drop(embedded);
    assert_eq!(processes_of(&data_dir), [0_u32; 0]);
}

#[test]
fn everything_in_the_data_directory_is_private() {
    let temp = temp_dir();
    let _embedded = start(temp.path());
    for entry in fs::read_dir(temp.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn a_dropped_database_is_created_again() {
    let temp = temp_dir();
    let embedded = start(temp.path());
    let postgres = embedded.database_url().replace("/cmms?", "/postgres?");
    let psql_on_postgres = Command::new(psql_program(embedded.bin_dir()))
        .args(["-XAtqc", "drop database cmms", &postgres])
        .status()
        .unwrap();
    assert!(psql_on_postgres.success());
    embedded.stop().unwrap();
    assert_eq!(
        psql(&start(temp.path()), "select current_database()").unwrap(),
        "cmms"
    );
}

#[test]
fn what_a_crashed_initdb_left_is_removed() {
    let temp = temp_dir();
    let unfinished = temp.path().join("postgresql.new-1");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let _embedded = start(temp.path());
    assert!(!unfinished.exists());
}

#[test]
fn a_stale_pid_file_recovers() {
    let temp = temp_dir();
    let pid_file = temp.path().join("postgresql/postmaster.pid");
    let embedded = start(temp.path());
    let content = fs::read_to_string(&pid_file).unwrap();
    let server_pid = embedded.postmaster_pid().unwrap().to_string();
    embedded.stop().unwrap();

    // A process that has ended, and one that lives but is no server, as a container's next run has
    // it.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    for pid in [ended.id(), std::process::id()] {
        fs::write(
            &pid_file,
            content.replacen(&server_pid, &pid.to_string(), 1),
        )
        .unwrap();
        let embedded = start(temp.path());
        assert!(embedded.is_owner());
        assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
    }
}

#[test]
fn a_log_that_has_grown_large_is_cut_at_the_next_start() {
    let temp = temp_dir();
    start(temp.path()).stop().unwrap();
    let log = temp.path().join("postgresql.log");
    fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(9 << 20)
        .unwrap();
    let _embedded = start(temp.path());
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20);
}

#[test]
fn an_inherited_environment_does_not_lead_astray() {
    let temp = temp_dir();
    let mut command = holder(&temp.path().join("data"));
    command.envs([
        ("PGDATA", "/nowhere"),
        ("PGHOST", "nowhere"),
        ("PGPORT", "1"),
        ("PGOPTIONS", "-c nonsense=1"),
    ]);
    command.envs([
        ("LC_ALL", "xx_XX.UTF-8"),
        ("LANG", "xx_XX.UTF-8"),
        ("LC_MESSAGES", "xx"),
    ]);
    let holder = Holder::wait_for(command.spawn().unwrap(), &temp.path().join("data"));
    assert!(holder.is_owner);
}

#[test]
fn a_very_long_data_directory_works() {
    let temp = temp_dir();
    let data_dir: PathBuf = temp
        .path()
        .join("d".repeat(90))
        .join("a blank, a comma and 100 %".repeat(4));
    let embedded = start(&data_dir);
    assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
    let again = start(&data_dir);
    assert!(!again.is_owner());
    let socket_dir = psql(&embedded, "show unix_socket_directories").unwrap();
    assert!(
        !socket_dir.starts_with(temp.path().to_str().unwrap()),
        "{socket_dir}"
    );
    assert_eq!(
        fs::metadata(&socket_dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    drop((again, embedded));
    fs::remove_dir(&socket_dir).unwrap();
}

#[test]
fn special_characters_in_the_path_and_a_keyword_as_the_name_work() {
    let temp = temp_dir();
    let path = temp.path().join("Bücher & \"Co\" 100 %");
    let start = |name| PrivatePostgres::start(&path, name, Durability::ThrowAway);
    let embedded = start("order").unwrap();
    let names = psql(&embedded, "select current_user, current_database()");
    assert_eq!(names.unwrap(), "order|order");
    assert!(matches!(start("Order").unwrap_err(), Error::Name { .. }));
}

#[test]
fn the_servers_processes_get_nothing_of_the_environment_that_they_do_not_need() {
    let temp = temp_dir();
    let mut command = holder(temp.path());
    command
        .env("CMMS_AUTH_TOKEN", "s3cret")
        .env("AWS_KEY", "s3cret");
    let holder = Holder::wait_for(command.spawn().unwrap(), temp.path());
    let processes = processes_of(temp.path());
    assert!(processes.contains(&holder.postmaster_pid));
    let environment = |pid| {
        let environment = fs::read(format!("/proc/{pid}/environ"))?;
        io::Result::Ok(String::from_utf8_lossy(&environment).into_owned())
    };
    let servers = environment(holder.postmaster_pid).expect("it runs");
    assert!(servers.contains("LC_ALL=C\0"), "{servers}");
    for pid in processes {
        // A worker may have ended meanwhile.
        let environment = environment(pid).unwrap_or_default();
        assert!(!environment.contains("s3cret"), "{environment}");
    }
    holder.stop();
}
