//! Workbooks of such columns.

use std::collections::BTreeSet;

use diesel_export::csv::Preset;
use diesel_export::dataset::Selection;
use diesel_export::format::FileFormat;
use diesel_export::{Export, Strategy};
use serde_json::Value;

use super::table::{self, COLUMNS, Key};
use super::{export, psql};
use crate::export::xlsx::openpyxl;
use crate::support::in_process::{client, run};
use crate::support::workbook::without_about;

/// Their values are longer than a cell may be.
const TOO_LONG: [&str; 2] = ["document", "bytes"];

/// A point in time to the millisecond, without its zone.
fn to_milliseconds(text: &str) -> String {
    let text = text.strip_suffix("+00").unwrap_or(text);
    let Some((seconds, fraction)) = text.split_once('.') else {
        return text.to_owned();
    };
    let milliseconds = fraction[..fraction.len().min(3)].trim_end_matches('0');
    format!("{seconds}.{milliseconds}")
        .trim_end_matches('.')
        .to_owned()
}

/// Demands that a cell is what psql prints; returns what kind of cell it is.
fn kind(cell: &Value, printed: &str, what: &str) -> &'static str {
    let is_number = |number: &Value| number.as_f64() == printed.parse().ok();
    let (is_it, kind) = match cell {
        Value::Null => (printed.is_empty(), "nothing"),
        Value::Bool(is_so) => (printed == if *is_so { "t" } else { "f" }, "a truth"),
        Value::Number(_) => (is_number(cell), "a number"),
        Value::String(text) => (text == printed, "a text"),
        Value::Array(pair) => match (&pair[0], &pair[1]) {
            (Value::String(format), Value::String(moment)) => {
                let is_day = format == "yyyy-mm-dd";
                let printed = to_milliseconds(printed) + if is_day { " 00:00:00" } else { "" };
                let has_fraction = format.ends_with(".000");
                let is_it = to_milliseconds(moment) == printed;
                (is_it && has_fraction == printed.contains('.'), "a moment")
            }
            (Value::String(format), number) => {
                let decimals = |text: &str| text.split_once('.').map(|(_, digits)| digits.len());
                (
                    is_number(number) && decimals(format) == decimals(printed),
                    "a number with decimals",
                )
            }
            _ => (false, ""),
        },
        Value::Object(_) => (false, ""),
    };
    assert!(is_it, "{what}: {cell} {printed:?}");
    kind
}

#[test]
fn a_workbook_has_numbers_truths_and_dates_where_excel_keeps_all_of_them_and_psqls_text_elsewhere()
{
    let database = table::filled(200);
    let client = client(&database.url);
    let mut seen = BTreeSet::new();
    for (part, declare) in table::PARTS.iter().enumerate() {
        let dataset = declare(Key::Integer);
        let mut columns = COLUMNS[part].to_vec();
        columns.retain(|(name, _)| !TOO_LONG.contains(name));
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let workbook = |strategy| {
            let export = Export {
                columns: Selection::parse(&dataset, &names.join(",")).expect("columns"),
                format: FileFormat::Xlsx,
                ..export(&dataset, strategy, Preset::Data)
            };
            run(&client, &export).whole(strategy.name()).to_vec()
        };
        let bytes = workbook(Strategy::Copy);
        for &strategy in Strategy::all() {
            let other = workbook(strategy);
            assert!(
                without_about(&other) == without_about(&bytes),
                "{strategy:?}"
            );
        }
        let csv = psql(&database, &columns, "number", |name, _| name.to_owned());
        let mut printed = csv::Reader::from_reader(&csv[..]);
        let lines = openpyxl(&bytes);
        assert_eq!(lines[1], names);
        for (cells, printed) in lines[2..].iter().zip(printed.records()) {
            let printed = printed.expect("a line");
            assert_eq!(cells.len(), printed.len());
            for ((cell, printed), name) in cells.iter().zip(&printed).zip(&names) {
                seen.insert((*name, kind(cell, printed, name)));
            }
        }
        assert_eq!(lines[202][0], "About");
    }
    for (name, kinds) in [
        ("largest", &["a text"][..]),
        ("whole", &["a number"]),
        ("decimal", &["a number", "a number with decimals", "a text"]),
        ("price", &["a number with decimals"]),
        ("single", &["a number", "a text"]),
        ("double", &["a text"]),
        ("is_so", &["a truth"]),
        ("is_flag", &["a truth"]),
        ("time", &["a moment", "a text"]),
        ("date", &["a moment", "a text"]),
        ("stamp", &["a moment", "a text"]),
        ("stamp_zoned", &["a moment", "a text"]),
        ("time_zoned", &["a text"]),
        ("lasts", &["a text"]),
        ("money", &["a text"]),
    ] {
        let found = seen
            .iter()
            .filter(|(of, kind)| *of == name && *kind != "nothing");
        let found: Vec<&str> = found.map(|(_, kind)| *kind).collect();
        assert_eq!(found, kinds, "{name}");
    }
}
