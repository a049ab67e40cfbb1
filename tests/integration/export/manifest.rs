//! Manifests: the proof that an export is complete, and its progress as seen from outside.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::{Download, download};
use crate::support::oracle;
use crate::support::program::{peak_memory, program, stderr};
use crate::support::{Server, data, eventually};

fn sha256(file: &std::path::Path) -> String {
    let output = Command::new("sha256sum")
        .arg(file)
        .output()
        .expect("coreutils are there");
    String::from_utf8(output.stdout).expect("UTF-8")[..64].to_owned()
}

#[test]
fn the_manifest_tells_what_the_client_should_have() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let csv = download(
        &server.address,
        "export_id=one&done=true&updated_by_id=none&title=a&delimiter=tab&preset=excel",
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &csv).expect("written");
    let manifest = server.ended("one");
    assert_eq!(manifest["id"], "one");
    assert_eq!(manifest["state"], "complete");
    assert_eq!(manifest["bytes"], csv.len());
    assert_eq!(manifest["sha256"], sha256(file.path()));
    assert_eq!(
        manifest["filter"],
        json!({"done": true, "updated_by_id": "none", "title": "a"})
    );
    assert_eq!(
        (&manifest["preset"], &manifest["delimiter"]),
        (&json!("excel"), &json!("tab"))
    );
    download(
        &server.address,
        "export_id=two&location_id=3,4&updated_by_id=none,7&title_is=a&title_is=b&done=false",
    );
    assert_eq!(
        server.ended("two")["filter"],
        json!({"location_id": [3, 4], "updated_by_id": ["none", "7"], "title_is": ["a", "b"], "done": false})
    );
    assert_eq!(manifest["error"], Value::Null);
    assert!(
        manifest["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0),
        "{manifest}"
    );
    assert!(
        manifest["peak_memory_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 1 << 20),
        "{manifest}"
    );

    assert_eq!(
        Download::start(&server.address, "/tasks.csv?export_id=one").status,
        409,
        "the id is taken"
    );
    assert_eq!(
        Download::start(&server.address, "/api/exports/another").status,
        404
    );
}

#[test]
fn verify_tells_whole_from_not_whole() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let directory = tempfile::tempdir().expect("a directory");
    let (csv, manifest) = (
        directory.path().join("tasks.csv"),
        directory.path().join("manifest.json"),
    );
    let export = program(&database.url)
        .arg("export")
        .arg("--output")
        .arg(&csv)
        .arg("--manifest")
        .arg(&manifest)
        .output();
    assert!(export.expect("the program runs").status.success());
    let whole = fs::read(&csv).expect("there");
    assert_eq!(whole, oracle::copy(&database, "true", ','));
    let json: Value = serde_json::from_slice(&fs::read(&manifest).expect("there")).expect("JSON");
    assert_eq!(
        (&json["state"], &json["bytes"], &json["sha256"]),
        (
            &json!("complete"),
            &json!(whole.len()),
            &json!(sha256(&csv))
        )
    );

    let verify = |manifest: &str| {
        let output = program(&database.url)
            .arg("verify")
            .arg(&csv)
            .arg("--manifest")
            .arg(manifest)
            .output();
        let output = output.expect("the program runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output),
        )
    };
    let file = manifest.to_str().expect("UTF-8");
    let rows = json["rows"].as_u64().expect("a number");
    assert_eq!(
        verify(file),
        (
            Some(0),
            format!("complete: {rows} rows, {} bytes\n", whole.len())
        )
    );
    // The service's manifest, by a pipe.
    download(&server.address, "export_id=same");
    server.ended("same");
    let piped = Command::new("sh")
        .arg("-c")
        .arg("curl -sf \"$0\" | \"$1\" verify \"$2\" --manifest -")
        .arg(server.url("/api/exports/same"))
        .arg(program(&database.url).get_program())
        .arg(&csv)
        .status();
    assert!(piped.expect("sh and curl are there").success());

    fs::write(&csv, &whole[..whole.len() / 2]).expect("written");
    let (code, said) = verify(file);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("not complete") && said.contains(&format!("the export made {rows} rows")),
        "{said}"
    );
    fs::write(&csv, [&whole[..], b"x"].concat()).expect("written");
    assert_eq!(verify(file).0, Some(1));
    let mut changed = whole;
    *changed.last_mut().expect("not empty") = b' ';
    fs::write(&csv, changed).expect("written");
    assert_eq!(verify(file).0, Some(1));
    assert_eq!(verify("/nowhere/manifest.json").0, Some(1));
}

