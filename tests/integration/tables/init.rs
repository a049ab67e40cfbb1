//! `datasets init`: the file of what a database has.

use std::fmt::Write as _;
use std::process::Output;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;

use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::{TestDatabase, program};

const EXPECTED: &str = include_str!("init.toml");

pub(super) fn init(url: &str, arguments: &[&str]) -> Output {
    let mut command = program(url);
    command.args(["datasets", "init"]).args(arguments);
    command.output().expect("the program runs")
}

pub(super) fn file(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Asserts that two files are the same, but for the database's name.
fn assert_same(file: &str, expected: &str) {
    let lines = |text: &str| -> Vec<String> { text.lines().skip(1).map(str::to_owned).collect() };
    let (file, expected) = (lines(file), lines(expected));
    for (number, (got, right)) in file.iter().zip(&expected).enumerate() {
        assert_eq!(got, right, "line {}", number + 2);
    }
    assert_eq!(file.len(), expected.len());
}

#[test]
fn the_file_has_each_table_and_view_of_the_schemas_with_columns_references_and_filters() {
    let database = TestDatabase::with(super::SCHEMA);
    let output = init(&database.url, &["--schema", "shop", "--schema", "other"]);
    let file = file(output);
    assert!(file.starts_with(&format!(
        "# The datasets of the database {},",
        database.name()
    )));
    assert_same(&file, EXPECTED);
}

#[test]
fn without_a_schema_it_is_public_and_a_file_is_written_where_it_is_said() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("datasets.toml");
    let output = init(&database.url, &["--output", path.to_str().expect("UTF-8")]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let file = std::fs::read_to_string(path).expect("written");
    let tables: Vec<&str> = file
        .lines()
        .filter_map(|line| line.strip_prefix("table = "))
        .collect();
    let expected = [
        "__diesel_schema_migrations",
        "assets",
        "locations",
        "tasks",
        "users",
    ];
    let expected = expected.map(|name| format!("\"public.{name}\""));
    assert_eq!(tables, expected);
}

#[test]
fn what_the_role_may_not_read_is_left_out_and_named() {
    let database = TestDatabase::with(super::SCHEMA);
    let role = format!("reader_of_{}", database.name());
    let sql = format!(
        "create role {role} login password '{PASSWORD_VERIFIER}'; grant usage on schema shop to {role};
         grant select on shop.orders to {role}; grant select (id, name) on shop.staff to {role}"
    );
    database
        .connect()
        .batch_execute(&sql)
        .expect("the SQL runs");
    let url = as_role(&database.url, &role);
    let file = file(init(&url, &["--schema", "shop", "--schema", "other"]));
    let nothing = init(&url, &[]);
    let sql = format!("drop owned by {role}; drop role {role}");
    database
        .connect()
        .batch_execute(&sql)
        .expect("the SQL runs");
    let left_out = "# The role may not read, so left out: shop.\"Größe, ";
    assert!(file.contains(left_out), "{file}");
    assert!(!file.contains("table = \"shop.secrets\""), "{file}");
    let staff = "# The role may not read these columns: salary, desk\n[[dataset]]\nname = \"staff\"\nrow = \"staff\"\ntable = \"shop.staff\"\n";
    assert!(file.contains(staff), "{file}");
    assert!(!file.contains("name = \"salary\""), "{file}");
    // What orders refer to is hidden.
    assert!(
        file.contains("name = \"customer_id\"") && !file.contains("via"),
        "{file}"
    );
    let said = String::from_utf8_lossy(&nothing.stderr);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        said.contains("no table and no view in public that the role may read"),
        "{said}"
    );
}

#[test]
fn a_schema_that_is_not_there_is_an_error_that_names_those_that_are() {
    let database = TestDatabase::with(super::SCHEMA);
    let output = init(&database.url, &["--schema", "sjop"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        "cmms-export: there is no schema `sjop` to export: the schemas are other, public, shop";
    assert_eq!(said.trim_end(), expected);
    let output = program("")
        .args(["datasets", "init"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn two_hundred_tables_take_less_than_two_seconds() {
    let mut sql = String::new();
    for table in 0..200 {
        let _ = write!(sql, "create table t{table} (id bigint primary key, ");
        for column in 0..15 {
            let _ = write!(sql, "c{column} text, ");
        }
        let _ = writeln!(sql, "parent bigint references t{});", table / 2);
    }
    let database = TestDatabase::with(&format!(
        "create schema many; set search_path = many; {sql}"
    ));
    // As on a server that compiles whatever costs more than a little.
    let compiled = [
        "jit = on",
        "jit_above_cost = 0",
        "jit_inline_above_cost = 0",
        "jit_optimize_above_cost = 0",
    ];
    for setting in compiled {
        let sql = format!("alter database {} set {setting}", database.name());
        database
            .connect()
            .batch_execute(&sql)
            .expect("the SQL runs");
    }
    let started = Instant::now();
    let file = file(init(&database.url, &["--schema", "many"]));
    let taken = started.elapsed();
    assert_eq!(file.matches("[[dataset]]").count(), 200);
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}
