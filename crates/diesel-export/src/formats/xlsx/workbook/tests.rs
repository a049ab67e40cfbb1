use calamine::{Data, Reader, Xlsx};

use super::*;

/// The sheets' names and rows, of a workbook of so many rows, three to a sheet.
fn sheets(rows: i64) -> Vec<(String, Vec<Vec<Data>>)> {
    let mut workbook = Workbook::new("Things".to_owned(), vec!["N", "Text"], 3).expect("begun");
    for row in 1..=rows {
        workbook
            .row([Cell::Integer(row), Cell::Text("x")])
            .expect("written");
    }
    let file = workbook.finish().expect("written");
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
        assert_eq!(found, names);
        let mut next = 1;
        for (_, sheet) in &sheets {
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
    let mut workbook = Workbook::new("Things".to_owned(), vec!["A", "B"], 3).expect("begun");
    let many = "\n".repeat(100);
    for texts in [["x", "y"], ["a\nb", "a\r\nb\nc"], ["x", &many]] {
        workbook.row(texts.map(Cell::Text)).expect("written");
    }
    let xml = String::from_utf8_lossy(&workbook.xml);
    for row in [
        "<row r=\"2\"><c r=\"A2\" s=\"3\"",
        "<row r=\"3\" ht=\"45\"><c r=\"A3\" s=\"4\"",
        "<row r=\"4\" ht=\"409\"><c r=\"A4\" s=\"3\"",
    ] {
        assert!(xml.contains(row), "{row}: {xml}");
    }
}
