//! The values that a filter compares with, as users write them.

use std::fmt;

use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{Date, Time};

use crate::dataset::column_type::ColumnKind;

/// A value that a filter compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `none`: NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A text, or what PostgreSQL reads from one: a number, a date, a UUID.
    Text(String),
}

impl Value {
    /// The key that a filter's value stands for.
    pub(crate) fn key(&self) -> Self {
        match self {
            Self::Text(text) => match text.strip_prefix('\\') {
                Some(key) if is_escaped(key) => Self::Text(key.to_owned()),
                _ => self.clone(),
            },
            value => value.clone(),
        }
    }
}

/// A key as a filter takes it: `none` is NULL, and `\none` is the text; an empty value is none at all, and `\` is the empty text.
pub(crate) fn value_of_key(key: &str) -> String {
    let escape = if is_escaped(key) { "\\" } else { "" };
    format!("{escape}{key}")
}

fn is_escaped(key: &str) -> bool {
    matches!(key.trim_start_matches('\\'), "none" | "")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("none"),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What a filter is set to: one value, or several if it takes any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterValue(Vec<Value>);

impl FilterValue {
    /// One value.
    pub fn of(value: Value) -> Self {
        Self(vec![value])
    }

    /// The values, each once; `None` if there is none.
    pub(super) fn of_all(all: impl IntoIterator<Item = Value>) -> Option<Self> {
        let mut values: Vec<Value> = Vec::new();
        for value in all {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        (!values.is_empty()).then_some(Self(values))
    }

    /// The values. There is at least one.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// The value, if there is only one.
    pub fn single(&self) -> Option<&Value> {
        match self.0.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Whether NULL is among the values.
    pub fn has_null(&self) -> bool {
        self.0.contains(&Value::Null)
    }
}

/// Writes the values with commas between them.
impl fmt::Display for FilterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{value}")?;
        }
        Ok(())
    }
}

/// Reads a boolean, in upper or lower case, with or without blanks around it.
pub fn parse_boolean(text: &str) -> Option<bool> {
    let is = |name: &str| text.trim().eq_ignore_ascii_case(name);
    is("true").then_some(true).or(is("false").then_some(false))
}

/// Reads a value of this kind; `None` if PostgreSQL could not read it, or would read it in several ways.
pub(super) fn read(kind: &ColumnKind, text: &str) -> Option<Value> {
    let word = text.trim();
    let is_valid = match kind {
        ColumnKind::Boolean | ColumnKind::Label(_) => {
            return parse_boolean(word).map(Value::Boolean);
        }
        ColumnKind::Integer => return word.parse().ok().map(Value::Integer),
        ColumnKind::Text | ColumnKind::Json | ColumnKind::Data | ColumnKind::Typed(_) => {
            return Some(Value::Text(text.to_owned()));
        }
        ColumnKind::Decimal | ColumnKind::Float => is_number(word),
        ColumnKind::Date => is_date(word),
        ColumnKind::Time => is_time(word),
        ColumnKind::Timestamp => is_date(word) || is_timestamp(word),
        ColumnKind::Timestamptz => {
            is_date(word) || is_timestamp(word) || split_offset(word).is_some_and(is_timestamp)
        }
        // PostgreSQL prints it in lower case.
        ColumnKind::Uuid => return is_uuid(word).then(|| Value::Text(word.to_ascii_lowercase())),
    };
    is_valid.then(|| Value::Text(word.to_owned()))
}

/// The most digits of a number: more than a double has, fewer than PostgreSQL refuses.
const MOST_DIGITS: usize = 300;

/// Returns whether PostgreSQL takes it for a finite number, of its exact type and of floating point.
fn is_number(text: &str) -> bool {
    let is_of_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let number = text.parse::<f64>().unwrap_or(f64::NAN);
    // What is too small for a double is 0 here, and an error there.
    let is_lost = number == 0.0 && digits.clone().any(|digit| digit != b'0');
    digits.count() <= MOST_DIGITS
        && exponent.len() <= "-300".len()
        && text.bytes().all(is_of_number)
        && number.is_finite()
        && !is_lost
}

const DATE: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const TIME: StaticFormatDescription =
    format_description!("[hour]:[minute][optional [:[second][optional [.[subsecond]]]]]");

/// Returns whether it is a day of the years 1 to 9999: `2026-11-30`.
pub(in crate::dataset) fn is_date(text: &str) -> bool {
    // A year may have a sign for `time`, and not for PostgreSQL.
    !text.starts_with('+') && Date::parse(text, DATE).is_ok_and(|date| date.year() >= 1)
}

fn is_time(text: &str) -> bool {
    Time::parse(text, TIME).is_ok()
}

fn is_timestamp(text: &str) -> bool {
    let day_and_time = text.split_once(['T', 't', ' ']);
    day_and_time.is_some_and(|(day, time)| is_date(day) && is_time(time))
}

/// Takes the offset from UTC, `Z`, `+02:00` or `+02`, off a timestamp's end.
fn split_offset(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_suffix(['Z', 'z']) {
        return Some(rest);
    }
    let (rest, offset) = text.split_at_checked(text.rfind(['+', '-'])?)?;
    let (hours, minutes) = offset[1..].split_once(':').unwrap_or((&offset[1..], "00"));
    let below =
        |part: &str, limit: u8| part.len() == 2 && part.parse().is_ok_and(|part: u8| part < limit);
    (below(hours, 16) && below(minutes, 60)).then_some(rest)
}

