//! The words that the pages show, held against their list in `docs/page-words.md`.

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::browser::Browser;

/// The list, from its tables' first columns. `…` stands for what differs from time to time.
pub(crate) fn listed() -> Vec<String> {
    let list = fs::read_to_string(root().join("docs/page-words.md")).expect("it is there");
    let rows = list.lines().filter(|line| line.starts_with("| "));
    let first = rows.filter_map(|row| Some(row.split(" | ").next()?.trim_start_matches("| ")));
    let words = first.filter(|cell| *cell != "words").map(str::to_owned);
    words.collect()
}

/// Demands that the list has each text that the page has now, hidden ones too.
pub(crate) fn assert_listed_on(browser: &Browser, what: &str) {
    let texts = browser.run(include_str!("words.js"));
    let texts: Vec<String> = serde_json::from_value(texts).expect("texts");
    assert_listed(&texts, what);
}

/// Demands that the list has each of these texts.
pub(crate) fn assert_listed(texts: &[String], what: &str) {
    let listed = listed();
    let patterns: Vec<Regex> = listed.iter().map(|words| pattern(words)).collect();
    let is_listed = |text: &&String| patterns.iter().any(|pattern| pattern.is_match(text));
    let missing: Vec<_> = texts.iter().filter(|text| !is_listed(text)).collect();
    assert!(
        missing.is_empty(),
        "{what}: docs/page-words.md does not list {missing:#?}"
    );
}

/// An answer's title is shown with a full stop, with more behind a colon, and with what happens next.
fn pattern(words: &str) -> Regex {
    let parts = words.split('…').map(regex_lite::escape);
    let pattern = parts.collect::<Vec<_>>().join(".*");
    Regex::new(&format!("(?s)^{pattern}((: .*)?\\.( Try.*)?)?$")).expect("a pattern")
}

/// What a person may read of the literals in a file, `…` in place of what is put in.
pub(crate) fn literals(path: &str) -> Vec<String> {
    let source = fs::read_to_string(root().join(path)).expect("it is there");
    let code = Regex::new(r"(?s)#\[utoipa::path\(.*?\n\)\]|tracing::\w+!\(.*?;|#\[cfg\(test\)\].*")
        .expect("a pattern");
    let source = code.replace_all(&source, "");
    let mut found = Vec::new();
    let is_script = path.ends_with(".js");
    read(&mut source.chars().peekable(), is_script, false, &mut found);
    let holes = Regex::new(r"\{[^}]*\}").expect("a pattern");
    let continued = Regex::new(r"\\\n\s*").expect("a pattern");
    let texts = found.iter().map(|text| {
        let text = continued.replace_all(text, "");
        let text = text
            .replace("\\u00a0", "\u{a0}")
            .replace("\\u{a0}", "\u{a0}");
        if is_script {
            text
        } else {
            holes.replace_all(&text, "…").into_owned()
        }
    });
    let texts = texts.map(|text| text.trim().replace("……", "…"));
    texts.filter(|text| is_for_people(text)).collect()
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Collects the literals up to the end, or to the brace that ends an expression within one.
fn read(source: &mut Letters<'_>, is_script: bool, within: bool, found: &mut Vec<String>) {
    let mut depth = 0;
    while let Some(letter) = source.next() {
        match letter {
            '/' if source.peek() == Some(&'/') => {
                source.find(|letter| *letter == '\n');
            }
            '{' => depth += 1,
            '}' if within && depth == 0 => return,
            '}' => depth -= 1,
            '"' => literal(source, letter, is_script, found),
            '\'' | '`' if is_script => literal(source, letter, is_script, found),
            _ => {}
        }
    }
}

fn literal(source: &mut Letters<'_>, quote: char, is_script: bool, found: &mut Vec<String>) {
    let mut text = String::new();
    while let Some(letter) = source.next() {
        match letter {
            '\\' => {
                text.push(letter);
                text.extend(source.next());
            }
            '$' if quote == '`' && source.peek() == Some(&'{') => {
                source.next();
                read(source, is_script, true, found);
                text.push('…');
            }
            _ if letter == quote => break,
            _ => text.push(letter),
        }
    }
    found.push(text);
}

/// Whether a literal is words: no name, no selector, no part of an address.
fn is_for_people(text: &str) -> bool {
    const NAMES: [&str; 6] = [
        "use strict",
        "AbortError",
        "ArrowDown",
        "ArrowUp",
        "Enter",
        "Escape",
    ];
    let words = Regex::new(r"[A-Za-z]{2,}[,:;]? [A-Za-z]|^[A-Z][a-z]+[.…]?$").expect("a pattern");
    let code = Regex::new(r"[#\[\]<>=_]|^\.|/[a-z]|^[a-z-]+(, [a-z-]+)+|\.[a-z]+ |^[A-Z][a-z]+-|^(article|select|li|tbody|thead) ").expect("a pattern");
    words.is_match(text) && !code.is_match(text) && !NAMES.contains(&text)
}

/// All that the pages are made of, as plain text: without tags, without what is put in.
pub(crate) fn sources() -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["templates", "src/web", "src/datasets", "src/bench"] {
        collect(&root().join(folder), &mut files);
    }
    let tags = Regex::new(r"(?s)\{%.*?%\}|\{\{.*?\}\}|<[^>]*>").expect("a pattern");
    let continued = Regex::new(r"\\\n\s*").expect("a pattern");
    let blanks = Regex::new(r"\s+").expect("a pattern");
    let texts = files.into_iter().flat_map(|file| {
        let text = fs::read_to_string(file).expect("text");
        // Once with its tags, for what is said in them.
        [
            tags.replace_all(&text, "").into_owned(),
            continued.replace_all(&text, "").into_owned(),
        ]
    });
    let texts = texts.map(|text| plain(&blanks.replace_all(&text, " ")));
    texts.collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("readable").path();
        let extension = path.extension().unwrap_or_default();
        if path.is_dir() {
            collect(&path, files);
        } else if ["html", "js", "rs"].iter().any(|known| extension == *known) {
            files.push(path);
        }
    }
}

/// Lower case, with blanks for what names have in their place.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['_', '\u{a0}'], " ")
}

/// Whether one of the sources has all parts of a row of the list, in their order.
pub(crate) fn is_made(words: &str, sources: &[String]) -> bool {
    let words = plain(words);
    let parts: Vec<&str> = words.split('…').map(str::trim).collect();
    sources.iter().any(|source| {
        let mut rest = source.as_str();
        parts.iter().all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
