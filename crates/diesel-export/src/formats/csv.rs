//! The CSV: its formats, and how a field is written.
//!
//! The bytes are those that PostgreSQL's own `COPY … TO STDOUT WITH (FORMAT csv, HEADER)` prints, whichever strategy has loaded the
//! rows. See [`CopyAttributeOutCSV`](https://github.com/postgres/postgres/blob/master/src/backend/commands/copyto.c).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

use crate::dataset::{Cell, ColumnKind};

/// Who the CSV is for.
#[derive(Display, EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// For programs: exactly what PostgreSQL's COPY prints.
    #[default]
    Data,
    /// For people: a byte order mark, CRLF line ends, and nothing that a spreadsheet takes for a formula.
    Excel,
}

/// The column separator.
#[derive(Display, EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Delimiter {
    /// `,`
    #[default]
    #[strum(serialize = ",")]
    #[serde(rename = ",")]
    Comma,
    /// `;`, which Excel expects if the decimal separator is a comma
    #[strum(serialize = ";")]
    #[serde(rename = ";")]
    Semicolon,
    /// a tabulator
    #[strum(serialize = "tab")]
    #[serde(rename = "tab")]
    Tab,
}

impl Delimiter {
    /// The character itself.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// How the CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Format {
    /// For whom it is.
    pub preset: Preset,
    /// The column separator.
    pub delimiter: Delimiter,
}

impl Format {
    /// Whether a `'` goes where a spreadsheet would begin a formula.
    pub(crate) fn escapes_formulas(self) -> bool {
        self.preset == Preset::Excel
    }

    pub(crate) fn byte_order_mark(self) -> &'static [u8] {
        match self.preset {
            Preset::Data => b"",
            Preset::Excel => "\u{feff}".as_bytes(),
        }
    }

    pub(crate) fn line_end(self) -> &'static [u8] {
        match self.preset {
            Preset::Data => b"\n",
            Preset::Excel => b"\r\n",
        }
    }
}

/// Writes the fields of lines with a fixed number of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldWriter {
    format: Format,
    /// Whether it is the line's only field.
    is_only: bool,
}

impl FieldWriter {
    pub(crate) fn new(format: Format, fields: usize) -> Self {
        Self {
            format,
            is_only: fields == 1,
        }
    }

    /// Appends a field of a column of this kind.
    pub(crate) fn write(self, kind: &ColumnKind, cell: Cell<'_>, line: &mut Vec<u8>) {
        match cell {
            // NULL is an empty field; an empty text is "".
            Cell::Null => {}
            Cell::Integer(integer) => {
                line.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
            }
            Cell::Boolean(boolean) => match kind.label(boolean) {
                Some(label) => self.write_text(label.as_bytes(), line),
                None => line.extend_from_slice(self.boolean(boolean)),
            },
            Cell::Text(text) => self.write_printed(kind, text.as_bytes(), line),
        }
    }

