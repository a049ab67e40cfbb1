//! When the faults of the matrices strike.

use diesel_export::Strategy;

use crate::support::gate::ROWS;

/// Before the first row, in the middle, and on the last but one, each with what the file's name ends in. (`lookup` reads the very
/// first and last ids beforehand.) For a workbook, which nobody gets before it is whole, the last is enough: the most is behind it.
pub(super) const MOMENTS: [(&str, u64); 4] = [
    ("csv", 1),
    ("csv", ROWS / 2),
    ("csv", ROWS - 1),
    ("xlsx", ROWS - 1),
];

/// All of them for each way to read rows: COPY, COPY over several connections, and Diesel's rows. The strategies that share a way with
/// another one, the middle alone; `paged`, whose last page is a query of its own, its last row, too.
pub(super) fn of_all() -> impl Iterator<Item = (Strategy, (&'static str, u64))> {
    Strategy::all().iter().flat_map(|&strategy| {
        let moments = match strategy {
            Strategy::Copy | Strategy::Lookup | Strategy::Streamed => &MOMENTS[..],
            Strategy::Paged => &MOMENTS[1..3],
            Strategy::Joined | Strategy::Tuples => &MOMENTS[1..2],
        };
        moments.iter().map(move |&moment| (strategy, moment))
    })
}
