//! When the faults of the matrices strike.

use diesel_export::Strategy;

use crate::support::gate::ROWS;

/// Before the first row, in the middle, and on the last but one, each with what the file's name ends in. (`lookup` reads the very
/// first and last ids beforehand.) For a workbook, which nobody gets before it is complete, the last is enough: the most is behind it.
pub(super) const MOMENTS: [(&str, u64); 4] = [
    ("csv", 1),
    ("csv", ROWS / 2),
    ("csv", ROWS - 1),
    ("xlsx", ROWS - 1),
];

/// All of them for each way to read rows: COPY, COPY over several connections, and Diesel's rows. Each strategy that shares a way with
/// another one meets three, so that every pair of strategy, moment and format is there: before the first row, in the middle and at the
/// end, as CSV and as workbook.
pub(super) fn of_all() -> impl Iterator<Item = (Strategy, (&'static str, u64))> {
    const SHARING: [[(&str, u64); 3]; 2] = [
        [("csv", 1), ("xlsx", ROWS / 2), ("csv", ROWS - 1)],
        [("xlsx", 1), ("csv", ROWS / 2), ("xlsx", ROWS - 1)],
    ];
    Strategy::all().iter().flat_map(|&strategy| {
        let moments = match strategy {
            Strategy::Copy | Strategy::Lookup | Strategy::Streamed => &MOMENTS[..],
            // Its last page is a query of its own.
            Strategy::Paged | Strategy::Joined => &SHARING[0][..],
            Strategy::Tuples => &SHARING[1][..],
        };
        moments.iter().map(move |&moment| (strategy, moment))
    })
}

#[test]
fn each_pair_of_strategy_moment_and_format_is_met() {
    let meets = |is_met: &dyn Fn(Strategy, &str, u64) -> bool| {
        of_all().any(|(strategy, (format, row))| is_met(strategy, format, row))
    };
    for row in [1, ROWS / 2, ROWS - 1] {
        for &strategy in Strategy::all() {
            assert!(
                meets(&|by, _, at| by == strategy && at == row),
                "{strategy} at {row}"
            );
        }
        for format in ["csv", "xlsx"] {
            assert!(
                meets(&|_, of, at| of == format && at == row),
                "{format} at {row}"
            );
        }
    }
    for &strategy in Strategy::all() {
        for format in ["csv", "xlsx"] {
            assert!(
                meets(&|by, of, _| by == strategy && of == format),
                "{format} by {strategy}"
            );
        }
    }
}
