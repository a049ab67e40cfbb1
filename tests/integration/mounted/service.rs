//! The service at a base path, beside an application's own routes.

use std::future::ready;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use cmms_export::datasets;
use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use diesel_export::dataset::Scope;
use diesel_export::db::Database;
use diesel_export::spool::Spool;
use diesel_export_actix::{Application, Authorize, ExportService, Settings};
use serde_json::{Value, json};

use super::Mounting;
use crate::support::client::{Download, End};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::{TestDatabase, eventually, oracle};

/// An application that mounts the service at `/reports`.
fn reports(url: &str) -> Mounting {
    reports_with(url, |settings| settings)
}

fn reports_with(url: &str, change: impl FnOnce(Settings) -> Settings) -> Mounting {
    Mounting::start(|spool| {
        let settings = change(Settings {
            base_path: "/reports".parse().expect("a path"),
            spool: Some(Spool::open(spool, 1 << 30).expect("writable")),
            ..Settings::of(datasets::catalog(), url, Application::named("plant"))
        });
        let database = Database::new(url, 8, Duration::from_secs(5));
        let service = ExportService::start(database, settings).expect("threads");
        let mounted = service.clone();
        let own = || web::to(async || "the application's own");
        let routes = move |config: &mut ServiceConfig| {
            config.configure(mounted.routes());
            config.route("/", own()).route("/reportsof", own());
        };
        (routes, move || service.stop())
    })
}

#[test]
fn an_application_mounts_the_service_at_a_path_beside_its_own_routes() {
    let database = TestDatabase::seeded(&["--tasks", "300"]);
    let mounting = reports(&database.url);
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
    let mounting = reports(&database.url);
    let response =
        ureq::post(mounting.url("/reports/api/exports")).send_json(json!({"strategy": "copy"}));
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
    let mounting = reports(&gated.url);
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

#[test]
fn rows_are_read_as_the_users_role_of_postgresql() {
    let database = TestDatabase::seeded(&["--tasks", "300"]);
    let role = format!("reader_{}", database.name());
    database
        .connect()
        .batch_execute(&format!(
            "create role {role}; grant select on tasks, assets, locations to {role}; grant select (id, username) on users to {role};
             alter table tasks enable row level security; create policy thirds on tasks to {role} using (id % 3 = 0)"
        ))
        .expect("a superuser may");
    let scope = Scope::of("ann").as_role(role);
    let authorize = Authorize::new(move |_request| ready(Ok(scope.clone())));
    let reports_to = |authorize| {
        reports_with(&database.url, |settings| Settings {
            authorize: Some(authorize),
            ..settings
        })
    };
    let mounting = reports_to(authorize);
    let expected = oracle::copy(&database, "t.id % 3 = 0", ',');
    for strategy in Strategy::all() {
        let path = format!("/reports/tasks.csv?strategy={strategy}");
        let (csv, end) = mounting.get(&path).finish();
        assert_eq!(end, End::Clean);
        assert!(csv == expected, "{strategy}");
    }
    let count = mounting.get("/reports/api/tasks/count").json();
    assert_eq!(count, json!({"count": 100}));
    let nobody = Authorize::new(|_request| ready(Ok(Scope::of("ann").as_role("nobody's"))));
    let mounting = reports_to(nobody);
    assert_eq!(mounting.get("/reports/tasks.csv").status, 500);
}

#[test]
fn without_pages_the_service_is_an_api() {
    let database = TestDatabase::seeded(&["--tasks", "10"]);
    let mounting = reports_with(&database.url, |settings| Settings {
        has_pages: false,
        ..settings
    });
    let address = &mounting.address;
    let html = [("host", address.as_str()), ("accept", "text/html")];
    for path in ["/reports/", "/reports/tasks", "/reports/exports"] {
        let answer = Download::request(address, "GET", path, &html);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["type"], "urn:plant:problem:not-found");
    }
    let csv = mounting.get("/reports/tasks.csv").finish().0;
    assert_eq!(csv, oracle::copy(&database, "true", ','));
    let document = mounting.get("/reports/openapi.json").json();
    assert!(document["paths"].get("/tasks.csv").is_some());
    assert!(document["paths"].get("/tasks").is_none());
    // A link of another site, which leads to the page where there is one.
    let linked = [&html[..], &[("referer", "http://example.com/")]].concat();
    let answer = Download::request(address, "GET", "/reports/tasks.csv", &linked);
    assert_eq!(answer.status, 403);
}
