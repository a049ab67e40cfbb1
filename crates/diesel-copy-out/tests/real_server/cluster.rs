// A PostgreSQL of the test's own, in a directory that is deleted with it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Cluster {
    directory: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let cluster = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        if is_root() {
            // PostgreSQL does not run as root.
            let id = said(Command::new("id").args(["-u", "postgres"]));
            let id = id.trim().parse().expect("the account postgres");
            chown(cluster.directory.path(), Some(id), None).expect("root may");
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(cluster.directory.path(), mode).expect("ours");
        cluster.run(
            "initdb",
            &[
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ],
        );
        let path = cluster.directory.path().display();
        let log = format!("{path}/log");
        let options =
            format!("-c fsync=off -c listen_addresses= -c unix_socket_directories={path}");
        cluster.run("pg_ctl", &["start", "-w", "-l", &log, "-o", &options]);
        cluster
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "host={} user=postgres dbname=postgres",
            self.directory.path().display()
        )
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = binaries().join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.directory.path()).args(arguments);
        // pg_ctl's server would keep a pipe open.
        let status = command
            .current_dir("/")
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.expect("it runs").success(), "{command:?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-m", "immediate"]);
    }
}

fn is_root() -> bool {
    said(Command::new("id").arg("-u")).trim() == "0"
}

/// Returns PG_BINDIR, else the directory of the programs that come with the libpq that the tests are linked to.
fn binaries() -> PathBuf {
    if let Some(chosen) = std::env::var_os("PG_BINDIR") {
        return chosen.into();
    }
    said(Command::new("pg_config").arg("--bindir"))
        .trim()
        .into()
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}
