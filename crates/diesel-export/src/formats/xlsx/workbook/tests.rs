use calamine::{Data, Reader, Xlsx};

use super::*;

/// The sheets' names and rows, of a workbook of this many rows, three to a sheet.
fn sheets(rows: i64) -> Vec<(String, Vec<Vec<Data>>)> {
    let mut workbook = Workbook::new("Things", ["N", "Text"], 3).expect("begun");
    for row in 1..=rows {
        workbook
            .row([Value::Integer(row), Value::Text("x")])
            .expect("written");
    }
    let file = workbook
        .finish(&[("Rows", Value::Integer(rows))])
        .expect("written");
    let mut read = Xlsx::new(io::Cursor::new(file)).expect("a workbook");
    let sheets = read.worksheets();
    sheets
        .into_iter()
        .map(|(name, range)| (name, range.rows().map(<[Data]>::to_vec).collect()))
        .collect()
}

#[test]
fn a_sheet_without_room_is_followed_by_another_one_with_its_header() {
    let check = |rows: i64, names: &[&str]| {
        let sheets = sheets(rows);
        let found: Vec<&str> = sheets.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, [names, &["About"]].concat());
        let mut next = 1;
        for (_, sheet) in &sheets[..names.len()] {
            let header = ["N", "Text"].map(|text| Data::String(text.to_owned()));
            assert_eq!(sheet[0], header);
            for row in &sheet[1..] {
                assert_eq!(
                    row[..],
                    [Data::Float(next as f64), Data::String("x".to_owned())]
                );
                next += 1;
            }
        }
        assert_eq!(next, rows + 1);
    };
    check(0, &["Things"]);
    check(3, &["Things"]);
    check(4, &["Things", "Things 2"]);
    check(8, &["Things", "Things 2", "Things 3"]);
}

#[test]
fn a_row_is_as_high_as_its_text_of_the_most_lines() {
    let mut workbook = Workbook::new("Things", ["A", "B"], 9).expect("begun");
    let many = "\n".repeat(100);
    for texts in [["x", "y"], ["a\nb", "a\r\nb\nc"], ["x", &many], ["x\n", ""]] {
        workbook.row(texts.map(Value::Text)).expect("written");
    }
    let xml = String::from_utf8_lossy(&workbook.xml);
    for row in [
        "<row r=\"2\"><c r=\"A2\" s=\"2\"",
        "<row r=\"3\" ht=\"45\"><c r=\"A3\" s=\"3\"",
        "<row r=\"4\" ht=\"409\"><c r=\"A4\" s=\"2\"",
        "<row r=\"5\" ht=\"30\"><c r=\"A5\" s=\"3\"",
    ] {
        assert!(xml.contains(row), "{row}: {xml}");
    }
}

#[test]
fn a_number_that_a_spreadsheet_would_round_is_a_text() {
    let exact = 1_i64 << 53;
    let mut workbook = Workbook::new("Things", ["A", "B"], 3).expect("begun");
    for cells in [[exact, -exact], [exact + 1, -exact - 1]] {
        workbook.row(cells.map(Value::Integer)).expect("written");
    }
    let xml = String::from_utf8_lossy(&workbook.xml);
    for number in [exact, -exact] {
        assert!(xml.contains(&format!("<v>{number}</v>")), "{number}");
    }
    for text in [exact + 1, -exact - 1] {
        assert!(xml.contains(&format!("<t>{text}</t>")), "{text}");
    }
}

#[test]
fn blanks_at_either_end_of_a_text_are_kept() {
    let mut workbook = Workbook::new("Things", ["A"], 9).expect("begun");
    for (text, are_kept) in [(" a", true), ("a\t", true), ("\na", true), ("a b", false)] {
        workbook.xml.clear();
        workbook.row([Value::Text(text)]).expect("written");
        let xml = String::from_utf8_lossy(&workbook.xml);
        assert_eq!(xml.contains("xml:space=\"preserve\""), are_kept, "{text:?}");
    }
}

#[test]
fn a_column_is_as_wide_as_its_header_with_its_button_or_as_its_first_texts() {
    let headers = ["Description", "N", "A", "Long", "Empty"];
    let mut workbook = Workbook::new("Things", headers, 9).expect("begun");
    let long = "x".repeat(100);
    let row = |n| {
        let lines = Value::Text("line 1 ü\nand line 2");
        [
            Value::Text("short"),
            Value::Integer(n),
            lines,
            Value::Text(&long),
            Value::Null,
        ]
    };
    workbook.row(row(-1_000_000)).expect("written");
    workbook.flush().expect("written");
    // The widths are written by now.
    workbook.row(row(-10_000_000)).expect("written");
    let columns: String = [16, 10, 10, 62, 10]
        .iter()
        .zip(1..)
        .map(|(width, n)| {
            format!("<col min=\"{n}\" max=\"{n}\" width=\"{width}\" customWidth=\"1\"/>")
        })
        .collect();
    let start = workbook.sheet_start();
    assert!(
        start.contains(&format!("<cols>{columns}</cols>")),
        "{start}"
    );
}

#[test]
fn a_sheet_of_too_many_bytes_is_followed_by_another_one() {
    let mut workbook = Workbook::new("Things", ["A"], 9).expect("begun");
    for (written, sheets) in [(SHEET_BYTES - 1, 0), (SHEET_BYTES, 1)] {
        workbook.written = written;
        workbook.row([Value::Null]).expect("written");
        assert_eq!(workbook.done, sheets);
    }
    let text = "x".repeat(CHUNK);
    workbook.row([Value::Text(&text)]).expect("written");
    assert!(workbook.written > CHUNK as u64 && workbook.xml.is_empty());
}

#[test]
fn a_number_and_a_date_are_read_as_such_and_the_sheets_rows_are_tables() {
    let mut workbook = Workbook::new("Things", ["A", "a", ""], 1).expect("begun");
    let number = Value::Number("-1.50", styles::of_decimals(2));
    let noon = Value::Moment(46_356 * 86_400_000 + 43_200_000, styles::TIMESTAMP);
    for row in [
        [number, noon, Value::Null],
        [noon, Value::Boolean(true), Value::Null],
    ] {
        workbook.row(row).expect("written");
    }
    let file = workbook.finish(&[]).expect("written");
    let mut read = Xlsx::new(io::Cursor::new(file)).expect("a workbook");
    let first = read.worksheet_range("Things").expect("a sheet");
    assert_eq!(first[(1, 0)], Data::Float(-1.5));
    assert!(
        matches!(&first[(1, 1)], Data::DateTime(at) if at.is_datetime() && at.as_f64() == 46_356.5)
    );
    read.load_tables().expect("tables");
    assert_eq!(read.table_names(), ["Things", "Things_2"]);
    let second = read.table_by_name("Things_2").expect("a table");
    assert_eq!(second.columns(), ["A", "a2", "Column3"]);
    assert_eq!(second.data()[(0, 1)], Data::Bool(true));
}
