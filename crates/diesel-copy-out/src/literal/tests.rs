use super::*;

#[test]
fn dates_follow_one_another_as_in_the_gregorian_calendar() {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // The days of 801 years, from the first one of the year 1600 on.
    let mut days = -146_097;
    for year in 1_600..=2_400 {
        let february = if is_leap(year) { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, length) in (1..).zip(months) {
            for day in 1..=length {
                assert_eq!(date(days), (format!("{year}-{month:02}-{day:02}"), ""));
                days += 1;
            }
        }
    }
    assert_eq!(date(0), ("2000-01-01".to_owned(), ""));
    assert_eq!(date(-730_119), ("0001-01-01".to_owned(), ""));
    assert_eq!(date(-730_120), ("0001-12-31".to_owned(), " BC"));
}

#[test]
fn a_value_with_too_few_bytes_or_too_many_has_no_literal() {
    for (name, length) in [
        ("bool", 1),
        ("int4", 4),
        ("float8", 8),
        ("uuid", 16),
        ("interval", 16),
    ] {
        for wrong in [length - 1, length + 1] {
            let read = text(&vec![0; wrong], name);
            assert_eq!(read, Err(Unwritable::Bytes(name)), "{wrong} bytes");
        }
    }
    assert_eq!(text(&[0xff], "text"), Err(Unwritable::Bytes("text")));
    assert_eq!(text(b"a\0", "text"), Err(Unwritable::Nul));
}

#[test]
fn numbers_without_an_end_and_without_a_value_have_names() {
    let numeric = |sign: [u8; 2]| text(&[[0, 0], [0, 0], sign, [0, 0]].concat(), "numeric");
    for (sign, expected) in [
        ([0x00, 0], "0000"),
        ([0xC0, 0], "NaN"),
        ([0xD0, 0], "Infinity"),
        ([0xF0, 0], "-Infinity"),
    ] {
        assert_eq!(numeric(sign).as_deref(), Ok(expected));
    }
    assert_eq!(numeric([0x01, 0]), Err(Unwritable::Bytes("numeric")));
    assert_eq!(
        text(&f64::NEG_INFINITY.to_be_bytes(), "float8").as_deref(),
        Ok("-Infinity")
    );
}

#[test]
fn an_interval_has_a_sign_for_each_part() {
    let interval = |time: i64, days: i32, months: i32| {
        let value = [
            &time.to_be_bytes()[..],
            &days.to_be_bytes(),
            &months.to_be_bytes(),
        ]
        .concat();
        text(&value, "interval").unwrap_or_default()
    };
    assert_eq!(interval(0, 0, 0), "+0 mons +0 days +00:00:00.000000");
    assert_eq!(interval(-1, 2, -3), "-3 mons +2 days -00:00:00.000001");
    assert_eq!(interval(i64::MAX, i32::MAX, i32::MAX), "infinity");
    assert_eq!(interval(i64::MIN, i32::MIN, i32::MIN), "-infinity");
}

#[test]
fn an_array_has_one_dimension_from_1_on_of_its_own_type() {
    let array = |dimensions: i32, element: u32, lower_bound: i32| {
        let head = [dimensions, 0, element.cast_signed(), 1, lower_bound, 4, 7];
        let head = head.map(i32::to_be_bytes).concat();
        literal(1007, Some(&head))
    };
    assert_eq!(
        array(1, 23, 1),
        Ok(Some("(array['7']::pg_catalog.int4[])".to_owned()))
    );
    assert_eq!(array(1, 20, 1), Err(Unwritable::Bytes("int4")));
    for (dimensions, lower_bound) in [(2, 1), (1, 0)] {
        assert_eq!(array(dimensions, 23, lower_bound), Ok(None));
    }
}
