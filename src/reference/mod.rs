//! Tests that the tables in `docs` are those of the program. `make docs` has the tests write them.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod flags;
mod http;

use std::path::Path;
use std::{env, fs};

/// Asserts that a document has this text between the markers of this name, or writes it there.
fn check(document: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(document);
    let begin = format!("<!-- {name}: `make docs` writes what is between these two lines -->\n");
    let end = format!("<!-- {name} end -->\n");
    let documented = fs::read_to_string(&path).expect("the document is there");
    let (before, rest) = documented.split_once(&begin).expect("the first marker");
    let (_, after) = rest.split_once(&end).expect("the second marker");
    let current = format!("{before}{begin}\n{}\n\n{end}{after}", text.trim_end());
    if env::var_os("CMMS_WRITE_DOCS").is_some() {
        fs::write(path, current).expect("the document can be written");
        return;
    }
    let differs = documented
        .lines()
        .zip(current.lines())
        .find(|(documented, current)| documented != current);
    assert!(
        documented == current,
        "docs/{document} is out of date; run `make docs`. The first line that differs, as it is and as it should be: {differs:#?}"
    );
}
