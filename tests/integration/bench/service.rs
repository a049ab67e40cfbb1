//! A server that runs benchmarks and keeps their results in a directory of its own, and what is asked of it.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::Response;

use crate::support::client::Download;
use crate::support::gate::Gated;
use crate::support::program::{bench, program};
use crate::support::{Server, TestDatabase, eventually};

pub(crate) const IMPORT: &str = "/api/benchmarks/import";
pub(crate) const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

pub(crate) struct Service {
    // Stopped before its directory goes.
    server: Server,
    data_dir: TempDir,
}

impl Deref for Service {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Service {
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(url, &[])
    }

    pub(crate) fn start_with(url: &str, arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), url, arguments)
    }

    /// A server that keeps its results in this directory, and may find some there.
    pub(crate) fn start_in(data_dir: TempDir, url: &str, arguments: &[&str]) -> Self {
        let server = Server::spawn(serve(url, data_dir.path()).args(arguments));
        Self { server, data_dir }
    }

    /// A server that says itself where it listens.
    pub(crate) fn start_as_bound(url: &str, arguments: &[&str]) -> Self {
        let data_dir = tempfile::tempdir().expect("a directory");
        let server = Server::spawn_as_bound(serve(url, data_dir.path()).args(arguments));
        Self { server, data_dir }
    }

    /// Stops it, and starts another one in its directory.
    pub(crate) fn restart(self, url: &str, arguments: &[&str]) -> Self {
        drop(self.server);
        Self::start_in(self.data_dir, url, arguments)
    }

    pub(crate) fn get(&self, path: &str) -> Download {
        Download::start(&self.address, path)
    }

    pub(crate) fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<ureq::Body> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .into();
        let request = headers
            .iter()
            .fold(agent.post(self.url(path)), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.send(body).expect("an answer")
    }

    /// Asks for a benchmark by a body of this type.
    pub(crate) fn post_as(&self, kind: &str, body: &str) -> Response<ureq::Body> {
        self.post("/api/benchmarks", &[("Content-Type", kind)], body)
    }

    /// Starts a benchmark, and returns its id.
    pub(crate) fn run(&self, options: &Value) -> String {
        let mut answer = self.post_as("application/json", &options.to_string());
        assert_eq!(answer.status(), 201);
        let status: Value = answer.body_mut().read_json().expect("JSON");
        let id = status["id"].as_str().expect("an id").to_owned();
        assert_eq!(location(&answer), format!("/api/benchmarks/{id}"));
        id
    }

    /// Runs a benchmark to its end, and returns its id.
    pub(crate) fn run_whole(&self, options: &Value) -> String {
        let id = self.run(options);
        self.ends(&id, "complete");
        id
    }

    /// Waits until a benchmark has ended so.
    pub(crate) fn ends(&self, id: &str, state: &str) {
        eventually("the benchmark ends", || {
            self.benchmark(id)["state"] == state
        });
    }

    pub(crate) fn benchmark(&self, id: &str) -> Value {
        self.get(&format!("/api/benchmarks/{id}")).json()
    }

    /// The results that it has.
    pub(crate) fn list(&self) -> Vec<Value> {
        let list = self.get("/api/benchmarks").json();
        list.as_array().expect("an array").clone()
    }

    /// The benchmark page.
    pub(crate) fn page(&self, query: &str) -> String {
        ureq::get(self.url(&format!("/benchmark{query}")))
            .call()
            .expect("200")
            .body_mut()
            .read_to_string()
            .expect("text")
    }

    /// Imports a result, and returns its id.
    pub(crate) fn import(&self, report: &Value) -> String {
        let mut answer = self.post(IMPORT, &JSON, &report.to_string());
        let entry: Value = answer.body_mut().read_json().expect("JSON");
        entry["id"].as_str().expect("an id").to_owned()
    }
}

/// A command for a server that keeps its results in this directory.
fn serve(url: &str, data_dir: &Path) -> Command {
    let mut command = program(url);
    command.arg("serve").arg("--data-dir").arg(data_dir);
    command
}

/// Where an answer leads.
pub(crate) fn location(answer: &Response<ureq::Body>) -> &str {
    answer.headers()["location"].to_str().expect("ASCII")
}

/// A gated database, of which no strategy gets further than the gate, and a server on it.
pub(crate) fn gated() -> (Gated, Service) {
    let gated = Gated::new();
    let service = Service::start(&gated.url);
    (gated, service)
}

/// A result as another machine has it, which has another processor and another day.
pub(crate) fn from_elsewhere(database: &TestDatabase, date: &str) -> Value {
    let arguments = ["--runs", "2", "--strategies", "copy,paged"];
    let (mut report, _) = bench(&database.url, &arguments);
    report["environment"]["processor"] = json!("Abacus <9000>");
    report["environment"]["date"] = json!(date);
    report
}
