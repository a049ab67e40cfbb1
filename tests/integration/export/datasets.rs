//! Every strategy writes psql's bytes for every dataset, with any choice of columns.

use cmms_export::datasets;
use diesel_export::Strategy;
use diesel_export::dataset::Selection;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use proptest::strategy::Strategy as _;
use serde_json::{Value, json};

use crate::support::client::{Download, download_of};
use crate::support::datasets::DATASETS;
use crate::support::program::export;
use crate::support::{Server, TestDatabase, data};

#[test]
fn the_datasets_are_these_with_these_columns() {
    let catalog = datasets::catalog();
    let names: Vec<&str> = catalog.names().collect();
    assert_eq!(names, DATASETS.map(|expected| expected.name));
    for expected in &DATASETS {
        let dataset = catalog.find(expected.name).expect("declared");
        let columns: Vec<[&str; 2]> = dataset
            .columns()
            .iter()
            .map(|column| [column.name(), column.header()])
            .collect();
        let known: Vec<[&str; 2]> = expected
            .columns
            .iter()
            .map(|[name, header, _]| [*name, *header])
            .collect();
        assert_eq!(columns, known);
        let defaults = Selection::default_of(dataset);
        let known: Vec<&str> = known[..expected.default]
            .iter()
            .map(|[name, _]| *name)
            .collect();
        assert_eq!(defaults.names().collect::<Vec<_>>(), known);
    }
}

#[test]
fn every_dataset_is_exported_alike_by_every_strategy_with_its_filters() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    for expected in &DATASETS {
        let defaults: Vec<usize> = (0..expected.default).collect();
        for (name, value, condition) in expected.filters {
            let csv = expected.csv(&database, &defaults, condition);
            for strategy in Strategy::all() {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair(name, value)
                    .append_pair("strategy", strategy.name())
                    .finish();
                let got = download_of(&server.address, expected.name, &query);
                assert!(got == csv, "{} {query}", expected.name);
            }
        }
        for strategy in Strategy::all() {
            let csv = expected.csv(&database, &defaults, "true");
            let flags = [
                expected.name.to_owned(),
                format!("--strategy={}", strategy.name()),
            ];
            assert!(
                export(&database.url, &flags) == csv,
                "{} {strategy:?}",
                expected.name
            );
        }
    }
}

#[test]
fn any_columns_in_any_order_come_out_as_psql_has_them() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let choices = (0..DATASETS.len()).prop_flat_map(|dataset| {
        let columns: Vec<usize> = (0..DATASETS[dataset].columns.len()).collect();
        let count = columns.len();
        let chosen = proptest::sample::subsequence(columns, 1..=count).prop_shuffle();
        (proptest::strategy::Just(dataset), chosen)
    });
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((dataset, columns) in choices)| {
        let expected = &DATASETS[dataset];
        let csv = expected.csv(&database, &columns, "true");
        for strategy in Strategy::all() {
            let query = format!("strategy={}&columns={}", strategy.name(), expected.names(&columns));
            let got = download_of(&server.address, expected.name, &query);
            prop_assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&csv), "{} {}", expected.name, query);
        }
    });
}

#[test]
fn a_line_of_one_column_is_as_psql_has_it() {
    let database = TestDatabase::with(
        r"insert into locations values (1, '\.'), (2, ''), (3, '\.x'), (4, ' '); insert into users values (1, '\.');
          insert into assets values (1, '\.', '\.', 1), (2, 'b', '', 2);
          insert into tasks values (1, '\.', '\.', true, 1, 1, null), (2, '', '', false, 2, 1, 1)",
    );
    for expected in &DATASETS {
        for (column, [name, ..]) in expected.columns.iter().enumerate() {
            let csv = expected.csv(&database, &[column], "true");
            for strategy in Strategy::all() {
                let flags = [
                    expected.name.to_owned(),
                    format!("--columns={name}"),
                    format!("--strategy={}", strategy.name()),
                ];
                let got = export(&database.url, &flags);
                assert_eq!(
                    String::from_utf8_lossy(&got),
                    String::from_utf8_lossy(&csv),
                    "{} {name} {strategy:?}",
                    expected.name
                );
            }
        }
    }
}

#[test]
fn a_preview_has_the_columns_that_are_chosen_and_the_manifest_names_them() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let preview = Download::start(
        &server.address,
        "/api/assets?columns=location,id&name=plain",
    )
    .json();
    assert_eq!(preview["count"], 1);
    let row = preview["rows"][0].as_object().expect("an object");
    assert_eq!(row.keys().collect::<Vec<_>>(), ["ID", "Location"]);
    download_of(
        &server.address,
        "assets",
        "columns=location,id&location_id=3&export_id=a",
    );
    let manifest = Download::start(&server.address, "/api/exports/a").json();
    assert_eq!(manifest["dataset"], "assets");
    assert_eq!(manifest["columns"], json!(["location", "id"]));
    assert_eq!(manifest["filter"], json!({"location_id": 3}));
    assert_ne!(manifest["sha256"], Value::Null);
}
