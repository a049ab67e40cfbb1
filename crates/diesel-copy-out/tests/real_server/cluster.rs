// A PostgreSQL of the tests' own, in a directory that is deleted with it. It demands a password, by SCRAM, as users' servers do.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

const PASSWORD: &str = "open-sesame";
/// What PostgreSQL keeps of the password, with one iteration of the hash instead of 4,096, which cost most of a short test's time.
const PASSWORD_VERIFIER: &str = "SCRAM-SHA-256$1:c2FsdCBvZiB0ZXN0cy4uLg==$MG4/FfsihJKN0h5k+n2vv3qdm6Msa8OyK1LC5KQjGW0=:dbdhvMrH609cBcfvf3lKOUvOPKqM4HJqOc0EYc6+iNs=";

/// A database of a test's own, in a server that the tests share.
pub(crate) struct Cluster {
    server: Arc<Server>,
    database: String,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let mut shared = SHARED.lock().expect("a test failed to start the server");
        let server = shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start());
            // Before 14, initdb cuts off what has more than 99 bytes.
            server.execute(&format!(
                "alter role postgres password '{PASSWORD_VERIFIER}'"
            ));
            // Roles are those of all databases.
            server.execute("create role reader");
            *shared = Arc::downgrade(&server);
            server
        });
        drop(shared);
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let database = format!("test_{number}");
        server.execute(&format!("create database {database}"));
        Self { server, database }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.database)
    }
}

/// The last test that uses it stops it.
struct Server {
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let server = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        if is_root() {
            // PostgreSQL does not run as root.
            let id = said(Command::new("id").args(["-u", "postgres"]));
            let id = id.trim().parse().expect("the account postgres");
            chown(server.directory.path(), Some(id), None).expect("root may");
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(server.directory.path(), mode).expect("ours");
        let path = server.directory.path().display();
        let password = server.directory.path().join("password");
        std::fs::write(&password, PASSWORD).expect("ours");
        server.run(
            "initdb",
            &[
                "-U",
                "postgres",
                "-A",
                "scram-sha-256",
                &format!("--pwfile={}", password.display()),
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ],
        );
        let log = format!("{path}/log");
        let options =
            format!("-c fsync=off -c listen_addresses= -c unix_socket_directories={path}");
        server.run("pg_ctl", &["start", "-w", "-l", &log, "-o", &options]);
        server
    }

    fn url(&self, database: &str) -> String {
        format!(
            "host={} user=postgres password={PASSWORD} dbname={database}",
            self.directory.path().display()
        )
    }

    fn execute(&self, sql: &str) {
        // The documentation's examples begin with this file, and import it themselves.
        let connection = diesel_copy_out::CopyConnection::establish(&self.url("postgres"));
        let done = connection.and_then(|mut connection| connection.execute(sql));
        done.expect("a superuser may");
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
        let data = self.directory.path().join("data");
        command.arg("-D").arg(data).args(arguments);
        // pg_ctl's server would keep a pipe open.
        let status = command
            .current_dir("/")
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.expect("it runs").success(), "{command:?}");
    }
}

impl Drop for Server {
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
