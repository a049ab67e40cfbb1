//! Filters that leave few rows.

use std::sync::Arc;
use std::time::Duration;

use cmms_export::datasets;
use diesel_export::cancellation::Cancellation;
use diesel_export::dataset::{FilterValue, InvalidFilter};
use diesel_export::db::Database;
use diesel_export::{Export, Strategy};

use super::{TASKS, client, run};
use crate::support::{TestDatabase, eventually, oracle};

/// Exports the rows of a dataset that a filter leaves.
pub(super) fn filtered(
    database: &Database,
    dataset: &str,
    (name, value): (&str, &str),
) -> super::Outcome {
    let mut export = Export::of(datasets::catalog().find(dataset).expect("declared"));
    let dataset = Arc::clone(export.filter.dataset());
    let mut fields = dataset.filters().iter();
    let field = fields.find(|field| field.name() == name).expect("there");
    let value: Result<FilterValue, InvalidFilter> = field.parse(value);
    let value = value.expect("one of its values");
    export.filter.set(field, value).expect("its filter");
    run(
        database,
        &export,
        || (),
        || Ok(()),
        &Cancellation::default(),
    )
}

#[test]
fn a_filter_that_leaves_few_rows_is_left_to_copy_on_the_same_connection() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    // By a name of their own: psql's processes and the seed's may still be ending.
    let backends = || {
        let sql = "select count(*), sum(pid) from pg_stat_activity where application_name = 'few'";
        oracle::psql(&database, sql)
    };
    let url = format!("{}&application_name=few", database.url);
    let client = Database::new(&url, 1, Duration::from_secs(5));
    let mut first = None;
    for (dataset, filter, condition) in [
        ("tasks", ("asset_id", "5"), Some("t.asset_id = 5")),
        ("tasks", ("asset_id", "-1"), Some("false")),
        ("tasks", ("created_by_id", "7"), Some("t.created_by_id = 7")),
        ("assets", ("location_id", "3"), None),
        ("users", ("username", "1"), None),
    ] {
        let outcome = filtered(&client, dataset, filter);
        outcome.result.as_ref().expect("whole");
        let plan = outcome.plan.as_ref().expect("begun");
        assert_eq!(
            (plan.strategy, plan.connections, plan.because.as_deref()),
            (Strategy::Copy, 1, Some("the filter leaves few rows")),
            "{dataset} {filter:?}"
        );
        if let Some(condition) = condition {
            let expected = oracle::copy(&database, condition, ',');
            assert!(
                outcome.csv == expected,
                "{filter:?}: other bytes than psql's"
            );
        }
        let mut now = backends();
        eventually("psql's, and the seed's, have gone", || {
            now = backends();
            now.starts_with(b"1|")
        });
        assert_eq!(
            *first.get_or_insert_with(|| now.clone()),
            now,
            "one backend for all"
        );
    }
}

#[test]
fn a_filter_that_finds_few_rows_slowly_is_divided() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    let outcome = filtered(&client(&database), "tasks", ("title", "999"));
    let rows = outcome.result.as_ref().expect("whole").rows;
    assert!((1..1_000).contains(&rows), "{rows}");
    let plan = outcome.plan.as_ref().expect("begun");
    assert_eq!(plan.strategy, Strategy::Lookup, "{plan:?}");
    assert!(plan.connections > 1, "{plan:?}");
    let expected = oracle::copy(&database, "t.title like '%999%'", ',');
    assert!(outcome.csv == expected, "other bytes than psql's");
}
