//! What a test has found wrong in its many cases: it tries all of them, and then fails with all findings.

use std::cell::RefCell;

/// What was found so far, by case. Dropped, it fails the test if there is any.
#[derive(Default)]
pub struct Findings(RefCell<Vec<(String, Vec<String>)>>);

impl Findings {
    /// Notes what is wrong in a case.
    pub fn note(&self, case: &str, finding: &str) {
        let mut found = self.0.borrow_mut();
        match found.last_mut() {
            Some((last, findings)) if last == case => findings.push(finding.to_owned()),
            _ => found.push((case.to_owned(), vec![finding.to_owned()])),
        }
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        let found = self.0.take();
        if found.is_empty() || std::thread::panicking() {
            return;
        }
        let cases = found.iter().map(|(case, findings)| {
            // The case may be SQL of several lines.
            let case: Vec<&str> = case.split_whitespace().collect();
            format!("{}\n    {}", case.join(" "), findings.join("\n    "))
        });
        panic!(
            "findings in {} cases:\n{}",
            found.len(),
            cases.collect::<Vec<_>>().join("\n")
        );
    }
}
