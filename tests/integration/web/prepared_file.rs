//! The file of a prepared export: psql's bytes, in parts and on conditions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diesel_export::Strategy;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::client::{Download, download};
use crate::support::gate::{Gate, Gated};
use crate::support::prepared::{by, complete, delete, get, head, order, prepare};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, data, eventually, oracle};

#[test]
fn every_strategy_prepares_psqls_bytes() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let expected = oracle::copy(&database, "true", ',');
    for strategy in Strategy::all() {
        let (id, file) = prepare(&server, &by(strategy.name()));
        assert_eq!(file, format!("/exports/{id}/tasks.csv"));
        let answer = get(&server, &file, &[]);
        assert!(answer.body == expected, "{}", strategy.name());
        let manifest = server.manifest(&id);
        assert_eq!(manifest["strategy"], strategy.name(), "{manifest}");
        assert_eq!(manifest["bytes"], expected.len(), "{manifest}");
    }
    let open = json!({"done": false, "delimiter": ";", "columns": ["title", "id"]});
    let (_, file) = prepare(&server, &open);
    let sql = r#"copy (select title as "Title", id as "ID" from tasks where not done order by id)
        to stdout with (format csv, header, delimiter ';')"#;
    assert!(get(&server, &file, &[]).body == oracle::psql(&database, sql));
}

#[test]
fn a_workbook_is_prepared_too() {
    let database = TestDatabase::seeded(&["--tasks=50"]);
    let server = Server::start(&database.url);
    let (id, file) = prepare(&server, &json!({"dataset": "assets", "format": "xlsx"}));
    assert_eq!(file, format!("/exports/{id}/assets.xlsx"));
    let answer = get(&server, &file, &[]);
    let media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    assert_eq!(answer.header("content-type"), Some(media_type));
    let disposition = answer.header("content-disposition").expect("it is there");
    assert!(disposition.contains(".xlsx\""), "{disposition}");
    let workbook = calamine::open_workbook_auto_from_rs(std::io::Cursor::new(answer.body));
    assert_eq!(
        calamine::Reader::sheet_names(&workbook.expect("a workbook")),
        ["Assets", "About"]
    );
    assert_eq!(get(&server, &file.replace("xlsx", "csv"), &[]).status, 404);
}

