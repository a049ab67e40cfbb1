//! Prepared exports, as a client sees them.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::program;
use crate::{Server, eventually};

/// A response that was read to its end.
pub struct Answer {
    /// The status.
    pub status: u16,
    headers: ureq::http::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A field of the header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn of(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Self {
        let mut response = response.expect("a whole response");
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response
                .body_mut()
                .with_config()
                .limit(u64::MAX)
                .read_to_vec()
                .expect("a whole body"),
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into()
}

/// Sends a request.
pub fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent().get(server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.call())
}

/// The same, without the body.
pub fn head(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent().head(server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.call())
}

/// Requests a prepared export.
pub fn post(server: &Server, kind: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent()
        .post(server.url("/api/exports"))
        .header("Content-Type", kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send(body))
}

/// Requests a prepared export that must be accepted; returns its id.
pub fn order(server: &Server, what: &Value) -> String {
    let answer = post(server, "application/json", &what.to_string(), &[]);
    assert_eq!(answer.status, 202, "{what}: {}", answer.json());
    let id = answer.json()["id"].as_str().expect("a text").to_owned();
    let location = format!("/api/exports/{id}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    id
}

/// Returns the latest manifests.
pub fn listed(server: &Server) -> Vec<Value> {
    let answer = get(server, "/api/exports", &[]);
    assert_eq!(answer.status, 200);
    answer.json().as_array().expect("a list").clone()
}

/// Returns the ids of the latest exports.
pub fn ids(manifests: &[Value]) -> Vec<&str> {
    let ids = manifests.iter().map(|it| it["id"].as_str());
    ids.collect::<Option<_>>().expect("each has one")
}

/// Deletes an export; returns the status.
pub fn delete(server: &Server, id: &str) -> u16 {
    let path = server.url(&format!("/api/exports/{id}"));
    Answer::of(agent().delete(path).call()).status
}

/// Waits until an export is complete; returns the path of its file.
pub fn complete(server: &Server, id: &str) -> String {
    let manifest = server.ended(id);
    assert_eq!(manifest["state"], "complete", "{manifest}");
    manifest["file"].as_str().expect("a path").to_owned()
}

/// Demands that an export has failed, with this error.
pub fn has_failed(manifest: &Value, error: &str) {
    let told = (&manifest["state"], &manifest["error"]);
    assert_eq!(told, (&json!("failed"), &json!(error)), "{manifest}");
}

/// Prepares an export; returns its id and the path of its file.
pub fn prepare(server: &Server, what: &Value) -> (String, String) {
    let id = order(server, what);
    let file = complete(server, &id);
    (id, file)
}

/// The path that prepares the tasks by a strategy.
pub fn by(strategy: &str) -> Value {
    json!({"strategy": strategy})
}

/// Starts a service with this directory for the spool, which outlives the service.
pub fn serve_from(url: &str, spool: &Path, flags: &[&str]) -> Server {
    let mut command = program(url);
    Server::spawn(
        command
            .arg("serve")
            .arg("--spool-dir")
            .arg(spool)
            .args(flags),
    )
}

/// The files of exports in this spool directory, by their names.
pub fn files(spool: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(spool.join("cmms-exports")).expect("it is there");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("ours"))
        .filter(|name| name != "lock")
        .collect();
    names.sort();
    names
}

/// Waits until only the label of an export is left.
pub fn leaves_only_its_label(spool: &Path, id: &str) {
    eventually("the export's file is gone", || {
        let of_it: Vec<String> = files(spool)
            .into_iter()
            .filter(|name| name.contains(id))
            .collect();
        of_it == [format!("{id}.json")]
    });
}
