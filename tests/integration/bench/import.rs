//! Results of other machines, and how many results are kept.

use serde_json::{Value, json};

use super::service::{IMPORT, JSON, Service, from_elsewhere, location};
use crate::support::{data, eventually};

/// Whether two results are the same, but for the last digits of numbers, which JSON may change on each of its ways.
fn are_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let in_b = |(name, a)| b.get(name).is_some_and(|b| are_alike(a, b));
            a.len() == b.len() && a.iter().all(in_b)
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs(),
            _ => a == b,
        },
    }
}

/// The body of a form with a file and a name, and its content type.
fn import_form(file: &str, name: &str) -> (String, String) {
    let part = |name: &str, more: &str, value: &str| {
        format!(
            "--boundary\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n"
        )
    };
    let file = part("file", "; filename=\"result.json\"", file);
    let body = format!("{file}{}--boundary--\r\n", part("name", "", name));
    (body, "multipart/form-data; boundary=boundary".to_owned())
}

#[test]
fn a_result_of_another_machine_is_imported_and_shown_beside_this_ones() {
    let database = data::hostile();
    let service = Service::start(&database.url);
    // Later than anything that is measured here.
    let report = from_elsewhere(&database, "2999-01-01T00:00:00Z");
    let mut answer = service.post(
        &format!("{IMPORT}?name=the+old+one"),
        &JSON,
        &report.to_string(),
    );
    assert_eq!(answer.status(), 201);
    let entry: Value = answer.body_mut().read_json().expect("JSON");
    assert_eq!(entry["imported"]["machine"], "the old one");
    let id = entry["id"].as_str().expect("an id").to_owned();
    assert_eq!(location(&answer), format!("/api/benchmarks/{id}").as_str());
    let html = service.page("");
    let machine = "the old one (Abacus &#60;9000&#62;)";
    assert!(
        html.contains("<strong>Not of this machine</strong>") && html.contains(machine),
        "{html}"
    );
    // What it returns is what came, but for where it comes from.
    let mut given = service.benchmark(&id)["result"].take();
    assert!(given["imported"]["date"].is_string());
    given.as_object_mut().expect("an object").remove("imported");
    assert!(are_alike(&given, &report), "{given} {report}");

    let own = service.run_whole(&json!({"runs": 1, "strategies": ["copy"]}));
    let html = service.page("");
    assert!(
        !html.contains("<strong>Not of this machine</strong>"),
        "this machine's is shown first: {html}"
    );
    assert!(html.contains(&format!("imported: {machine}")), "{html}");

    // The same by a form: the file as the service of the other machine has it.
    let downloaded = json!({"id": "there", "state": "complete", "progress": null, "error": null, "result": report});
    let (body, kind) = import_form(&downloaded.to_string(), "another name");
    let form = [("Content-Type", kind.as_str()), ("Accept", "text/html")];
    let answer = service.post(IMPORT, &form, &body);
    assert_eq!(answer.status(), 303);
    assert_eq!(
        location(&answer),
        format!("/benchmark?with={id}#compared").as_str(),
        "it is there already"
    );
    let html = service.page(&format!("?with={id}"));
    assert!(html.contains("They differ in the machine"), "{html}");
    assert!(html.contains("another name (Abacus"), "{html}");
    assert_eq!(service.list().len(), 2);

    // One of this machine that comes back is still of this machine.
    let back = service.get(&format!("/api/benchmarks/{own}")).json();
    let answer = service.post(IMPORT, &JSON, &back.to_string());
    assert_eq!(location(&answer), format!("/api/benchmarks/{own}").as_str());
    assert_eq!(service.list().len(), 2);
}

