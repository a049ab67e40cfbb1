//! The findings of a test with many cases: it tries all of them, and then fails with all findings.

use std::cell::RefCell;

/// The findings so far, by case. Dropping them fails the test if there are any.
#[derive(Default)]
pub struct Findings(RefCell<Vec<(String, Vec<String>)>>);

impl Findings {
    /// Adds a finding to a case.
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
