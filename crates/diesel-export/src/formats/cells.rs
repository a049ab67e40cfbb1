//! The cells of a line of CSV, as COPY prints them; NULL and an empty text stay distinct, unlike in readers of CSV.

use memchr::{memchr, memchr2};

use crate::Error;
use crate::dataset::{Cell, Column, ColumnKind};
use crate::db;

/// The largest buffer that is kept for the next line: otherwise that of a rare long line would be kept to the end.
const KEPT: usize = 1 << 20;

/// A line's cells. The value is reused for the next line.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// The fields' texts, one after the other.
    text: Vec<u8>,
    /// Where each text ends; `None` is NULL.
    ends: Vec<Option<usize>>,
}

impl Cells {
    /// Reads the first of these lines and returns the rest; `None` if it does not end as a line does. The delimiter is a comma, a line ends
    /// with LF.
    pub(crate) fn read<'l>(&mut self, mut lines: &'l [u8]) -> Option<&'l [u8]> {
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.ends.clear();
        loop {
            if let Some(quoted) = lines.strip_prefix(b"\"") {
                lines = self.unquote(quoted)?;
                self.ends.push(Some(self.text.len()));
            } else {
                let end = memchr2(b',', b'\n', lines)?;
                self.text.extend_from_slice(&lines[..end]);
                self.ends.push((end > 0).then_some(self.text.len()));
                lines = &lines[end..];
            }
            let (separator, rest) = lines.split_first()?;
            lines = rest;
            match separator {
                b',' => {}
                b'\n' => return Some(lines),
                _ => return None,
            }
        }
    }

    /// Reads the first of these lines, which is a row of these columns, and leaves the rest.
    pub(crate) fn row<'c>(
        &'c mut self,
        lines: &mut &[u8],
        columns: &'c [&Column],
    ) -> Result<impl Iterator<Item = Result<Cell<'c>, Error>>, Error> {
        *lines = self.read(lines).ok_or_else(unreadable)?;
        let fields = self.fields();
        if fields.len() != columns.len() {
            return Err(unreadable());
        }
        let cells = fields.zip(columns);
        Ok(cells.map(|(field, column)| cell(field, column.kind())))
    }

    /// Reads a text after its first quotation mark, and returns the rest after its last one.
    fn unquote<'l>(&mut self, mut quoted: &'l [u8]) -> Option<&'l [u8]> {
        loop {
            let mark = memchr(b'"', quoted)?;
            self.text.extend_from_slice(&quoted[..mark]);
            quoted = &quoted[mark + 1..];
            match quoted.strip_prefix(b"\"") {
                Some(rest) => {
                    self.text.push(b'"');
                    quoted = rest;
                }
                None => return Some(quoted),
            }
        }
    }

    /// The texts; `None` is NULL.
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = (*end)?;
            let text = &self.text[start..end];
            start = end;
            Some(text)
        })
    }
}

/// Returns the value of a field that COPY has printed.
fn cell<'f>(field: Option<&'f [u8]>, kind: &ColumnKind) -> Result<Cell<'f>, Error> {
    let Some(field) = field else {
        return Ok(Cell::Null);
    };
    let text = str::from_utf8(field).map_err(|_| unreadable())?;
    Ok(match kind {
        ColumnKind::Integer => Cell::Integer(text.parse().map_err(|_| unreadable())?),
        ColumnKind::Boolean => Cell::Boolean(match text {
            "t" => true,
            "f" => false,
            _ => return Err(unreadable()),
        }),
        _ => Cell::Text(text),
    })
}

/// The error that COPY has sent something other than lines of the query.
pub(crate) fn unreadable() -> Error {
    Error::Database(db::Error::Inconsistent("a row is not of the query".into()))
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::csv::{FieldWriter, Format};

    fn read(lines: &[u8]) -> Vec<Vec<Option<String>>> {
        let mut cells = Cells::default();
        let mut left = lines;
        let mut all = Vec::new();
        while !left.is_empty() {
            left = cells.read(left).expect("a line");
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            all.push(cells.fields().map(|field| field.map(text)).collect());
        }
        all
    }

    #[test]
    fn null_an_empty_text_and_what_is_quoted_are_told_apart() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(b",\"\",a\n\"\"\"\",\"x,\ny\",\n\n\"\"\n\"\\.\"\n"),
            [
                vec![None, some(""), some("a")],
                vec![some("\""), some("x,\ny"), None],
                vec![None],
                vec![some("")],
                vec![some("\\.")],
            ]
        );
    }

    #[test]
    fn a_line_that_does_not_end_is_none() {
        for broken in ["", "a", "a,", "\"a", "\"a\"", "\"a\"b\n", "\"a\n"] {
            assert_eq!(Cells::default().read(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn the_buffer_of_a_long_line_is_given_back() {
        let mut cells = Cells::default();
        let long = [b"x".repeat(2 * KEPT), b"\n".to_vec()].concat();
        assert!(cells.read(&long).is_some() && cells.text.capacity() > KEPT);
        assert!(cells.read(b"x\n").is_some() && cells.text.capacity() <= KEPT);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let texts = [
            Some(""),
            None,
            Some("\"\"\","),
            Some("\r\n"),
            Some(" "),
            Some("ü\u{1}"),
            None,
        ];
        let writer = FieldWriter::new(Format::default(), texts.len());
        let mut line = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            let cell = text.map_or(Cell::Null, Cell::Text);
            writer.write(&ColumnKind::Text, cell, &mut line);
        }
        line.push(b'\n');
        let texts = texts.map(|text| text.map(str::to_owned)).to_vec();
        assert_eq!(read(&line), [texts]);
    }
}
