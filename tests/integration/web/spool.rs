//! Downloads whose readers fall behind: the database is free, and the rest waits on disk.

use std::path::Path;

use diesel_export::Strategy;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::client::{Download, End, download, download_when_free};
use crate::support::program::{in_shell, program, stderr};
use crate::support::{Server, TestDatabase, data, eventually, gate, oracle};

/// Far more than the buffers between the server and a client hold: 12 MB.
const ROWS: u32 = 100_000;

fn serve(database: &TestDatabase, flags: &[&str]) -> Server {
    Server::spawn(program(&database.url).arg("serve").args(flags))
}

fn used(server: &Server) -> f64 {
    server.metric("cmms_export_spool_used_bytes ")
}

fn spooled(server: &Server) -> f64 {
    server.metric("cmms_export_spooled_bytes_total ")
}

fn fallbacks(server: &Server, reason: &str) -> f64 {
    server.metric(&format!(
        "cmms_export_spool_fallbacks_total{{reason=\"{reason}\"}}"
    ))
}

/// Starts a download, takes a little of it, and waits until the database is through with it.
fn start(server: &Server, database: &TestDatabase, id: &str, query: &str) -> (Download, Vec<u8>) {
    let path = format!("/tasks.csv?export_id={id}&{query}");
    let mut download = Download::start(&server.address, &path);
    assert_eq!(download.status, 200, "{query}");
    let first = download.chunk().expect("a chunk").expect("not the last");
    eventually("the database is free", || {
        server.manifest(id)["loaded_seconds"].is_f64()
    });
    assert_eq!(gate::running_queries(database), 0, "{query}");
    assert!(used(server) > 0.0, "the rest is on disk");
    (download, first)
}

/// Files in the spool that the server has open.
fn open_files(server: &Server) -> usize {
    let directory = format!("/proc/{}/fd", server.pid());
    let spool = std::env::temp_dir();
    std::fs::read_dir(directory)
        .expect("it runs")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(&spool) && !target.ends_with("lock"))
        .count()
}

#[test]
fn a_slow_reader_leaves_the_database_to_others_and_gets_psqls_bytes() {
    let database = data::wide(ROWS);
    let expected = oracle::copy(&database, "true", ',');
    let server = serve(&database, &["--max-exports=1"]);
    for strategy in Strategy::all() {
        let name = strategy.name();
        let query = format!("strategy={name}");
        let (slow, mut csv) = start(&server, &database, name, &query);
        // The only place on the database is another one's.
        assert!(download_when_free(&server.address, "strategy=copy") == expected);
        let manifest = server.manifest(name);
        assert_eq!(manifest["state"], "running", "{manifest}");
        let loaded = manifest["loaded_seconds"].as_f64().expect("it is free");
        assert!(loaded < manifest["seconds"].as_f64().expect("a number"));
        assert_eq!(open_files(&server), 1, "{name}");
        let (rest, end) = slow.finish();
        csv.extend(rest);
        assert_eq!(end, End::Clean, "{name}");
        assert!(csv == expected, "{name}");
        let manifest = server.ended(name);
        assert_eq!(manifest["state"], "complete", "{manifest}");
        assert_eq!(manifest["bytes"], csv.len(), "{manifest}");
        eventually("its space is free", || used(&server) == 0.0);
        assert_eq!(open_files(&server), 0, "{name}");
    }
}

#[test]
fn a_compressed_download_is_spooled_as_it_is_sent() {
    let database = data::wide(5 * ROWS);
    let server = serve(&database, &["--compression=on"]);
    let mut headers = vec![("Host", server.address.as_str())];
    headers.push(("Accept-Encoding", "gzip"));
    let mut slow = Download::request(
        &server.address,
        "GET",
        "/tasks.csv?export_id=slow",
        &headers,
    );
    assert_eq!(slow.header("content-encoding"), Some("gzip"));
    let mut body = slow.chunk().expect("a chunk").expect("not the last");
    eventually("the rest is on disk", || used(&server) > 0.0);
    eventually("the database is free", || {
        gate::running_queries(&database) == 0
    });
    let (rest, end) = slow.finish();
    body.extend(rest);
    assert_eq!(end, End::Clean);
    assert!(spooled(&server) < body.len() as f64);
    let mut csv = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut csv)
        .expect("whole");
    assert!(csv == oracle::copy(&database, "true", ','));
}

