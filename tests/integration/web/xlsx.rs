//! Excel workbooks over HTTP: sent when they are complete, or not at all.

use std::io::{Read, Write};
use std::net::TcpStream;

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use serde_json::{Value, json};

use crate::export::xlsx::{is_what_psql_says, openpyxl, same_by_all};
use crate::support::client::{Download, End, download, send};
use crate::support::datasets::{DATASETS, Expected};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::{program, stderr};
use crate::support::workbook::without_about;
use crate::support::{Server, TestDatabase, data, eventually, oracle};

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

fn serve(database: &TestDatabase, flags: &[&str]) -> Server {
    Server::spawn(program(&database.url).arg("serve").args(flags))
}

fn used(server: &Server) -> f64 {
    server.metric("cmms_export_spool_used_bytes ")
}

/// Downloads a workbook that must be complete.
fn workbook(server: &Server, path: &str) -> Vec<u8> {
    let download = Download::start(&server.address, path);
    assert_eq!(download.status, 200, "{path}");
    download.whole()
}

/// A dataset's workbook with all columns, which has to be the same by every strategy.
fn all_columns(server: &Server, dataset: &Expected) -> Vec<u8> {
    let all: Vec<usize> = (0..dataset.columns.len()).collect();
    let columns = dataset.names(&all);
    same_by_all(dataset, |strategy| {
        let (name, strategy) = (dataset.name, strategy.name());
        workbook(
            server,
            &format!("/{name}.xlsx?strategy={strategy}&columns={columns}"),
        )
    })
}

/// A database whose workbook is as large as its texts: 100,000 that nothing can compress much, 6 MB.
fn incompressible() -> TestDatabase {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         set session_replication_role = replica;
         insert into tasks select n, md5(n::text) || md5((-n)::text), '', true, 1, 1, null from generate_series(1, 100000) n;
         reset session_replication_role",
    );
    database
        .connect()
        .batch_execute("vacuum analyze")
        .expect("ours");
    database
}

#[test]
fn every_dataset_is_what_psql_says_as_two_readers_read_it_by_every_strategy() {
    let database = data::hostile();
    let server = serve(&database, &[]);
    for dataset in &DATASETS {
        let bytes = all_columns(&server, dataset);
        let lines = openpyxl(&bytes);
        let values = dataset.values(&database);
        let title = dataset.name[..1].to_uppercase() + &dataset.name[1..];
        let last = char::from(b'A' + dataset.columns.len() as u8 - 1);
        let cells = format!("A1:{last}{}", values.len() + 1);
        assert_eq!(
            lines[0],
            [
                json!(title),
                json!(true),
                json!("A2"),
                json!(title),
                json!(cells),
                json!("$1:$1")
            ]
        );
        let headers = dataset.columns.iter();
        let headers: Vec<Value> = headers.map(|[_, header, _]| (*header).into()).collect();
        assert_eq!(lines[1], headers);
        let about = &lines[2 + values.len()..];
        assert_eq!(about[0], [json!("About")]);
        let is_said = |name: &str, value: Value| {
            let mut about = about.iter();
            assert!(
                about.any(|line| *line == [json!(name), value.clone()]),
                "{name}"
            );
        };
        is_said("Dataset", json!(dataset.name));
        is_said("Filter", json!("none: all rows"));
        is_said("Rows", json!(values.len()));
        is_said("Source", json!("primary"));
        let rows = &lines[2..2 + values.len()];
        for (read, values) in rows.iter().zip(&values) {
            for (read, value) in read.iter().zip(values) {
                match value.as_i64() {
                    // A number of a spreadsheet has no more digits.
                    Some(large) if large.unsigned_abs() > 1 << 53 => {
                        assert_eq!(read, &json!(large.to_string()));
                    }
                    _ => assert_eq!(read, value, "{}", dataset.name),
                }
            }
        }
        is_what_psql_says(bytes, &database, dataset);
    }
}

