//! Every strategy writes the same bytes: for whoever declares a dataset.

use diesel_export::db::Database;
use diesel_export::{Export, Plan, Strategy};

use crate::in_process::run;

/// Exports by every strategy, and demands these bytes of each. Returns how each was made, in the order of [`Strategy::all`].
///
/// The bytes are best psql's own:
///
/// ```ignore
/// let expected = oracle::psql(&database, "copy (select id as \"ID\" from books order by id) to stdout with (format csv, header)");
/// every_strategy_writes(&client(&database.url), &Export::of(&books), &expected);
/// ```
pub fn every_strategy_writes(database: &Database, export: &Export, expected: &[u8]) -> Vec<Plan> {
    let strategies = Strategy::all().iter();
    strategies
        .map(|&strategy| writes(database, export, strategy, expected))
        .collect()
}

/// Exports by this strategy, and demands these bytes. Returns how it was made.
pub fn writes(database: &Database, export: &Export, strategy: Strategy, expected: &[u8]) -> Plan {
    let export = Export {
        strategy,
        ..export.clone()
    };
    let outcome = run(database, &export);
    let what = format!(
        "{} by {strategy}, {:?}",
        export.dataset().name(),
        export.filter
    );
    assert_same(outcome.whole(&what), expected, &what);
    outcome.plan.expect("planned")
}

/// Demands the same bytes, and shows the first line that differs.
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found == expected {
        return;
    }
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        text.lines().map(str::to_owned).collect()
    };
    let (found, expected) = (lines(found), lines(expected));
    let differ = found
        .iter()
        .zip(&expected)
        .find(|(one, other)| one != other);
    panic!(
        "{what}: {} and {} lines; {differ:?}",
        found.len(),
        expected.len()
    );
}
