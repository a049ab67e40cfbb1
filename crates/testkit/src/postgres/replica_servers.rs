//! The processes of a primary and two hot standbys, started by the same script as `make cluster`.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use nix::unistd::Pid;

use crate::cluster::TEMPLATE;
use crate::program;

/// One of the three servers, by its name in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The primary, at first.
    Primary,
    /// A hot standby, the first that exports can run on.
    Standby1,
    /// The other hot standby.
    Standby2,
}

impl Node {
    /// Both standbys, in the order of the configuration.
    pub const STANDBYS: [Self; 2] = [Self::Standby1, Self::Standby2];
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Primary => "primary",
            Self::Standby1 => "standby1",
            Self::Standby2 => "standby2",
        })
    }
}

/// The three servers, which live as long as their script's standard input is open.
pub struct Servers {
    pub(crate) directory: PathBuf,
    variables: Vec<(String, String)>,
    script: Mutex<Script>,
}

struct Script {
    child: Child,
    /// None once the servers are told to stop.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: Option<JoinHandle<String>>,
}

impl Script {
    /// Reads the next line that the script prints; panics with its errors if there is none.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        if line.is_empty() {
            let errors = self.errors.take().map(JoinHandle::join);
            panic!("scripts/cluster has ended: {errors:?}");
        }
        line.trim_end().to_owned()
    }
}

impl Servers {
    /// Starts them, and creates the template of the tests' databases.
    pub(crate) fn start(settings: &str) -> Self {
        let directory = crate::cluster::temporary_directory("replicated");
        let mut child = Command::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../scripts/cluster"
        ))
        .arg("--throw-away")
        .arg(&directory)
        .env("CLUSTER_SETTINGS", settings)
        // Counts only if `lc_messages` is not C.
        .env("LANGUAGE", "de")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash is there");
        let mut stderr = child.stderr.take().expect("piped");
        let mut script = Script {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("piped")),
            errors: Some(std::thread::spawn(move || {
                let mut errors = String::new();
                let _ = stderr.read_to_string(&mut errors);
                errors
            })),
            child,
        };
        let mut variables = Vec::new();
        while let Some((name, value)) = script.line().split_once('=') {
            variables.push((name.to_owned(), value.to_owned()));
        }
        let servers = Self {
            directory,
            variables,
            script: Mutex::new(script),
        };
        let mut primary = connect(&servers.url("PRIMARY_URL", "postgres"));
        primary
            .batch_execute(&format!("create database {TEMPLATE}"))
            .expect("ours");
        let migrated = program(&servers.url("PRIMARY_URL", TEMPLATE))
            .arg("migrate")
            .output()
            .expect("the program runs");
        assert!(migrated.status.success(), "{migrated:?}");
        servers
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        &found.expect("the script tells").1
    }

    /// One of the script's URLs, for another database.
    pub(crate) fn url(&self, variable: &str, database: &str) -> String {
        self.variable(variable)
            .replacen("/cmms?", &format!("/{database}?"), 1)
    }

    /// The URL of a database, on whichever server accepts writes.
    pub(crate) fn database_url(&self, database: &str) -> String {
        self.url("DATABASE_URL", database)
    }

    /// Where PostgreSQL's programs are.
    pub(crate) fn bin_dir(&self) -> &Path {
        Path::new(self.variable("PG_BINDIR"))
    }

    /// Sends a command to the script, and waits until it is done.
    pub(crate) fn tell(&self, verb: &str, node: Node, done: &str) {
        let mut script = self.script.lock().expect("nobody panicked");
        let input = script.input.as_mut().expect("not told to stop");
        writeln!(input, "{verb} {node}").expect("it listens");
        assert_eq!(script.line(), format!("{done} {node}"));
    }

    /// The servers stop as soon as the script's input ends, and their directory is removed.
    pub(crate) fn stop(&self) {
        if let Ok(mut script) = self.script.lock() {
            script.input = None;
            let _ = script.child.wait();
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let output = String::from_utf8(output.expect("ps is there").stdout).expect("numbers");
    let pids = output.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let (pid, of) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        (Pid::from_raw(of) == parent).then(|| Pid::from_raw(pid))
    });
    pids.collect()
}

pub(crate) fn connect(url: &str) -> PgConnection {
    PgConnection::establish(url).expect("the server is up")
}
