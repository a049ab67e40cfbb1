//! Whatever is sent, the service neither fails nor panics.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use crate::support::{Server, data};

/// Sends bytes as they are, and returns the status of the answer, if there is one.
fn status(server: &Server, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(&server.address).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("not zero");
    // The server may answer, and close, before all is sent.
    let _ = stream
        .write_all(request)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// A part of a request line or a header: anything without what would end it.
fn text() -> impl Generator<Value = Vec<u8>> {
    let printable = "[!-~]{0,40}".prop_map(String::into_bytes);
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![printable, bytes].prop_map(|text| {
        text.into_iter()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect()
    })
}

fn query() -> impl Generator<Value = String> {
    let names = "strategy|done|location_id|asset_id|created_by_id|updated_by_id|title|preset|delimiter|export_id|[a-z_]{1,8}";
    let values =
        "[A-Za-z0-9%+;,&=._~!*'()-]{0,24}|copy|paged|true|none|-?[0-9]{1,20}|%[0-9a-fA-F]{2}|%";
    proptest::collection::vec((names, values), 0..5).prop_map(|pairs| {
        pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("&")
    })
}

#[test]
fn no_request_is_answered_with_a_failure() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let config = ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let methods = prop_oneof![
        "GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|TRACE",
        "[A-Z]{1,12}"
    ];
    let paths = prop_oneof![
        "/|/tasks\\.csv|/livez|/readyz|/metrics|/openapi\\.json|/style\\.css",
        "/api/exports/[!-~]{0,70}",
        "/[!-~]{0,40}"
    ];
    proptest!(config, |(method in methods, path in paths, query in query(), name in "[A-Za-z-]{1,20}", value in text(), body in text())| {
        let mut request = format!("{method} {path}?{query} HTTP/1.1\r\nHost: {}\r\n{name}: ", server.address).into_bytes();
        request.extend(&value);
        request.extend(format!("\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes());
        request.extend(&body);
        let status = status(&server, &request);
        prop_assert!(status.is_none_or(|status| status < 500), "{:?} for {}", status, String::from_utf8_lossy(&request));
    });
    let bytes = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(bytes, |(request in proptest::collection::vec(any::<u8>(), 0..400))| {
        prop_assert!(status(&server, &request).is_none_or(|status| status < 500));
    });
    let log = server.into_log();
    assert!(!log.contains("panicked"), "{log}");
}
