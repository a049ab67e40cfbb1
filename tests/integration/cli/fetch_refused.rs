//! What `fetch` refuses, and what it lets nobody take for whole.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use cmms_export::units::hexadecimal;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::fetch::{Prepared, command, fetch, parts, place};
use crate::support::program::{program, stderr};
use crate::support::proxy::Tls;
use crate::support::{Server, TestDatabase};

#[test]
fn a_service_that_wants_a_token_gets_it_from_a_file() {
    let database = TestDatabase::seeded(&["--tasks", "10"]);
    let server = Server::spawn(program(&database.url).args(["serve", "--auth-token", "s3cret"]));
    let (directory, output) = place();
    let url = server.url("/exports/none/tasks.csv");
    let refused = fetch(&url, &output);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        stderr(&refused).contains("--auth-token-file"),
        "{refused:?}"
    );
    let token = directory.path().join("token");
    fs::write(&token, "s3cret\n").expect("ours");
    let let_in = command(&url, &output)
        .arg("--auth-token-file")
        .arg(&token)
        .output()
        .expect("the program runs");
    assert!(
        stderr(&let_in).contains("there is no such file"),
        "{let_in:?}"
    );
}

#[test]
fn over_tls_only_a_service_with_a_certificate_that_is_trusted_is_asked() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (directory, output) = place();
    let tls = Tls::before(&prepared.server);
    let refused = fetch(&tls.url(&file), &output);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = stderr(&refused);
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert!(
        !said.contains("goes on"),
        "it is of no use to ask again: {said}"
    );
    let certificate = directory.path().join("certificate.pem");
    fs::write(&certificate, &tls.certificate).expect("ours");
    let fetched = command(&tls.url(&file), &output)
        .env("SSL_CERT_FILE", &certificate)
        .output()
        .expect("the program runs");
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(fs::read(&output).expect("there") == prepared.expected());
}

/// A service of one answer, the same each time.
fn answers(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("one");
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let _ = client.write_all(answer);
        }
    });
    format!("http://{address}/exports/1/tasks.csv")
}

#[test]
fn bytes_of_another_digest_get_no_name() {
    // The digest is that of "hello".
    let url = answers(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\
          ETag: \"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"\r\n\
          Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:\r\n\r\nhallo",
    );
    let (_directory, output) = place();
    let fetched = fetch(&url, &output);
    assert_eq!(fetched.status.code(), Some(1), "{fetched:?}");
    assert!(stderr(&fetched).contains("not whole: its SHA-256 is d3751d33f9cd5049c4af2b462735457e4d3baf130bcbb87f389e349fbaeb20b9"), "{fetched:?}");
    assert!(!output.exists());
    assert!(parts(&output).is_empty());
}

#[test]
fn what_is_no_prepared_export_is_refused() {
    let database = TestDatabase::seeded(&["--tasks", "10"]);
    let server = Server::start(&database.url);
    let (_directory, output) = place();
    for (url, said) in [
        (
            server.url("/tasks.csv"),
            "not the file of a prepared export",
        ),
        (server.url("/livez"), "not the file of a prepared export"),
        (
            server.url("/exports/none/tasks.csv"),
            "there is no such file",
        ),
        (
            "tasks.csv".to_owned(),
            "expected an http:// or https:// URL",
        ),
    ] {
        let fetched = fetch(&url, &output);
        assert_eq!(fetched.status.code(), Some(1), "{fetched:?}");
        assert!(stderr(&fetched).contains(said), "{fetched:?}");
    }
    let fetched = fetch(&server.url("/tasks.csv"), Path::new("-"));
    assert_eq!(fetched.status.code(), Some(2), "{fetched:?}");
    assert!(parts(&output).is_empty());
}

#[test]
fn what_others_put_in_a_parts_place_is_not_written_to() {
    let prepared = Prepared::start();
    let (_, file) = prepared.prepare(&json!({}));
    let (directory, output) = place();
    let url = prepared.server.url(&file);
    let sha256 = hexadecimal(&Sha256::digest(prepared.expected()));
    let part = directory.path().join(format!(".tasks.csv.{sha256}.part"));
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").expect("written");
    type Put = fn(&Path, &Path) -> std::io::Result<()>;
    let puts: [Put; 2] = [
        |from, to| symlink(from, to),
        |from, to| fs::hard_link(from, to),
    ];
    for put in puts {
        put(&victim, &part).expect("ours");
        let refused = fetch(&url, &output);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(stderr(&refused).contains("is a link"), "{refused:?}");
        assert_eq!(fs::read(&victim).expect("there"), b"precious");
        assert!(!output.exists());
        fs::remove_file(&part).expect("ours");
    }
    assert!(fetch(&url, &output).status.success());
    assert!(fs::read(&output).expect("there") == prepared.expected());
}
