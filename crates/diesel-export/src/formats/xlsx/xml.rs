//! Texts and names in a workbook's XML.

use std::io::Write;

/// Appends a text. A character that XML does not allow is escaped as the format has it, `_x0001_`; so is a text that looks like such an
/// escape.
pub(super) fn push_text(text: &str, xml: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'\t' | b'\n' => continue,
            0..b' ' => {
                xml.extend_from_slice(&bytes[done..index]);
                // Vec accepts every write.
                let _ = write!(xml, "_x{byte:04X}_");
                done = index + 1;
                continue;
            }
            b'_' if looks_like_escape(&bytes[index..]) => b"_x005F_",
            // U+FFFE and U+FFFF are no characters to XML.
            0xEF if bytes[index..].starts_with(b"\xEF\xBF\xBE") => b"_xFFFE_",
            0xEF if bytes[index..].starts_with(b"\xEF\xBF\xBF") => b"_xFFFF_",
            _ => continue,
        };
        xml.extend_from_slice(&bytes[done..index]);
        xml.extend_from_slice(escape);
        done = index + if *byte == 0xEF { 3 } else { 1 };
    }
    xml.extend_from_slice(&bytes[done..]);
}

/// Whether a text begins with `_x` and four digits. Without the `_` after them it is no escape, but what comes next may begin with one.
fn looks_like_escape(text: &[u8]) -> bool {
    text.len() >= 6 && text[1] == b'x' && text[2..6].iter().all(u8::is_ascii_hexdigit)
}

/// The name of a column of a sheet: `A`, `B`, …, `Z`, `AA`, ….
pub(super) fn column_name(mut index: usize) -> String {
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'A' + (index % 26) as u8));
        match index / 26 {
            0 => return name,
            more => index = more - 1,
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut xml = Vec::new();
        push_text(text, &mut xml);
        String::from_utf8(xml).expect("UTF-8")
    }

    #[test]
    fn what_xml_does_not_allow_and_what_looks_like_its_escape_is_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("", "");
        check("a <b> & \"c\" 'd'", "a &lt;b&gt; &amp; &quot;c&quot; 'd'");
        check("\u{1}\u{1f}\u{7f}", "_x0001__x001F_\u{7f}");
        check("a\tb\nc\r\n", "a\tb\nc_x000D_\n");
        check("\u{FFFE}x\u{FFFF}\u{FFFD}", "_xFFFE_x_xFFFF_\u{FFFD}");
        check("_x0041_", "_x005F_x0041_");
        check("_x0041", "_x005F_x0041");
        check("_x00", "_x00");
        check("_xg041_", "_xg041_");
        check("_x00é_", "_x00é_");
        check("_xyz_x12", "_xyz_x12");
        // Together, the two would be the escape of an A.
        check("_x0041\u{1}", "_x005F_x0041_x0001_");
    }

    #[test]
    fn columns_are_named_as_a_spreadsheet_names_them() {
        let names = [0, 25, 26, 51, 52, 701, 702, 16_383].map(column_name);
        assert_eq!(names, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA", "XFD"]);
    }
}
