//! `docs/promises.md` names tests that exist.

use std::fs;
use std::path::Path;

use regex_lite::Regex;

/// Whether a file, or one below a folder, has a test.
fn has_test(path: &Path) -> bool {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("readable");
        return entries
            .map(|entry| entry.expect("readable").path())
            .any(|entry| has_test(&entry));
    }
    fs::read_to_string(path).is_ok_and(|source| source.contains("#[test]"))
}

#[test]
fn each_promise_names_a_file_with_tests_and_tests_that_are_in_it() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let text = fs::read_to_string(docs.join("promises.md")).expect("it is there");
    let promises: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| promise"))
        .collect();
    assert!(promises.len() > 40, "{} promises", promises.len());
    // A link to a test, and the names behind it.
    let link = Regex::new(r"\]\(([^)]*tests/[^)]*)\)((?:: `\w+`)?(?:, `\w+`)*)").expect("valid");
    let name = Regex::new(r"`(\w+)`").expect("valid");
    for promise in promises {
        let links: Vec<_> = link.captures_iter(promise).collect();
        assert!(!links.is_empty(), "no test shows this: {promise}");
        for link in links {
            let mut path = docs.join(&link[1]);
            // The file of a module says what its folder shows.
            if path.ends_with("mod.rs") {
                path.pop();
            }
            assert!(has_test(&path), "{} has no test: {promise}", path.display());
            for name in name.captures_iter(&link[2]) {
                let source = fs::read_to_string(&path).expect("a file");
                let test = format!("#[test]\nfn {}()", &name[1]);
                assert!(
                    source.contains(&test),
                    "there is no {}: {promise}",
                    &name[1]
                );
            }
        }
    }
}