#[test]
fn a_reader_that_keeps_up_never_touches_the_disk() {
    let database = data::wide(ROWS);
    let server = serve(&database, &[]);
    for strategy in Strategy::all() {
        download(&server.address, &format!("strategy={}", strategy.name()));
    }
    assert_eq!(spooled(&server), 0.0);
}

#[test]
fn a_full_spool_holds_the_query_back_and_the_download_is_whole() {
    let database = data::wide(ROWS);
    let server = serve(&database, &["--spool-size=1MiB"]);
    let mut slow = Download::start(&server.address, "/tasks.csv?strategy=copy");
    let mut csv = slow.chunk().expect("a chunk").expect("not the last");
    eventually("the spool is full", || fallbacks(&server, "full") == 1.0);
    assert!(used(&server) > 0.0 && used(&server) <= f64::from(1 << 20));
    assert_eq!(gate::running_queries(&database), 1, "it is held back");
    let (rest, end) = slow.finish();
    csv.extend(rest);
    assert_eq!(end, End::Clean);
    assert!(csv == oracle::copy(&database, "true", ','));
    assert!(server.into_log().contains("the spool is full"));
}

#[test]
fn ten_slow_readers_share_the_spool_and_all_of_them_get_the_whole() {
    let database = data::wide(ROWS);
    let expected = oracle::copy(&database, "true", ',');
    let server = serve(&database, &["--spool-size=16MiB", "--max-exports=10"]);
    let downloads: Vec<Download> = (0..10)
        .map(|_| Download::start(&server.address, "/tasks.csv?strategy=copy"))
        .collect();
    eventually("the spool is full for most", || {
        assert!(used(&server) <= f64::from(16 << 20));
        fallbacks(&server, "full") >= 5.0
    });
    std::thread::scope(|scope| {
        for download in downloads {
            scope.spawn(|| {
                let (csv, end) = download.finish();
                assert_eq!(end, End::Clean);
                assert!(csv == expected);
            });
        }
        assert!(used(&server) <= f64::from(16 << 20));
    });
    eventually("all space is free", || used(&server) == 0.0);
}

/// A server whose spool is in a file system of its own, of 4 MiB, in a namespace of its own.
pub(super) fn serve_on_a_small_disk(database: &TestDatabase, directory: &Path) -> Server {
    let mount = "mount -t tmpfs -o size=4m tmpfs \"$CMMS_SPOOL_DIR\" && exec \"$0\" \"$@\"";
    let as_root = if nix::unistd::Uid::effective().is_root() {
        ""
    } else {
        "--map-root-user"
    };
    let script = format!("exec unshare {as_root} --mount sh -c '{mount}' \"$0\" \"$@\"");
    let mut program = program(&database.url);
    program.arg("serve").env("CMMS_SPOOL_DIR", directory);
    Server::spawn(&mut in_shell(&script, &program))
}

#[test]
fn a_full_disk_holds_the_query_back_and_the_download_is_whole() {
    let database = data::wide(ROWS);
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_on_a_small_disk(&database, directory.path());
    let mut slow = Download::start(&server.address, "/tasks.csv?strategy=copy");
    let mut csv = slow.chunk().expect("a chunk").expect("not the last");
    eventually("the disk is full", || fallbacks(&server, "failed") == 1.0);
    assert_eq!(gate::running_queries(&database), 1, "it is held back");
    let (rest, end) = slow.finish();
    csv.extend(rest);
    assert_eq!(end, End::Clean);
    assert!(csv == oracle::copy(&database, "true", ','));
    assert!(spooled(&server) > 2e6);
    // The next one finds the disk as free as it was.
    download(&server.address, "");
    assert!(server.into_log().contains("No space left on device"));
}

