//! The service in an application of its own: at a base path, beside the application's own routes, on actix's own HTTP server.

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use cmms_export::datasets;
use diesel_export::db::Database;
use diesel_export::spool::Spool;
use diesel_export_actix::{Application, ExportService, Settings};
use serde_json::{Value, json};

use crate::support::client::{Download, End};
use crate::support::cluster::temporary_directory;
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::{TestDatabase, eventually, oracle};

/// An application that mounts the service at `/reports`.
struct Mounting {
    address: String,
    handle: ServerHandle,
}

impl Mounting {
    fn start(url: &str) -> Self {
        let spool = temporary_directory("mounted");
        let settings = Settings {
            base_path: "/reports".parse().expect("a path"),
            spool: Some(Spool::open(&spool, 1 << 30).expect("writable")),
            ..Settings::of(datasets::catalog(), url, Application::named("plant"))
        };
        let database = Database::new(url, 8, Duration::from_secs(5));
        let service = ExportService::start(database, settings).expect("threads");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let mounted = service.clone();
                let own = || web::to(async || "the application's own");
                let server = HttpServer::new(move || {
                    App::new()
                        .configure(mounted.routes())
                        .route("/", own())
                        .route("/reportsof", own())
                });
                let server = server.workers(1).disable_signals();
                let server = server.listen(listener).expect("it listens").run();
                send.send(server.handle()).expect("the test waits");
                server.await.expect("it serves");
            });
            service.stop();
        });
        let handle = receive.recv().expect("it runs");
        Self { address, handle }
    }

    fn get(&self, path: &str) -> Download {
        Download::start(&self.address, path)
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        // It is told; its thread ends by itself.
        drop(self.handle.stop(false));
    }
}

#[test]
fn an_application_mounts_the_service_at_a_path_beside_its_own_routes() {
    let database = TestDatabase::seeded(&["--tasks", "300"]);
    let mounting = Mounting::start(&database.url);
    for path in ["/", "/reportsof"] {
        let own = mounting.get(path);
        assert_eq!(own.header("content-security-policy"), None);
        assert_eq!(own.whole(), b"the application's own", "{path}");
    }
    let moved = mounting.get("/reports");
    assert_eq!(moved.header("location"), Some("/reports/"));

    let (csv, end) = mounting.get("/reports/tasks.csv").finish();
    assert_eq!(end, End::Clean);
    assert_eq!(csv, oracle::copy(&database, "true", ','));
    assert_eq!(mounting.get("/reports/livez").status, 200);
    assert_eq!(mounting.get("/reports/readyz").status, 200);
    assert_eq!(mounting.get("/livez").status, 404);

    for path in ["/reports/", "/reports/assets", "/reports/exports"] {
        let page = mounting.get(path);
        assert!(page.header("content-security-policy").is_some());
        let html = String::from_utf8(page.whole()).expect("UTF-8");
        let addresses = ["href=\"", "src=\"", "action=\""].map(|name| html.split(name).skip(1));
        for address in addresses.into_iter().flatten() {
            assert!(address.starts_with("/reports/"), "{path}: {address:.40}");
        }
        for script in html.split("src=\"").skip(1) {
            let (script, _) = script.split_once('"').expect("quoted");
            assert_eq!(mounting.get(script).status, 200, "{script}");
        }
    }

    let unknown = mounting.get("/reports/nothing").json();
    assert_eq!(unknown["type"], "urn:plant:problem:not-found");
    let metrics = String::from_utf8(mounting.get("/reports/metrics").whole()).expect("UTF-8");
    assert!(metrics.contains("plant_exports_total{"));
    let document = mounting.get("/reports/openapi.json").json();
    assert_eq!(document["info"]["title"], "plant");
    assert_eq!(document["servers"], json!([{"url": "/reports"}]));
}

#[test]
fn a_prepared_export_of_a_mounted_service_is_where_its_manifest_says() {
    let database = TestDatabase::seeded(&["--tasks", "300"]);
    let mounting = Mounting::start(&database.url);
    let url = |path: &str| format!("http://{}{path}", mounting.address);
    let response = ureq::post(url("/reports/api/exports")).send_json(json!({"strategy": "copy"}));
    let response = response.expect("202");
    let location = response.headers()["location"].to_str().expect("ASCII");
    let location = location.to_owned();
    let mut manifest = Value::Null;
    eventually("it is complete", || {
        manifest = mounting.get(&location).json();
        manifest["state"] == "complete"
    });
    let file = manifest["file"].as_str().expect("its address");
    assert!(file.starts_with("/reports/exports/"));
    assert_eq!(
        mounting.get(file).whole(),
        oracle::copy(&database, "true", ',')
    );
}

#[test]
fn an_export_that_fails_never_looks_complete_on_the_applications_own_server() {
    let gated = Gated::new();
    let mounting = Mounting::start(&gated.url);
    for strategy in ["lookup", "copy", "streamed"] {
        let mut gate = Gate::close(&gated, ROWS / 2);
        let path = format!("/reports/tasks.csv?strategy={strategy}");
        let mut download = mounting.get(&path);
        assert_eq!(download.status, 200);
        download.chunk().expect("a chunk").expect("not the last");
        gate.terminate();
        let (_, end) = download.finish();
        assert_eq!(end, End::Broken, "{strategy}");
    }
}
