//! A table with a column of every type, which only these tests declare: every strategy writes psql's bytes, whatever the key is.

mod filters;
mod hostile;
mod ndjson;
mod table;
mod workbook;

use std::sync::Arc;

use self::table::{COLUMNS, Key, PINNED};
use crate::support::in_process::{client, run};
use crate::support::strategies::{assert_same, every_strategy_writes, writes};
use crate::support::{TestDatabase, oracle};
use diesel::connection::SimpleConnection;
use diesel_export::csv::{Delimiter, Format, Preset};
use diesel_export::dataset::{Dataset, RowOrder};
use diesel_export::format::FileFormat;
use diesel_export::{Export, Strategy, queries};

/// What psql writes of these columns, in the order of the key. `select` makes each column's SQL of its name and type.
fn psql(
    database: &TestDatabase,
    columns: &[(&str, &str)],
    order: &str,
    select: impl Fn(&str, &str) -> String,
) -> Vec<u8> {
    let select = columns
        .iter()
        .map(|(name, kind)| format!("{} as {name}", select(name, kind)));
    let select = select.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "{PINNED} copy (select {select} from things order by {order}) to stdout with (format csv, header)"
    );
    oracle::psql(database, &sql)
}

fn export(dataset: &Arc<dyn Dataset>, strategy: Strategy, preset: Preset) -> Export {
    Export {
        strategy,
        format: FileFormat::Csv(Format {
            preset,
            delimiter: Delimiter::Comma,
        }),
        ..Export::of(dataset)
    }
}

#[test]
fn a_column_of_any_type_comes_as_psql_prints_it_by_every_strategy_and_any_key() {
    let database = table::filled(600);
    check(&database, &Key::ALL, Strategy::all());
}

/// So many rows that they are not read at once.
#[test]
fn lookup_divides_integers_of_any_width_and_leaves_other_keys_to_copy() {
    let database = table::filled(11_000);
    check(
        &database,
        &[Key::Integer, Key::Small, Key::Uuid],
        &[Strategy::Lookup],
    );
}

/// Between two integers that are neighbors, it would be in no range.
#[test]
fn a_key_that_is_declared_as_an_integer_and_stored_as_another_number_loses_no_row() {
    let database = table::filled(11_000);
    let sql = "alter table things alter number type numeric; update things set number = 5000.5 where number = 5000; analyze things";
    database.connect().batch_execute(sql).expect("the SQL runs");
    let dataset = (table::PARTS[0])(Key::Integer);
    let expected = psql(&database, COLUMNS[0], Key::Integer.order(), |name, _| {
        name.to_owned()
    });
    let outcome = run(
        &client(&database.url),
        &export(&dataset, Strategy::Lookup, Preset::Data),
    );
    assert_same(outcome.whole("lookup"), &expected, "lookup");
    let plan = outcome.plan.expect("planned");
    assert_eq!(plan.strategy, Strategy::Copy, "{plan:?}");
    assert_eq!(plan.because.as_deref(), Some("the key is not one integer"));
}

fn check(database: &TestDatabase, keys: &[Key], strategies: &[Strategy]) {
    let client = client(&database.url);
    for (part, declare) in table::PARTS.iter().enumerate() {
        for &key in keys {
            let dataset = declare(key);
            let plain = psql(database, COLUMNS[part], key.order(), |name, _| {
                name.to_owned()
            });
            for &strategy in strategies {
                let what = format!("part {part}, {key:?}, {strategy:?}");
                let export = export(&dataset, strategy, Preset::Data);
                let plan = writes(&client, &export, strategy, &plain);
                let made = match (strategy, key) {
                    (Strategy::Lookup, Key::Integer | Key::Small) => Strategy::Lookup,
                    (Strategy::Lookup, _) => Strategy::Copy,
                    (Strategy::Joined, _) => Strategy::Tuples,
                    (strategy, _) => strategy,
                };
                assert_eq!(plan.strategy, made, "{what}: {plan:?}");
                let is_explained = plan.because.is_some();
                assert!(made == strategy || is_explained, "{what}: {plan:?}");
            }
        }
    }
}

