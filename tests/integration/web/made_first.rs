//! A CSV that is made first and sent with its length, and files that are made for each request: there are no parts of them.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diesel_export::Strategy;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::client::{Download, send};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::prepared::{get, head};
use crate::support::program::program;
use crate::support::workbook::without_about;
use crate::support::{Server, data, oracle};

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)))
}

/// Asks as a client of HTTP/1.0 does.
fn ask_in_http_1_0(server: &Server, path: &str, field: &str) -> Download {
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    let host = &server.address;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{field}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    Download::read(stream)
}

#[test]
fn a_csv_that_is_made_first_has_psqls_bytes_its_length_and_its_digest() {
    let database = data::hostile();
    let server = Server::spawn(program(&database.url).args(["serve", "--compression=on"]));
    let expected = oracle::copy(&database, "true", ',');
    let is_right = |download: Download, name: &str| {
        assert_eq!(download.status, 200, "{name}");
        for (field, value) in [
            ("content-length", Some(expected.len().to_string())),
            ("repr-digest", Some(digest(&expected))),
            ("transfer-encoding", None),
            ("content-encoding", None),
            (
                "content-type",
                Some("text/csv; charset=utf-8; header=present".to_owned()),
            ),
        ] {
            assert_eq!(download.header(field), value.as_deref(), "{name}: {field}");
        }
        assert!(download.whole() == expected, "{name}");
    };
    for strategy in Strategy::all() {
        let name = strategy.name();
        let path = format!("/tasks.csv?whole=true&strategy={name}&export_id={name}");
        let headers = [
            ("Host", server.address.as_str()),
            ("Accept-Encoding", "gzip, zstd"),
        ];
        let stream = send(&server.address, "GET", &path, &headers);
        is_right(Download::read(stream), name);
        let manifest = server.ended(name);
        assert_eq!(manifest["state"], "complete", "{manifest}");
        assert_eq!(manifest["bytes"], expected.len(), "{manifest}");
    }
    for path in ["/tasks.csv", "/tasks.csv?whole=false"] {
        let old = ask_in_http_1_0(&server, path, "Accept-Encoding: gzip\r\n");
        is_right(old, "HTTP/1.0");
        let streamed = get(&server, path, &[]);
        assert_eq!(streamed.header("transfer-encoding"), Some("chunked"));
        assert_eq!(streamed.header("repr-digest"), None);
    }
    let workbook = get(&server, "/tasks.xlsx", &[]);
    let expected = digest(&workbook.body);
    assert_eq!(workbook.header("repr-digest"), Some(expected.as_str()));
    assert_eq!(head(&server, "/tasks.csv?whole=true", &[]).status, 200);
}

#[test]
fn what_fails_while_it_is_made_first_has_a_status_even_on_its_last_row() {
    let gated = Gated::new();
    let mut gate = Gate::close(&gated, ROWS - 1);
    let server = Server::start(&gated.url);
    let path = "/tasks.csv?whole=true&strategy=copy";
    let stream = send(&server.address, "GET", path, &[("Host", &server.address)]);
    gate.terminate();
    let failed = Download::read(stream);
    assert_eq!(failed.status, 503);
    let kind = "urn:cmms-export:problem:database-unavailable";
    assert_eq!(failed.json()["type"], kind);
}

#[test]
fn without_a_spool_nothing_is_made_first_and_a_stream_needs_none() {
    let database = data::hostile();
    let server = Server::spawn(program(&database.url).args(["serve", "--spool-size=0"]));
    let path = "/tasks.csv?whole=true";
    for refused in [
        Download::start(&server.address, path),
        ask_in_http_1_0(&server, "/tasks.csv", ""),
    ] {
        assert_eq!(refused.status, 507);
        assert_eq!(refused.json()["type"], "urn:cmms-export:problem:spool-full");
    }
    assert_eq!(head(&server, path, &[]).status, 507);
    assert_eq!(get(&server, "/tasks.csv", &[]).status, 200);
}

#[test]
fn of_a_file_that_is_made_for_each_request_no_part_is_sent() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    for path in ["/tasks.csv", "/tasks.csv?whole=true", "/tasks.xlsx"] {
        for range in ["bytes=5-", "bytes=0-9", "bytes=-9"] {
            let refused = get(&server, path, &[("Range", range)]);
            assert_eq!(refused.status, 400, "{path} {range}");
            let kind = "urn:cmms-export:problem:range-not-possible";
            assert_eq!(refused.json()["type"], json!(kind));
            assert_eq!(head(&server, path, &[("Range", range)]).status, 200);
        }
        let whole = get(&server, path, &[]).body;
        for headers in [
            &[("Range", "bytes=0-")][..],
            &[("Range", "rows=5-")],
            &[("Range", "bytes=5-"), ("If-Range", "\"abc\"")],
        ] {
            let answer = get(&server, path, headers);
            assert_eq!(answer.status, 200, "{path} {headers:?}");
            let is_same = match path {
                // Its last sheet has the time.
                "/tasks.xlsx" => without_about(&answer.body) == without_about(&whole),
                _ => answer.body == whole,
            };
            assert!(is_same, "{path} {headers:?}");
        }
    }
    let old = ask_in_http_1_0(&server, "/tasks.csv", "Range: bytes=5-\r\n");
    assert_eq!(old.status, 400);
}
