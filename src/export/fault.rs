//! Faults that only the program itself can make; built for the tests alone (feature `fault-injection`).

use std::str::FromStr;
use std::sync::LazyLock;

/// Panics at the row that `CMMS_PANIC_AT_ROW` names; at 0, before the first byte.
pub(super) fn panic_at(rows: u64) {
    static ROW: LazyLock<Option<u64>> = LazyLock::new(|| variable("CMMS_PANIC_AT_ROW"));
    assert!(*ROW != Some(rows), "a panic was asked for at row {rows}");
}

/// Panics where the task is read that `CMMS_PANIC_AT_TASK` names, which `lookup` does elsewhere than where it hands rows on.
pub(super) fn panic_at_task(id: &[u8]) {
    static TASK: LazyLock<Option<String>> = LazyLock::new(|| variable("CMMS_PANIC_AT_TASK"));
    let here = TASK.as_ref().is_some_and(|task| task.as_bytes() == id);
    assert!(!here, "a panic was asked for at a task");
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}
