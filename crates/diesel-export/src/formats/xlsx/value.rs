//! What Excel gets for a value: a number or a date if Excel keeps all that PostgreSQL has printed, else that text.

use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{Date, PrimitiveDateTime, Time};

use super::styles;
use crate::dataset::{Cell, ColumnKind};

/// The maximum width of a column, in characters.
pub(super) const MOST_WIDTH: usize = 60;
/// A spreadsheet's numbers are exact for integers up to here.
const MOST_EXACT: u64 = 1 << 53;
/// Digits that Excel keeps of other numbers, and the sizes that it takes.
const MOST_DIGITS: usize = 15;
const SIZES: std::ops::Range<f64> = 1e-307..9.99e307;

const DATE: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const TIME: StaticFormatDescription =
    format_description!("[hour]:[minute]:[second][optional [.[subsecond]]]");
const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]");

/// The Julian day before Excel's first one, and the first of its days that is a day later than the one before: it has a 29 February 1900.
const DAY_ZERO: i32 = 2_415_019;
const FIRST_DAY: i32 = 61;
const MILLISECONDS_OF_DAY: i64 = 86_400_000;

/// The value of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(&'a str),
    /// A number, as it is printed, and its style.
    Number(&'a str, u8),
    /// Milliseconds since the beginning of Excel's days, or of the day, and the style.
    Moment(i64, u8),
}

impl<'a> Value<'a> {
    /// The value of a cell of a column of this kind.
    pub(super) fn of(cell: Cell<'a>, kind: &'a ColumnKind) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(integer) => Self::Integer(integer),
            Cell::Boolean(boolean) => kind
                .label(boolean)
                .map_or(Self::Boolean(boolean), Self::Text),
            Cell::Text(text) => Self::printed(text, kind).unwrap_or(Self::Text(text)),
        }
    }

    /// The same for what PostgreSQL has printed; `None` if Excel would not keep it.
    fn printed(text: &'a str, kind: &ColumnKind) -> Option<Self> {
        match kind {
            // A value with a scale is printed with all of its decimals.
            ColumnKind::Decimal => Some(Self::Number(text, styles::of_decimals(decimals(text)?))),
            ColumnKind::Float => decimals(text).map(|_| Self::Number(text, styles::GENERAL)),
            ColumnKind::Date => Self::at(
                Date::parse(text, DATE).ok()?,
                Time::MIDNIGHT,
                [styles::DATE; 2],
            ),
            ColumnKind::Time => Time::parse(text, TIME).ok().map(|time| {
                let styles = [styles::TIME, styles::TIME_MILLISECONDS];
                Self::moment(0, time, styles)
            }),
            ColumnKind::Timestamp => Self::timestamp(text),
            ColumnKind::Timestamptz => {
                let (local, offset) = text.split_at_checked(text.rfind(['+', '-'])?)?;
                let is_offset = offset[1..]
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b':');
                is_offset.then(|| Self::timestamp(local)).flatten()
            }
            _ => None,
        }
    }

    fn timestamp(text: &str) -> Option<Self> {
        let parsed = PrimitiveDateTime::parse(text, TIMESTAMP).ok()?;
        let styles = [styles::TIMESTAMP, styles::TIMESTAMP_MILLISECONDS];
        Self::at(parsed.date(), parsed.time(), styles)
    }

    /// A point in time, with a style for one without milliseconds, and one for others.
    pub(super) fn at(date: Date, time: Time, styles: [u8; 2]) -> Option<Self> {
        let day = date.to_julian_day() - DAY_ZERO;
        (day >= FIRST_DAY && date.year() <= 9_999).then(|| Self::moment(day, time, styles))
    }

    fn moment(day: i32, time: Time, [whole, milliseconds]: [u8; 2]) -> Self {
        let of_second = i64::from(time.millisecond());
        let of_day = time.duration_since(Time::MIDNIGHT).whole_seconds() * 1_000 + of_second;
        let style = if of_second == 0 { whole } else { milliseconds };
        Self::Moment(i64::from(day) * MILLISECONDS_OF_DAY + of_day, style)
    }

    /// Its width in characters.
    pub(super) fn width(self) -> usize {
        match self {
            // A boolean is narrower than the narrowest column.
            Self::Null | Self::Boolean(_) => 0,
            Self::Integer(integer) => itoa::Buffer::new().format(integer).len(),
            Self::Text(text) => width(text),
            Self::Number(text, _) => text.len(),
            Self::Moment(_, style) => styles::width(style),
        }
    }
}

/// Whether a spreadsheet's number is exact for this integer.
pub(super) fn is_exact(integer: i64) -> bool {
    integer.unsigned_abs() <= MOST_EXACT
}

/// Excel's number for a moment: days, and the fraction of a day.
pub(super) fn days(milliseconds: i64) -> f64 {
    milliseconds as f64 / MILLISECONDS_OF_DAY as f64
}

/// Characters of a text's first line.
pub(super) fn width(text: &str) -> usize {
    let line = text.split('\n').next().unwrap_or_default();
    line.chars().take(MOST_WIDTH).count()
}