#[test]
fn verify_takes_no_memory_for_a_quotation_mark_that_is_never_closed() {
    const SIZE: usize = 64 << 20;
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("manifest.json");
    let mut export = program(&database.url);
    export.args(["export", "--output=/dev/null", "--manifest"]);
    assert!(export.arg(&manifest).status().expect("it runs").success());
    let mut verify = program(&database.url)
        .args(["verify", "-", "--manifest"])
        .arg(&manifest)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut file = verify.stdin.take().expect("a pipe");
    file.write_all(b"ID\n\"").expect("it reads");
    for _ in 0..SIZE >> 20 {
        file.write_all(&vec![b'x'; 1 << 20]).expect("it reads");
    }
    let peak = peak_memory(verify.id());
    drop(file);
    let output = verify.wait_with_output().expect("it ends");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("end within a quoted text"), "{said}");
    assert!(peak < SIZE as u64 / 2, "{peak} bytes");
}

#[test]
fn a_failed_export_on_the_command_line_has_a_manifest_too() {
    let database = data::hostile();
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("manifest.json");
    let output = program(&database.url)
        .args([
            "export",
            "--strategy=joined",
            "--max-buffered-rows=1",
            "--manifest",
        ])
        .arg(&manifest)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&fs::read(&manifest).expect("there")).expect("JSON");
    assert_eq!(
        (&json["state"], &json["error"]),
        (&json!("failed"), &json!("too-many-rows"))
    );
}

#[test]
fn one_line_of_the_log_tells_of_each_export() {
    let database = data::hostile();
    let server = Server::spawn(program(&database.url).args(["serve", "--log-format=json"]));
    let csv = download(&server.address, "export_id=logged&strategy=paged&done=true");
    server.ended("logged");
    let log = server.into_log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line["fields"].clone());
    let exports: Vec<Value> = lines
        .filter(|fields| fields["message"] == "export")
        .collect();
    assert_eq!(exports.len(), 1, "{log}");
    let line = &exports[0];
    assert_eq!(
        (&line["export_id"], &line["strategy"], &line["outcome"]),
        (&json!("logged"), &json!("paged"), &json!("complete"))
    );
    assert_eq!(
        (&line["filter"], &line["bytes"]),
        (&json!("{\"done\":true}"), &json!(csv.len()))
    );
    assert!(
        line["rows"].is_u64() && line["seconds"].is_f64() && line["peak_memory_bytes"].is_u64(),
        "{line}"
    );
}

#[test]
fn the_metrics_count_what_happened() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let csv = download(&server.address, "export_id=counted&strategy=copy");
    let rows = server.ended("counted")["rows"].as_f64().expect("a number");
    eventually("it is counted", || {
        server.metric("cmms_export_exports_in_flight ") == 0.0
    });
    assert_eq!(
        server.metric("cmms_export_exports_total{strategy=\"copy\",outcome=\"complete\"}"),
        1.0
    );
    assert_eq!(
        server.metric("cmms_export_exported_bytes_total"),
        csv.len() as f64
    );
    assert_eq!(server.metric("cmms_export_exported_rows_total"), rows);
    assert_eq!(
        server.metric("cmms_export_export_duration_seconds_count"),
        1.0
    );
    assert_eq!(server.metric("cmms_export_pool_wait_seconds_count"), 1.0);
    assert_eq!(server.metric("cmms_export_build_info{"), 1.0);
    assert_eq!(
        server.metric("cmms_export_spool_size_bytes "),
        f64::from(10 << 10) * f64::from(1 << 20)
    );
    // It has some files open and has started by now, but not long ago.
    for name in ["resident_memory_bytes", "open_fds", "max_fds"] {
        assert!(server.metric(&format!("process_{name} ")) > 9.0, "{name}");
    }
    assert!(server.metric("process_cpu_seconds_total ") > 0.0);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    let age = now.as_secs_f64() - server.metric("process_start_time_seconds ");
    assert!((0.0..600.0).contains(&age), "{age}");
}

