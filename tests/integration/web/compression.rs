//! Downloads that are compressed on their way.

use std::io::Read;

use serde_json::json;

use crate::support::client::{Download, End, download};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::program::program;
use crate::support::{Server, data};

fn decompressed(coding: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match coding {
        "zstd" => zstd::stream::read::Decoder::new(bytes)?.read_to_end(&mut text)?,
        _ => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text)?,
    };
    Ok(text)
}

fn compressed(server: &Server, accepts: &str, query: &str) -> Download {
    let headers = [
        ("Host", server.address.as_str()),
        ("Accept-Encoding", accepts),
    ];
    Download::request(
        &server.address,
        "GET",
        &format!("/tasks.csv?{query}"),
        &headers,
    )
}

#[test]
fn a_compressed_download_is_the_same_csv() {
    let database = data::hostile();
    let server = Server::spawn(program(&database.url).args(["serve", "--compression=on"]));
    for (accepts, coding) in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip", "gzip"),
        ("zstd;q=0.1, gzip;q=0.9", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
    ] {
        for strategy in diesel_export::Strategy::all() {
            let query = format!("strategy={}", strategy.name());
            let id = format!("{coding}-{}-{}", strategy.name(), accepts.len());
            let response = compressed(&server, accepts, &format!("{query}&export_id={id}"));
            assert_eq!(
                response.header("content-encoding"),
                Some(coding),
                "{accepts}"
            );
            assert_eq!(response.header("vary"), Some("Accept-Encoding"));
            let (body, end) = response.finish();
            assert_eq!(
                end,
                End::Clean,
                "{query}, {coding}: {}",
                server.manifest(&id)
            );
            let csv = decompressed(coding, &body)
                .unwrap_or_else(|error| panic!("{query}, {coding}: {error}"));
            assert_eq!(csv, download(&server.address, &query));
            assert_eq!(server.ended(&id)["bytes"], csv.len());
        }
    }
    for accepts in ["", "identity", "br", "gzip;q=0", "*;q=0.5"] {
        let response = compressed(&server, accepts, "");
        assert_eq!(response.header("content-encoding"), None, "{accepts}");
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
    }
    let server =
        Server::spawn(program(&database.url).args(["serve", "--allowed-host=exports.example.org"]));
    let local = server.address.as_str();
    for (headers, coding) in [
        (vec![("Host", local)], None),
        (vec![("Host", "localhost")], None),
        // What comes through a proxy on this machine.
        (vec![("Host", "exports.example.org")], Some("zstd")),
        (
            vec![("Host", local), ("X-Forwarded-For", "192.0.2.7")],
            Some("zstd"),
        ),
        (vec![("Host", local), ("Via", "1.1 proxy")], Some("zstd")),
    ] {
        let accepts = [("Accept-Encoding", "gzip, zstd")];
        let headers = [&headers[..], &accepts[..]].concat();
        let response = Download::request(local, "GET", "/tasks.csv", &headers);
        assert_eq!(response.header("content-encoding"), coding, "{headers:?}");
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
    }
    for compression in ["auto", "off"] {
        let option = format!("--compression={compression}");
        let server = Server::spawn(program(&database.url).args(["serve", &option]));
        let response = compressed(&server, "gzip, zstd", "");
        assert_eq!(
            response.header("content-encoding"),
            None,
            "{compression}: it comes from loopback"
        );
    }
}

#[test]
fn a_compressed_download_comes_as_it_is_made_and_ends_only_if_it_is_whole() {
    for (coding, strategy) in [("zstd", "copy"), ("gzip", "copy"), ("gzip", "streamed")] {
        let gated = Gated::new();
        let server = Server::spawn(program(&gated.url).args(["serve", "--compression=on"]));
        let mut gate = Gate::close(&gated, ROWS / 2);
        let mut response = compressed(
            &server,
            coding,
            &format!("strategy={strategy}&export_id=one"),
        );
        assert_eq!(response.header("content-encoding"), Some(coding));
        gate.reached();
        // What was made before the gate is there already, and can be read.
        let mut body = response
            .chunk()
            .expect("the first one")
            .expect("not the last");
        let mut start = vec![0; 60_000];
        match coding {
            "zstd" => zstd::stream::read::Decoder::new(body.as_slice())
                .expect("zstd")
                .read_exact(&mut start),
            _ => flate2::read::GzDecoder::new(body.as_slice()).read_exact(&mut start),
        }
        .expect("all of the first chunk");
        assert!(start.starts_with(b"ID,Title,"));
        gate.terminate();
        let (rest, end) = response.finish();
        body.extend(rest);
        assert_eq!(end, End::Broken, "{coding}");
        assert!(
            decompressed(coding, &body).is_err(),
            "{coding}: it does not look complete"
        );
        assert_eq!(server.ended("one")["state"], json!("failed"));
    }
}