#[test]
fn the_response_is_a_file_of_known_length_that_its_manifest_tells_of() {
    let database = data::hostile();
    let server = serve(&database, &["--compression=on"]);
    let path = "/tasks.xlsx?done=true&columns=title,id&strategy=copy&export_id=one";
    let headers = [
        ("Host", server.address.as_str()),
        ("Accept-Encoding", "gzip, zstd"),
    ];
    let response = Download::request(&server.address, "GET", path, &headers);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some(XLSX));
    let disposition = response.header("content-disposition").expect("there");
    assert!(
        disposition.starts_with("attachment; filename=\"tasks-done-")
            && disposition.contains(".xlsx\"; filename*=UTF-8''tasks-done-")
            && disposition.ends_with(".xlsx"),
        "{disposition}"
    );
    for (name, value) in [
        ("cache-control", Some("no-store, no-transform")),
        ("x-export-id", Some("one")),
        ("x-export-strategy", Some("copy")),
        ("x-export-source", Some("primary")),
        ("content-encoding", None),
        ("transfer-encoding", None),
        ("vary", None),
    ] {
        assert_eq!(response.header(name), value, "{name}");
    }
    let bytes = response.whole();
    let manifest = server.ended("one");
    for (name, value) in [
        ("state", json!("complete")),
        ("format", json!("xlsx")),
        ("preset", Value::Null),
        ("delimiter", Value::Null),
        ("bytes", json!(bytes.len())),
        ("columns", json!(["title", "id"])),
    ] {
        assert_eq!(manifest[name], value, "{name}: {manifest}");
    }
    let known = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(known.path(), manifest.to_string()).expect("written");
    let verify = |bytes: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        program(&database.url)
            .arg("verify")
            .arg(file.path())
            .arg("--manifest")
            .arg(known.path())
            .output()
            .expect("the program runs")
    };
    assert!(verify(&bytes).status.success());
    for length in (0..bytes.len()).step_by(bytes.len() / 7) {
        let verdict = verify(&bytes[..length]);
        assert!(stderr(&verdict).contains("not complete"), "{verdict:?}");
    }

    // Its length shows whether it is complete, even without chunks.
    let mut old = TcpStream::connect(&server.address).expect("it listens");
    write!(
        old,
        "GET /tasks.xlsx HTTP/1.0\r\nHost: {}\r\n\r\n",
        server.address
    )
    .expect("sent");
    let old = Download::read(old);
    assert_eq!(old.status, 200);
    let new = workbook(&server, "/tasks.xlsx");
    assert!(without_about(&old.whole()) == without_about(&new));

    let head = Download::request(&server.address, "HEAD", "/tasks.xlsx?done=true", &headers);
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some(XLSX))
    );
    assert!(
        head.header("content-disposition")
            .is_some_and(|name| name.ends_with(".xlsx"))
    );
}

#[test]
fn what_is_of_csv_alone_and_what_is_not_understood_is_a_400() {
    let database = TestDatabase::new();
    let server = serve(&database, &[]);
    for (query, named) in [
        ("preset=excel", "`preset`: is of CSV"),
        ("delimiter=;", "`delimiter`: is of CSV"),
        ("format=xlsx", "`format`"),
        ("columns=colour", "`columns`"),
        ("done=perhaps", "`done`"),
    ] {
        let path = format!("/tasks.xlsx?{query}");
        let refused = Download::start(&server.address, &path);
        assert_eq!(refused.status, 400, "{query}");
        let problem = refused.json();
        let detail = problem["detail"].as_str().expect("there is more to say");
        assert!(detail.contains(named), "{query}: {detail}");
        let host = [("Host", server.address.as_str())];
        let head = Download::request(&server.address, "HEAD", &path, &host);
        assert_eq!(head.status, 400, "{query}");
    }
    assert_eq!(
        &workbook(&server, "/tasks.xlsx?preset=&delimiter=&title=")[..2],
        b"PK"
    );
}

#[test]
fn what_excel_does_not_take_is_a_422_and_the_csv_has_it() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks values (1, 'a', '', true, 1, 1, null), (2, 'b', repeat('x', 32768), true, 1, 1, null)",
    );
    let server = serve(&database, &["--max-xlsx-rows=1"]);
    for strategy in Strategy::all() {
        let name = strategy.name();
        for (query, kind, said) in [
            (
                "title=b&columns=description",
                "text-too-long",
                "row 1 has in the column `description` a text of more than 32767",
            ),
            ("", "too-many-rows", "more than 1 rows"),
        ] {
            // The id is free again after each.
            let path = format!("/tasks.xlsx?strategy={name}&export_id={name}&{query}");
            let refused = Download::start(&server.address, &path);
            assert_eq!(refused.status, 422, "{name} {query}");
            let problem = refused.json();
            assert_eq!(problem["type"], format!("urn:cmms-export:problem:{kind}"));
            let detail = problem["detail"].as_str().expect("there is more to say");
            assert!(detail.contains(said), "{detail}");
            let manifest = server.ended(name);
            assert_eq!(
                (&manifest["state"], &manifest["error"]),
                (&json!("failed"), &json!(kind))
            );
        }
        workbook(
            &server,
            &format!("/tasks.xlsx?strategy={name}&export_id={name}&title=a"),
        );
    }
    download(&server.address, "columns=description");
    eventually("all space is free", || used(&server) == 0.0);
}

