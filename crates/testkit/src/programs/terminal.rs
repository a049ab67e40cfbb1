//! A terminal, for what the program prints only for people.

use std::fs::File;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};

use nix::pty::{Winsize, openpty};

/// Runs a command with a terminal as its stderr, and returns its status and what the terminal showed.
pub fn with_terminal(command: &mut Command) -> (ExitStatus, String) {
    let size = Winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None).expect("the system has terminals");
    let mut child = command
        .env("TERM", "xterm")
        .stderr(Stdio::from(terminal.slave))
        .spawn()
        .expect("the program runs");
    // The command has the terminal, too: it would never end.
    command.stderr(Stdio::null());
    let mut said = Vec::new();
    // On Linux its end is an error.
    let _ = File::from(terminal.master).read_to_end(&mut said);
    let status = child.wait().expect("ours");
    (status, String::from_utf8_lossy(&said).into_owned())
}
