//! Excel workbooks, as another program reads them.

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use calamine::{Data, Reader, Xlsx};
use diesel_export::Strategy;
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::support::datasets::{DATASETS, Expected};
use crate::support::program::{export, program, stderr};
use crate::support::workbook::without_about;
use crate::support::{TestDatabase, data, python};

/// All columns of a dataset, as a workbook, by the command line.
fn workbook(database: &TestDatabase, dataset: &Expected, strategy: Strategy) -> Vec<u8> {
    let all: Vec<usize> = (0..dataset.columns.len()).collect();
    let flags = [
        dataset.name.to_owned(),
        "--format=xlsx".to_owned(),
        format!("--strategy={}", strategy.name()),
        format!("--columns={}", dataset.names(&all)),
    ];
    export(&database.url, &flags)
}

/// The cell that a value has to be.
fn cell(value: &Value) -> Data {
    match value {
        Value::Null => Data::Empty,
        Value::String(text) => Data::String(text.clone()),
        number => {
            let integer = number.as_i64().expect("an integer");
            if integer.unsigned_abs() <= 1 << 53 {
                Data::Float(integer as f64)
            } else {
                Data::String(integer.to_string())
            }
        }
    }
}

/// Holds a dataset's workbooks, by every strategy, against what psql says.
fn check(database: &TestDatabase, dataset: &Expected) {
    let bytes = same_by_all(dataset, |strategy| workbook(database, dataset, strategy));
    is_what_psql_says(bytes, database, dataset);
}

/// A dataset's workbook, which has to be the same by every strategy, but for what it says of its making.
pub(crate) fn same_by_all(dataset: &Expected, workbook: impl Fn(Strategy) -> Vec<u8>) -> Vec<u8> {
    let bytes = workbook(Strategy::default());
    let parts = without_about(&bytes);
    for strategy in Strategy::all() {
        assert!(
            without_about(&workbook(*strategy)) == parts,
            "{} {strategy:?}",
            dataset.name
        );
    }
    bytes
}

/// Holds a workbook of all of a dataset's columns against what psql says.
pub(crate) fn is_what_psql_says(bytes: Vec<u8>, database: &TestDatabase, dataset: &Expected) {
    let expected = dataset.values(database);
    assert!(!expected.is_empty());
    let mut read = Xlsx::new(Cursor::new(bytes)).expect("a workbook");
    let title = dataset.name[..1].to_uppercase() + &dataset.name[1..];
    assert_eq!(read.sheet_names(), [title.as_str(), "About"]);
    let range = read.worksheet_range(&title).expect("a sheet");
    let headers = dataset.columns.iter();
    let headers: Vec<Value> = headers.map(|[_, header, _]| (*header).into()).collect();
    for (row, values) in std::iter::once(&headers).chain(&expected).enumerate() {
        for (column, value) in values.iter().enumerate() {
            let found = range.get_value((row as u32, column as u32));
            assert_eq!(
                found.unwrap_or(&Data::Empty),
                &cell(value),
                "{} {row} {column}",
                dataset.name
            );
        }
    }
    assert_eq!(range.height(), expected.len() + 1);
}

/// What openpyxl reads in a workbook.
pub(crate) fn openpyxl(workbook: &[u8]) -> Vec<Vec<Value>> {
    let mut reader = python::tool("python")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/openpyxl/read.py"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut stdin = reader.stdin.take().expect("piped");
    stdin.write_all(workbook).expect("read");
    drop(stdin);
    let output = reader.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let lines = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    lines.map(|line| line.expect("JSON")).collect()
}

/// Whether it is a workbook, and not a part of one.
fn is_workbook(bytes: &[u8]) -> bool {
    Xlsx::new(Cursor::new(bytes)).is_ok()
}

#[test]
fn every_dataset_is_read_back_as_psql_has_it_and_is_the_same_by_every_strategy() {
    let database = data::hostile();
    for dataset in &DATASETS {
        check(&database, dataset);
    }
}

#[test]
fn texts_that_a_workbook_can_get_wrong_and_random_ones_are_read_back() {
    let mut texts: Vec<String> = [
        "_x0041_",
        "_x0041\u{1}",
        "\u{1}x0041_",
        "_x005F_x0041_",
        "__x00e9__",
        "\u{FFFE}\u{FFFF}\u{FFFD}",
        "<c>&amp;]]><![CDATA[",
        "http://example.org/",
        "1234567",
        "TRUE",
        "#N/A",
        "  \n\t ",
        "\u{85}\u{2028}\u{a0}",
    ]
    .map(str::to_owned)
    .to_vec();
    // As long as Excel takes them.
    texts.push("x".repeat(32_767));
    texts.push("🛠".repeat(16_383));
    let mut runner = TestRunner::deterministic();
    let random = proptest::collection::vec(
        "([^\0]|[\u{1}-\u{20}]|_x[0-9a-fA-F]{3,4}|_|\"|,|&){0,12}",
        400,
    );
    texts.extend(random.new_tree(&mut runner).expect("a tree").current());
    let values: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(id, text)| format!("({id}, 'x', '{}', 1)", text.replace('\'', "''")))
        .collect();
    let database = TestDatabase::with(&format!(
        "insert into locations values (1, 'Here'); insert into assets values {}",
        values.join(",")
    ));
    let assets = DATASETS.iter().find(|dataset| dataset.name == "assets");
    check(&database, assets.expect("a dataset"));
}

