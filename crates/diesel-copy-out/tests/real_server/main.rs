//! Against a real PostgreSQL.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod cluster;
mod copies;
mod literals;
