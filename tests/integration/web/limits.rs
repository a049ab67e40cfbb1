//! What an export may cost, and what the service is left to others.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cmms_export::export::Strategy;

use crate::support::client::{Download, End, download, send};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::program::{program, stderr};
use crate::support::{Server, TestDatabase, data, eventually};

#[test]
fn one_export_too_many_is_told_at_once_when_to_come_back() {
    let gated = Gated::new();
    let mut gate = Gate::close(&gated, ROWS / 2);
    let server = Server::spawn(program(&gated.url).args(["serve", "--max-exports=2"]));
    let running = ["", "?strategy=tuples"].map(|query| {
        let stream = send(
            &server.address,
            "GET",
            &format!("/tasks.csv{query}"),
            &[("Host", &server.address)],
        );
        eventually("it runs", || {
            server.metric("cmms_export_exports_in_flight ") >= 1.0
        });
        stream
    });
    eventually("both run", || {
        server.metric("cmms_export_exports_in_flight ") == 2.0
    });
    gate.reached();

    let refused = Download::start(&server.address, "/tasks.csv");
    assert_eq!(refused.status, 503);
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:busy");
    assert_eq!(
        server.metric("cmms_export_requests_rejected_total{reason=\"busy\"}"),
        1.0
    );
    // Pages have connections of their own.
    for path in ["/", "/livez", "/readyz"] {
        assert_eq!(
            ureq::get(server.url(path)).call().expect("200").status(),
            200,
            "{path}"
        );
    }

    drop(gate);
    for stream in running {
        let (csv, end) = Download::read(stream).finish();
        assert_eq!(end, End::Clean);
        assert_eq!(
            csv.iter().filter(|byte| **byte == b'\n').count() as u64,
            ROWS + 1
        );
    }
}

#[test]
fn strategies_that_hold_all_rows_refuse_too_many_and_name_those_that_do_not() {
    let database = TestDatabase::seeded(&["--tasks=100", "--locations=1", "--assets=10"]);
    let server = Server::spawn(program(&database.url).args(["serve", "--max-buffered-rows=50"]));
    for strategy in Strategy::all() {
        let path = format!("/tasks.csv?export_id={0}&strategy={0}", strategy.name());
        let download = Download::start(&server.address, &path);
        if strategy.is_buffered() {
            assert_eq!(download.status, 422, "{path}");
            let problem = download.json();
            let detail = problem["detail"].as_str().expect("there is more to say");
            assert!(detail.contains("more than 50 rows"), "{detail}");
            assert!(
                Strategy::unbuffered().all(|other| detail.contains(other.name())),
                "{detail}"
            );
            assert_eq!(server.ended(strategy.name())["error"], "too-many-rows");

            let few = Download::start(
                &server.address,
                &format!("/tasks.csv?strategy={}&asset_id=3", strategy.name()),
            );
            assert_eq!(few.status, 200, "the filter leaves few enough");
        } else {
            assert_eq!(download.status, 200, "{path}");
        }
    }
    let exact = Server::spawn(program(&database.url).args(["serve", "--max-buffered-rows=100"]));
    assert_eq!(
        Download::start(&exact.address, "/tasks.csv?strategy=joined").status,
        200
    );

    let refused = program(&database.url)
        .args(["export", "--strategy=tuples", "--max-buffered-rows=99"])
        .output();
    let refused = refused.expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("more than 99 rows"),
        "{refused:?}"
    );
}

/// Reads at 1 KB a second, of whatever answer it gets, until it is told to stop.
fn read_slowly(mut stream: TcpStream, stop: &AtomicBool) {
    let mut piece = [0; 1024];
    while !stop.load(Ordering::Relaxed) && stream.read(&mut piece).is_ok_and(|bytes| bytes > 0) {
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

#[test]
fn two_hundred_slow_readers_neither_stop_the_pages_nor_fill_the_memory() {
    const READERS: usize = 200;
    const EXPORTS: usize = 12;
    const TIME: Duration = Duration::from_secs(30);
    let database = data::wide(1_000_000);
    let server = Server::spawn(program(&database.url).args([
        "serve",
        "--max-exports",
        &EXPORTS.to_string(),
    ]));
    for path in ["/livez", "/"] {
        ureq::get(server.url(path)).call().expect("200");
    }
    let idle = server.resident_memory();

    let stops: Vec<Arc<AtomicBool>> = (0..READERS).map(|_| Arc::default()).collect();
    let readers: Vec<_> = stops
        .iter()
        .map(|stop| {
            let (stop, address) = (Arc::clone(stop), server.address.clone());
            std::thread::spawn(move || {
                read_slowly(
                    send(&address, "GET", "/tasks.csv", &[("Host", &address)]),
                    &stop,
                )
            })
        })
        .collect();
    eventually("all permits are taken", || {
        server.metric("cmms_export_exports_in_flight ") == EXPORTS as f64
    });

    let began = Instant::now();
    let mut times = Vec::new();
    let mut peak = idle;
    let whole = Mutex::new(None);
    std::thread::scope(|scope| {
        // A normal export gets a permit when some slow readers have gone, and is whole.
        scope.spawn(|| {
            while began.elapsed() < TIME / 2 {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            for stop in &stops {
                stop.store(true, Ordering::Relaxed);
            }
            eventually("a permit is free", || {
                let download =
                    Download::start(&server.address, "/tasks.csv?title=99&strategy=copy");
                let free = download.status == 200;
                if free {
                    *whole.lock().expect("ours") = Some(download.finish().1);
                }
                free
            });
        });
        while began.elapsed() < TIME {
            for path in ["/livez", "/"] {
                let asked = Instant::now();
                assert_eq!(
                    ureq::get(server.url(path))
                        .call()
                        .expect("answers")
                        .status(),
                    200
                );
                times.push(asked.elapsed());
            }
            peak = peak.max(server.resident_memory());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    readers
        .into_iter()
        .for_each(|reader| reader.join().expect("no panic"));
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    let grown = peak.saturating_sub(idle);
    println!(
        "{} pages, p99 {p99:?}, slowest {:?}; {} KiB above idle",
        times.len(),
        times.last(),
        grown >> 10
    );
    assert_eq!(*whole.lock().expect("ours"), Some(End::Clean));
    assert!(grown < 64 << 20, "{grown} bytes above idle");
    assert!(
        download(&server.address, "location_id=-1").starts_with(b"ID,"),
        "the service is as before"
    );
}