/// An export to a file, with its manifest beside it.
fn export_to(database: &TestDatabase, file: &Path, more: &[&str]) -> Output {
    program(&database.url)
        .args(["export", "--output"])
        .arg(file)
        .arg("--manifest")
        .arg(file.with_extension("json"))
        .args(more)
        .output()
        .expect("the program runs")
}

#[test]
fn a_text_too_long_for_a_cell_ends_the_export_by_every_strategy_and_leaves_nothing() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks values (7, 'a', repeat('🛠', 16383), true, 1, 1, null), (9, 'b', repeat('🛠', 16384), true, 1, 1, null)",
    );
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.xlsx");
    for strategy in Strategy::all() {
        let flags = [
            "--columns=id,description",
            &format!("--strategy={}", strategy.name()),
        ];
        let output = export_to(&database, &file, &flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        let start = "cmms-export: row 2 has in the column `description` a text of more than 32767 characters";
        assert!(said.starts_with(start), "{said}");
        assert!(!file.exists());
        let manifest = std::fs::read(file.with_extension("json")).expect("written");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(
            (&manifest["state"], &manifest["error"]),
            (&"failed".into(), &"text-too-long".into())
        );

        let to_stdout = program(&database.url)
            .args(["export", "--format=xlsx"])
            .args(flags)
            .output()
            .expect("the program runs");
        assert_eq!(to_stdout.status.code(), Some(1), "{to_stdout:?}");
        assert!(!is_workbook(&to_stdout.stdout));
    }
    // A CSV has room for it.
    let csv = export_to(
        &database,
        &directory.path().join("tasks.csv"),
        &["--columns=id,description"],
    );
    assert!(csv.status.success(), "{csv:?}");
}

#[test]
fn the_rows_of_a_workbook_can_be_capped() {
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.xlsx");
    for strategy in Strategy::all() {
        let strategy = format!("--strategy={}", strategy.name());
        let output = export_to(&database, &file, &["--max-xlsx-rows=51", &strategy]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(
            said.starts_with("cmms-export: there are more than 51 rows"),
            "{said}"
        );
        assert!(!file.exists());
    }
    let enough = export_to(&database, &file, &["--max-xlsx-rows=52"]);
    assert!(enough.status.success() && file.exists(), "{enough:?}");
    let csv = export_to(
        &database,
        &directory.path().join("tasks.csv"),
        &["--max-xlsx-rows=1"],
    );
    assert!(csv.status.success(), "{csv:?}");
}

#[test]
fn a_workbook_that_is_cut_anywhere_or_changed_is_not_whole() {
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("Tasks.XLSX");
    let output = export_to(&database, &file, &[]);
    assert!(output.status.success(), "{output:?}");
    let manifest = file.with_extension("json");
    let json: Value =
        serde_json::from_slice(&std::fs::read(&manifest).expect("written")).expect("JSON");
    let whole = std::fs::read(&file).expect("written");
    assert_eq!(json["format"], "xlsx");
    assert_eq!(
        (&json["preset"], &json["delimiter"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&json["rows"], &json["bytes"]),
        (&52.into(), &whole.len().into())
    );
    let verify = |bytes: &[u8]| {
        std::fs::write(&file, bytes).expect("written");
        program(&database.url)
            .arg("verify")
            .arg(&file)
            .arg("--manifest")
            .arg(&manifest)
            .output()
            .expect("the program runs")
    };
    let verdict = verify(&whole);
    assert!(verdict.status.success(), "{verdict:?}");
    assert_eq!(
        String::from_utf8_lossy(&verdict.stdout),
        format!("complete: 52 rows, {} bytes\n", whole.len())
    );
    let lengths = (0..whole.len()).step_by(whole.len() / 40);
    for length in lengths.chain([whole.len() - 1]) {
        let verdict = verify(&whole[..length]);
        assert_eq!(verdict.status.code(), Some(1), "{length}: {verdict:?}");
        assert!(stderr(&verdict).contains("not complete"), "{verdict:?}");
        assert!(!is_workbook(&whole[..length]), "{length}");
    }
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    assert_eq!(verify(&changed).status.code(), Some(1));
    let longer = [&whole[..], b"\0"].concat();
    assert_eq!(verify(&longer).status.code(), Some(1));
}

#[test]
fn the_format_is_said_or_is_that_of_the_outputs_name_and_what_is_of_csv_is_refused() {
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let starts = |name: &str, flags: &[&str], start: &[u8]| {
        let file = directory.path().join(name);
        let output = export_to(&database, &file, flags);
        assert!(output.status.success(), "{output:?}");
        let bytes = std::fs::read(&file).expect("written");
        assert!(bytes.starts_with(start), "{name} {flags:?}");
    };
    starts("a.xlsx", &[], b"PK");
    starts("a.csv", &["--format=xlsx"], b"PK");
    starts("b.xlsx", &["--format=csv", "--preset=data"], b"ID,Title");
    for flag in ["--preset=data", "--delimiter=;"] {
        let output = export_to(&database, &directory.path().join("c.xlsx"), &[flag]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        assert!(
            said.contains("is of CSV alone: other formats have none"),
            "{said}"
        );
    }
    // In the environment, it is for all exports that are CSV.
    let file = directory.path().join("d.xlsx");
    let output = program(&database.url)
        .args(["export", "--output"])
        .arg(&file)
        .env("CMMS_PRESET", "excel")
        .output()
        .expect("the program runs");
    assert!(output.status.success() && file.exists(), "{output:?}");
}
