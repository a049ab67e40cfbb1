//! Properties that hold for arbitrary data and arbitrary filters.

use cmms_export::models::{NewAsset, NewLocation, NewTask, NewUser};
use cmms_export::schema::{assets, locations, tasks, users};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_export::Strategy;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use crate::support::client::{Download, End, download};
use crate::support::{Server, TestDatabase, data, oracle};

/// Text that PostgreSQL can hold, more often than not of characters that matter to a CSV.
fn text() -> impl Generator<Value = String> {
    let character = prop_oneof![
        proptest::sample::select(
            ",;\t\"'\r\n\\. =+-@|\u{feff}%_aé🛠"
                .chars()
                .collect::<Vec<_>>()
        ),
        any::<char>().prop_filter("no NUL in PostgreSQL", |character| *character != '\0'),
    ];
    proptest::collection::vec(character, 0..=100).prop_map(String::from_iter)
}

/// A task with a text of its own in every column: title, asset, location, creator and, maybe, editor.
fn row() -> impl Generator<Value = (String, String, String, bool, String, Option<String>)> {
    (
        text(),
        text(),
        text(),
        any::<bool>(),
        text(),
        proptest::option::of(text()),
    )
}

fn config(cases: u32) -> ProptestConfig {
    // The failing case is in the panic's message; no file remembers it.
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn what_a_csv_reader_reads_back_is_what_was_stored_and_excel_gets_no_formula() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let connection = std::cell::RefCell::new(database.connect());
    let delimiters = || proptest::sample::select(vec![("%2C", ','), ("%3B", ';'), ("tab", '\t')]);
    proptest!(config(48), |(rows in proptest::collection::vec(row(), 0..12), (name, delimiter) in delimiters())| {
        let connection = &mut *connection.borrow_mut();
        connection.batch_execute("truncate tasks, assets, users, locations").expect("ours");
        let mut expected = Vec::new();
        for (title, asset, location, done, creator, editor) in &rows {
            let location_id: i64 = diesel::insert_into(locations::table)
                .values(NewLocation { name: location })
                .returning(locations::id).get_result(connection).expect("inserted");
            let asset_id: i64 = diesel::insert_into(assets::table)
                .values(NewAsset { name: asset, description: title, location_id })
                .returning(assets::id).get_result(connection).expect("inserted");
            let mut user = |username: &String| -> i64 {
                diesel::insert_into(users::table).values(NewUser { username })
                    .returning(users::id).get_result(connection).expect("inserted")
            };
            let (created_by_id, updated_by_id) = (user(creator), editor.as_ref().map(user));
            let id: i64 = diesel::insert_into(tasks::table)
                .values(NewTask { title, description: asset, done: *done, asset_id, created_by_id, updated_by_id })
                .returning(tasks::id).get_result(connection).expect("inserted");
            let done = if *done { "Done" } else { "Not Done" };
            let editor = editor.clone().unwrap_or_default();
            expected.push([&id.to_string(), title, asset, location, done, creator, &editor].map(str::to_owned).to_vec());
        }
        let for_excel = oracle::copy_for_excel(&database, "true", delimiter);
        for strategy in Strategy::all() {
            let query = format!("preset=excel&delimiter={name}&strategy={}", strategy.name());
            prop_assert!(download(&server.address, &query) == for_excel, "{}", query);
            let csv = download(&server.address, &format!("strategy={}", strategy.name()));
            let read: Result<Vec<Vec<String>>, _> = csv::Reader::from_reader(csv.as_slice()).deserialize().collect();
            prop_assert_eq!(&read.expect("well-formed"), &expected, "{}", strategy.name());
        }
    });
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The ids in a CSV.
fn ids(csv: &[u8]) -> Vec<i64> {
    let mut reader = csv::Reader::from_reader(csv);
    reader
        .records()
        .map(|record| record.expect("well-formed")[0].parse().expect("a number"))
        .collect()
}

/// Asks for an export with one parameter; `None` if it is refused.
fn filtered(server: &Server, strategy: &Strategy, name: &str, value: &str) -> Option<Vec<i64>> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("strategy", strategy.name())
        .append_pair(name, value)
        .finish();
    let download = Download::start(&server.address, &format!("/tasks.csv?{query}"));
    match download.status {
        400 => None,
        200 => {
            let (csv, end) = download.finish();
            assert_eq!(end, End::Clean);
            Some(ids(&csv))
        }
        status => panic!("{status} for {query}"),
    }
}

#[test]
fn a_title_is_refused_or_finds_what_a_bound_parameter_finds() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let connection = std::cell::RefCell::new(database.connect());
    // Short, so that there is something to find; and any, which must at least do no harm.
    let titles = prop_oneof![
        proptest::collection::vec(
            proptest::sample::select("\"'\\%_,aeÜßı\0\n 🛠.=+-1".chars().collect::<Vec<_>>()),
            1..3
        )
        .prop_map(String::from_iter),
        any::<String>(),
    ];
    proptest!(config(96), |(title in titles)| {
        for strategy in Strategy::all() {
            match filtered(&server, strategy, "title", &title) {
                None => prop_assert!(title.contains('\0')),
                Some(found) => {
                    let expected: Vec<Id> = diesel::sql_query(
                        "select id from tasks where position(lower($1) in lower(title)) > 0 order by id",
                    )
                    .bind::<Text, _>(&title)
                    .load(&mut *connection.borrow_mut())
                    .expect("no NUL");
                    prop_assert_eq!(found, expected.into_iter().map(|row| row.id).collect::<Vec<_>>());
                }
            }
        }
    });
}

#[test]
fn an_id_is_refused_or_finds_what_a_bound_parameter_finds() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let connection = std::cell::RefCell::new(database.connect());
    let values = prop_oneof![
        (-3_i64..60).prop_map(|id| id.to_string()),
        any::<i64>().prop_map(|id| id.to_string()),
        any::<i128>().prop_map(|id| id.to_string()),
        "[-+ 0-9'x]{1,4}",
        any::<String>(),
    ];
    let columns = proptest::sample::select(vec![
        ("asset_id", "t.asset_id"),
        ("location_id", "a.location_id"),
        ("created_by_id", "t.created_by_id"),
        ("updated_by_id", "t.updated_by_id"),
    ]);
    proptest!(config(96), |(value in values, (parameter, column) in columns)| {
        // Blanks around it count for nothing.
        let number: Option<i64> = value.trim().parse().ok();
        for strategy in Strategy::all() {
            let found = filtered(&server, strategy, parameter, &value);
            // Nothing at all was asked for.
            if value.is_empty() {
                prop_assert!(found.is_some());
                continue;
            }
            prop_assert_eq!(found.is_some(), number.is_some(), "{}", value);
            if let (Some(found), Some(number)) = (found, number) {
                let expected: Vec<Id> = diesel::sql_query(format!(
                    "select t.id from tasks t join assets a on a.id = t.asset_id where {column} = $1 order by t.id"
                ))
                .bind::<BigInt, _>(number)
                .load(&mut *connection.borrow_mut())
                .expect("readable");
                prop_assert_eq!(found, expected.into_iter().map(|row| row.id).collect::<Vec<_>>());
            }
        }
    });
}
