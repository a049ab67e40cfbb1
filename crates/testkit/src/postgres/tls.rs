//! A PostgreSQL that accepts connections over TLS alone, as servers in a network do: the private cluster has only a unix socket.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::cluster::PASSWORD;
use crate::program;

/// A server, which stops when this is dropped.
pub struct TlsServer {
    directory: tempfile::TempDir,
    /// Where PostgreSQL's programs are.
    pub bin_dir: PathBuf,
    /// The URL of its database, which has the tables.
    pub url: String,
}

impl TlsServer {
    /// Starts one by the programs in this directory, with a self-signed certificate.
    pub fn start(bin_dir: PathBuf) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Free a moment ago; the next one that the system chooses is another.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let server = Self {
            url: format!(
                "postgresql://tester:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=require"
            ),
            directory,
            bin_dir,
        };
        let own = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
            if let Some(account) = account() {
                chown(path, Some(account.uid.as_raw()), None).expect("root may");
            }
        };
        let path = |name: &str| server.directory.path().join(name);
        let file = |name: &str, content: &str| {
            fs::write(path(name), content).expect("written");
            own(&path(name), 0o600);
        };
        own(server.directory.path(), 0o700);
        file("password", PASSWORD);
        let password = format!("--pwfile={}", path("password").display());
        server.run(
            "initdb",
            &[
                "--username=tester",
                "--auth=scram-sha-256",
                &password,
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ],
        );
        let [certificate, key] = ["data/server.crt", "data/server.key"].map(path);
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-subj", "/CN=localhost"]);
        openssl.args(["-newkey", "rsa:2048", "-days", "2"]);
        openssl
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key);
        let signed = openssl.output().expect("openssl is there");
        assert!(signed.status.success(), "{signed:?}");
        own(&certificate, 0o600);
        own(&key, 0o600);
        file(
            "data/pg_hba.conf",
            "hostssl all all 127.0.0.1/32 scram-sha-256\n",
        );
        let log = path("log").display().to_string();
        let options = format!(
            "-c fsync=off -c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c ssl=on"
        );
        server.run("pg_ctl", &["start", "-w", "-l", &log, "-o", &options]);
        let migrated = program(&server.url).arg("migrate").output();
        let migrated = migrated.expect("the program runs");
        assert!(migrated.status.success(), "{migrated:?}");
        server
    }

    fn run(&self, name: &str, arguments: &[&str]) {
        let program = self.bin_dir.join(name);
        let mut command = match account() {
            Some(account) => {
                let mut command = Command::new("runuser");
                command.args(["-u", &account.name, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .arg("-D")
            .arg(self.directory.path().join("data"))
            .args(arguments)
            .current_dir("/")
            // The server would keep a pipe open.
            .stdout(Stdio::null());
        assert!(command.status().expect("it runs").success(), "{command:?}");
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-m", "immediate"]);
    }
}

/// The account that PostgreSQL runs as if this process is root, which PostgreSQL refuses.
fn account() -> Option<User> {
    geteuid().is_root().then(|| {
        let account = User::from_name("postgres").expect("readable");
        account.expect("there is an account for PostgreSQL")
    })
}