#[test]
fn it_says_what_it_is_and_its_hash_is_its_tag() {
    let database = TestDatabase::seeded(&["--tasks=500"]);
    let server = Server::start(&database.url);
    let (id, file) = prepare(&server, &json!({"done": true}));
    let expected = oracle::copy(&database, "t.done", ',');
    let hash = Sha256::digest(&expected);
    let answer = get(&server, &file, &[]);
    assert_eq!(answer.status, 200);
    let etag = answer.header("etag").expect("it is there");
    let hexadecimal: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(etag, format!("\"{hexadecimal}\""));
    assert_eq!(server.manifest(&id)["sha256"], hexadecimal);
    let digest = format!("sha-256=:{}:", STANDARD.encode(hash));
    let length = expected.len().to_string();
    for (name, value) in [
        ("repr-digest", digest.as_str()),
        ("content-length", &length),
        ("accept-ranges", "bytes"),
        ("content-type", "text/csv; charset=utf-8; header=present"),
        ("cache-control", "private, no-cache, no-transform"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let disposition = answer.header("content-disposition").expect("it is there");
    assert!(
        disposition.starts_with("attachment; filename=\"tasks-done-"),
        "{disposition}"
    );
    let modified = answer.header("last-modified").expect("it is there");

    // HEAD says the same, and sends nothing: not even before the connection's next answer.
    let also = head(&server, &file, &[("Range", "bytes=0-9")]);
    assert_eq!(also.status, 200);
    for name in [
        "etag",
        "content-length",
        "last-modified",
        "repr-digest",
        "content-type",
        "accept-ranges",
        "content-disposition",
    ] {
        assert_eq!(also.header(name), answer.header(name), "{name}");
    }
    let headers = [("Host", server.address.as_str())];
    let raw = Download::request(&server.address, "HEAD", &file, &headers);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut raw.into_stream(), &mut rest).expect("the end");
    assert!(rest.is_empty(), "{} bytes", rest.len());
    let known = get(&server, &file, &[("If-Modified-Since", modified)]);
    assert_eq!((known.status, known.body.len()), (304, 0));
}

#[test]
fn it_is_sent_in_parts_and_on_conditions() {
    let database = TestDatabase::seeded(&["--tasks=500"]);
    let server = Server::start(&database.url);
    let (_, file) = prepare(&server, &json!({}));
    let whole = get(&server, &file, &[]);
    let (csv, etag) = (&whole.body, whole.header("etag").expect("it is there"));
    let length = csv.len();
    let asked = |headers: &[(&str, &str)]| get(&server, &file, headers);

    let cut = length / 2;
    let first = asked(&[("Range", &format!("bytes=0-{}", cut - 1))]);
    let rest = asked(&[("Range", &format!("bytes={cut}-")), ("If-Range", etag)]);
    assert_eq!((first.status, rest.status), (206, 206));
    assert!([first.body.as_slice(), &rest.body].concat() == *csv);
    let range = format!("bytes {cut}-{}/{length}", length - 1);
    assert_eq!(rest.header("content-range"), Some(range.as_str()));
    let rest_length = (length - cut).to_string();
    assert_eq!(rest.header("content-length"), Some(rest_length.as_str()));
    assert_eq!(rest.header("etag"), Some(etag));
    // The digest is that of the whole.
    assert_eq!(rest.header("repr-digest"), whole.header("repr-digest"));
    let last = asked(&[("Range", "bytes=-7")]);
    assert!(last.status == 206 && last.body == csv[length - 7..]);

    let other = asked(&[("Range", "bytes=5-"), ("If-Range", "\"another\"")]);
    assert!(other.status == 200 && other.body == *csv);
    let beyond = asked(&[("Range", &format!("bytes={length}-"))]);
    assert_eq!(beyond.status, 416);
    let range = format!("bytes */{length}");
    assert_eq!(beyond.header("content-range"), Some(range.as_str()));
    assert_eq!(
        beyond.json()["type"],
        "urn:cmms-export:problem:range-not-satisfiable"
    );

    let known = asked(&[("If-None-Match", etag)]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("etag"), Some(etag));
    assert_eq!(asked(&[("If-None-Match", "\"another\"")]).status, 200);
    assert_eq!(asked(&[("If-Match", etag)]).status, 200);
    assert_eq!(asked(&[("If-Match", "\"another\"")]).status, 412);
    assert_eq!(head(&server, &file, &[("If-None-Match", etag)]).status, 304);
    assert_eq!(
        head(&server, &file, &[("If-Match", "\"another\"")]).status,
        412
    );
}

#[test]
fn curl_goes_on_where_it_was_cut_off() {
    let database = TestDatabase::seeded(&["--tasks=500"]);
    let server = Server::start(&database.url);
    let (_, file) = prepare(&server, &json!({}));
    let expected = oracle::copy(&database, "true", ',');
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tasks.csv");
    std::fs::write(&path, &expected[..1_000]).expect("ours");
    let curl = std::process::Command::new("curl")
        .args(["-fsS", "-C", "-", "-o"])
        .arg(&path)
        .arg(server.url(&file))
        .status();
    assert!(curl.expect("curl is there").success());
    assert!(std::fs::read(&path).expect("it is there") == expected);
}

#[test]
fn a_file_is_there_once_it_is_finished_and_until_it_is_deleted() {
    let gated = Gated::new();
    let mut gate = Gate::close(&gated, 5);
    let server = Server::start(&gated.url);
    let id = order(&server, &by("copy"));
    let file = format!("/exports/{id}/tasks.csv");
    gate.reached();
    let early = get(&server, &file, &[]);
    assert_eq!(early.status, 409);
    assert_eq!(early.json()["type"], "urn:cmms-export:problem:not-finished");
    assert_eq!(
        get(&server, &file.replace("tasks", "users"), &[]).status,
        404
    );
    drop(gate);
    assert_eq!(complete(&server, &id), file);
    assert_eq!(get(&server, &file, &[]).status, 200);
    assert_eq!(delete(&server, &id), 204);
    assert_eq!(get(&server, &file, &[]).status, 404);
    assert_eq!(get(&server, &format!("/api/exports/{id}"), &[]).status, 404);
    assert_eq!(delete(&server, &id), 404);
}

#[test]
fn a_reader_that_takes_nothing_of_a_prepared_file_is_cut_off() {
    let database = data::wide(100_000);
    let server = Server::spawn(program(&database.url).args([
        "serve",
        "--reader-timeout=1",
        "--max-downloads=1",
    ]));
    let (_, file) = prepare(&server, &by("copy"));
    let headers = [("Host", server.address.as_str())];
    let stalled = Download::request(&server.address, "GET", &file, &headers);
    assert_eq!(get(&server, &file, &[]).status, 503);
    eventually("its place is free", || {
        get(&server, &file, &[("Range", "bytes=0-9")]).status == 206
    });
    let length: usize = stalled
        .header("content-length")
        .and_then(|it| it.parse().ok())
        .expect("a number");
    let mut body = Vec::new();
    let read = std::io::Read::read_to_end(&mut stalled.into_stream(), &mut body);
    assert!(read.is_err() || body.len() < length);
}

#[test]
fn its_download_counts_among_the_downloads_and_not_among_the_exports() {
    let database = data::wide(100_000);
    let server = Server::spawn(program(&database.url).args([
        "serve",
        "--max-exports=1",
        "--max-downloads=2",
    ]));
    let (_, file) = prepare(&server, &by("copy"));
    let headers = [("Host", server.address.as_str())];
    let reading = Download::request(&server.address, "GET", &file, &headers);
    download(&server.address, "location_id=-1");
    let second = Download::request(&server.address, "GET", &file, &headers);
    assert_eq!((reading.status, second.status), (200, 200));
    let third = get(&server, &file, &[]);
    assert_eq!(
        (third.status, third.header("retry-after").is_some()),
        (503, true)
    );
    // What takes nothing of the file is free.
    assert_eq!(head(&server, &file, &[]).status, 200);
    drop((reading, second));
    eventually("a place is free", || get(&server, &file, &[]).status == 200);
}