#[test]
fn what_is_no_result_is_not_imported() {
    let database = data::hostile();
    let service = Service::start(&database.url);
    let report = from_elsewhere(&database, "2026-11-22T14:16:26Z");
    let mut wrong = report.clone();
    wrong["results"][0]["seconds"]["runs"] = json!([-1.0, 1.0]);
    let (no_file, kind) = import_form("", "");
    let form = [("Content-Type", kind.as_str())];
    let large = " ".repeat((2 << 20) + 1);
    let larger = " ".repeat(9 << 20);
    let report = report.to_string();
    let tests = [
        (IMPORT, &JSON, "{}", 400, "missing field"),
        (IMPORT, &JSON, "{", 400, "no JSON"),
        (
            IMPORT,
            &JSON,
            &wrong.to_string(),
            400,
            "not 2 times in seconds",
        ),
        (IMPORT, &JSON, &large, 413, "2 MiB at most"),
        (IMPORT, &JSON, &larger, 413, "2 MiB at most"),
        (
            &format!("{IMPORT}?name={}", "x".repeat(61)),
            &JSON,
            &report,
            400,
            "`name`",
        ),
        (&format!("{IMPORT}?nam=x"), &JSON, &report, 400, "nam"),
        (IMPORT, &form, &no_file, 400, "`file`: choose one"),
        (IMPORT, &form, &report, 400, "the form is not whole"),
    ];
    for (path, headers, body, status, detail) in tests {
        let mut answer = service.post(path, headers, body);
        assert_eq!(answer.status(), status, "{detail}");
        let problem: Value = answer.body_mut().read_json().expect("JSON");
        let text = problem["detail"].as_str().unwrap_or_default();
        assert!(text.contains(detail), "{detail}: {problem}");
    }
    let browser = [form[0], ("Accept", "text/html")];
    let mut answer = service.post(IMPORT, &browser, &no_file);
    let html = answer.body_mut().read_to_string().expect("text");
    assert!(
        html.contains("`file`: choose one") || html.contains("choose one"),
        "{html}"
    );
    let elsewhere = [JSON[0], ("Origin", "https://elsewhere.example")];
    assert_eq!(service.post(IMPORT, &elsewhere, &report).status(), 403);
    assert_eq!(service.get(IMPORT).status, 405);
    assert!(service.list().is_empty());
}

#[test]
fn the_newest_fifty_results_are_kept() {
    let database = data::hostile();
    let data_dir = tempfile::tempdir().expect("a directory");
    let report = from_elsewhere(&database, "2026-11-22T14:16:26Z");
    let directory = data_dir.path().join("benchmarks");
    std::fs::create_dir_all(&directory).expect("ours");
    let file = |id: &str| directory.join(id).with_extension("json");
    for minute in 0..50 {
        let mut old = report.clone();
        old["environment"]["date"] = json!(format!("2026-11-01T00:{minute:02}:00Z"));
        // As an older version wrote it.
        for result in old["results"].as_array_mut().expect("an array") {
            let figures = result.as_object_mut().expect("an object");
            figures.remove("round_ratios_to_fastest");
        }
        std::fs::write(file(&format!("old-{minute:02}")), old.to_string()).expect("ours");
    }
    std::fs::write(file("unreadable"), "{}").expect("ours");
    let service = Service::start_in(data_dir, &database.url, &[]);
    let old = service.benchmark("old-00")["result"]["results"].take();
    let given = &report["results"];
    assert!(
        are_alike(&old, given),
        "what it lacks is computed: {old} {given}"
    );
    // It is of long ago, but came last.
    let long_ago = from_elsewhere(&database, "2000-01-01T00:00:00Z");
    let imported = service.import(&long_ago);
    assert!(file(&imported).exists() && !file("old-00").exists());
    let own = service.run_whole(&json!({"runs": 1, "strategies": ["copy"]}));
    eventually("the next oldest is gone", || !file("old-01").exists());
    for kept in [&imported, &own, "old-02", "old-49", "unreadable"] {
        assert!(file(kept).exists(), "{kept}");
    }
    assert_eq!(service.list().len(), 50);
}
