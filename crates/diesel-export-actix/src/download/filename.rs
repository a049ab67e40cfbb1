//! The name of a download's file, made of its dataset, filter and time, as in
//! `tasks-location-15-not-done-2026-11-24-143259.csv`.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use unicode_segmentation::UnicodeSegmentation;

use diesel_export::dataset::{Filter, Value};
use diesel_export::format::FileType;

/// The most characters of a text that go into a name.
const TEXT_CHARACTERS: usize = 30;
/// The most values of a filter that go into a name.
const VALUES: usize = 3;
/// The most bytes of a name before its time: file systems have names of up to 255 bytes.
const MOST_BYTES: usize = 170;
/// What [RFC 8187](https://www.rfc-editor.org/rfc/rfc8187#section-3.2.1) leaves as it is, of what a name can have.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.');

/// The value of `Content-Disposition` for the rows of a filter, at a time: a name in ASCII, and one with a text's own letters for
/// clients that know them.
pub(crate) fn content_disposition(
    filter: &Filter,
    file_type: FileType,
    now: OffsetDateTime,
) -> String {
    let ascii = name(filter, file_type, now, ascii_letters);
    let full = name(filter, file_type, now, letters);
    let full = utf8_percent_encode(&full, ENCODED);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

fn name(
    filter: &Filter,
    file_type: FileType,
    now: OffsetDateTime,
    kept: impl Fn(&str) -> String,
) -> String {
    let mut name = filter.dataset().name().to_owned();
    for (field, value) in filter.iter() {
        if value.single() == Some(&Value::Boolean(false)) {
            name.push_str("-not");
        }
        let what = words(field.name().trim_end_matches("_id"), &kept);
        let said = value.values().iter().filter_map(|value| match value {
            Value::Boolean(_) => None,
            Value::Integer(id) => Some(id.to_string()),
            value => Some(words(&value.to_string(), &kept)),
        });
        let said = said.filter(|words| !words.is_empty()).take(VALUES);
        for words in Some(what)
            .filter(|what| !what.is_empty())
            .into_iter()
            .chain(said)
        {
            // Writing to a String cannot fail.
            let _ = write!(name, "-{words}");
        }
        if value.values().len() > VALUES {
            name.push_str("-and-more");
        }
    }
    name.truncate(name.floor_char_boundary(MOST_BYTES));
    let (date, (hour, minute, second)) = (now.date(), now.to_hms());
    let extension = file_type.extension();
    // To the second: who downloads twice within a minute gets two files.
    let _ = write!(name, "-{date}-{hour:02}{minute:02}{second:02}.{extension}");
    name
}

/// The first words of a text, with a hyphen between two of them, made of what is `kept` of each of its characters, as people see them.
fn words(text: &str, kept: impl Fn(&str) -> String) -> String {
    let mut words = String::new();
    for character in text.graphemes(true) {
        let kept = kept(character);
        if !kept.is_empty() {
            words.push_str(&kept);
        } else if !words.is_empty() && !words.ends_with('-') {
            words.push('-');
        }
    }
    let short: String = words.chars().take(TEXT_CHARACTERS).collect();
    short.trim_end_matches('-').to_lowercase()
}

/// A letter or digit with its marks (accents, vowel signs), which are no letters by themselves.
fn letters(character: &str) -> String {
    if character.contains(char::is_alphanumeric) {
        character.to_owned()
    } else {
        String::new()
    }
}

/// What of it is ASCII.
fn ascii_letters(character: &str) -> String {
    character
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use diesel_export::example;
    use diesel_export::parameters::filter_from_pairs;

    fn filter(query: &[(&'static str, &'static str)]) -> Filter {
        let pairs = query
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let catalog = example::catalog();
        let dataset = catalog.default();
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
            "attachment; filename=\"books-2026-11-24-143259.csv\"; filename*=UTF-8''books-2026-11-24-143259.csv"
        );
        assert!(
            disposition(&[("lent", "false"), ("shelf_id", "15")])
                .contains("\"books-shelf-15-not-lent-2026-11-24-143259.csv\"")
        );
        let several = [
            ("shelf_id", "3,4,5,6"),
            ("pages_from", "10"),
            ("genre", "none,comic"),
        ];
        assert!(disposition(&several).contains(
            "\"books-shelf-3-4-5-and-more-pages-from-10-genre-none-comic-2026-11-24-143259.csv\""
        ));
        let all = [("shelf_id", "-1"), ("reader_id", "none"), ("lent", "true")];
        assert!(
            disposition(&all).contains("\"books-shelf--1-reader-none-lent-2026-11-24-143259.csv\"")
        );
    }

    #[test]
    fn a_mark_stays_with_its_letter() {
        for (text, ascii, full) in [
            // Decomposed, as macOS types it.
            ("Ka\u{308}lte x", "kalte-x", "ka%CC%88lte-x"),
            // Hindi, with a sign that joins two consonants, and Thai, with a vowel above.
            (
                "हिन्दी",
                "",
                "%E0%A4%B9%E0%A4%BF%E0%A4%A8%E0%A5%8D%E0%A4%A6%E0%A5%80",
            ),
            ("ที่", "", "%E0%B8%97%E0%B8%B5%E0%B9%88"),
        ] {
            let hyphen = if ascii.is_empty() { "" } else { "-" };
            assert_eq!(
                titled(text),
                format!(
                    "attachment; filename=\"books-title{hyphen}{ascii}-2026-11-24-143259.csv\"; \
                     filename*=UTF-8''books-title-{full}-2026-11-24-143259.csv"
                )
            );
        }
        // A mark of no letter.
        assert!(titled("\u{301}a\"\u{301}b").contains("UTF-8''books-title-a-b-2026-"));
    }

    #[test]
    fn a_text_is_made_harmless_and_short() {
        assert!(
            titled("../../Etc\\\"\r\nPump %41").contains("\"books-title-etc-pump-41-2026-"),
            "{}",
            titled("../../Etc\\\"\r\nPump %41")
        );
        assert_eq!(
            titled("Kälte"),
            "attachment; filename=\"books-title-k-lte-2026-11-24-143259.csv\"; \
             filename*=UTF-8''books-title-k%C3%A4lte-2026-11-24-143259.csv"
        );
        assert!(titled("  ").contains("\"books-title-2026-"));
        assert!(titled("泵").contains("\"books-title-2026-"));
        const LONGEST: &str = "-9223372036854775808";
        let longest = [
            ("shelf_id", LONGEST),
            ("reader_id", LONGEST),
            ("lent", "false"),
            (
                "title",
                "a title that is much longer than anybody wants to read in the name of a file",
            ),
            ("title_is", "one of several titles that are long"),
            ("title_is", "another one of several long titles"),
            ("title_is", "yet another one of several titles"),
        ];
        let now = datetime!(2026-11-24 14:32:59 UTC);
        let name = name(&filter(&longest), FileType::Xlsx, now, str::to_owned);
        assert!(name.ends_with("-2026-11-24-143259.xlsx"), "{name}");
        assert!(name.len() < 200, "{} bytes: {name}", name.len());
    }
}