#[test]
fn rows_can_be_ordered_by_a_column_of_any_type_that_has_an_order() {
    let database = table::filled(200);
    let client = client(&database.url);
    for (part, declare) in table::PARTS.iter().enumerate() {
        let dataset = declare(Key::Uuid);
        for (name, kind) in COLUMNS[part] {
            let has_order = !["json", "xml", "point", "jsonpath"].contains(kind);
            for (order, direction) in [(format!("-{name}"), "desc"), ((*name).to_owned(), "asc")] {
                let order = RowOrder::parse(&dataset, &order);
                assert_eq!(order.is_ok(), has_order, "{name}");
                let Ok(order) = order else { continue };
                let sql = format!("things.{name} {direction}, things.uuid");
                let expected = psql(&database, COLUMNS[part], &sql, |name, _| name.to_owned());
                for strategy in [Strategy::Tuples, Strategy::Lookup] {
                    let export = Export {
                        order: order.clone(),
                        ..export(&dataset, strategy, Preset::Data)
                    };
                    let outcome = run(&client, &export);
                    let what = format!("{name} {direction} by {strategy:?}");
                    assert_same(outcome.whole(&what), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn a_column_that_the_server_computes_comes_by_every_strategy_and_up_and_down() {
    let database = table::filled(100);
    let client = client(&database.url);
    let (dataset, columns) = table::computed();
    for (order, sql) in [
        (None, "number"),
        (Some("-said,is_big"), "1 desc, 3, number"),
    ] {
        let expected = psql(&database, &columns, sql, |_, sql| sql.to_owned());
        for &strategy in Strategy::all() {
            let mut export = export(&dataset, strategy, Preset::Data);
            if let Some(order) = order {
                export.order = RowOrder::parse(&dataset, order).expect("an order");
            }
            let outcome = run(&client, &export);
            let what = format!("{order:?} by {strategy:?}");
            assert_same(outcome.whole(&what), &expected, &what);
            let plan = outcome.plan.expect("planned");
            assert_ne!(plan.strategy, Strategy::Lookup, "{what}");
        }
    }
}

#[test]
fn excel_gets_booleans_as_it_writes_them_texts_without_formulas_and_the_rest_as_it_is() {
    let database = table::filled(600);
    let client = client(&database.url);
    for (part, declare) in table::PARTS.iter().enumerate() {
        let dataset = declare(Key::Integer);
        let lines = psql(
            &database,
            COLUMNS[part],
            "number",
            |name, kind| match kind {
                "boolean" | "flag" => {
                    format!("case when {name} then 'TRUE' when not {name} then 'FALSE' end")
                }
                "text" | "varchar(100)" | "name" | "citext" | "\"char\"" | "words" | "text[]" => {
                    oracle::without_formulas(&format!("{name}::text"))
                }
                "char(9)" => oracle::without_formulas(&format!("textin(bpcharout({name}))")),
                _ => name.to_owned(),
            },
        );
        let expected = oracle::with_crlf(&lines);
        for &strategy in Strategy::all() {
            let what = format!("part {part}, {strategy:?}");
            let outcome = run(&client, &export(&dataset, strategy, Preset::Excel));
            assert_same(outcome.whole(&what), &expected, &what);
        }
    }
}

#[test]
fn a_preview_has_the_first_values_whatever_their_types_and_the_keys_are() {
    let database = table::filled(60);
    let mut connection = database.connect();
    connection.batch_execute(PINNED).expect("settings");
    for (part, declare) in table::PARTS.iter().enumerate() {
        for key in Key::ALL {
            let dataset = declare(key);
            let export = export(&dataset, Strategy::Copy, Preset::Data);
            let first = queries::first_rows(
                &mut connection,
                &export.columns,
                &export.filter,
                &export.order,
            );
            let first = first.expect("loaded").rows;
            let json = serde_json::to_value(
                first
                    .iter()
                    .map(|row| row.cells().collect::<Vec<_>>())
                    .collect::<Vec<_>>(),
            );
            let columns = COLUMNS[part].iter().map(|(name, kind)| match *kind {
                "smallint" | "integer" | "bigint" | "boolean" | "flag" => (*name).to_owned(),
                // A preview has no padding.
                "char(9)" => format!("left({name}::text, 200)"),
                _ => format!(
                    "left(case when num_nulls({name}) = 0 then format('%s', {name}) end, 200)"
                ),
            });
            let sql = format!(
                "{PINNED} select json_agg(line) from (select json_build_array({}) as line from things order by {} limit 20) as lines",
                columns.collect::<Vec<_>>().join(", "),
                key.order()
            );
            let expected: serde_json::Value =
                serde_json::from_slice(&oracle::psql(&database, &sql)).expect("JSON");
            assert_eq!(json.expect("JSON"), expected, "part {part}, {key:?}");
            assert_eq!(queries::count(&mut connection, &export.filter), Ok(60));
            assert_eq!(
                queries::has_more_than(&mut connection, &export.filter, 60),
                Ok(false)
            );
            assert_eq!(
                queries::has_more_than(&mut connection, &export.filter, 59),
                Ok(true)
            );
        }
    }
}