#[test]
fn a_limit_on_the_size_of_files_is_like_a_full_disk() {
    let database = data::wide(ROWS);
    let mut program = program(&database.url);
    // In KiB.
    let limit = "ulimit -f 1024; exec \"$0\" \"$@\"";
    let server = Server::spawn(&mut in_shell(limit, program.arg("serve")));
    let mut slow = Download::start(&server.address, "/tasks.csv?strategy=copy");
    let mut csv = slow.chunk().expect("a chunk").expect("not the last");
    eventually("the file is as large as it may be", || {
        fallbacks(&server, "failed") == 1.0
    });
    let (rest, end) = slow.finish();
    csv.extend(rest);
    assert_eq!(end, End::Clean);
    assert!(csv == oracle::copy(&database, "true", ','));
    assert!(server.into_log().contains("File too large"));
}

#[test]
fn a_delete_breaks_off_what_is_read_from_the_disk() {
    let database = data::wide(ROWS);
    let server = serve(&database, &[]);
    let (slow, _) = start(&server, &database, "slow", "");
    ureq::delete(server.url("/api/exports/slow"))
        .call()
        .expect("known");
    let manifest = server.ended("slow");
    assert_eq!(manifest["state"], "cancelled", "{manifest}");
    assert_eq!(manifest["sha256"], Value::Null, "{manifest}");
    assert_eq!(slow.finish().1, End::Broken);
    eventually("its space is free", || used(&server) == 0.0);
}

#[test]
fn a_reader_that_takes_nothing_of_what_is_on_the_disk_is_cut_off() {
    let database = data::wide(ROWS);
    let server = serve(&database, &["--reader-timeout=3"]);
    let (slow, _) = start(&server, &database, "slow", "");
    assert_eq!(server.manifest("slow")["state"], "running");
    let manifest = server.ended("slow");
    assert_eq!(
        (&manifest["state"], &manifest["error"]),
        (&json!("failed"), &json!("reader-timeout")),
        "{manifest}"
    );
    assert!(manifest["loaded_seconds"].is_f64(), "{manifest}");
    assert_eq!(slow.finish().1, End::Broken);
    eventually("its space is free", || used(&server) == 0.0);
}

#[test]
fn a_reader_that_goes_away_leaves_no_file_behind() {
    let database = data::wide(ROWS);
    let server = serve(&database, &[]);
    let (slow, _) = start(&server, &database, "slow", "");
    drop(slow);
    assert_eq!(server.ended("slow")["state"], "cancelled");
    eventually("its space is free", || used(&server) == 0.0);
    assert_eq!(open_files(&server), 0);
}

#[test]
fn sigterm_lets_a_reader_take_the_rest_from_the_disk() {
    let database = data::wide(ROWS);
    let mut server = serve(&database, &[]);
    let (slow, mut csv) = start(&server, &database, "slow", "");
    server.signal(Signal::SIGTERM);
    let (rest, end) = slow.finish();
    csv.extend(rest);
    assert_eq!(end, End::Clean);
    assert!(csv == oracle::copy(&database, "true", ','));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_spool_that_cannot_be_written_is_said_at_the_start() {
    let database = TestDatabase::new();
    let refused = program(&database.url)
        .args(["serve", "--bind=127.0.0.1:0", "--spool-dir=/proc/spool"])
        .output()
        .expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(
        said.contains("the spool cannot be in /proc/spool: "),
        "{said}"
    );

    // Nobody has asked for it to be there.
    let mut elsewhere = program(&database.url);
    let temporary = tempfile::tempdir().expect("a directory");
    elsewhere
        .env_remove("CMMS_SPOOL_DIR")
        .env("TMPDIR", temporary.path());
    let server = Server::spawn(elsewhere.args(["serve", "--data-dir=/proc"]));
    download(&server.address, "");
    let log = server.into_log();
    let instead = format!("the spool is in {} instead", temporary.path().display());
    assert!(log.contains(&instead), "{log}");
}
