//! Starting and stopping: what runs is finished, or visibly broken off.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::client::{Download, End, download, send};
use crate::support::cluster::temporary_directory;
use crate::support::gate::{self, Gate, Gated, ROWS};
use crate::support::program::{activated, bare_program, program, stderr};
use crate::support::{Server, TestDatabase, eventually};

fn get(server: &Server, path: &str) -> TcpStream {
    send(&server.address, "GET", path, &[("Host", &server.address)])
}

#[test]
fn sigterm_lets_a_running_export_finish_and_takes_no_more() {
    let gated = Gated::new();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let mut server = Server::start(&gated.url);
    let running = get(&server, "/tasks.csv?strategy=copy");
    gate.reached();
    server.signal(Signal::SIGTERM);
    eventually("no new connection is taken", || {
        TcpStream::connect(&server.address).is_err()
    });
    drop(gate);
    let (csv, end) = Download::read(running).finish();
    assert_eq!(end, End::Clean);
    assert_eq!(
        csv.iter().filter(|byte| **byte == b'\n').count() as u64,
        ROWS + 1
    );
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn what_does_not_finish_in_time_is_broken_off() {
    let gated = Gated::new();
    for strategy in ["joined", "streamed", "paged", "copy"] {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let mut server = Server::spawn(program(&gated.url).args(["serve", "--shutdown-timeout=1"]));
        let running = get(&server, &format!("/tasks.csv?strategy={strategy}"));
        gate.reached();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{strategy}");
        assert_eq!(gate::running_queries(&gated.database), 0, "{strategy}");
        // The buffered strategy has not answered at all.
        if strategy != "joined" {
            assert_eq!(
                Download::read(running).finish().1,
                End::Broken,
                "{strategy}"
            );
        }
    }
}

#[test]
fn a_restarted_postgresql_serves_the_next_request() {
    let gated = Gated::alone();
    let server = Server::start(&gated.url);
    for strategy in ["tuples", "copy"] {
        let query = format!("strategy={strategy}");
        let before = download(&server.address, &query);
        gated.database.kill_server();
        assert_eq!(download(&server.address, &query), before, "{strategy}");
        assert_eq!(
            ureq::get(server.url("/readyz"))
                .call()
                .expect("200")
                .status(),
            200
        );
    }
}

/// Whether a process works in the private cluster of a data directory.
fn cluster_runs(data_dir: &Path) -> bool {
    data_dir.join("postgresql/postmaster.pid").exists()
}

#[test]
fn the_private_default_seeds_itself_once_and_stops_with_the_program() {
    let data_dir = temporary_directory("private");
    for start in 0..2 {
        let mut server = Server::spawn(
            bare_program()
                .args(["serve", "--log=warn", "--data-dir"])
                .arg(&data_dir),
        );
        let csv = download(&server.address, "export_id=made-up");
        assert_eq!(server.manifest("made-up")["demonstration"], true);
        for path in ["/", "/benchmark", "/?done=perhaps"] {
            let mut page = ureq::get(server.url(path))
                .header("Accept", "text/html")
                .config()
                .http_status_as_error(false)
                .build()
                .call()
                .expect("answers");
            let html = page.body_mut().read_to_string().expect("text");
            assert!(html.contains("Demonstration data"), "{path}: {html}");
        }
        assert_eq!(csv.iter().filter(|byte| **byte == b'\n').count(), 100_001);
        assert!(cluster_runs(&data_dir));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
        assert!(!cluster_runs(&data_dir), "a clean shutdown");
        assert_eq!(server.into_log().contains("Seeding"), start == 0);
    }
    std::fs::remove_dir_all(data_dir).expect("ours");
}

#[test]
fn an_address_that_is_taken_is_found_out_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = program("postgresql://127.0.0.1:1/nowhere")
        .args(["serve", "--bind", &address])
        .output();
    let output = output.expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
}

#[test]
fn a_restart_refuses_no_connection_if_systemd_keeps_the_socket() {
    let database = TestDatabase::with("insert into locations values (1, 'Zürich')");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let start = || {
        let socket = listener.try_clone().expect("a descriptor");
        Server::spawn_as_bound(&mut activated(socket.into(), 1, &database.url))
    };
    let mut first = start();
    let address = listener.local_addr().expect("bound").to_string();
    assert_eq!(first.address, address);
    let csv = |stream| {
        let (csv, end) = Download::read(stream).finish();
        assert_eq!(end, End::Clean);
        csv
    };
    assert_eq!(
        csv(get(&first, "/locations.csv")),
        "ID,Name\n1,Zürich\n".as_bytes()
    );
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait().code(), Some(0));
    let asked_between = get(&first, "/locations.csv");
    let second = start();
    assert_eq!(second.address, address);
    assert_eq!(csv(asked_between), "ID,Name\n1,Zürich\n".as_bytes());
}

/// What the program says, which does not start with this socket.
fn refused(socket: impl Into<OwnedFd>, sockets: u32, code: i32) -> String {
    let output = activated(socket.into(), sockets, "postgresql://127.0.0.1:1/nowhere").output();
    let output = output.expect("the program runs");
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    stderr(&output)
}

#[test]
fn a_socket_that_others_can_reach_needs_a_token_and_only_one_that_listens_is_taken() {
    let everywhere = TcpListener::bind("0.0.0.0:0").expect("a free port");
    assert!(refused(everywhere, 1, 2).contains("CMMS_AUTH_TOKEN"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let connection = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
    assert!(refused(connection, 1, 1).contains("expected a socket that listens"));
    assert!(refused(listener, 2, 1).contains("expected one socket"));
}
