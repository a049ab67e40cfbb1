//! The tests: the real program, over HTTP and on the command line, against a real PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod command_line;
mod embedded;
mod faults;
mod http;
mod lookup;
mod properties;
mod same_bytes;
mod schema;
mod seed;
mod support;
