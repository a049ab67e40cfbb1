//! Turns a bound value, in PostgreSQL's binary form, into a literal that means the same under any settings of the session.

use std::fmt::Write;

mod types;

pub(crate) use types::{ServerTypes, Types, UnknownTypes};

/// Why a value has no literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// The type has no literal that is written without the server's help.
    #[error("a value of the type {0} cannot be written as a literal without a connection")]
    Type(String),
    /// A value is longer than the protocol allows.
    #[error("a value of more than 2 GiB cannot be sent to PostgreSQL")]
    Length,
    /// The bytes are not PostgreSQL's binary form of the type.
    #[error("the bytes of a value of the type {0} are not understood")]
    Bytes(&'static str),
    /// A text has a NUL, which PostgreSQL's texts cannot have.
    #[error("a text with a NUL character cannot be sent to PostgreSQL")]
    Nul,
    /// A placeholder of the SQL has no value.
    #[error("the placeholder ${0} has no value")]
    Placeholder(String),
}

/// The types that have a literal: the oid, the array's oid, the name.
const TYPES: [(u32, u32, &str); 20] = [
    (16, 1000, "bool"),
    (17, 1001, "bytea"),
    (19, 1003, "name"),
    (20, 1016, "int8"),
    (21, 1005, "int2"),
    (23, 1007, "int4"),
    (25, 1009, "text"),
    (26, 1028, "oid"),
    (114, 199, "json"),
    (700, 1021, "float4"),
    (701, 1022, "float8"),
    (1042, 1014, "bpchar"),
    (1043, 1015, "varchar"),
    (1082, 1182, "date"),
    (1083, 1183, "time"),
    (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"),
    (1186, 1187, "interval"),
    (1700, 1231, "numeric"),
    (2950, 2951, "uuid"),
];

/// Diesel's other types, so that an error without a connection can name them.
const OTHERS: [(u32, u32, &str); 21] = [
    (18, 1002, "\"char\""),
    (650, 651, "cidr"),
    (774, 775, "macaddr8"),
    (790, 791, "money"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (2249, 2287, "record"),
    (3220, 3221, "pg_lsn"),
    (3802, 3807, "jsonb"),
    (3904, 3905, "int4range"),
    (3906, 3907, "numrange"),
    (3908, 3909, "tsrange"),
    (3910, 3911, "tstzrange"),
    (3912, 3913, "daterange"),
    (3926, 3927, "int8range"),
    (4451, 6150, "int4multirange"),
    (4532, 6151, "nummultirange"),
    (4533, 6152, "tsmultirange"),
    (4534, 6153, "tstzmultirange"),
    (4535, 6155, "datemultirange"),
    (4536, 6157, "int8multirange"),
];

fn find(types: &[(u32, u32, &'static str)], oid: u32) -> Option<(u32, &'static str)> {
    let known = types
        .iter()
        .find(|(element, array, _)| oid == *element || oid == *array);
    known.map(|(element, _, name)| (*element, *name))
}

fn brackets(is_array: bool) -> &'static str {
    if is_array { "[]" } else { "" }
}

/// Returns the type's name, for an error.
fn name(oid: u32) -> String {
    match find(&TYPES, oid).or_else(|| find(&OTHERS, oid)) {
        Some((element, name)) => format!("{name}{}", brackets(oid != element)),
        None => format!("with the oid {oid}"),
    }
}

/// Returns the value as SQL, in parentheses, so that nothing around it changes its meaning; `None` if only the server can.
fn literal(oid: u32, value: Option<&[u8]>) -> Result<Option<String>, Unwritable> {
    let Some((element, name)) = find(&TYPES, oid) else {
        return Ok(None);
    };
    let is_array = oid != element;
    let value = match value {
        None => Some("null".to_owned()),
        Some(bytes) if is_array => array(bytes, element, name)?,
        Some(bytes) => Some(quoted(&text(bytes, name)?)),
    };
    Ok(value.map(|value| format!("({value}::pg_catalog.{name}{})", brackets(is_array))))
}

/// Reads a value's bytes from the front.
struct Reader<'b> {
    bytes: &'b [u8],
    name: &'static str,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], Unwritable> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(Unwritable::Bytes(self.name))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unwritable> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Unwritable::Bytes(self.name))
    }

    fn i16(&mut self) -> Result<i16, Unwritable> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Unwritable> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, Unwritable> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.bytes)
    }

    fn end(&self) -> Result<(), Unwritable> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Unwritable::Bytes(self.name))
        }
    }
}

