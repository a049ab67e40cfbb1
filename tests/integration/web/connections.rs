//! What connections may cost: memory, file descriptors, time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Download, End, send};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::program::{in_shell, program};
use crate::support::{Server, TestDatabase, eventually};
use crate::web::access::tells_to_be_careful;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("not zero");
    stream
}

/// A request that does not end the connection.
fn request(server: &Server, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address)
}

/// Sends as much as the server takes, without waiting for anything.
fn pour(mut stream: &TcpStream, mut bytes: &[u8]) {
    stream.set_nonblocking(true).expect("a socket");
    while let Ok(sent @ 1..) = stream.write(bytes) {
        bytes = &bytes[sent..];
    }
}

/// Asks whether the service lives, and returns how long the answer took.
fn livez(server: &Server) -> Duration {
    let asked = Instant::now();
    assert_eq!(Download::start(&server.address, "/livez").status, 200);
    asked.elapsed()
}

/// Whether the server has closed the connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let sent = stream.write(b"\n");
    sent.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}

#[test]
fn answers_that_nobody_reads_cost_little_memory_and_do_not_stop_livez() {
    const CONNECTIONS: usize = 400;
    const MEMORY: u64 = 64 << 20;
    let database = TestDatabase::new();
    for path in ["/", "/livez", "/nothing"] {
        let server = Server::start(&database.url);
        Download::start(&server.address, path);
        let idle = server.resident_memory();
        let requests = request(&server, path).repeat(4_000);
        let mut slowest = Duration::ZERO;
        let streams: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let stream = connect(&server);
                pour(&stream, requests.as_bytes());
                if number % 20 == 0 {
                    slowest = slowest.max(livez(&server));
                }
                stream
            })
            .collect();
        for stream in &streams {
            pour(stream, requests.as_bytes());
        }
        slowest = slowest.max(livez(&server));
        let grown = server.peak_memory().saturating_sub(idle);
        println!("{path}: {} KiB above idle, /livez {slowest:?}", grown >> 10);
        assert!(grown < MEMORY, "{path}: {grown} bytes");
        assert!(slowest < Duration::from_secs(10), "{path}: {slowest:?}");
    }
}

#[test]
fn a_connection_whose_answers_nobody_reads_is_closed() {
    let database = TestDatabase::new();
    let mut command = program(&database.url);
    let server = Server::spawn(command.args(["serve", "--reader-timeout=1"]));
    let stream = connect(&server);
    pour(&stream, request(&server, "/").repeat(4_000).as_bytes());
    eventually("it is closed", || is_closed(&stream));
}

#[test]
fn requests_that_never_end_do_not_stop_livez_even_if_they_are_more_than_files_may_be_open() {
    let database = TestDatabase::new();
    let command = program(&database.url);
    let mut command = in_shell("ulimit -n 1024; exec \"$0\" serve \"$@\"", &command);
    let server = Server::spawn(&mut command);
    let mut slowest = Duration::ZERO;
    let halves = [
        "GET / HTTP/1.1\r\nHost: ",
        "POST /api/exports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ];
    let streams: Vec<_> = (0..2_000)
        .map(|number| {
            let mut stream = connect(&server);
            // It may be closed already.
            let _ = stream.write_all(halves[number % 2].as_bytes());
            if number % 50 == 0 {
                slowest = slowest.max(livez(&server));
            }
            stream
        })
        .collect();
    slowest = slowest.max(livez(&server));
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    let files = files.expect("it runs").count();
    println!("{files} files are open, /livez {slowest:?}");
    assert!(files < 700, "{files} files are open");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    drop(streams);
    assert_eq!(Download::start(&server.address, "/").status, 200);
}

#[test]
fn a_request_that_does_not_end_in_time_is_given_up() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let mut head = connect(&server);
    write!(head, "GET / HTTP/1.1\r\nHost: ").expect("sent");
    let mut second = connect(&server);
    write!(second, "{}GET", request(&server, "/livez")).expect("sent");
    let mut body = connect(&server);
    let half = "POST /api/exports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    body.write_all(half.as_bytes()).expect("sent");

    let late = Download::read(body);
    assert_eq!(late.status, 408);
    assert_eq!(late.header("connection"), Some("close"));
    tells_to_be_careful(&late, "a body that does not come");
    let counted = "cmms_export_http_responses_total{status=\"408\"}";
    assert_eq!(server.metric(counted), 1.0);
    assert_eq!(
        late.json()["type"],
        "urn:cmms-export:problem:request-timeout"
    );
    assert_eq!(Download::read(head).status, 408);
    let mut said = String::new();
    // However it is closed.
    let _ = second.read_to_string(&mut said);
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("ok\n"),
        "{said}"
    );
}

