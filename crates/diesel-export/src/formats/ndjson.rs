//! From rows to JSON lines: a JSON object for each row, by the columns' names.

use crate::cells::{Cells, unreadable};
use crate::dataset::{Cell, Column, ColumnKind};
use crate::formats::chunks::Chunks;
use crate::{Error, Export, Observer, Sink, Summary};

/// Writes the lines to a sink, in chunks.
pub(crate) struct NdjsonEncoder<'s> {
    columns: Vec<&'s Column>,
    /// What comes before each column's value: its name, and what separates it from the value before.
    names: Vec<Vec<u8>>,
    read: Cells,
    chunks: Chunks<'s>,
}

impl<'s> NdjsonEncoder<'s> {
    pub(super) fn new(
        export: &'s Export,
        sink: &'s mut dyn Sink,
        observer: &'s dyn Observer,
    ) -> Result<Self, Error> {
        let columns = export.columns.columns();
        let names = columns.iter().enumerate().map(|(index, column)| {
            let mut name = vec![if index == 0 { b'{' } else { b',' }];
            write_text(column.name(), &mut name)?;
            name.push(b':');
            Ok(name)
        });
        Ok(Self {
            names: names.collect::<Result<_, Error>>()?,
            columns,
            read: Cells::default(),
            chunks: Chunks::new(sink, observer),
        })
    }

    /// Writes a row of these values.
    pub(super) fn row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = Cell<'a>>,
    ) -> Result<(), Error> {
        let cells = cells.into_iter().map(Ok);
        write_row(&self.names, &self.columns, cells, &mut self.chunks.buffer)?;
        self.chunks.end_row()
    }

    /// Writes the rows of these lines of CSV, each of which ends with LF. Their number must match.
    pub(super) fn lines(&mut self, mut lines: &[u8], rows: u64) -> Result<(), Error> {
        let end = self.chunks.summary.rows + rows;
        while !lines.is_empty() {
            let cells = self.read.row(&mut lines, &self.columns)?;
            write_row(&self.names, &self.columns, cells, &mut self.chunks.buffer)?;
            self.chunks.end_row()?;
        }
        if self.chunks.summary.rows != end {
            return Err(unreadable());
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Summary, Error> {
        self.chunks.finish()
    }
}

fn write_row<'a>(
    names: &[Vec<u8>],
    columns: &[&Column],
    cells: impl Iterator<Item = Result<Cell<'a>, Error>>,
    line: &mut Vec<u8>,
) -> Result<(), Error> {
    for ((cell, name), column) in cells.zip(names).zip(columns) {
        line.extend_from_slice(name);
        write(column.kind(), cell?, line)?;
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

/// Appends the value of a column of this kind.
fn write(kind: &ColumnKind, cell: Cell<'_>, line: &mut Vec<u8>) -> Result<(), Error> {
    match (cell, kind) {
        (Cell::Null, _) => line.extend_from_slice(b"null"),
        (Cell::Integer(integer), _) => {
            line.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        }
        (Cell::Boolean(boolean), _) => write_boolean(boolean, line),
        (Cell::Text(text), ColumnKind::Label([yes, no])) => {
            if text != yes && text != no {
                return Err(unreadable());
            }
            write_boolean(text == yes, line);
        }
        // NaN and the infinities are no numbers of JSON. What else PostgreSQL prints is one.
        (Cell::Text(text), ColumnKind::Decimal | ColumnKind::Float)
            if text.ends_with(|last: char| last.is_ascii_digit()) =>
        {
            line.extend_from_slice(text.as_bytes());
        }
        (Cell::Text(text), ColumnKind::Json) => write_compact(text.as_bytes(), line),
        (Cell::Text(text), _) => write_text(text, line)?,
    }
    Ok(())
}

fn write_boolean(boolean: bool, line: &mut Vec<u8>) {
    let name = if boolean { "true" } else { "false" };
    line.extend_from_slice(name.as_bytes());
}

fn write_text(text: &str, line: &mut Vec<u8>) -> Result<(), Error> {
    serde_json::to_writer(line, text).map_err(|error| Error::Sink(error.into()))
}

/// Appends a JSON document without the white space between its tokens, which may be line ends.
fn write_compact(document: &[u8], line: &mut Vec<u8>) {
    let mut is_text = false;
    let mut is_escaped = false;
    for &byte in document {
        if !is_text && byte.is_ascii_whitespace() {
            continue;
        }
        line.push(byte);
        if byte == b'"' && !is_escaped {
            is_text = !is_text;
        }
        is_escaped = is_text && byte == b'\\' && !is_escaped;
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn written(kind: &ColumnKind, cell: Cell<'_>) -> String {
        let mut line = Vec::new();
        write(kind, cell, &mut line).expect("a value");
        String::from_utf8(line).expect("UTF-8")
    }

    #[test]
    fn a_value_is_json_and_what_json_lacks_is_a_text() {
        let text = |kind, text| written(&kind, Cell::Text(text));
        for kind in [ColumnKind::Decimal, ColumnKind::Float] {
            for number in ["0", "-1.50", "1e+20", "1e-07"] {
                assert_eq!(text(kind.clone(), number), number);
            }
            for none in ["NaN", "Infinity", "-Infinity"] {
                assert_eq!(text(kind.clone(), none), format!("\"{none}\""));
            }
        }
        assert_eq!(
            text(ColumnKind::Text, "a\"\\\n\u{1}é"),
            r#""a\"\\\n\u0001é""#
        );
        assert_eq!(text(ColumnKind::Date, "2026-02-09"), "\"2026-02-09\"");
        assert_eq!(text(ColumnKind::Text, "1"), "\"1\"");
        assert_eq!(written(&ColumnKind::Text, Cell::Null), "null");
        assert_eq!(
            written(&ColumnKind::Integer, Cell::Integer(i64::MIN)),
            "-9223372036854775808"
        );
        let label = ColumnKind::Label(["Done", "Not done"].map(str::to_owned));
        for (cell, value) in [
            (Cell::Boolean(true), "true"),
            (Cell::Text("Done"), "true"),
            (Cell::Text("Not done"), "false"),
        ] {
            assert_eq!(written(&label, cell), value);
        }
        assert!(write(&label, Cell::Text("Maybe"), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_document_keeps_its_tokens_and_loses_its_line_ends() {
        let document = "{ \"a\\\"\\\\\" : [1.50 ,\n\t1E2, \" \\\" \" ] ,\r\n\"b\":null }";
        let compact = r#"{"a\"\\":[1.50,1E2," \" "],"b":null}"#;
        assert_eq!(written(&ColumnKind::Json, Cell::Text(document)), compact);
    }
}
