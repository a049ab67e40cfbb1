//! A sheet's rows as an Excel table, by whose name pivot tables and Power Query find them.

use std::collections::HashSet;

use super::package::MAIN;
use super::xml::push_text;

/// Excel allows 255 characters, and a number may follow these.
const MOST_CHARACTERS: usize = 240;

/// The columns' headers as a table requires them: not empty, and unique regardless of case.
pub(super) fn unique<'h>(headers: impl IntoIterator<Item = &'h str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let headers = headers.into_iter().enumerate().map(|(index, header)| {
        let header = if header.is_empty() {
            format!("Column{}", index + 1)
        } else {
            header.chars().take(MOST_CHARACTERS).collect()
        };
        let mut unique = header.clone();
        let mut number = 1;
        while !taken.insert(unique.to_lowercase()) {
            number += 1;
            unique = format!("{header}{number}");
        }
        unique
    });
    headers.collect()
}

/// The name of the table on the sheet of this number. It must look neither like a cell (`T1`, `R1C1`, `R`) nor like a boolean, which no name
/// with a `_` does.
pub(super) fn name(title: &str, sheet: usize) -> String {
    let name = title.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
    let is_boolean = ["true", "false"].contains(&name.to_ascii_lowercase().as_str());
    let is_word = name.len() > 3 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_word = is_word && !is_boolean;
    let is_name = name.contains('_') && !name.starts_with(|first: char| first.is_ascii_digit());
    let name = if is_word || is_name {
        name
    } else {
        format!("_{name}")
    };
    if sheet > 1 {
        format!("{name}_{sheet}")
    } else {
        name
    }
}

/// The part for a table of this name and number, and these cells.
pub(super) fn part(name: &str, number: usize, cells: &str, headers: &[String]) -> String {
    let mut columns = String::new();
    for (index, header) in headers.iter().enumerate() {
        let mut escaped = Vec::new();
        push_text(header, &mut escaped);
        // In an attribute, they would be blanks.
        let escaped = String::from_utf8_lossy(&escaped)
            .replace('\n', "_x000A_")
            .replace('\t', "_x0009_");
        columns.push_str(&format!(
            "<tableColumn id=\"{}\" name=\"{escaped}\"/>",
            index + 1
        ));
    }
    format!(
        "<table xmlns=\"{MAIN}\" id=\"{number}\" name=\"{name}\" displayName=\"{name}\" ref=\"{cells}\" totalsRowShown=\"0\">\
         <autoFilter ref=\"{cells}\"/><tableColumns count=\"{}\">{columns}</tableColumns>\
         <tableStyleInfo name=\"TableStyleLight1\" showFirstColumn=\"0\" showLastColumn=\"0\" showRowStripes=\"1\" \
         showColumnStripes=\"0\"/></table>",
        headers.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_apart_as_excel_does_it() {
        let headers = ["Name", "", "name", "Name2", "Name", "Column2", ""];
        assert_eq!(
            unique(headers),
            [
                "Name", "Column2", "name2", "Name22", "Name3", "Column22", "Column7"
            ]
        );
    }

    #[test]
    fn a_tables_name_is_none_that_excel_reads_as_a_value() {
        for (title, sheet, expected) in [
            ("Books", 1, "Books"),
            ("Books", 2, "Books_2"),
            ("Work-orders", 1, "Work_orders"),
            ("T1", 1, "_T1"),
            ("R1c1", 2, "_R1c1_2"),
            ("Abc", 1, "_Abc"),
            ("True", 1, "_True"),
            ("2026-books", 1, "_2026_books"),
        ] {
            assert_eq!(name(title, sheet), expected);
        }
    }

    #[test]
    fn a_header_is_escaped_as_an_attribute() {
        let xml = part("T_", 1, "A1:A2", &["a \"b\"\n<c>\u{1}".to_owned()]);
        assert!(
            xml.contains("name=\"a &quot;b&quot;_x000A_&lt;c&gt;_x0001_\""),
            "{xml}"
        );
    }
}
