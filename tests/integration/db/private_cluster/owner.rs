//! Who owns the server: several processes share it, and it outlives none of them and no crash of its own.

use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::support::eventually;
use crate::support::oracle::psql_program;

use super::{
    Holder, holder, holder_of_another_account, processes_of, psql, signal, start, temp_dir,
};

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
    // It was either adopted in its last moment, or restarted.
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
