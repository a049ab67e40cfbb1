//! How a connection ends on the wire: with a reset if its file is not complete, whatever breaks it off, and in good order if it is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::client::{Download, start_when_free};
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::prepared::{by, prepare};
use crate::support::program::program;
use crate::support::{Server, data, eventually};

/// Tells a connection that was reset from one that was closed.
const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);

/// Reads what is left of a connection; the error at its end.
fn end(download: Download) -> Option<ErrorKind> {
    let mut rest = Vec::new();
    let read = download.into_stream().read_to_end(&mut rest);
    read.err().map(|error| error.kind())
}

/// An export that waits in its middle, when a part of it has been sent. Its client has taken all of that.
fn halfway(command: &mut Command, gated: &Gated, strategy: &str) -> (Server, Gate, Download) {
    let mut gate = Gate::close(gated, ROWS / 2);
    let server = Server::spawn(command.arg("serve"));
    let path = format!("/tasks.csv?strategy={strategy}&export_id=faulty");
    let mut download = Download::start(&server.address, &path);
    assert_eq!(download.status, 200);
    download.chunk().expect("a chunk").expect("not the last");
    gate.reached();
    (server, gate, download)
}

#[test]
fn a_body_that_fails_is_reset() {
    let gated = Gated::new();
    for strategy in ["streamed", "copy", "lookup"] {
        let (_server, mut gate, download) = halfway(&mut program(&gated.url), &gated, strategy);
        gate.terminate();
        assert_eq!(end(download), RESET, "{strategy}");
    }
}

#[test]
fn a_panic_is_a_reset() {
    if !cfg!(feature = "fault-injection") {
        panic!("run `make test`, or `cargo test --features fault-injection`");
    }
    let gated = Gated::new();
    let mut command = program(&gated.url);
    command.env("FAULT_PANIC_AT_ROW", (ROWS / 2).to_string());
    let server = Server::spawn(command.arg("serve"));
    let download = Download::start(&server.address, "/tasks.csv?strategy=copy");
    assert_eq!(download.status, 200);
    assert_eq!(end(download), RESET);
}

#[test]
fn a_delete_is_a_reset() {
    let gated = Gated::new();
    let (server, _gate, download) = halfway(&mut program(&gated.url), &gated, "copy");
    ureq::delete(server.url("/api/exports/faulty"))
        .call()
        .expect("known");
    assert_eq!(end(download), RESET);
}

#[test]
fn the_end_of_the_service_is_a_reset_also_if_it_is_killed() {
    let gated = Gated::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut command = program(&gated.url);
        command.env("CMMS_SHUTDOWN_TIMEOUT", "1");
        let (mut server, gate, download) = halfway(&mut command, &gated, "copy");
        server.signal(signal);
        assert_eq!(end(download), RESET, "{signal}");
        server.wait();
        drop(gate);
        eventually("the query is gone", || {
            gate::running_queries(&gated.database) == 0
        });
    }
}

/// Asks for a path as a client whose system holds little for it.
fn ask_narrowly(server: &Server, path: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    let address: SocketAddr = server.address.parse().expect("an address");
    socket.connect(&address.into()).expect("the server listens");
    let mut stream = TcpStream::from(socket);
    let timeout = Some(Duration::from_secs(60));
    stream.set_read_timeout(timeout).expect("not zero");
    let host = &server.address;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("sent");
    stream
}

#[test]
fn a_download_is_complete_when_the_system_has_its_end_also_for_slow_readers() {
    const READERS: usize = 16;
    const STEP: usize = 16 << 10;
    // More than the buffers hold.
    let database = data::wide(8_000);
    let mut command = program(&database.url);
    let limits = ["--max-exports", "--max-downloads"].map(|limit| format!("{limit}={READERS}"));
    let mut server = Server::spawn(command.arg("serve").args(limits));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let path = format!("/tasks.csv?strategy=copy&export_id=slow-{reader}");
            ask_narrowly(&server, &path)
        })
        .collect();
    // Each takes no more than it must until its manifest says that the service is through with it.
    let step = |(reader, mut stream): (usize, TcpStream)| {
        let mut taken = vec![0; STEP + reader * 100];
        while server.manifest(&format!("slow-{reader}"))["state"] != "complete" {
            let read = stream.read(&mut taken).expect("not broken off");
            assert!(read > 0, "the connection is kept");
        }
        stream
    };
    let readers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|reader| scope.spawn(move || step(reader)))
            .collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("ended"));
        ended.collect()
    });
    server.signal(Signal::SIGKILL);
    server.wait();
    for (reader, mut stream) in readers.into_iter().enumerate() {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let has_end = rest.ends_with(b"\r\n0\r\n\r\n");
        assert!(read.is_ok() && has_end, "{reader}: {read:?}, {has_end}");
    }
}

#[test]
fn a_client_that_takes_nothing_is_reset_by_the_time_limit_and_by_a_delete() {
    // More than all buffers between the server and the client hold.
    let database = data::wide(100_000);
    let serve = |reader_timeout| {
        let mut command = program(&database.url);
        command.args(["serve", "--max-downloads=1", "--reader-timeout"]);
        Server::spawn(command.arg(reader_timeout))
    };
    let server = serve("0.5");
    let start = |server: &Server, whole: &str| {
        start_when_free(&server.address, &format!("whole={whole}&export_id={whole}"))
    };
    for whole in ["false", "true"] {
        let stalled = start(&server, whole);
        assert_eq!(server.ended(whole)["error"], "reader-timeout", "{whole}");
        assert_eq!(end(stalled), RESET, "{whole}");
    }
    eventually("the place is free", || {
        Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
    });
    let (_, file) = prepare(&server, &by("copy"));
    let stalled = Download::start(&server.address, &file);
    assert_eq!(stalled.status, 200);
    eventually("its place is free", || {
        Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
    });
    assert_eq!(end(stalled), RESET);

    let server = serve("600");
    for whole in ["false", "true"] {
        let stalled = start(&server, whole);
        eventually("all of it waits for its reader", || {
            server.manifest(whole)["loaded_seconds"].is_f64()
        });
        ureq::delete(server.url(&format!("/api/exports/{whole}")))
            .call()
            .expect("known");
        assert_eq!(end(stalled), RESET, "{whole}");
    }
}

#[test]
fn what_is_complete_is_never_reset_even_if_its_client_reads_after_it_has_ended() {
    // Less than the buffers between the server and the client hold.
    let database = data::wide(2_000);
    let server = Server::start(&database.url);
    let (_, prepared) = prepare(&server, &json!({}));
    for path in [
        "/tasks.csv?",
        "/tasks.csv?whole=true",
        "/tasks.xlsx?",
        &prepared,
    ] {
        for attempt in 0..20 {
            let id = format!("{}-{attempt}", path.len());
            let is_prepared = path == prepared;
            let path = if is_prepared {
                path.to_owned()
            } else {
                format!("{path}&export_id={id}")
            };
            let download = Download::start(&server.address, &path);
            assert_eq!(download.status, 200, "{path}");
            if !is_prepared {
                assert_eq!(server.ended(&id)["state"], "complete", "{path}");
            }
            assert_eq!(end(download), None, "{path}");
        }
    }
}
