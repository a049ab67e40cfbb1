//! How the process ends: with the exit code that it means, whatever its threads are in the middle of.
//!
//! OpenSSL takes itself apart when a process exits. A thread that just logs in by SCRAM or TLS then reads freed memory. One in seven
//! crashed by that, so that a hundred show it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::TestDatabase;
use crate::support::oracle::psql_at;
use crate::support::program::{in_shell, program, stderr};
use crate::support::tls::TlsServer;

const LOCATIONS: &str = r#"copy (select id as "ID", name as "Name" from locations order by id) to stdout with (format csv, header)"#;

/// A small export: it is over before the connection that is opened ahead of its need is there.
fn small_export(url: &str) -> Command {
    let mut command = program(url);
    command.args(["export", "locations"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Does it so often, several at once.
fn repeat(times: u32, work: impl Fn() + Sync) {
    let left = AtomicU32::new(times);
    let take = || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while take().is_ok() {
                    work()
                }
            });
        }
    });
}

fn ended(command: &mut Command) -> Output {
    let child = command.spawn().expect("the program runs");
    child.wait_with_output().expect("it ends")
}

/// Ends small exports in each way, `times` times.
fn all_end_as_they_should(url: &str, bin_dir: &Path, times: u32) {
    let fill = "insert into locations select n, 'Location ' || n from generate_series(1, 50) n";
    psql_at(bin_dir, url, fill);
    let expected = psql_at(bin_dir, url, LOCATIONS);
    repeat(times, || {
        let output = ended(&mut small_export(url));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stdout == expected, "{output:?}");
    });
    // An error, behind all that was opened.
    repeat(times / 5, || {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = ended(small_export(url).stdout(full.expect("Linux has it")));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("No space left"), "{output:?}");
    });
    // A reader that is not there.
    repeat(times / 5, || {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = ended(small_export(url).stdout(writer));
        let code = 128 + Signal::SIGPIPE as i32;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    });
    // Ctrl-C, at any time.
    let number = AtomicU32::new(0);
    repeat(times / 5, || {
        let child = small_export(url).spawn().expect("the program runs");
        let wait = number.fetch_add(1, Ordering::Relaxed) % 40;
        thread::sleep(Duration::from_millis(wait.into()));
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
        let output = child.wait_with_output().expect("it ends");
        let status = output.status;
        // It has ended by then, is cancelled, or does not listen to signals yet.
        assert!(
            matches!(status.code(), Some(0 | 1)) || status.signal() == Some(Signal::SIGINT as i32),
            "{output:?}"
        );
    });
}

#[test]
fn small_exports_with_passwords_end_as_they_should() {
    let database = TestDatabase::new();
    all_end_as_they_should(&database.url, &database.bin_dir(), 100);
}

#[test]
fn small_exports_over_tls_end_as_they_should() {
    let server = TlsServer::start(TestDatabase::new().bin_dir());
    all_end_as_they_should(&server.url, &server.bin_dir, 100);
}

#[test]
fn an_address_space_that_is_too_small_is_an_error_and_no_panic() {
    let limited = r#"ulimit -v 409600; exec "$0" "$@""#;
    let output = in_shell(limited, &small_export("postgresql://127.0.0.1:1/nowhere"))
        .output()
        .expect("bash is there");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.starts_with("cmms-export: the address space is limited to 400 MiB"),
        "{said}"
    );
}
