//! Faults that only the program itself can make; built for the tests alone (feature `fault-injection`).

use std::sync::LazyLock;

/// Panics at the row that `CMMS_PANIC_AT_ROW` names; at 0, before the first byte.
pub(super) fn panic_at(rows: u64) {
    static ROW: LazyLock<Option<u64>> = LazyLock::new(|| {
        std::env::var("CMMS_PANIC_AT_ROW")
            .ok()
            .and_then(|row| row.parse().ok())
    });
    assert!(*ROW != Some(rows), "a panic was asked for at row {rows}");
}
