//! Random texts, within whatever may hold a text.

use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use diesel_export::Export;
use diesel_export::parameters::filter_from_pairs;
use proptest::prelude::{ProptestConfig, proptest};

use super::filters::check_filter;
use super::psql;
use super::table::{self, COLUMNS, Key};
use crate::support::in_process::client;
use crate::support::strategies::every_strategy_writes;

const ROW: &str = "insert into things (number, small, uuid, day, words, plain, limited, padded, caseless, texts, document, binary_document, pair, bytes)
    values ($1, $1, md5($1::text)::uuid, date '2026-01-01' + $1, $2, $2, $2, left($2, 9), $2, array[$2, null, $2 || $2],
        json_build_object($2, $2), jsonb_build_array($2, $2), row(1, $2)::pair, convert_to($2, 'UTF8'))";

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_within_anything_comes_as_psql_prints_it(texts in proptest::collection::vec("[a,;\"'\\\\{}()\\[\\] \t\r\n=+@ü😀N.-]{0,12}", 1..20)) {
        let database = table::empty();
        let mut connection = database.connect();
        for (number, text) in (1..).zip(&texts) {
            let row = diesel::sql_query(ROW).bind::<Integer, _>(number).bind::<Text, _>(text);
            row.execute(&mut connection).expect("inserted");
        }
        let client = client(&database.url);
        for (part, declare) in table::PARTS.iter().enumerate() {
            // By the second one, `lookup` is no `copy`.
            for key in [Key::Composite, Key::Integer] {
                let dataset = declare(key);
                let expected = psql(&database, COLUMNS[part], key.order(), |name, _| name.to_owned());
                every_strategy_writes(&client, &Export::of(&dataset), &expected);
            }
        }
        // An empty value of a filter is none.
        let some: Vec<&String> = texts.iter().step_by(2).filter(|text| !text.is_empty()).collect();
        if !some.is_empty() {
            let dataset = (table::PARTS[1])(Key::Integer);
            let pairs = some.iter().map(|text| ("of_words".into(), text.as_str().into()));
            let filter = filter_from_pairs(&dataset, pairs).expect("any text");
            let quoted = some.iter().map(|text| format!("'{}'", text.replace('\'', "''")));
            let condition = format!("words::text in ({})", quoted.collect::<Vec<_>>().join(", "));
            check_filter(&database, 1, filter, &condition);
        }
    }
}
