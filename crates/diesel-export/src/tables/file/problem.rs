//! What is wrong with a file of datasets: where, with the nearest right name, and what there is.

use std::fmt;
use std::ops::Range;

use crate::request::misspelled::nearest;

/// Why a file of datasets is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFile {
    problems: Vec<Problem>,
}

impl InvalidFile {
    pub(in crate::tables) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// All that is wrong.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for InvalidFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl std::error::Error for InvalidFile {}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub text: String,
}

impl Problem {
    /// What is wrong at this place of a file.
    pub(in crate::tables) fn at(file: &str, span: &Range<usize>, text: String) -> Self {
        let before = file.get(..span.start).unwrap_or(file);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            text,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.text
        )
    }
}

/// Adds the nearest name to what serde says of an unknown one: "unknown field `a`, expected one of `b`, `c`".
pub(super) fn nearest_of_message(message: &str) -> String {
    let message = message.trim();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown ") => {
            match nearest(unknown, known) {
                Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
                None => message.to_owned(),
            }
        }
        _ => message.replace('\n', ", "),
    }
}
