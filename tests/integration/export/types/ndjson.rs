//! JSON lines of such columns.

use diesel_export::dataset::Selection;
use diesel_export::format::FileFormat;
use diesel_export::{Export, Strategy};
use serde_json::Value;

use super::table::{self, COLUMNS, Key, PINNED};
use crate::support::in_process::{client, run};
use crate::support::oracle;
use crate::support::strategies::every_strategy_writes;

/// Types whose values are numbers of JSON, but for NaN and the infinities.
const NUMBERS: [&str; 7] = [
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "numeric(12,3)",
    "real",
    "double precision",
];

/// The SQL of a value in JSON, which PostgreSQL quotes.
fn value((name, kind): (&str, &str)) -> String {
    let printed = format!("format('%s', {name})");
    let text = format!("to_json({printed})::text");
    let value = match kind {
        "boolean" | "flag" => format!("case {printed} when 't' then 'true' else 'false' end"),
        kind if NUMBERS.contains(&kind) => {
            format!("case when {printed} ~ '[0-9]$' then {printed} else {text} end")
        }
        _ => text,
    };
    format!("'\"{name}\":' || case num_nulls({name}) when 1 then 'null' else {value} end")
}

#[test]
fn a_value_of_any_type_is_in_json_lines_as_postgresql_quotes_it_and_a_document_keeps_what_it_says()
{
    let database = table::filled(600);
    let client = client(&database.url);
    for (part, declare) in table::PARTS.iter().enumerate() {
        let dataset = declare(Key::Integer);
        let export = |columns: &[&str]| Export {
            columns: Selection::parse(&dataset, &columns.join(",")).expect("columns"),
            format: FileFormat::Ndjson,
            ..Export::of(&dataset)
        };
        let is_json = |kind: &str| matches!(kind, "json" | "jsonb");
        let columns = COLUMNS[part].iter().filter(|(_, kind)| !is_json(kind));
        let (names, values): (Vec<_>, Vec<_>) =
            columns.map(|column| (column.0, value(*column))).unzip();
        let values = values.join(" || ',' || ");
        let sql = format!("{PINNED} select '{{' || {values} || '}}' from things order by number");
        let expected = oracle::psql(&database, &sql);
        every_strategy_writes(&client, &export(&names), &expected);

        for (name, _) in COLUMNS[part].iter().filter(|(_, kind)| is_json(kind)) {
            let sql =
                format!("select coalesce({name}::jsonb::text, 'null') from things order by number");
            let expected = oracle::psql(&database, &sql);
            let expected: Vec<Value> = lines(&expected);
            let written = Strategy::all().iter().map(|&strategy| {
                let export = Export {
                    strategy,
                    ..export(&[name])
                };
                run(&client, &export).whole(strategy.name()).to_vec()
            });
            let written: Vec<Vec<u8>> = written.collect();
            assert!(written.iter().all(|one| *one == written[0]), "{name}");
            let found: Vec<Value> = lines(&written[0]);
            let found: Vec<&Value> = found.iter().map(|line| &line[*name]).collect();
            assert!(found.iter().copied().eq(&expected), "{name}");
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter();
    lines.collect::<Result<_, _>>().expect("JSON")
}
