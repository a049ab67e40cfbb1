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

mod access;
mod benchmark;
mod benchmark_page;
mod browser;
mod build;
mod changing_tables;
mod command_line;
mod compression;
mod datasets;
mod django;
mod embedded;
mod fault_matrix;
mod faults;
mod hostile_input;
mod http;
mod life_cycle;
mod limits;
mod lookup;
mod manifest;
mod page;
mod properties;
mod replicas;
mod same_bytes;
mod schema;
mod screenshots;
mod seed;
mod start;
mod support;
