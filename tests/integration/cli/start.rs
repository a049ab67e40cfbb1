//! The service's start: what it waits for, and without what it does not start.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::cluster::temporary_directory;
use crate::support::program::{activated, assert_no_connection, bare_program, program, stderr};
use crate::support::{Download, Server, TestDatabase, eventually};

/// Reads what a process says until a line has `text` in it.
fn lines_until(stderr: &mut impl BufRead, text: &str) -> String {
    let mut said = String::new();
    while !said.contains(text) {
        let before = said.len();
        stderr.read_line(&mut said).expect("UTF-8");
        assert!(said.len() > before, "it has ended: {said}");
    }
    said
}

/// A database whose socket is not there yet: its URL, the socket, and where it is to be.
fn later(database: &TestDatabase, directory: &Path) -> (String, String, PathBuf) {
    let later = directory.join("socket");
    let (_, rest) = database.url.split_once("host=").expect("a socket's");
    let host = rest.split('&').next().expect("a part");
    let url = database
        .url
        .replace(host, &later.to_str().expect("UTF-8").replace('/', "%2F"));
    (url, host.replace("%2F", "/"), later)
}

#[test]
fn a_service_waits_for_a_database_that_comes_later() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (url, socket, later) = later(&database, directory.path());
    let mut child = program(&url)
        .args(["serve", "--bind=127.0.0.1:0", "--wait-for-database=60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let said = lines_until(&mut stderr, "the database does not answer");
    assert!(said.contains("it is tried again for 5"), "{said}");
    std::os::unix::fs::symlink(socket, &later).expect("linked");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("UTF-8");
    let started = line.starts_with("cmms-export is at");
    let _ = child.kill();
    let _ = child.wait();
    assert!(started, "{line}");
}

#[test]
fn a_service_that_waits_for_its_database_says_that_it_lives_and_sends_others_away() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (url, socket, later) = later(&database, directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut command = activated(listener.into(), 1, &url);
            Server::spawn_as_bound(command.env("CMMS_WAIT_FOR_DATABASE", "60"))
        });
        assert_eq!(Download::start(&address, "/livez").status, 200);
        for path in ["/readyz", "/tasks.csv", "/"] {
            let refused = Download::start(&address, path);
            assert_eq!(refused.status, 503, "{path}");
            assert_eq!(refused.header("retry-after"), Some("5"));
            assert_eq!(refused.header("connection"), Some("close"));
            assert_eq!(refused.json()["type"], "urn:cmms-export:problem:starting");
        }
        std::os::unix::fs::symlink(socket, &later).expect("linked");
        let server = server.join().expect("it starts");
        assert_eq!(Download::start(&server.address, "/readyz").status, 200);
    });
}

#[test]
fn a_service_waits_no_longer_than_it_was_told_to() {
    let output = program("postgresql://someone:s3cret@127.0.0.1:1/nowhere")
        .args(["serve", "--bind=127.0.0.1:0"])
        .env("CMMS_WAIT_FOR_DATABASE", "0.5")
        .output()
        .expect("the program runs");
    assert_no_connection(&output);
}

#[test]
fn a_service_that_requires_a_database_starts_none_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    for url in [None, Some("")] {
        let mut command = bare_program();
        command
            .args(["serve", "--bind=127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("data"))
            .env("CMMS_REQUIRE_DATABASE", "true");
        if let Some(url) = url {
            command.env("DATABASE_URL", url);
        }
        let output = command.output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        assert!(
            said.contains("--require-database") && said.contains("DATABASE_URL"),
            "{said}"
        );
        assert_eq!(output.stdout, b"");
    }
    assert!(!directory.path().join("data").exists());
    let database = TestDatabase::new();
    Server::spawn(program(&database.url).args(["serve", "--require-database"]));
}

#[test]
fn the_token_and_the_databases_url_can_be_in_files() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let url = file("url", &format!("{}\n", database.url));
    let token = file("token", "s3cret\n");
    let mut command = bare_program();
    command.args(["serve", "--database-url-file"]).arg(&url);
    command.env("CMMS_AUTH_TOKEN_FILE", &token);
    let server = Server::spawn(&mut command);
    let status = |bearer: &str| {
        let authorization = format!("Bearer {bearer}");
        Download::request(
            &server.address,
            "GET",
            "/locations.csv",
            &[("Host", &server.address), ("Authorization", &authorization)],
        )
        .status
    };
    assert_eq!(status("guess"), 401);
    assert_eq!(status("s3cret"), 200);
}

