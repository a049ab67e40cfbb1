//! Tells the program of which commit it is and by which compiler it was built: a benchmark's figures are worth nothing without.

use std::path::Path;
use std::process::Command;

fn main() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    tell("CMMS_BUILD_RUSTC", Command::new(compiler).arg("--version"));
    // Only what a commit changes, so that nothing else makes the program be built anew; there may be no repository at all.
    if Path::new(".git/logs/HEAD").exists() {
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
        tell(
            "CMMS_BUILD_COMMIT",
            Command::new("git").args(["rev-parse", "--short=12", "HEAD"]),
        );
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn tell(name: &str, command: &mut Command) {
    let Ok(output) = command.output() else { return };
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        println!("cargo::rustc-env={name}={}", text.trim());
    }
}
