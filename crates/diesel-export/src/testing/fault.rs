//! Faults that only the program itself can make; built for the tests alone (feature `fault-injection`).

use std::str::FromStr;
use std::sync::LazyLock;

/// Panics at the row that `FAULT_PANIC_AT_ROW` names; at 0, before the first byte.
pub(crate) fn panic_at(rows: u64) {
    static ROW: LazyLock<Option<u64>> = LazyLock::new(|| variable("FAULT_PANIC_AT_ROW"));
    assert!(*ROW != Some(rows), "a panic was asked for at row {rows}");
}

/// Panics when the row is read whose first field is `FAULT_PANIC_AT_ID`. `lookup` reads rows in other threads than the one that
/// hands them on.
pub(crate) fn panic_at_id(first: &[u8]) {
    static ID: LazyLock<Option<String>> = LazyLock::new(|| variable("FAULT_PANIC_AT_ID"));
    let here = ID.as_ref().is_some_and(|id| id.as_bytes() == first);
    assert!(!here, "a panic was asked for at an id");
}

/// Stops this thread for ever at the point that `FAULT_HALT_AT` names, and says so in the log: there a test can kill the program.
pub(crate) fn halt_at(point: &str) {
    static POINT: LazyLock<Option<String>> = LazyLock::new(|| variable("FAULT_HALT_AT"));
    if POINT.as_deref() == Some(point) {
        tracing::warn!("halted at {point}");
        loop {
            std::thread::park();
        }
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}