/// Returns `array[…]`, whose elements need no quotes of an array's own; each is read as an element of the type that follows. `None` if
/// it has several dimensions, or does not begin with 1.
fn array(bytes: &[u8], element: u32, name: &'static str) -> Result<Option<String>, Unwritable> {
    let mut reader = Reader { bytes, name };
    let dimensions = reader.i32()?;
    let _has_null = reader.i32()?;
    if u32::from_be_bytes(reader.array()?) != element {
        return Err(Unwritable::Bytes(name));
    }
    if dimensions == 0 {
        reader.end()?;
        return Ok(Some("'{}'".to_owned()));
    }
    let length = reader.i32()?;
    let lower_bound = reader.i32()?;
    if dimensions != 1 || lower_bound != 1 {
        return Ok(None);
    }
    let mut elements = Vec::new();
    for _ in 0..length {
        elements.push(match reader.i32()? {
            -1 => "null".to_owned(),
            length => {
                let length = usize::try_from(length).map_err(|_| Unwritable::Bytes(name))?;
                quoted(&text(reader.take(length)?, name)?)
            }
        });
    }
    reader.end()?;
    Ok(Some(format!("array[{}]", elements.join(","))))
}

/// Returns the text in quotes, which means the same with and without `standard_conforming_strings`.
pub(crate) fn quoted(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Returns the name in quotes.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the value's text, which PostgreSQL reads alike under any `DateStyle` and `IntervalStyle`.
fn text(bytes: &[u8], name: &'static str) -> Result<String, Unwritable> {
    let mut reader = Reader { bytes, name };
    let text = match name {
        "bool" => (reader.array::<1>()? != [0]).to_string(),
        "bytea" => format!("\\x{}", hexadecimal(reader.rest())),
        "int2" => reader.i16()?.to_string(),
        "int4" => reader.i32()?.to_string(),
        "int8" => reader.i64()?.to_string(),
        "oid" => u32::from_be_bytes(reader.array()?).to_string(),
        // The shortest text that is read as the same number.
        "float4" => float(f32::from_be_bytes(reader.array()?)),
        "float8" => float(f64::from_be_bytes(reader.array()?)),
        "numeric" => numeric(&mut reader)?,
        "uuid" => hexadecimal(&reader.array::<16>()?),
        "date" => match reader.i32()? {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => {
                let (date, era) = date(days.into());
                format!("{date}{era}")
            }
        },
        "time" => time(reader.i64()?.unsigned_abs()),
        "timestamp" => timestamp(reader.i64()?, ""),
        "timestamptz" => timestamp(reader.i64()?, "+00"),
        "interval" => interval(&mut reader)?,
        _ => {
            let text = std::str::from_utf8(reader.rest()).map_err(|_| Unwritable::Bytes(name))?;
            if text.contains('\0') {
                return Err(Unwritable::Nul);
            }
            text.to_owned()
        }
    };
    reader.end()?;
    Ok(text)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn float(value: impl std::fmt::LowerExp) -> String {
    match format!("{value:e}").as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        text => text.to_owned(),
    }
}

/// Reads digits to the base of 10,000; the first counts 10,000 to the power of `weight`.
fn numeric(reader: &mut Reader<'_>) -> Result<String, Unwritable> {
    let count = reader.i16()?;
    let weight = reader.i16()?;
    let sign = u16::from_be_bytes(reader.array()?);
    let scale = reader.i16()?;
    let digits: Vec<i16> = (0..count).map(|_| reader.i16()).collect::<Result<_, _>>()?;
    let mut text = match sign {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => return Err(Unwritable::Bytes("numeric")),
    };
    let weight = i32::from(weight);
    let digit = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        let digit = index.and_then(|index| digits.get(index));
        digit.copied().unwrap_or_default()
    };
    for power in (0..=weight.max(0)).rev() {
        let _ = write!(text, "{:04}", digit(power));
    }
    if let Some(scale) = usize::try_from(scale).ok().filter(|scale| *scale > 0) {
        text.push('.');
        let point = text.len();
        let mut power = -1;
        while text.len() - point < scale {
            let _ = write!(text, "{:04}", digit(power));
            power -= 1;
        }
        text.truncate(point + scale);
    }
    Ok(text)
}

/// Returns the date so many days after 2000-01-01, by the Gregorian calendar, and the era that follows it.
/// (The algorithm is Howard Hinnant's `civil_from_days`.)
fn date(days: i64) -> (String, &'static str) {
    let days = days + 10_957 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // There is no year 0.
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

fn time(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        microseconds % 1_000_000
    )
}

fn timestamp(microseconds: i64, zone: &str) -> String {
    const DAY: i64 = 86_400_000_000;
    match microseconds {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => {
            let (date, era) = date(microseconds.div_euclid(DAY));
            let time = time(microseconds.rem_euclid(DAY).unsigned_abs());
            format!("{date} {time}{zone}{era}")
        }
    }
}

/// Reads an interval. Each part gets its own sign: the SQL standard's style would take the first one for all.
fn interval(reader: &mut Reader<'_>) -> Result<String, Unwritable> {
    let (microseconds, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
    Ok(match (microseconds, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => "infinity".to_owned(),
        (i64::MIN, i32::MIN, i32::MIN) => "-infinity".to_owned(),
        _ => {
            let sign = if microseconds < 0 { '-' } else { '+' };
            let time = time(microseconds.unsigned_abs());
            format!("{months:+} mons {days:+} days {sign}{time}")
        }
    })
}

#[cfg(test)]
mod tests;
