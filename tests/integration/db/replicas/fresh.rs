//! Fresh exports: all that the primary has, or an error.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use diesel_export::Strategy;

use super::{change, contains, expected, export};
use crate::support::client::Download;
use crate::support::program::{program, stderr};
use crate::support::replica_servers::Node;
use crate::support::replicated::Replicated;
use crate::support::{Server, TestDatabase, data};

fn fresh(url: &str, strategy: &str) -> Output {
    program(url)
        .args(["export", "--fresh", "--strategy", strategy])
        .output()
        .expect("the program runs")
}

#[test]
fn a_fresh_export_from_a_standby_alone_is_an_error_and_never_stale() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    replicated.catch_up();
    replicated.pause(&Node::STANDBYS);
    change(&database, "update tasks set title = 'new' where id = 0");
    let standby = replicated.url(Node::Standby1, database.name());
    for strategy in Strategy::all() {
        let output = fresh(&standby, strategy.name());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, b"", "{strategy:?}");
        assert!(stderr(&output).contains("is a standby"), "{output:?}");
    }
    let server = Server::start(&standby);
    let refused = Download::start(&server.address, "/tasks.csv?fresh=true");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:not-fresh");
    // Who does not ask for it gets what there is; so do the page's buttons, which else would never work.
    assert_eq!(export(&server, "").0, "replica");
    let button = Download::start(&server.address, "/?download=true");
    let location = button.header("location").expect("it leads to the file");
    assert!(!location.contains("fresh"), "{location}");
    replicated.resume(&Node::STANDBYS);
}

/// One address that leads to several servers.
struct Balancer {
    directory: tempfile::TempDir,
}

impl Balancer {
    /// One that leads the first connection to the first of these sockets, and so on; all further ones to the last.
    fn before(sockets: Vec<PathBuf>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("ours");
        thread::spawn(move || {
            let next = AtomicUsize::new(0);
            for client in listener.incoming() {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let socket = &sockets[number.min(sockets.len() - 1)];
                let server = UnixStream::connect(socket).expect("the server listens");
                let client = client.expect("one");
                let back = (
                    server.try_clone().expect("ours"),
                    client.try_clone().expect("ours"),
                );
                thread::spawn(move || pass(client, server));
                thread::spawn(move || pass(back.0, back.1));
            }
        });
        Self { directory }
    }

    fn url(&self, database: &TestDatabase) -> String {
        let directory = self.directory.path().display();
        format!(
            "postgresql://cmms@/{}?host={directory}&port=5432",
            database.name()
        )
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// Where one of the servers listens.
fn socket(replicated: &Replicated, node: Node) -> PathBuf {
    let url = replicated.url(node, "postgres");
    let parameter = |name: &str| {
        let (_, rest) = url.split_once(&format!("{name}=")).expect("it is there");
        rest.split('&').next().expect("a value").replace("%2F", "/")
    };
    PathBuf::from(parameter("host")).join(format!(".s.PGSQL.{}", parameter("port")))
}

#[test]
fn freshness_is_asked_on_the_exports_own_connection() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    replicated.catch_up();
    let [primary, standby] = [Node::Primary, Node::Standby1].map(|node| socket(&replicated, node));
    // The first connection looks at the tables, the second one has the export's snapshot, the third one asks for the position.
    let export = || {
        let balancer = Balancer::before(vec![primary.clone(), standby.clone(), primary.clone()]);
        fresh(&balancer.url(&database), "streamed")
    };
    change(&database, "update tasks set title = 'seen' where id = 0");
    let output = export();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == expected(&database), "{output:?}");

    replicated.pause(&[Node::Standby1]);
    change(&database, "update tasks set title = 'new' where id = 0");
    let output = export();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!contains(&output.stdout, "seen"), "stale rows");
    assert!(stderr(&output).contains("has not replayed"), "{output:?}");
    replicated.resume(&[Node::Standby1]);
}
