//! The private cluster: every test keeps its own one, in its own directory.
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cmms_export::db::embedded::{Durability, Embedded, EmbeddedError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::oracle::psql_program;
use crate::support::program::bare_program;

/// A data directory that other accounts can get to: as root, the server runs as one.
fn temp_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    dir
}

fn start(data_dir: impl AsRef<Path>) -> Embedded {
    Embedded::start(data_dir.as_ref(), Durability::ThrowAway).unwrap()
}

fn psql(embedded: &Embedded, sql: &str) -> Result<String, String> {
    let output = Command::new(psql_program(embedded.bin_dir()))
        .args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            embedded.database_url(),
        ])
        // What the URL leaves out, libpq would take from here.
        .env("PGPORT", "1")
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// The processes whose working directory is the cluster: its server, all of it.
fn processes_of(data_dir: &Path) -> Vec<u32> {
    let pgdata = data_dir.join("postgresql");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == pgdata)
        })
        .collect()
}

/// Another process that uses a cluster, until it is told to end.
struct Holder {
    child: Child,
    is_owner: bool,
    postmaster_pid: u32,
    database_url: String,
}

fn holder(data_dir: &Path) -> Command {
    hold(bare_program(), data_dir)
}

/// The same, by a copy of the program that every account can reach.
fn holder_of_another_account(id: u32, copy_in: &Path, data_dir: &Path) -> Command {
    let program = copy_in.join("cmms-export");
    if !program.exists() {
        fs::copy(bare_program().get_program(), &program).unwrap();
    }
    let mut command = hold(Command::new(program), data_dir);
    command
        .env_remove("DATABASE_URL")
        .uid(id)
        .gid(id)
        .current_dir("/");
    command
}

fn hold(mut command: Command, data_dir: &Path) -> Command {
    command
        .args(["database", "--log=error", "--data-dir"])
        .arg(data_dir)
        .stdout(Stdio::piped());
    command
}

impl Holder {
    fn wait_for(mut child: Child, data_dir: &Path) -> Self {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(!line.is_empty(), "the holder failed: {:?}", child.wait());
        let pid_file = fs::read_to_string(data_dir.join("postgresql/postmaster.pid")).unwrap();
        let postmaster_pid = pid_file.lines().next().unwrap().parse().unwrap();
        let status = fs::read_to_string(format!("/proc/{postmaster_pid}/status")).unwrap();
        let is_owner = status
            .lines()
            .any(|line| line == format!("PPid:\t{}", child.id()));
        Self {
            is_owner,
            postmaster_pid,
            database_url: line.trim().to_owned(),
            child,
        }
    }

    fn start(data_dir: &Path) -> Self {
        Self::wait_for(holder(data_dir).spawn().unwrap(), data_dir)
    }

    fn stop(mut self) {
        signal(self.child.id(), Signal::SIGTERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), Signal::SIGTERM);
            self.child.wait().unwrap();
        }
    }
}

fn error_of(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.trim_end().lines().count(), 1, "one line: {message}");
    message
}

#[test]
fn a_restart_keeps_the_data() {
    let temp = temp_dir();
    let data_dir = temp.path().join("new/data");
    let embedded = Embedded::start(&data_dir, Durability::Durable).unwrap();
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
fn a_data_directory_behind_a_closed_one_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let temp = temp_dir();
    let closed = temp.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let error = Embedded::start(&closed.join("some/data"), Durability::ThrowAway).unwrap_err();
    assert!(
        matches!(&error, EmbeddedError::Unreachable { barrier, .. } if *barrier == closed),
        "{error}"
    );
    assert!(error.to_string().contains("--data-dir"), "{error}");
    assert_eq!(
        fs::read_dir(&closed).unwrap().count(),
        0,
        "nothing was created"
    );
}

#[test]
fn two_processes_that_start_at_once_share_one_server() {
    let temp = temp_dir();
    let children: Vec<Child> = (0..3)
        .map(|_| holder(temp.path()).spawn().unwrap())
        .collect();
    let holders: Vec<Holder> = children
        .into_iter()
        .map(|child| Holder::wait_for(child, temp.path()))
        .collect();
    assert_eq!(holders.iter().filter(|holder| holder.is_owner).count(), 1);
    for holder in &holders {
        assert_eq!(holder.postmaster_pid, holders[0].postmaster_pid);
        assert_eq!(holder.database_url, holders[0].database_url);
    }
    // Those who adopted it leave it alone.
    let (owners, adopters): (Vec<_>, Vec<_>) =
        holders.into_iter().partition(|holder| holder.is_owner);
    adopters.into_iter().for_each(Holder::stop);
    assert!(processes_of(temp.path()).contains(&owners[0].postmaster_pid));
    owners.into_iter().for_each(Holder::stop);
    assert_eq!(processes_of(temp.path()), [0_u32; 0]);
}

#[test]
fn a_killed_owner_leaves_no_server_behind() {
    let temp = temp_dir();
    let mut owner = Holder::start(temp.path());
    assert!(owner.is_owner);
    owner.child.kill().unwrap();
    eventually("the server is gone", || {
        processes_of(temp.path()).is_empty()
    });
    assert!(
        !temp.path().join("postgresql/postmaster.pid").exists(),
        "a clean shutdown"
    );
}

