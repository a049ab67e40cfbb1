//! The CSV: its formats, and how a field is written.
//!
//! The bytes are those that PostgreSQL's own `COPY … TO STDOUT WITH (FORMAT csv, HEADER)` prints, whichever strategy has loaded the
//! rows. See [`CopyAttributeOutCSV`](https://github.com/postgres/postgres/blob/master/src/backend/commands/copyto.c).

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dataset::{Cell, ColumnKind, FORMULA_STARTS};

/// Who the CSV is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// For programs: exactly what PostgreSQL's COPY prints.
    #[default]
    Data,
    /// For people: a byte order mark, CRLF line ends, and texts that look like formulas made harmless.
    Excel,
}

/// The column separator.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, ToSchema,
)]
pub enum Delimiter {
    /// `,`
    #[default]
    #[value(name = ",")]
    #[serde(rename = ",")]
    Comma,
    /// `;`, which Excel expects if the decimal separator is a comma
    #[value(name = ";")]
    #[serde(rename = ";")]
    Semicolon,
    /// a tabulator
    #[value(name = "tab")]
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
    /// Whether a text that looks like a formula gets a `'` before it.
    pub fn escapes_formulas(self) -> bool {
        self.preset == Preset::Excel
    }

    pub(super) fn byte_order_mark(self) -> &'static [u8] {
        match self.preset {
            Preset::Data => b"",
            Preset::Excel => "\u{feff}".as_bytes(),
        }
    }

    pub(super) fn line_end(self) -> &'static [u8] {
        match self.preset {
            Preset::Data => b"\n",
            Preset::Excel => b"\r\n",
        }
    }
}

/// Writes the fields of lines with a fixed number of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldWriter {
    format: Format,
    /// Whether it is the line's only field.
    is_only: bool,
}

impl FieldWriter {
    pub(super) fn new(format: Format, fields: usize) -> Self {
        Self {
            format,
            is_only: fields == 1,
        }
    }

    /// Appends a field.
    pub(super) fn write(self, cell: Cell<'_>, line: &mut Vec<u8>) {
        match cell {
            // NULL is an empty field; an empty text is "".
            Cell::Null => {}
            Cell::Integer(integer) => {
                line.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
            }
            Cell::Text(text) => self.write_text(text.as_bytes(), line),
        }
    }

    /// Appends the field for a text that is not NULL; it may be empty.
    pub(super) fn write_text(self, text: &[u8], line: &mut Vec<u8>) {
        let delimiter = self.format.delimiter.byte();
        let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        // Few texts have a special byte, so looking at all of them, sixteen at a time, beats stopping at the first.
        let quoted = text.is_empty()
            || text.iter().fold(false, |any, byte| any | special(*byte))
            // Alone on a line, COPY would read it as the end of the data.
            || (self.is_only && text == b"\\.");
        let formula = self.format.escapes_formulas()
            && (text.first()).is_some_and(|first| FORMULA_STARTS.contains(&char::from(*first)));
        if quoted {
            line.push(b'"');
        }
        if formula {
            line.push(b'\'');
        }
        if quoted {
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

impl ColumnKind {
    /// Whether texts that look like formulas are made harmless in a column of this kind.
    pub(super) fn is_escaped(self, format: Format) -> bool {
        self == Self::Text && format.escapes_formulas()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, cells: &[Cell<'_>]) -> String {
        let mut line = Vec::new();
        let fields = FieldWriter::new(format, cells.len());
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                line.push(format.delimiter.byte());
            }
            fields.write(*cell, &mut line);
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
    }
}
