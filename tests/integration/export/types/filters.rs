//! Filters of columns of any type: what they find is what psql finds.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use diesel_export::dataset::Filter;
use diesel_export::parameters::filter_from_pairs;
use proptest::prelude::{ProptestConfig, proptest};

use super::*;

/// The values of a column, as a file shows them.
fn values(database: &TestDatabase, name: &str, kind: &str) -> BTreeSet<String> {
    let printed = match kind {
        "boolean" | "flag" => format!("{name}::text"),
        _ => format!("format('%s', {name})"),
    };
    let sql = format!(
        "{PINNED} select json_agg(distinct {printed}) from things where num_nulls({name}) = 0"
    );
    let printed = String::from_utf8(oracle::psql(database, &sql)).expect("UTF-8");
    serde_json::from_str(printed.lines().last().unwrap_or_default()).expect("an array of texts")
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// What psql writes of the rows of a condition.
fn found(database: &TestDatabase, part: usize, condition: &str) -> Vec<u8> {
    let names: Vec<&str> = COLUMNS[part].iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "{PINNED} set standard_conforming_strings = on; copy (select {} from things where {condition} order by number) to stdout with (format csv, header)",
        names.join(", ")
    );
    oracle::psql(database, &sql)
}

pub(super) fn check_filter(database: &TestDatabase, part: usize, filter: Filter, condition: &str) {
    let expected = found(database, part, condition);
    let dataset = (table::PARTS[part])(Key::Integer);
    let export = Export {
        filter,
        ..Export::of(&dataset)
    };
    for strategy in [Strategy::Tuples, Strategy::Lookup] {
        writes(&client(&database.url), &export, strategy, &expected);
    }
}

/// Values of which some may be refused; those that are not find what psql finds.
#[test]
fn a_filter_of_any_type_finds_the_rows_with_its_values() {
    let database = table::filled(60);
    for (part, declare) in table::PARTS.iter().enumerate() {
        let dataset = declare(Key::Integer);
        for (name, kind) in COLUMNS[part] {
            let mut accepted = 0;
            for value in values(&database, name, kind) {
                let pairs = [(format!("of_{name}").into(), value.clone().into())];
                let Ok(filter) = filter_from_pairs(&dataset, pairs) else {
                    continue;
                };
                // An empty value is none.
                if filter == Filter::all(&dataset) {
                    continue;
                }
                accepted += 1;
                let value = quoted(&value);
                // What PostgreSQL does not compare, or not by what it prints.
                let condition = match *kind {
                    "json" | "xml" | "point" | "jsonpath" | "interval" | "numeric[]" | "inet"
                    | "cidr" => {
                        format!("format('%s', {name}) = {value}")
                    }
                    kind => format!("{name} = {value}::{kind}"),
                };
                check_filter(&database, part, filter, &condition);
            }
            assert!(accepted > 0, "no value of {name} can be asked for");
        }
    }
}

#[test]
fn a_range_has_both_of_its_ends_and_a_day_is_all_of_it() {
    let database = table::filled(60);
    let sql = "insert into things (number, small, uuid, plain, day, date, stamp, stamp_zoned, time, single, price, whole)
        select 1000 + n, 1000 + n, gen_random_uuid(), 'late', date '1000-01-01' + n, date '2026-11-25' + n, timestamp '2026-11-29 23:00' + n * interval '20 minutes',
            timestamptz '2026-11-29 23:00+00' + n * interval '20 minutes', time '00:00' + n * interval '20 minutes', 0.1 * n, 0.5 * n, n
        from generate_series(0, 90) n";
    database.connect().batch_execute(sql).expect("the SQL runs");
    let day = "2026-11-30";
    for (name, from, to, condition) in [
        ("date", day, day, "date = '2026-11-30'"),
        (
            "stamp",
            day,
            day,
            "stamp >= '2026-11-30' and stamp < '2026-12-01'",
        ),
        (
            "stamp_zoned",
            day,
            day,
            "stamp_zoned >= '2026-11-30 00:00Z' and stamp_zoned < '2026-12-01 00:00Z'",
        ),
        (
            "stamp",
            "2026-11-30T01:00",
            "2026-11-30 02:00:00",
            "stamp between '2026-11-30 01:00' and '2026-11-30 02:00'",
        ),
        (
            "stamp_zoned",
            "2026-11-30T01:00+01:00",
            "2026-11-30T02:00Z",
            "stamp_zoned between '2026-11-30 00:00Z' and '2026-11-30 02:00Z'",
        ),
        ("stamp", day, "", "stamp >= '2026-11-30'"),
        ("stamp_zoned", "", day, "stamp_zoned < '2026-12-01 00:00Z'"),
        (
            "time",
            "01:00",
            "02:00:00",
            "time between '01:00' and '02:00'",
        ),
        (
            "single",
            "0.1",
            "0.3",
            "single between 0.1::real and 0.3::real",
        ),
        ("double", "-1e3", "", "double >= -1000"),
        ("price", "0.5", "1.5", "price between 0.5 and 1.5"),
        (
            "decimal",
            "-12345678901234567890.5",
            "0",
            "decimal between -12345678901234567890.5 and 0",
        ),
        ("whole", "2", "4", "whole between 2 and 4"),
        ("smallest", "", "40000", "smallest <= 40000"),
        (
            "largest",
            "9223372036854775807",
            "",
            "largest = 9223372036854775807",
        ),
    ] {
        let dataset = (table::PARTS[0])(Key::Integer);
        let pairs = [("from", from), ("to", to)]
            .map(|(end, value)| (format!("of_{name}_{end}").into(), value.into()));
        let filter = filter_from_pairs(&dataset, pairs).expect("they are understood");
        check_filter(&database, 0, filter, condition);
    }
}