    fn boolean(self, boolean: bool) -> &'static [u8] {
        match (self.format.preset, boolean) {
            (Preset::Data, true) => b"t",
            (Preset::Data, false) => b"f",
            (Preset::Excel, true) => b"TRUE",
            (Preset::Excel, false) => b"FALSE",
        }
    }

    /// Appends the field for what PostgreSQL prints for a value of this kind that is not NULL; it may be empty.
    pub(crate) fn write_printed(self, kind: &ColumnKind, text: &[u8], line: &mut Vec<u8>) {
        match kind {
            ColumnKind::Integer if is_integer(text) => line.extend_from_slice(text),
            ColumnKind::Boolean if text == b"t" => line.extend_from_slice(self.boolean(true)),
            ColumnKind::Boolean if text == b"f" => line.extend_from_slice(self.boolean(false)),
            // If an integer or a boolean is neither, the table is not as it was declared: any text is possible.
            ColumnKind::Text | ColumnKind::Label(_) | ColumnKind::Boolean | ColumnKind::Integer => {
                self.write_text(text, line);
            }
            _ => self.quote(text, line),
        }
    }

    /// Appends the field for a text that is not NULL.
    pub(crate) fn write_text(self, text: &[u8], line: &mut Vec<u8>) {
        if self.format.escapes_formulas() {
            self.quote(&without_formulas(text), line);
        } else {
            self.quote(text, line);
        }
    }

    /// Appends it, between quotation marks if it needs them.
    fn quote(self, text: &[u8], line: &mut Vec<u8>) {
        let delimiter = self.format.delimiter.byte();
        let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        // Few texts have a special byte, so checking all bytes, sixteen at a time, beats stopping at the first special one.
        let quoted = text.is_empty()
            || text.iter().fold(false, |any, byte| any | special(*byte))
            // Alone on a line, COPY would read it as the end of the data.
            || (self.is_only && text == b"\\.");
        if quoted {
            line.push(b'"');
            for piece in text.split_inclusive(|byte| *byte == b'"') {
                line.extend_from_slice(piece);
                if piece.ends_with(b"\"") {
                    line.push(b'"');
                }
            }
            line.push(b'"');
        } else {
            line.extend_from_slice(text);
        }
    }
}

/// Puts a `'` before what a spreadsheet would take for the beginning of a formula: at the text's beginning and, as the file may be opened
/// with another separator than its own, after each separator and line end in it, also if quotation marks follow them.
fn without_formulas(text: &[u8]) -> Cow<'_, [u8]> {
    let mut harmless = Vec::new();
    let mut copied = 0;
    let mut begins = true;
    for (index, byte) in text.iter().enumerate() {
        let skipped_at_first = index == 0 && matches!(byte, b'\t' | b'\r' | b'\n');
        if begins && (skipped_at_first || begins_formula(&text[index..])) {
            harmless.extend_from_slice(&text[copied..index]);
            harmless.push(b'\'');
            copied = index;
        }
        begins = match byte {
            b',' | b';' | b'\t' | b'\r' | b'\n' => true,
            b'"' => begins,
            _ => false,
        };
    }
    if harmless.is_empty() {
        return Cow::Borrowed(text);
    }
    harmless.extend_from_slice(&text[copied..]);
    Cow::Owned(harmless)
}

/// Whether a spreadsheet takes a cell that begins so for a formula: with `=`, `+`, `-`, `@`, or one of these in full width. With TAB, CR
/// and LF, which some skip, they are the list of [OWASP](https://owasp.org/www-community/attacks/CSV_Injection). (NUL, which ASVS 1.2.10
/// adds, is in no text of PostgreSQL's.)
fn begins_formula(text: &[u8]) -> bool {
    matches!(
        text,
        [b'=' | b'+' | b'-' | b'@', ..] | [0xef, 0xbc, 0x9d | 0x8b | 0x8d | 0xa0, ..]
    )
}

