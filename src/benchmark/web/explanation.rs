//! Explanations of the strategies, for people who read their figures.

use diesel_export::units::grouped;
use diesel_export::{PAGE, Strategy};

/// What a strategy does.
#[derive(Debug, Clone)]
pub(super) struct Explanation {
    /// In a line.
    pub(super) line: String,
    /// In two sentences.
    pub(super) text: String,
    /// The code or the SQL at its heart.
    pub(super) code: String,
    /// Where it is written.
    pub(super) file: &'static str,
    /// Which of the article's methods it stands for.
    pub(super) article: Option<&'static str>,
}

/// What the article is called.
pub(super) const ARTICLE_TITLE: &str = "Export PostgreSQL data to CSV with Django";
/// When it appeared: for programs, and for people.
pub(super) const ARTICLE_DATE: (&str, &str) = ("2026-02-09", "9 February 2026");

/// The article's own figures for 100,000 tasks: another machine, Django. Method, strategy, seconds, MiB. When they were measured
/// is not known, only [when they were copied](ARTICLE_COPIED).
pub(super) const ARTICLE: [(&str, &str, f64, u32); 4] = [
    (".all()", "joined", 2.01, 614),
    (".values()", "tuples", 0.58, 283),
    (".iterator()", "paged", 0.59, 114),
    ("COPY", "copy", 0.24, 81),
];

/// When the article's figures were copied to here.
pub(super) const ARTICLE_COPIED: &str = "2026-11-22";

/// What `strategy` does.
pub(super) fn of(strategy: Strategy) -> Explanation {
    let paged = {
        let page = grouped(PAGE as u64);
        [
            format!("The seven values, {page} rows at a time from one cursor."),
            format!(
                "Declares a cursor for the seven values and fetches {page} rows at a time from it. Memory stays flat, but server and \
                 client take turns."
            ),
            format!("declare page no scroll cursor for select …; fetch {PAGE} from page"),
        ]
    };
    // By name: a strategy without a text here is still shown.
    let (line, text, code, file) = match strategy.name() {
        "joined" => (
            "Full model structs of all five tables, all in memory.",
            "Loads every column of all five tables into model structs and keeps all of them, descriptions included, which nobody \
             asked for. The first byte waits for the last row, and memory grows with every row.",
            "query::tasks(filter).select((Task::as_select(), Asset::as_select(), …)).load_iter::<Model, PgRowByRowLoadingMode>(connection)?.collect()",
            "crates/diesel-export/src/strategies/joined.rs",
        ),
        "tuples" => (
            "Only the seven values that the CSV needs, as tuples, all in memory.",
            "Loads only the seven values that the CSV needs, as tuples. Less memory a row, but still all rows at once, and no byte \
             before the last of them.",
            "query::rows(filter).load_iter::<TaskRow, PgRowByRowLoadingMode>(connection)?.collect()",
            "crates/diesel-export/src/strategies/tuples.rs",
        ),
        "streamed" => (
            "The seven values, row by row as they arrive.",
            "Asks once for the seven values and takes them row by row as they arrive. Memory stays flat, and the first byte leaves \
             at once.",
            "query::rows(filter).load_iter::<TaskRow, PgRowByRowLoadingMode>(connection)",
            "crates/diesel-export/src/strategies/streamed.rs",
        ),
        "paged" => (
            paged[0].as_str(),
            paged[1].as_str(),
            paged[2].as_str(),
            "crates/diesel-export/src/strategies/paged.rs",
        ),
        "copy" => (
            "PostgreSQL writes the CSV itself; its bytes are passed through.",
            "PostgreSQL itself writes the CSV, and its bytes are passed through. No row is ever turned into a value of the program.",
            "copy (select …) to stdout with (format csv)",
            "crates/diesel-export/src/strategies/copy.rs",
        ),
        "lookup" => (
            "COPY of the tasks alone, on several connections at once; the names are looked up in memory.",
            "Copies only the tasks' own columns, off a covering index, on several connections of one snapshot at once. The names of \
             assets, locations and users are looked up in memory instead of joined row by row.",
            "copy (select id, title, done, … from tasks where id between … and …) to stdout",
            "crates/diesel-export/src/strategies/lookup.rs",
        ),
        _ => ("", "", "", "crates/diesel-export/src/strategies/"),
    };
    Explanation {
        line: line.into(),
        text: text.into(),
        code: code.into(),
        file,
        article: ARTICLE
            .iter()
            .find(|(_, name, _, _)| *name == strategy.name())
            .map(|(method, ..)| *method),
    }
}
