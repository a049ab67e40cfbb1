//! The results that are kept.

use serde_json::{Value, json};

use super::service::Service;
use crate::support::program::bench;
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

#[test]
fn the_newest_fifty_results_are_kept() {
    let database = data::hostile();
    let data_dir = tempfile::tempdir().expect("a directory");
    let (report, _) = bench(
        &database.url,
        &["--runs", "2", "--strategies", "copy,paged"],
    );
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
    // Of another machine, as earlier versions imported it.
    let mut imported = report.clone();
    imported["imported"] = json!({"date": "2026-11-22T14:16:26Z", "machine": "the old one"});
    std::fs::write(file("imported"), imported.to_string()).expect("ours");
    let service = Service::start_in(data_dir, &database.url, &[]);
    let old = service.benchmark("old-00")["result"]["results"].take();
    let given = &report["results"];
    assert!(
        are_alike(&old, given),
        "what it lacks is computed: {old} {given}"
    );
    let own = service.run_whole(&json!({"runs": 1, "strategies": ["copy"]}));
    eventually("the oldest is gone", || !file("old-00").exists());
    for kept in [&own, "old-01", "old-49", "unreadable", "imported"] {
        assert!(file(kept).exists(), "{kept}");
    }
    assert_eq!(service.list().len(), 50);
}
