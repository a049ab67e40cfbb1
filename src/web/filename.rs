//! The name under which a download is saved: what it is, which tasks, and when, as in
//! `tasks-location-15-not-done-2026-11-24-1432.csv`.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;

use crate::export::filter::{Filter, UpdatedBy};

/// Characters of a title that a name has.
const TITLE_CHARACTERS: usize = 30;
/// What [RFC 8187](https://www.rfc-editor.org/rfc/rfc8187#section-3.2.1) leaves as it is, of what a name can have.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.');

/// The value of `Content-Disposition` for the tasks of a filter, at a time: a name in ASCII, and one with the title's own letters for
/// clients that know them.
pub(super) fn content_disposition(filter: &Filter, now: OffsetDateTime) -> String {
    let ascii = name(filter, now, |character| character.is_ascii_alphanumeric());
    let full = name(filter, now, char::is_alphanumeric);
    let full = utf8_percent_encode(&full, ENCODED);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

fn name(filter: &Filter, now: OffsetDateTime, keeps: impl Fn(char) -> bool) -> String {
    let mut name = "tasks".to_owned();
    let mut add = |part: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = write!(name, "-{part}");
    };
    if let Some(id) = filter.location_id {
        add(format_args!("location-{id}"));
    }
    if let Some(id) = filter.asset_id {
        add(format_args!("asset-{id}"));
    }
    if let Some(id) = filter.created_by_id {
        add(format_args!("created-by-{id}"));
    }
    match filter.updated_by_id {
        Some(UpdatedBy::User(id)) => add(format_args!("updated-by-{id}")),
        Some(UpdatedBy::Nobody) => add(format_args!("never-updated")),
        None => {}
    }
    match filter.done {
        Some(true) => add(format_args!("done")),
        Some(false) => add(format_args!("not-done")),
        None => {}
    }
    if let Some(title) = &filter.title {
        match words(title.as_str(), keeps) {
            words if words.is_empty() => add(format_args!("title")),
            words => add(format_args!("title-{words}")),
        }
    }
    let (date, hour, minute) = (now.date(), now.hour(), now.minute());
    add(format_args!("{date}-{hour:02}{minute:02}.csv"));
    name
}

/// The first words of a text, with a hyphen between two of them.
fn words(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let words: Vec<&str> = text
        .split(|character| !keeps(character))
        .filter(|word| !word.is_empty())
        .collect();
    let short: String = words.join("-").chars().take(TITLE_CHARACTERS).collect();
    short.trim_end_matches('-').to_lowercase()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn disposition(filter: Filter) -> String {
        content_disposition(&filter, datetime!(2026-11-24 14:32:59 UTC))
    }

    fn titled(title: &str) -> String {
        disposition(Filter {
            title: title.parse().ok(),
            ..Filter::default()
        })
    }

    #[test]
    fn a_name_says_which_tasks_and_when() {
        assert_eq!(
            disposition(Filter::default()),
            "attachment; filename=\"tasks-2026-11-24-1432.csv\"; filename*=UTF-8''tasks-2026-11-24-1432.csv"
        );
        let filter = Filter {
            location_id: Some(15),
            done: Some(false),
            ..Filter::default()
        };
        assert!(disposition(filter).contains("\"tasks-location-15-not-done-2026-11-24-1432.csv\""));
        let filter = Filter {
            asset_id: Some(-1),
            created_by_id: Some(2),
            updated_by_id: Some(UpdatedBy::Nobody),
            done: Some(true),
            ..Filter::default()
        };
        assert!(
            disposition(filter)
                .contains("\"tasks-asset--1-created-by-2-never-updated-done-2026-11-24-1432.csv\"")
        );
    }

    #[test]
    fn a_title_is_made_harmless_and_short() {
        assert!(
            titled("../../Etc\\\"\r\nPump %41").contains("\"tasks-title-etc-pump-41-2026-"),
            "{}",
            titled("../../Etc\\\"\r\nPump %41")
        );
        assert_eq!(
            titled("Kälte"),
            "attachment; filename=\"tasks-title-k-lte-2026-11-24-1432.csv\"; \
             filename*=UTF-8''tasks-title-k%C3%A4lte-2026-11-24-1432.csv"
        );
        assert!(titled("  ").contains("\"tasks-title-2026-"));
        assert!(titled("泵").contains("\"tasks-title-2026-"));
        let longest = Filter {
            location_id: Some(i64::MIN),
            asset_id: Some(i64::MIN),
            created_by_id: Some(i64::MIN),
            updated_by_id: Some(UpdatedBy::User(i64::MIN)),
            done: Some(false),
            title: "x".repeat(1000).parse().ok(),
            up_to_id: None,
        };
        let name = name(&longest, datetime!(2026-11-24 14:32 UTC), |_| true);
        assert!(name.len() < 200, "{} bytes: {name}", name.len());
    }
}