fn is_uuid(text: &str) -> bool {
    let groups = text.split('-');
    let is_hexadecimal = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.clone().all(is_hexadecimal) && groups.map(str::len).eq([8, 4, 4, 4, 12])
}

/// Returns what a value of this kind is, for a sentence that begins with "expected".
pub(super) fn expected(kind: &ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Boolean | ColumnKind::Label(_) => "`true` or `false`",
        ColumnKind::Integer => "an integer",
        ColumnKind::Decimal | ColumnKind::Float => "a number such as 12.5",
        ColumnKind::Date => "a date such as 2026-11-30",
        ColumnKind::Time => "a time such as 14:30:00",
        ColumnKind::Timestamp => "a date, or a date and time such as 2026-11-30T14:30:00",
        ColumnKind::Timestamptz => {
            "a date, or a date and time such as 2026-11-30T14:30:00, with or without an offset such as +01:00 (%2B01:00 in a URL)"
        }
        ColumnKind::Uuid => "a UUID",
        ColumnKind::Text | ColumnKind::Json | ColumnKind::Data | ColumnKind::Typed(_) => "a text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(kind: &ColumnKind, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(read(kind, text).is_some(), "{kind:?} {text:?}");
        }
        for text in bad {
            assert_eq!(read(kind, text), None, "{kind:?} {text:?}");
        }
    }

    #[test]
    fn each_kind_takes_what_postgresql_reads_in_one_way_and_nothing_else() {
        let no_date = [
            "",
            "2026-02-30",
            "2026-1-1",
            "0000-01-01",
            "10000-01-01",
            "+2024-01-01",
            "30.11.2026",
            "today",
            "infinity",
        ];
        takes(
            &ColumnKind::Integer,
            &["0", " 7\t", "-9223372036854775808"],
            &["", "1 2", "1.0", "9223372036854775808"],
        );
        let numbers = ["0", "-1.50", "+3", ".5", "1e3", "2.5E-7", "1e-300"];
        let no_numbers = [
            "", ".", "1,5", "NaN", "infinity", "1e999", "1e-999", "0e99999", "0x10", "1_000", "--1",
        ];
        takes(&ColumnKind::Decimal, &numbers, &no_numbers);
        takes(&ColumnKind::Float, &numbers, &no_numbers);
        takes(
            &ColumnKind::Decimal,
            &["1".repeat(300).as_str()],
            &["1".repeat(301).as_str()],
        );
        takes(
            &ColumnKind::Date,
            &["2024-02-29", " 0001-01-01 ", "9999-12-31"],
            &no_date,
        );
        takes(&ColumnKind::Date, &[], &["2026-11-30T00:00"]);
        takes(
            &ColumnKind::Time,
            &["00:00", "23:59:59.999999"],
            &["", "24:00", "7:00", "12", "12:00:60", "12:00Z"],
        );
        let times = ["2026-11-30", "2026-11-30T14:30", "2026-11-30 14:30:05.25"];
        let with_offset = ["2026-11-30T14:30Z", "2026-11-30 14:30:05-15:59"];
        takes(&ColumnKind::Timestamp, &times, &with_offset);
        takes(&ColumnKind::Timestamp, &[], &no_date);
        takes(
            &ColumnKind::Timestamptz,
            &[
                times,
                [with_offset[0], with_offset[1], "2026-11-30T00:00+00:00"],
            ]
            .concat(),
            &no_date,
        );
        takes(
            &ColumnKind::Timestamptz,
            &[],
            &[
                "2026-11-30Z",
                "2026-11-30T14:30+16:00",
                "2026-11-30T14:30+1:00",
                "2026-11-30T14:30 CET",
            ],
        );
        let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        takes(
            &ColumnKind::Uuid,
            &[uuid],
            &[
                "",
                &uuid[1..],
                "a0eebc999c0b4ef8bb6d6bb9bd380a11",
                &uuid.replace('a', "g"),
            ],
        );
        takes(
            &ColumnKind::Boolean,
            &["true", "True", " FALSE "],
            &["", " ", "t", "yes", "1"],
        );
    }

    #[test]
    fn a_key_that_is_none_has_a_value_of_its_own() {
        for (key, value) in [
            ("a", "a"),
            ("\\a", "\\a"),
            ("NONE", "NONE"),
            ("none", "\\none"),
            ("\\none", "\\\\none"),
            ("", "\\"),
            ("\\", "\\\\"),
        ] {
            assert_eq!(value_of_key(key), value);
            assert_eq!(Value::Text(value.to_owned()).key().to_string(), key);
        }
    }

    #[test]
    fn texts_keep_their_blanks_and_uuids_are_in_lower_case() {
        let uuid = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
        for (kind, text, value) in [
            (ColumnKind::Text, " a ", " a "),
            (ColumnKind::Uuid, uuid, &uuid.to_lowercase()),
        ] {
            assert_eq!(read(&kind, text), Some(Value::Text(value.to_owned())));
        }
    }
}
