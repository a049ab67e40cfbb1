//! The name of a download's file, made of its dataset, filter and time, as in
//! `tasks-location-15-not-done-2026-11-24-1432.csv`.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;

use crate::export::dataset::{Filter, FilterValue};
use crate::export::format::FileType;

/// The most characters of a text that go into a name.
const TEXT_CHARACTERS: usize = 30;
/// What [RFC 8187](https://www.rfc-editor.org/rfc/rfc8187#section-3.2.1) leaves as it is, of what a name can have.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.');

/// The value of `Content-Disposition` for the rows of a filter, at a time: a name in ASCII, and one with a text's own letters for
/// clients that know them.
pub(super) fn content_disposition(
    filter: &Filter,
    file_type: FileType,
    now: OffsetDateTime,
) -> String {
    let ascii = name(filter, file_type, now, |character| {
        character.is_ascii_alphanumeric()
    });
    let full = name(filter, file_type, now, char::is_alphanumeric);
    let full = utf8_percent_encode(&full, ENCODED);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

fn name(
    filter: &Filter,
    file_type: FileType,
    now: OffsetDateTime,
    keeps: impl Fn(char) -> bool,
) -> String {
    let mut name = filter.dataset().name().to_owned();
    for (field, value) in filter.iter() {
        let what = field.name().trim_end_matches("_id").replace('_', "-");
        // Writing to a String cannot fail.
        let _ = match value {
            FilterValue::Boolean(true) => write!(name, "-{what}"),
            FilterValue::Boolean(false) => write!(name, "-not-{what}"),
            FilterValue::Id(id) => write!(name, "-{what}-{id}"),
            FilterValue::NoId => write!(name, "-{what}-none"),
            FilterValue::Text(text) => match words(text.as_str(), &keeps) {
                words if words.is_empty() => write!(name, "-{what}"),
                words => write!(name, "-{what}-{words}"),
            },
        };
    }
    let (date, hour, minute) = (now.date(), now.hour(), now.minute());
    let extension = file_type.extension();
    let _ = write!(name, "-{date}-{hour:02}{minute:02}.{extension}");
    name
}

/// The first words of a text, with a hyphen between two of them.
fn words(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let words: Vec<&str> = text
        .split(|character| !keeps(character))
        .filter(|word| !word.is_empty())
        .collect();
    let short: String = words.join("-").chars().take(TEXT_CHARACTERS).collect();
    short.trim_end_matches('-').to_lowercase()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::datasets;
    use crate::export::parameters::filter_from_pairs;

    fn filter(query: &[(&'static str, &'static str)]) -> Filter {
        let pairs = query
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let dataset = datasets::default();
        filter_from_pairs(dataset, pairs).unwrap_or_else(|_| Filter::all(dataset))
    }

    fn disposition(query: &[(&'static str, &'static str)]) -> String {
        let now = datetime!(2026-11-24 14:32:59 UTC);
        content_disposition(&filter(query), FileType::Csv, now)
    }

    fn titled(title: &'static str) -> String {
        disposition(&[("title", title)])
    }

    #[test]
    fn a_name_says_which_rows_and_when() {
        assert_eq!(
            disposition(&[]),
            "attachment; filename=\"tasks-2026-11-24-1432.csv\"; filename*=UTF-8''tasks-2026-11-24-1432.csv"
        );
        assert!(
            disposition(&[("done", "false"), ("location_id", "15")])
                .contains("\"tasks-location-15-not-done-2026-11-24-1432.csv\"")
        );
        let all = [
            ("asset_id", "-1"),
            ("created_by_id", "2"),
            ("updated_by_id", "none"),
            ("done", "true"),
        ];
        assert!(
            disposition(&all).contains(
                "\"tasks-asset--1-created-by-2-updated-by-none-done-2026-11-24-1432.csv\""
            )
        );
    }

    #[test]
    fn a_text_is_made_harmless_and_short() {
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
        const LONGEST: &str = "-9223372036854775808";
        let longest = [
            ("location_id", LONGEST),
            ("asset_id", LONGEST),
            ("created_by_id", LONGEST),
            ("updated_by_id", LONGEST),
            ("done", "false"),
            (
                "title",
                "a title that is much longer than anybody wants to read in the name of a file",
            ),
        ];
        let now = datetime!(2026-11-24 14:32 UTC);
        let name = name(&filter(&longest), FileType::Xlsx, now, |_| true);
        assert!(name.ends_with("-2026-11-24-1432.xlsx"), "{name}");
        assert!(name.len() < 200, "{} bytes: {name}", name.len());
    }
}
