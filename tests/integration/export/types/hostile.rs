//! Random texts, within whatever may hold a text.

use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use diesel_export::Strategy;
use diesel_export::csv::Preset;
use proptest::prelude::{ProptestConfig, proptest};

use super::table::{self, COLUMNS, Key};
use super::{export, psql};
use crate::support::in_process::{client, run};

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
                for &strategy in Strategy::all() {
                    let what = format!("{texts:?} by {strategy:?} and {key:?}");
                    let outcome = run(&client, &export(&dataset, strategy, Preset::Data));
                    table::assert_same(outcome.whole(&what), &expected, &what);
                }
            }
        }
    }
}