/// A day of a filter is a day where the rows' times are printed: also on the connections that help `lookup`.
#[test]
fn a_day_is_one_of_the_exports_time_zone_on_every_connection() {
    let database = table::filled(11_000);
    let sql = "update things set stamp_zoned = timestamptz '2026-10-20 00:00+00' + number * interval '1 minute'; vacuum analyze things";
    for sql in sql.split("; ") {
        database.connect().batch_execute(sql).expect("the SQL runs");
    }
    // A day of 25 hours.
    let zone = "Europe/Berlin";
    let of_day = "stamp_zoned >= timestamptz '2026-10-24 22:00Z' and stamp_zoned < timestamptz '2026-10-25 23:00Z'";
    let dataset = (table::PARTS[0])(Key::Integer);
    let client = client(&database.url).with_time_zone(zone);
    for (days, condition) in [(Some("2026-10-25"), of_day), (None, "true")] {
        let names: Vec<&str> = COLUMNS[0].iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "{PINNED} set timezone = '{zone}'; copy (select {} from things where {condition} order by number) to stdout with (format csv, header)",
            names.join(", ")
        );
        let expected = oracle::psql(&database, &sql);
        let ends = ["of_stamp_zoned_from", "of_stamp_zoned_to"];
        let pairs = days
            .into_iter()
            .flat_map(|day| ends.map(|end| (end.into(), day.into())));
        let filter = filter_from_pairs(&dataset, pairs).expect("they are understood");
        let export = Export {
            filter,
            ..Export::of(&dataset)
        };
        let plans = every_strategy_writes(&client, &export, &expected);
        if days.is_none() {
            assert!(plans.iter().any(|plan| plan.connections > 1), "{plans:?}");
        } else {
            assert_eq!(
                expected.iter().filter(|byte| **byte == b'\n').count(),
                1 + 25 * 60
            );
        }
    }
}

#[test]
fn whatever_a_filter_takes_postgresql_reads() {
    const DAY: &str = "[+-]?[0-9]{3,5}-[01][0-9]-[0-3][0-9]";
    const TIME: &str = "[0-2][0-9]:[0-5][0-9](:[0-6][0-9](\\.[0-9]{1,9})?)?";
    const NUMBER: &str = "[+-]?[0-9]{0,4}\\.?[0-9]{0,4}([eE][+-]?[0-9]{0,3})?";
    let database = table::empty();
    let point = format!("{DAY}([tT ]{TIME}([zZ]|[+-][0-9]{{2}}(:?[0-9]{{2}})?)?)?");
    let config = ProptestConfig {
        cases: 1,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    for (name, text) in [
        ("date", DAY),
        ("time", TIME),
        ("stamp", &point),
        ("stamp_zoned", &point),
        ("decimal", NUMBER),
        ("double", NUMBER),
        ("largest", "[+-]?[0-9]{1,20}"),
    ] {
        let dataset = (table::PARTS[0])(Key::Integer);
        let mut fields = dataset.filters().iter();
        let field = fields.find(|field| field.name() == format!("of_{name}"));
        let field = field.expect("a filter");
        let kind = COLUMNS[0].iter().find(|(column, _)| *column == name);
        let kind = kind.expect("a column").1;
        proptest!(config.clone(), |(texts in proptest::collection::vec(text, 1_000))| {
            let taken: Vec<String> = texts.iter().filter(|text| field.parse(text).is_ok()).map(|text| quoted(text)).collect();
            let values = taken.join(", ");
            let sql = format!("select count(cast(text as {kind})) from unnest(array[{values}]) text");
            let read = String::from_utf8(oracle::psql(&database, &sql)).expect("UTF-8");
            assert_eq!(read.trim(), taken.len().to_string(), "{name}");
            assert!(taken.len() > 10, "{name}: {taken:?}");
        });
    }
}