#[test]
fn a_connection_waits_for_its_next_request_as_long_as_was_said() {
    let database = TestDatabase::new();
    let mut command = program(&database.url);
    let server = Server::spawn(command.args(["serve", "--keep-alive=0.5"]));
    let mut stream = connect(&server);
    let request = request(&server, "/livez");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut said = String::new();
    stream
        .read_to_string(&mut said)
        .expect("it is closed in good order");
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn requests_that_are_sent_at_once_are_answered_in_their_order() {
    let database = TestDatabase::with("insert into locations values (1, 'Zürich')");
    let server = Server::start(&database.url);
    let body = "{\"dataset\": \"nothing\"}\n\n";
    let post = format!(
        "POST /api/exports HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let round = [
        request(&server, "/openapi.json"),
        request(&server, "/locations.csv"),
        post,
        // Lines may end so, too.
        request(&server, "/nothing").replace("\r\n", "\n"),
        request(&server, "/").replace("GET", "HEAD"),
    ];
    let requests = round.concat().repeat(20);
    let last = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // Also if a request's end comes in pieces.
    for pieces in [
        vec![&*requests, last],
        requests.split_inclusive('\n').chain([last]).collect(),
    ] {
        let mut stream = connect(&server);
        let mut sender = stream.try_clone().expect("a descriptor");
        let mut said = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for piece in pieces {
                    sender.write_all(piece.as_bytes()).expect("sent");
                }
            });
            stream
                .read_to_end(&mut said)
                .expect("it is closed in good order");
        });
        let said = String::from_utf8_lossy(&said);
        let statuses: Vec<&str> = said
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| &answer[..3])
            .collect();
        let mut expected = ["200", "200", "400", "404", "200"].repeat(20);
        expected.push("200");
        assert_eq!(statuses, expected);
    }
}

#[test]
fn one_stream_of_events_too_many_is_refused() {
    let gated = Gated::new();
    let gate = Gate::close(&gated, ROWS / 2);
    let server = Server::start(&gated.url);
    let running = send(
        &server.address,
        "GET",
        "/tasks.csv?export_id=a",
        &[("Host", &server.address)],
    );
    eventually("it runs", || {
        server.metric("cmms_export_exports_in_flight ") >= 1.0
    });
    let events = || Download::start(&server.address, "/api/exports/a/events");
    let mut streams: Vec<Download> = (0..200).map(|_| events()).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    let refused = events();
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:busy");
    assert_eq!(
        server.metric("cmms_export_requests_rejected_total{reason=\"events\"}"),
        1.0
    );
    streams.pop();
    eventually("a place is free again", || events().status == 200);
    drop(gate);
    assert_eq!(Download::read(running).finish().1, End::Clean);
}

#[test]
fn a_request_that_is_too_large_is_told_so() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let large = " ".repeat(64 * 1024 + 1);
    let length = format!("Content-Length: {}\r\n\r\n{large}", large.len());
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    for address in ["POST /api/exports", "POST /api/benchmarks", "GET /"] {
        for kind in ["application/json", "application/x-www-form-urlencoded"] {
            for body in [&length, &chunked] {
                let mut stream = connect(&server);
                // The server may answer before it has read all.
                let _ = write!(
                    stream,
                    "{address} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{body}"
                );
                let refused = Download::read(stream);
                assert_eq!(refused.status, 413, "{address}, {kind}");
                assert_eq!(
                    refused.header("content-type"),
                    Some("application/problem+json")
                );
                let problem: Value = refused.json();
                assert_eq!(problem["type"], "urn:cmms-export:problem:too-large");
                assert_eq!(problem["detail"], "65536 bytes at most");
            }
        }
    }
}

#[test]
fn the_limit_on_open_files_is_raised_as_far_as_it_goes() {
    let database = TestDatabase::new();
    let command = program(&database.url);
    let script = "ulimit -Sn 300; ulimit -Hn 900; exec \"$0\" serve \"$@\"";
    let server = Server::spawn(&mut in_shell(script, &command));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid()));
    let limits = limits.expect("it runs");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = files.expect("a line").split_whitespace().collect();
    assert_eq!(words[3..5], ["900", "900"]);
}
