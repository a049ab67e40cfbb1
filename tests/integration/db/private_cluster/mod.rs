//! The private cluster: every test keeps its own one, in its own directory.

mod owner;
mod refusal;
mod start;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::{Durability, PrivatePostgres};
use tempfile::TempDir;

use crate::support::oracle::psql_program;
use crate::support::program::bare_program;

/// A data directory that other accounts can get to: as root, the server runs as one.
fn temp_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    dir
}

fn start(data_dir: impl AsRef<Path>) -> PrivatePostgres {
    PrivatePostgres::start(data_dir.as_ref(), "cmms", Durability::ThrowAway).unwrap()
}

fn psql(embedded: &PrivatePostgres, sql: &str) -> Result<String, String> {
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
        // By a program of its own: a process that another test forks meanwhile would have the copy open for writing, and what is open
        // for writing cannot be run.
        let source = bare_program();
        let copied = Command::new("cp")
            .arg(source.get_program())
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
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
