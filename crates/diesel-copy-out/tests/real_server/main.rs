//! Against a real PostgreSQL.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod cluster;
mod connections;
mod copies;
mod diesel_copy_to;
mod literals;
mod server_literals;
mod streams;

/// Waits, for up to a minute, until something is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < std::time::Duration::from_secs(60),
            "{what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
