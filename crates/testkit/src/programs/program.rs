//! The program itself, as its users run it.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

/// The program, on the database `url`, with no other setting from the environment.
pub fn program(url: &str) -> Command {
    let mut command = bare_program();
    command.env("DATABASE_URL", url);
    // Tests must not leave anything in the data directory.
    command.env("CMMS_SPOOL_DIR", std::env::temp_dir());
    // On a busy machine, a test that reads one download after the other must not count as a stalled reader.
    command.env("CMMS_READER_TIMEOUT", "600");
    command
}

/// The program without any setting.
pub fn bare_program() -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CMMS_") || name.ends_with("DATABASE_URL"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The program's path: given by cargo, or beside the directory of the test program.
fn path() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_cmms-export").map_or_else(
        || {
            let own = std::env::current_exe().expect("it runs");
            let built = own.ancestors().nth(2).expect("target/…/deps/…");
            built.join("cmms-export")
        },
        PathBuf::from,
    )
}

/// A shell that runs `script` first, and then the given command, which is `"$0" "$@"`.
pub fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The program with these sockets, as systemd passes them.
pub fn activated(socket: OwnedFd, sockets: u32, url: &str) -> Command {
    let program = program(url);
    let mut command = Command::new("sh");
    let script =
        format!("exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS={sockets} exec \"$0\" serve");
    command.args(["-c", &script]).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::from(socket));
    command
}

/// Exports on the command line; demands a complete CSV.
pub fn export(url: &str, arguments: &[String]) -> Vec<u8> {
    let output = program(url)
        .arg("export")
        .args(arguments)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "export {arguments:?}: {output:?}");
    output.stdout
}

/// Runs `cmms-export bench` with these arguments, and returns its JSON and its output.
pub fn bench(url: &str, arguments: &[&str]) -> (Value, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("result.json");
    let output = program(url)
        .args(["bench", "--json"])
        .arg(&file)
        .args(arguments)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let json = std::fs::read(&file).expect("it was written");
    (
        serde_json::from_slice(&json).expect("JSON"),
        String::from_utf8(output.stdout).expect("UTF-8"),
    )
}

/// What the program has printed on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server of its own for a test, on a free port.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it has logged so far.
    log: Arc<Mutex<String>>,
    logging: Option<JoinHandle<()>>,
    /// A spool of its own, unless the test sets one.
    _spool: Option<tempfile::TempDir>,
    /// The address that it listens on: `127.0.0.1:…`.
    pub address: String,
}

impl Server {
    /// Starts a server on the database `url`.
    pub fn start(url: &str) -> Self {
        Self::spawn(program(url).arg("serve"))
    }

    /// Starts a server by a command that lacks only the address to listen on.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_as_bound(command.args(["--bind", "127.0.0.1:0"]))
    }

    /// Starts a server by a command with an address to listen on.
    pub fn spawn_as_bound(command: &mut Command) -> Self {
        let shared = std::env::temp_dir();
        let is_shared = command
            .get_envs()
            .any(|(name, value)| name == "CMMS_SPOOL_DIR" && value == Some(shared.as_os_str()));
        let spool = is_shared.then(|| tempfile::tempdir().expect("a directory"));
        if let Some(spool) = &spool {
            command.env("CMMS_SPOOL_DIR", spool.path());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::<Mutex<String>>::default();
        let so_far = Arc::clone(&log);
        let logging = std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let mut log = so_far.lock().expect("nobody panics with it");
                log.push_str(&String::from_utf8_lossy(&line));
                log.push('\n');
            }
        });
        let mut line = String::new();
        stdout.read_line(&mut line).expect("UTF-8");
        let Some(address) = line.trim().strip_prefix("cmms-export is at http://") else {
            let _ = child.kill();
            let _ = child.wait();
            let _ = logging.join();
            panic!("the server does not start: {line:?} {log:?}");
        };
        let address = address.trim_end_matches('/').to_owned();
        Self {
            child,
            stdout,
            log,
            logging: Some(logging),
            _spool: spool,
            address,
        }
    }

    /// The URL of a path on the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The peak resident memory of the process, in bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }

    /// The resident memory of the process now, in bytes.
    pub fn resident_memory(&self) -> u64 {
        let pages =
            std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("it runs");
        pages
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok())
            .expect("a number")
            * 4096
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("ours");
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        crate::eventually("the server ends", || {
            status = self.child.try_wait().expect("ours");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// An export's manifest.
    pub fn manifest(&self, id: &str) -> Value {
        crate::Download::start(&self.address, &format!("/api/exports/{id}")).json()
    }

    /// Waits until an export has ended, and returns its manifest.
    pub fn ended(&self, id: &str) -> Value {
        let mut manifest = Value::Null;
        crate::eventually("the export ends", || {
            manifest = self.manifest(id);
            ["complete", "failed", "cancelled"]
                .iter()
                .any(|state| manifest["state"] == *state)
        });
        manifest
    }

    /// A metric: the sum of all lines that start with this text.
    pub fn metric(&self, start: &str) -> f64 {
        let text = ureq::get(self.url("/metrics"))
            .call()
            .expect("200")
            .body_mut()
            .read_to_string()
            .expect("text");
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Stops the server and returns its log.
    pub fn into_log(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut rest = String::new();
        let _ = self.stdout.read_to_string(&mut rest);
        if let Some(logging) = self.logging.take() {
            let _ = logging.join();
        }
        self.logged()
    }

    /// Whether its log contains this by now.
    pub fn has_logged(&self, text: &str) -> bool {
        self.logged().contains(text)
    }

    fn logged(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Demands that the program has failed for lack of a connection, and has not printed the password `s3cret`.
pub fn assert_no_connection(output: &Output) {
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(output);
    let reason = "cmms-export: no connection to the database";
    assert!(said.contains(reason), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

/// The peak resident memory of a process, in bytes; 0 once the process has ended.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("not reaped");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.map_or("0", |line| line.trim().trim_end_matches(" kB"));
    kibibytes.parse::<u64>().expect("a number") << 10
}
