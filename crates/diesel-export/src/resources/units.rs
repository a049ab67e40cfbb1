//! How quantities and hashes are written.

use std::time::Duration;

/// A time on the command line: seconds, with or without a fraction.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration >= Duration::from_millis(1) && seconds <= 86_400.0 => Ok(duration),
        _ => Err("not between 0.001 and 86400 seconds".to_owned()),
    }
}

/// A time that may be long, on the command line: `90` (seconds), `90s`, `15m`, `24h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("the units are s, m, h and d".into()),
    };
    let seconds = digits.parse::<u64>().ok();
    seconds
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| (1..=3_660 * 86_400).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "not a time between 1s and 3660d".into())
}

/// A number of bytes: `1048576`, `1024KiB`, `1MiB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("the units are KiB, MiB and GiB".into()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "not a number of bytes".into())
}

/// The same number for the command line: in the largest unit of which it is a multiple.
pub fn exact_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let divides = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    match UNITS.iter().find(divides) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// A number of bytes for people: `12.3 MB`.
pub fn readable_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let power = (bytes.max(1).ilog10() / 3).min(4);
    let size = bytes as f64 / 1000_f64.powi(power.cast_signed());
    let unit = UNITS[power as usize];
    if power == 0 {
        format!("{bytes}\u{a0}{unit}")
    } else {
        format!("{size:.1}\u{a0}{unit}")
    }
}

/// A time for people: `3 seconds`, `12 minutes`, `1.5 hours`.
pub fn readable_seconds(seconds: f64) -> String {
    // First of all: else 89.7 would be too much for seconds, and too little for more than one minute.
    let seconds = seconds.round();
    if seconds < 2.0 {
        "1\u{a0}second".to_owned()
    } else if seconds < 90.0 {
        format!("{seconds}\u{a0}seconds")
    } else if seconds < 5_400.0 {
        format!("{}\u{a0}minutes", (seconds / 60.0).round())
    } else {
        format!("{:.1}\u{a0}hours", seconds / 3_600.0)
    }
}

/// A number with thousands separators: `100,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// Bytes in hexadecimal, in lower case.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_the_unit_that_fits() {
        let bytes = [0, 999, 1_000, 12_345_678, u64::MAX].map(readable_bytes);
        let expected = ["0 B", "999 B", "1.0 kB", "12.3 MB", "18446744.1 TB"];
        assert_eq!(bytes, expected.map(|text| text.replace(' ', "\u{a0}")));
        let seconds = [0.2, 2.0, 89.4, 89.7, 5_399.4, 5_399.7].map(readable_seconds);
        let expected = [
            "1 second",
            "2 seconds",
            "89 seconds",
            "2 minutes",
            "90 minutes",
            "1.5 hours",
        ];
        assert_eq!(seconds, expected.map(|text| text.replace(' ', "\u{a0}")));
    }

    #[test]
    fn large_numbers_have_their_thousands_apart_and_bytes_have_two_digits() {
        let numbers = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }

    #[test]
    fn seconds_are_between_a_millisecond_and_a_day() {
        assert_eq!(seconds("0.001"), Ok(Duration::from_millis(1)));
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2_500)));
        assert_eq!(seconds("86400"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "1s", "0", "0.0009", "-1", "86401", "inf", "NaN"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_of_bytes_has_a_unit_or_is_in_bytes() {
        assert_eq!(["5", "5B", "5 KiB"].map(bytes), [Ok(5), Ok(5), Ok(5_120)]);
        for wrong in ["", "B", "-1", "5kB", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_named_as_it_was_set() {
        for text in ["1GiB", "1536MiB", "3KiB"] {
            assert_eq!(bytes(text).map(exact_bytes).as_deref(), Ok(text));
        }
        assert_eq!(
            [0, 1_000].map(exact_bytes),
            ["0 bytes", "1000 bytes"].map(str::to_owned)
        );
    }

    #[test]
    fn a_long_time_has_a_unit_or_is_in_seconds() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("24 h"), Ok(86_400));
        assert_eq!(seconds("3660d"), Ok(316_224_000));
        for wrong in [
            "",
            "h",
            "0",
            "-1h",
            "1.5h",
            "1w",
            "9999999999999999d",
            "3661d",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
