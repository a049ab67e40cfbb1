//! The tests: the real program, over HTTP and on the command line, against a real PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::print_stdout,
    reason = "what a test has measured is worth a line"
)]

mod bench;
mod cli;
mod db;
mod export;
mod mounted;
mod promises;
mod tables;
mod web;

use cmms_testkit as support;