/// The decimals of a number that Excel keeps as it is: up to 15 digits, neither too large nor too small, and no -0.
fn decimals(text: &str) -> Option<usize> {
    let mantissa = text.split('e').next()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || {
        whole
            .bytes()
            .chain(fraction.bytes())
            .filter(u8::is_ascii_digit)
    };
    let is_zero = |digit: &u8| *digit == b'0';
    let zeros = digits().take_while(is_zero).count();
    let significant = digits().count() - zeros;
    let trailing = digits().rev().take_while(is_zero).count();
    let size = text.parse::<f64>().ok()?.abs();
    let is_kept = if significant == 0 {
        size == 0.0 && !text.starts_with('-')
    } else {
        significant - trailing <= MOST_DIGITS && SIZES.contains(&size)
    };
    is_kept.then_some(fraction.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(kind: &'a ColumnKind, text: &'a str) -> Value<'a> {
        Value::of(Cell::Text(text), kind)
    }

    /// The constants are openpyxl's (`openpyxl.utils.datetime.to_excel`), to the millisecond.
    #[test]
    fn a_point_in_time_is_the_number_by_which_excel_knows_it() {
        let check = |kind: ColumnKind, text, number: f64, style| match shown(&kind, text) {
            Value::Moment(at, found) => {
                assert!((days(at) - number).abs() < 1e-9, "{text}: {}", days(at));
                assert_eq!(found, style, "{text}");
            }
            other => panic!("{text}: {other:?}"),
        };
        let stamp = || ColumnKind::Timestamp;
        let zoned = || ColumnKind::Timestamptz;
        check(ColumnKind::Date, "1900-03-01", 61.0, styles::DATE);
        check(ColumnKind::Date, "2026-11-30", 46_356.0, styles::DATE);
        check(ColumnKind::Date, "9999-12-31", 2_958_465.0, styles::DATE);
        check(ColumnKind::Time, "00:00:00", 0.0, styles::TIME);
        check(ColumnKind::Time, "18:00:00", 0.75, styles::TIME);
        let milliseconds = styles::TIME_MILLISECONDS;
        check(
            ColumnKind::Time,
            "23:59:59.9999",
            0.999_999_988_425_925_9,
            milliseconds,
        );
        check(stamp(), "2026-11-30 12:00:00", 46_356.5, styles::TIMESTAMP);
        check(
            stamp(),
            "2026-11-30 12:00:00.000999",
            46_356.5,
            styles::TIMESTAMP,
        );
        let milliseconds = styles::TIMESTAMP_MILLISECONDS;
        check(
            stamp(),
            "2024-02-29 06:30:15.1239",
            45_351.271_008_368_05,
            milliseconds,
        );
        for text in [
            "2026-11-30 12:00:00+00",
            "2026-11-30 12:00:00-03:30",
            "2026-11-30 12:00:00+00:53:28",
        ] {
            check(zoned(), text, 46_356.5, styles::TIMESTAMP);
        }
    }

    #[test]
    fn a_number_that_excel_keeps_has_the_decimals_that_it_is_printed_with() {
        let check = |kind: ColumnKind, text, style| {
            assert_eq!(shown(&kind, text), Value::Number(text, style));
        };
        let decimal = || ColumnKind::Decimal;
        check(decimal(), "0", styles::INTEGER);
        check(decimal(), "0.000", styles::INTEGER + 3);
        check(decimal(), "-1.50", styles::INTEGER + 2);
        check(decimal(), "123456789012.345", styles::INTEGER + 3);
        check(decimal(), "123456789012345000000", styles::INTEGER);
        check(decimal(), "0.0000000000000000000012", styles::GENERAL);
        for text in [
            "0",
            "0.1",
            "1e+20",
            "1e-07",
            "-1.5",
            "9.99e+300",
            "1.17549435e-38",
        ] {
            check(ColumnKind::Float, text, styles::GENERAL);
        }
    }

    #[test]
    fn what_excel_would_change_or_has_not_is_a_text() {
        let check = |kind: ColumnKind, texts: &[&'static str]| {
            for text in texts {
                assert_eq!(shown(&kind, text), Value::Text(text), "{kind:?}");
            }
        };
        let no_numbers = ["NaN", "Infinity", "-Infinity", "", "-"];
        check(ColumnKind::Decimal, &no_numbers);
        check(ColumnKind::Float, &no_numbers);
        check(
            ColumnKind::Decimal,
            &[
                "1234567890123456",
                "0.1234567890123456",
                "-12345678901234567890.5",
            ],
        );
        check(
            ColumnKind::Float,
            &[
                "-0",
                "5e-324",
                "1.7976931348623157e+308",
                "1e-308",
                "0.30000000000000004",
            ],
        );
        check(
            ColumnKind::Date,
            &[
                "infinity",
                "1900-02-28",
                "10000-01-01",
                "0044-03-15 BC",
                "2026-01-01 BC",
            ],
        );
        check(ColumnKind::Time, &["24:00:00", "12:00:00+01"]);
        check(
            ColumnKind::Timestamp,
            &[
                "-infinity",
                "1900-02-28 23:59:59",
                "12026-11-30 23:59:59.999999",
                "2026-01-01 00:00:00 BC",
            ],
        );
        check(
            ColumnKind::Timestamptz,
            &[
                "infinity",
                "-infinity",
                "2026-01-01 00:00:00+00 BC",
                "2026-01-01 00:00:00",
                "1899-12-31 22:36:15+00",
            ],
        );
        check(ColumnKind::Text, &["1", "2026-01-01"]);
        check(ColumnKind::Data, &["1", "2026-01-01"]);
    }
}