/// Demands that a workbook is refused for want of room, while a CSV is not.
fn has_no_room(server: &Server, database: &TestDatabase, error: &str) {
    for strategy in Strategy::all() {
        let name = strategy.name();
        let path = format!("/tasks.xlsx?strategy={name}&export_id={name}");
        let refused = Download::start(&server.address, &path);
        assert_eq!(refused.status, 507, "{name}");
        assert!(refused.header("retry-after").is_some(), "{name}");
        assert_eq!(refused.header("x-export-id"), Some(name));
        assert_eq!(refused.json()["type"], "urn:cmms-export:problem:spool-full");
        let manifest = server.ended(name);
        let told = (&manifest["state"], &manifest["error"]);
        assert_eq!(told, (&json!("failed"), &json!(error)), "{name}");
        eventually("its space is free", || used(server) == 0.0);
    }
    assert!(download(&server.address, "") == oracle::copy(database, "true", ','));
    assert_eq!(gate::running_queries(database), 0);
    // There is room for less.
    workbook(server, "/tasks.xlsx?title=00000");
}

#[test]
fn a_spool_without_room_is_a_507_and_csv_needs_none() {
    let database = incompressible();
    let server = serve(&database, &["--spool-size=1MiB"]);
    has_no_room(&server, &database, "spool-full");
}

#[test]
fn a_disk_without_room_is_a_507_and_csv_needs_none() {
    let database = incompressible();
    let directory = tempfile::tempdir().expect("a directory");
    let server = super::spool::serve_on_a_small_disk(&database, directory.path());
    has_no_room(&server, &database, "disk-full");
}

#[test]
fn without_a_spool_there_are_no_workbooks() {
    let database = data::hostile();
    let server = serve(&database, &["--spool-size=0"]);
    let refused = Download::start(&server.address, "/tasks.xlsx");
    assert_eq!(refused.status, 507);
    let problem = refused.json();
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("no spool"))
    );
    download(&server.address, "");
}

#[test]
fn a_workbook_that_is_made_has_a_place_among_the_exports_and_until_it_is_sent_one_among_the_downloads()
 {
    let database = incompressible();
    let server = serve(&database, &["--max-exports=1", "--max-downloads=2"]);
    let slow = Download::start(&server.address, "/tasks.xlsx?export_id=slow");
    assert_eq!(slow.status, 200);
    let manifest = server.manifest("slow");
    assert_eq!(manifest["state"], "running", "{manifest}");
    assert!(manifest["loaded_seconds"].is_f64() && used(&server) > 1e6);
    // The only place on the database is another one's, and so is the last one among the downloads.
    let second = Download::start(&server.address, "/tasks.xlsx");
    assert_eq!(second.status, 200);
    assert_eq!(Download::start(&server.address, "/tasks.csv").status, 503);
    assert!(without_about(&slow.whole()) == without_about(&second.whole()));
    assert_eq!(server.ended("slow")["state"], "complete");
    eventually("their space is free", || used(&server) == 0.0);
    download(&server.address, "");
}

#[test]
fn while_a_workbook_is_made_it_is_followed_and_no_byte_is_sent() {
    let gated = Gated::new();
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=1"]));
    for strategy in Strategy::unbuffered() {
        let mut gate = Gate::close(&gated, ROWS - 1);
        let name = strategy.name();
        let path = format!("/tasks.xlsx?strategy={name}&export_id={name}");
        let mut waiting = send(&server.address, "GET", &path, &[("Host", &server.address)]);
        gate.reached();
        assert_eq!(Download::start(&server.address, "/tasks.csv").status, 503);
        waiting.set_nonblocking(true).expect("ours");
        let early = waiting.read(&mut [0]).expect_err("nothing is sent");
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock, "{name}");
        assert_eq!(server.manifest(name)["state"], "running", "{name}");
        waiting.set_nonblocking(false).expect("ours");
        drop(gate);
        let workbook = Download::read(waiting);
        assert_eq!(workbook.status, 200, "{name}");
        workbook.whole();
        assert_eq!(server.ended(name)["rows"], ROWS, "{name}");
    }
}

#[test]
fn a_workbook_that_is_being_sent_is_stopped_by_a_delete_and_by_a_client_that_takes_nothing() {
    let database = incompressible();
    let server = serve(&database, &["--reader-timeout=2"]);
    for (id, state, error) in [
        ("stopped", "cancelled", Value::Null),
        ("gone", "cancelled", Value::Null),
        ("stalled", "failed", json!("reader-timeout")),
    ] {
        let path = format!("/tasks.xlsx?export_id={id}");
        let mut sent = Some(Download::start(&server.address, &path));
        match id {
            "stopped" => {
                let url = server.url("/api/exports/stopped");
                ureq::delete(url).call().expect("known");
            }
            "gone" => sent = None,
            _ => {}
        }
        let manifest = server.ended(id);
        let told = (&manifest["state"], &manifest["error"]);
        assert_eq!(told, (&json!(state), &error), "{id}");
        assert_eq!(manifest["sha256"], Value::Null, "{id}");
        if let Some(sent) = sent {
            assert_eq!(sent.rest().1, End::Broken, "{id}");
        }
    }
    eventually("all space is free", || used(&server) == 0.0);
}