/// Whether a field is what PostgreSQL prints for an integer.
fn is_integer(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'-')
        && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_that_is_not_of_its_columns_kind_is_a_text_and_a_boolean_has_its_label() {
        let writer = FieldWriter::new(Format::default(), 2);
        let field = |kind: &ColumnKind, cell| {
            let mut line = Vec::new();
            writer.write(kind, cell, &mut line);
            String::from_utf8(line).unwrap_or_default()
        };
        let label = ColumnKind::Label(["a,b", "no"].map(str::to_owned));
        assert_eq!(field(&label, Cell::Boolean(true)), "\"a,b\"");
        assert_eq!(field(&label, Cell::Boolean(false)), "no");
        assert_eq!(field(&ColumnKind::Boolean, Cell::Boolean(true)), "t");
        assert_eq!(field(&ColumnKind::Integer, Cell::Text("-3")), "-3");
        assert_eq!(field(&ColumnKind::Integer, Cell::Text("1,5")), "\"1,5\"");
        let mut line = Vec::new();
        writer.write_printed(&ColumnKind::Integer, b"a,b", &mut line);
        assert_eq!(line, b"\"a,b\"");
    }

    fn line(format: Format, cells: &[Cell<'_>]) -> String {
        let mut line = Vec::new();
        let fields = FieldWriter::new(format, cells.len());
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                line.push(format.delimiter.byte());
            }
            fields.write(&ColumnKind::Text, *cell, &mut line);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    fn check(text: &str, expected: &str) {
        let cells = [Cell::Integer(1), Cell::Text(text)];
        assert_eq!(line(Format::default(), &cells), format!("1,{expected}"));
    }

    #[test]
    fn a_field_is_quoted_only_if_it_has_to_be() {
        check("plain", "plain");
        check(" blanks ", " blanks ");
        check("a,b", "\"a,b\"");
        check("a;b", "a;b");
        check("two\nlines", "\"two\nlines\"");
        check("\r", "\"\r\"");
        check("say \"hi\"", "\"say \"\"hi\"\"\"");
        check("\"", "\"\"\"\"");
        check("\\.", "\\.");
        check("=1+1", "=1+1");
    }

    #[test]
    fn null_is_an_empty_field_and_an_empty_text_is_not() {
        let cells = [Cell::Null, Cell::Text(""), Cell::Null];
        assert_eq!(line(Format::default(), &cells), ",\"\",");
        assert_eq!(line(Format::default(), &[Cell::Null]), "");
        assert_eq!(line(Format::default(), &[Cell::Text("")]), "\"\"");
    }

    #[test]
    fn the_end_of_data_mark_is_quoted_if_it_is_alone_on_a_line() {
        assert_eq!(line(Format::default(), &[Cell::Text("\\.")]), "\"\\.\"");
        assert_eq!(line(Format::default(), &[Cell::Text("\\.x")]), "\\.x");
    }

    #[test]
    fn texts_that_look_like_formulas_are_made_harmless_for_excel_and_numbers_left_alone() {
        let excel = Format {
            preset: Preset::Excel,
            delimiter: Delimiter::Semicolon,
        };
        let cells = ["=1;2", "-x", "@", "\tt", "a=1"].map(Cell::Text);
        assert_eq!(line(excel, &cells), "\"'=1;2\";'-x;'@;'\tt;a=1");
        assert_eq!(line(excel, &[Cell::Integer(-5), Cell::Text("+")]), "-5;'+");
        let cells = ["＝1", "＋1", "－1", "＠x", "ｘ＝1"].map(Cell::Text);
        assert_eq!(line(excel, &cells), "'＝1;'＋1;'－1;'＠x;ｘ＝1");
    }

    proptest! {
        #[test]
        fn no_piece_of_a_text_begins_a_formula(text in "[,;\t\r\n\"=+@＝x-]{0,12}") {
            let found = without_formulas(text.as_bytes()).into_owned();
            let found = String::from_utf8(found)?;
            for piece in found.split([',', ';', '\t', '\r', '\n']) {
                let cell = piece.trim_start_matches('"');
                prop_assert!(!begins_formula(cell.as_bytes()), "{found:?}");
            }
            prop_assert!(!found.starts_with(['\t', '\r', '\n']));
            prop_assert_eq!(found.replace('\'', ""), text);
        }
    }

    #[test]
    fn no_text_becomes_a_formula_with_another_separator_either() {
        for (text, harmless) in [
            ("x,=1", "x,'=1"),
            ("x;=1;y", "x;'=1;y"),
            ("x\t＝1", "x\t'＝1"),
            ("x\n=1\r@y", "x\n'=1\r'@y"),
            ("\n=1", "'\n'=1"),
            ("\"=1", "\"'=1"),
            ("x;\"\"=1", "x;\"\"'=1"),
            ("x\"=1", "x\"=1"),
            ("a, -b", "a, -b"),
            ("a,,;=", "a,,;'="),
            ("a,\tb\n", "a,\tb\n"),
        ] {
            let found = without_formulas(text.as_bytes()).into_owned();
            assert_eq!(String::from_utf8_lossy(&found), harmless, "{text:?}");
        }
    }
}