#[test]
fn a_secret_that_is_given_twice_or_not_to_be_read_is_wrong_usage() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "\n").expect("written");
    let missing = directory.path().join("missing");
    for (file, token, says) in [
        (&empty, None, "the file is empty"),
        (&missing, None, "No such file"),
        (&missing, Some("s3cret"), "--auth-token-file"),
    ] {
        let mut command = program("postgresql://nowhere/nothing");
        command.args(["serve", "--auth-token-file"]).arg(file);
        if let Some(token) = token {
            command.env("CMMS_AUTH_TOKEN", token);
        }
        let output = command.output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains(says) && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_service_manager_hears_that_the_service_is_ready_and_that_it_answers() {
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager
        .set_read_timeout(Some(Duration::from_secs(120)))
        .expect("set");
    let _server = Server::spawn(
        program(&database.url)
            .arg("serve")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "600000"),
    );
    let hear = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(hear().trim(), "READY=1");
    assert_eq!(hear().trim(), "WATCHDOG=1");
    assert_eq!(hear().trim(), "WATCHDOG=1");
}

#[test]
fn a_start_tells_what_it_does_in_order_and_the_address_last() {
    let directory = temporary_directory("start");
    let mut server = std::process::Command::new("sh")
        .args(["-c", "exec \"$0\" serve --bind 127.0.0.1:0 2>&1"])
        .arg(bare_program().get_program())
        .env_remove("DATABASE_URL")
        .env("CMMS_DATA_DIR", directory.join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut pipe = BufReader::new(server.stdout.take().expect("piped"));
    let said = lines_until(&mut pipe, "cmms-export is at http://");
    let places = [
        "creating a PostgreSQL cluster",
        "started the PostgreSQL server",
        "the private cluster's tables are up to date now",
        "Seeding",
        "made-up tasks is served",
        "the spool is ready",
        "workers",
        "cmms-export is at",
    ]
    // The last: while a start takes long, a server says so.
    .map(|text| said.rfind(text).unwrap_or_else(|| panic!("{text}: {said}")));
    assert!(places.is_sorted(), "{said}");
    let (_, address) = said.trim().rsplit_once(' ').expect("an address");
    let alive = ureq::get(format!("{address}livez")).call();
    assert_eq!(alive.expect("it answers").status(), 200);
    server.kill().expect("ours");
    server.wait().expect("ours");
    let mut more = String::new();
    pipe.read_to_string(&mut more).expect("UTF-8");
    assert_eq!(more, "", "behind the address");
    eventually("its server is gone", || {
        !directory.join("data/postgresql/postmaster.pid").exists()
    });
    std::fs::remove_dir_all(directory).expect("ours");
}

#[test]
fn credentials_from_systemd_are_taken_unless_something_else_is_said() {
    let database = TestDatabase::new();
    let credentials = tempfile::tempdir().expect("a directory");
    let credential = |name: &str, text: &str| {
        std::fs::write(credentials.path().join(name), text).expect("written");
    };
    credential("database-url", &format!("{}\n", database.url));
    credential("auth-token", "a-token-that-nobody-guesses\n");
    let with_credentials = |command: &mut std::process::Command| {
        command.env("CREDENTIALS_DIRECTORY", credentials.path());
    };
    let mut command = program(&database.url);
    command.arg("serve").env_remove("DATABASE_URL");
    with_credentials(&mut command);
    let server = Server::spawn(&mut command);
    let status = |authorization: &str| {
        let headers = [
            ("Host", "localhost"),
            ("Authorization", &format!("Bearer {authorization}")),
        ];
        Download::request(&server.address, "GET", "/tasks.csv", &headers).status
    };
    assert_eq!(status("a-token-that-nobody-guesses"), 200);
    assert_eq!(status("a-token-that-somebody-guesses"), 401);

    let mut command = program(&database.url);
    command
        .args(["serve", "--auth-token=said-on-the-command-line"])
        .env("CMMS_AUTH_TOKN", "misspelled");
    with_credentials(&mut command);
    // Whatever is in the file: nobody needs it.
    credential("database-url", "");
    let server = Server::spawn(&mut command);
    let headers = [
        ("Host", "localhost"),
        ("Authorization", "Bearer said-on-the-command-line"),
    ];
    let download = Download::request(&server.address, "GET", "/tasks.csv", &headers);
    assert_eq!(download.status, 200);
    let log = server.into_log();
    assert!(
        log.contains(r#"variable="CMMS_AUTH_TOKN" meant="CMMS_AUTH_TOKEN""#),
        "{log}"
    );
    assert!(!log.contains("misspelled"), "{log}");
}