#[test]
fn the_openapi_document_is_true_to_the_answers() {
    let database = data::hostile();
    let server = Server::spawn(program(&database.url).args(["serve", "--max-buffered-rows=1"]));
    let document = Download::start(&server.address, "/openapi.json").json();
    download(&server.address, "export_id=known");
    for (method, path, documented) in [
        ("GET", "/", "/"),
        ("GET", "/tasks.csv", "/tasks.csv"),
        ("GET", "/tasks.csv?done=perhaps", "/tasks.csv"),
        ("GET", "/tasks.csv?export_id=known", "/tasks.csv"),
        ("GET", "/tasks.csv?strategy=joined", "/tasks.csv"),
        ("GET", "/api/exports/known", "/api/exports/{id}"),
        ("GET", "/api/exports/unknown", "/api/exports/{id}"),
        ("DELETE", "/api/exports/known", "/api/exports/{id}"),
        ("DELETE", "/api/exports/unknown", "/api/exports/{id}"),
        (
            "GET",
            "/api/exports/known/events",
            "/api/exports/{id}/events",
        ),
        (
            "GET",
            "/api/exports/unknown/events",
            "/api/exports/{id}/events",
        ),
        ("GET", "/api/tasks?done=true", "/api/tasks"),
        ("GET", "/api/tasks?strategy=copy", "/api/tasks"),
        ("GET", "/api/filters?of=users", "/api/filters"),
        ("GET", "/api/filters", "/api/filters"),
        ("GET", "/benchmark", "/benchmark"),
        ("GET", "/benchmark?id=unknown", "/benchmark"),
        ("GET", "/api/benchmarks", "/api/benchmarks"),
        ("GET", "/api/benchmarks/unknown", "/api/benchmarks/{id}"),
        ("DELETE", "/api/benchmarks/unknown", "/api/benchmarks/{id}"),
        (
            "GET",
            "/api/benchmarks/unknown/events",
            "/api/benchmarks/{id}/events",
        ),
        ("GET", "/livez", "/livez"),
        ("GET", "/readyz", "/readyz"),
        ("GET", "/api/tasks/count", "/api/tasks/count"),
        ("GET", "/api/tasks/count?count=true", "/api/tasks/count"),
        ("HEAD", "/", "/"),
        ("GET", "/assets", "/assets"),
        ("GET", "/assets.csv?columns=id,colour", "/assets.csv"),
        ("GET", "/users.csv?columns=username", "/users.csv"),
        ("GET", "/api/locations?count=false", "/api/locations"),
        ("GET", "/api/users/count", "/api/users/count"),
        ("HEAD", "/tasks.csv", "/tasks.csv"),
        ("HEAD", "/tasks.csv?colour=red", "/tasks.csv"),
        ("HEAD", "/api/tasks", "/api/tasks"),
        ("HEAD", "/livez", "/livez"),
        ("HEAD", "/readyz", "/readyz"),
        ("GET", "/metrics", "/metrics"),
        ("GET", "/openapi.json", "/openapi.json"),
    ] {
        let answer = Download::request(&server.address, method, path, &[("Host", &server.address)]);
        let operation = &document["paths"][documented][method.to_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        assert!(
            response.is_object(),
            "{method} {path} answers {}, which is not documented",
            answer.status
        );
        if let Some(kind) = answer.header("content-type") {
            let kind = kind.split(';').next().expect("not empty");
            assert!(
                response["content"][kind].is_object(),
                "{method} {path}: {kind} is not documented in {response}"
            );
        }
    }
    // Every parameter that is documented is understood, and no other.
    let parameters = document["paths"]["/tasks.csv"]["get"]["parameters"]
        .as_array()
        .expect("an array");
    let names: Vec<&str> = parameters
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    assert_eq!(names.len(), 15, "{names:?}");
    for name in names {
        assert_eq!(
            Download::start(&server.address, &format!("/tasks.csv?{name}=")).status,
            if ["export_id", "columns"].contains(&name) {
                400
            } else {
                200
            },
            "{name}"
        );
    }
}
