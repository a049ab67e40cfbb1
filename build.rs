//! Tells the program of which commit it is and by which compiler it was built: a benchmark's figures are worth nothing without.

use std::path::Path;
use std::process::Command;

/// What the program is made of. A test or a text that was changed does not change what is measured.
const SOURCES: [&str; 9] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "askama.toml",
    "build.rs",
    "crates",
    "migrations",
    "src",
    "templates",
];

/// Below `crates`, but only of the tests.
const TESTKIT: &str = ":!crates/testkit";

fn main() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = said_by(Command::new(compiler).arg("--version")) {
        tell("CMMS_BUILD_RUSTC", &version);
    }
    // Not the repository of somebody else, below which a packaged program may be built. (In a work tree of its own, a file.)
    if Path::new(".git").exists() {
        commit();
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn commit() {
    // A commit changes the log, an edit the sources: so nothing else makes the program be built again.
    let Some(log) = said_by(git().args(["rev-parse", "--git-path", "logs/HEAD"])) else {
        return;
    };
    if !Path::new(&log).exists() {
        return;
    }
    println!("cargo::rerun-if-changed={log}");
    for source in SOURCES {
        if Path::new(source).exists() {
            println!("cargo::rerun-if-changed={source}");
        }
    }
    let hash = said_by(git().args(["rev-parse", "--short=12", "HEAD"]));
    // Files that git does not know count, too: a migration is found by its name alone.
    let status = ["status", "--porcelain", "--untracked-files=all", "--"];
    let changes = said_by(git().args(status).args(SOURCES).arg(TESTKIT));
    if let (Some(hash), Some(changes)) = (hash, changes) {
        let dirty = if changes.is_empty() { "" } else { "-dirty" };
        tell("CMMS_BUILD_COMMIT", &format!("{hash}{dirty}"));
    }
}

/// Git, which must not take the lock of the index from somebody who commits meanwhile.
fn git() -> Command {
    let mut git = Command::new("git");
    git.arg("--no-optional-locks");
    git
}

fn said_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim().to_owned())
}

fn tell(name: &str, text: &str) {
    println!("cargo::rustc-env={name}={text}");
}