#[test]
fn a_server_that_is_shutting_down_is_waited_for() {
    let temp = temp_dir();
    let mut owner = Holder::start(temp.path());
    owner.child.kill().unwrap();
    let embedded = start(temp.path());
    // It was either adopted in its last moment, or started anew.
    eventually("this process owns a server", || embedded.is_owner());
    assert_ne!(embedded.postmaster_pid(), Some(owner.postmaster_pid));
    assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
}

#[test]
fn an_adopter_takes_over_when_the_owner_goes() {
    for kill_it in [false, true] {
        let temp = temp_dir();
        let mut owner = Holder::start(temp.path());
        let adopter = start(temp.path());
        assert!(!adopter.is_owner());
        assert_eq!(adopter.postmaster_pid(), Some(owner.postmaster_pid));
        assert_eq!(adopter.database_url(), owner.database_url);
        psql(&adopter, "create table kept as select 42 as answer").unwrap();

        if kill_it {
            owner.child.kill().unwrap();
        } else {
            owner.stop();
        }
        eventually("the adopter owns the server", || adopter.is_owner());
        assert_eq!(psql(&adopter, "select answer from kept").unwrap(), "42");
    }
}

#[test]
fn a_killed_server_comes_back() {
    let temp = temp_dir();
    let embedded = start(temp.path());
    psql(&embedded, "create table kept as select 42 as answer").unwrap();
    // A throw-away cluster makes nothing durable by itself, not even against this.
    psql(&embedded, "checkpoint").unwrap();
    for _ in 0..3 {
        let before = embedded.postmaster_pid().unwrap();
        let killed = Instant::now();
        signal(before, Signal::SIGKILL);
        eventually("another server is up", || {
            embedded.postmaster_pid().is_some_and(|pid| pid != before)
        });
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "back after {:?}",
            killed.elapsed()
        );
        assert!(embedded.is_owner());
        assert_eq!(psql(&embedded, "select answer from kept").unwrap(), "42");
    }
}

#[test]
fn a_killed_server_comes_back_once_its_busy_sessions_have_ended() {
    let temp = temp_dir();
    let embedded = start(temp.path());
    // It waits for nothing, so it does not notice that its server has died.
    let mut busy = Command::new(psql_program(embedded.bin_dir()))
        .args([
            "-XAtqc",
            "select count(*) from generate_series(1, 10000000)",
            embedded.database_url(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the session is busy", || {
        psql(
            &embedded,
            "select count(*) from pg_stat_activity where query like 'select count(*) from g%'",
        )
        .unwrap()
            == "1"
    });
    let before = embedded.postmaster_pid().unwrap();
    signal(before, Signal::SIGKILL);
    busy.wait().unwrap();
    eventually("another server is up", || {
        embedded.postmaster_pid().is_some_and(|pid| pid != before)
    });
    assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
}

#[test]
fn a_server_killed_while_it_was_adopted_comes_back_for_both() {
    let temp = temp_dir();
    let owner = Holder::start(temp.path());
    let adopter = start(temp.path());
    signal(owner.postmaster_pid, Signal::SIGKILL);
    eventually("another server is up", || {
        adopter
            .postmaster_pid()
            .is_some_and(|pid| pid != owner.postmaster_pid)
    });
    assert_eq!(psql(&adopter, "select 1").unwrap(), "1");
    owner.stop();
    eventually("the adopter owns the server", || adopter.is_owner());
    assert_eq!(psql(&adopter, "select 1").unwrap(), "1");
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
    let error = Embedded::start(temp.path(), Durability::ThrowAway).unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{error}");
    assert!(pid_file.exists());
    assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
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
    let message = EmbeddedError::NoBinaries.to_string();
    for way_out in [
        "apt-get install postgresql",
        "brew install postgresql@17",
        "PG_BINDIR",
        "DATABASE_URL",
    ] {
        assert!(message.contains(way_out), "{message}");
    }
}

#[test]
fn a_cluster_of_another_version_is_refused_with_both_versions_named() {
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
fn a_blank_and_other_special_characters_in_the_path_work() {
    let temp = temp_dir();
    let embedded = start(temp.path().join("Bücher & \"Co\" 100 %"));
    assert_eq!(psql(&embedded, "select 1").unwrap(), "1");
}

#[test]
fn an_ordinary_user_needs_no_privileges() {
    let Ok(Some(nobody)) = User::from_name("nobody") else {
        return;
    };
    if !geteuid().is_root() {
        return;
    }
    let temp = temp_dir();
    chown(
        temp.path(),
        Some(nobody.uid.as_raw()),
        Some(nobody.gid.as_raw()),
    )
    .unwrap();
    let data_dir = temp.path().join("data");
    let programs = temp_dir();
    let mut command = holder_of_another_account(nobody.uid.as_raw(), programs.path(), &data_dir);
    let mut owner = Holder::wait_for(command.spawn().unwrap(), &data_dir);
    assert!(owner.is_owner);

    // Root adopts it, and takes over without changing whose it is.
    let root = start(&data_dir);
    assert_eq!(root.postmaster_pid(), Some(owner.postmaster_pid));
    owner.child.kill().unwrap();
    eventually("root owns the server", || root.is_owner());
    assert_eq!(psql(&root, "select 1").unwrap(), "1");
    root.stop().unwrap();
    Holder::wait_for(command.spawn().unwrap(), &data_dir).stop();
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
