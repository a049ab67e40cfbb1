//! The CSV: its header, its formats, its encoder.
//!
//! The bytes are those that PostgreSQL's own `COPY … TO STDOUT WITH (FORMAT csv, HEADER)` gives, whichever strategy has
//! loaded the rows. See [`CopyAttributeOutCSV`](https://github.com/postgres/postgres/blob/master/src/backend/commands/copyto.c).

use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::buffers::Buffers;
use super::query::TaskRow;
use super::{Error, Plan, Sink, Summary};

/// The names of the columns.
pub const HEADER: [&str; 7] = [
    "ID",
    "Title",
    "Asset",
    "Asset Location",
    "Done",
    "Created By",
    "Updated By",
];

/// What the column `Done` says of a task that is done.
pub const DONE: &str = "Done";
/// What the column `Done` says of a task that is not.
pub const NOT_DONE: &str = "Not Done";

/// What a spreadsheet takes a cell for a formula by: its first character.
/// ([OWASP ASVS 1.2.10](https://github.com/OWASP/ASVS/blob/v5.0.0/5.0/en/0x10-V1-Encoding-and-Sanitization.md), and CR, which some
/// spreadsheets skip.) NUL, which it names too, is in no text of PostgreSQL's.
pub const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Bytes that go to the sink at a time.
const CHUNK: usize = 64 * 1024;

/// For whom the CSV is.
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

/// What stands between two fields.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, ToSchema,
)]
pub enum Delimiter {
    /// `,`
    #[default]
    #[value(name = ",")]
    #[serde(rename = ",")]
    Comma,
    /// `;`, which Excel wants where the decimal separator is a comma
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
    /// What stands between two fields.
    pub delimiter: Delimiter,
}

impl Format {
    /// Whether a text that looks like a formula gets a `'` before it.
    pub fn escapes_formulas(self) -> bool {
        self.preset == Preset::Excel
    }

    fn byte_order_mark(self) -> &'static [u8] {
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

    /// Appends the field for a text that is there, if only as an empty one.
    pub(super) fn write_text(self, text: &[u8], line: &mut Vec<u8>) {
        let delimiter = self.delimiter.byte();
        let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        // To look at every byte, and at sixteen at once, is faster than to stop at the first that is special: few texts have one.
        let quoted = text.is_empty() || text.iter().fold(false, |any, byte| any | special(*byte));
        let formula = self.escapes_formulas()
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

/// The values of one line.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The task's id.
    pub id: i64,
    /// The task's title.
    pub title: &'a str,
    /// The asset's name.
    pub asset: &'a str,
    /// The name of the asset's location.
    pub asset_location: &'a str,
    /// [`DONE`] or [`NOT_DONE`].
    pub done: &'a str,
    /// The name of the user who created the task.
    pub created_by: &'a str,
    /// The name of the user who last changed the task.
    pub updated_by: Option<&'a str>,
}

impl<'a> From<&'a TaskRow> for Row<'a> {
    fn from((id, title, asset, asset_location, done, created_by, updated_by): &'a TaskRow) -> Self {
        Self {
            id: *id,
            title,
            asset,
            asset_location,
            done,
            created_by,
            updated_by: updated_by.as_deref(),
        }
    }
}

/// The label of a task's `done`.
pub fn done_label(done: bool) -> &'static str {
    if done { DONE } else { NOT_DONE }
}

/// Writes the CSV to a sink, in chunks, the header first.
pub struct Encoder<'s> {
    format: Format,
    sink: &'s mut dyn Sink,
    buffers: Buffers,
    buffer: Vec<u8>,
    summary: Summary,
}

impl<'s> Encoder<'s> {
    /// An encoder whose first bytes are the header's.
    pub fn new(format: Format, sink: &'s mut dyn Sink) -> Self {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(2 * CHUNK);
        buffer.extend_from_slice(format.byte_order_mark());
        let mut encoder = Self {
            format,
            sink,
            buffers,
            buffer,
            summary: Summary::default(),
        };
        for (index, name) in HEADER.iter().enumerate() {
            if index > 0 {
                encoder.buffer.push(format.delimiter.byte());
            }
            encoder.text(name);
        }
        encoder.buffer.extend_from_slice(format.line_end());
        encoder
    }

    /// How the CSV is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes a line.
    pub fn row(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let delimiter = self.format.delimiter.byte();
        self.buffer
            .extend_from_slice(itoa::Buffer::new().format(row.id).as_bytes());
        for text in [
            row.title,
            row.asset,
            row.asset_location,
            row.done,
            row.created_by,
        ] {
            self.buffer.push(delimiter);
            self.text(text);
        }
        self.buffer.push(delimiter);
        // NULL is an empty field; an empty text is "".
        if let Some(text) = row.updated_by {
            self.text(text);
        }
        self.buffer.extend_from_slice(self.format.line_end());
        self.end_line()
    }

    /// Writes a line that COPY has encoded; it ends with LF.
    pub fn copied_line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.buffer
            .extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        self.buffer.extend_from_slice(self.format.line_end());
        self.end_line()
    }

    /// Says how the export is made, before its first byte.
    pub(super) fn begin(&mut self, plan: &Plan) {
        self.sink.begin(plan);
    }

    /// Hands over lines that are encoded already.
    pub(super) fn encoded_lines(&mut self, lines: Bytes, rows: u64) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.hand_over()?;
        }
        #[cfg(feature = "fault-injection")]
        (1..=rows).for_each(|row| super::fault::panic_at(self.summary.rows + row));
        self.summary.rows += rows;
        self.send(lines)
    }

    /// Hands over what is left.
    pub fn finish(mut self) -> Result<Summary, Error> {
        self.hand_over()?;
        Ok(self.summary)
    }

    fn end_line(&mut self) -> Result<(), Error> {
        self.summary.rows += 1;
        #[cfg(feature = "fault-injection")]
        super::fault::panic_at(self.summary.rows);
        if self.buffer.len() >= CHUNK {
            self.hand_over()
        } else {
            Ok(())
        }
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        let chunk = std::mem::replace(&mut self.buffer, self.buffers.take(2 * CHUNK));
        self.send(self.buffers.lend(chunk))
    }

    fn send(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.summary.bytes += chunk.len() as u64;
        self.sink.write(chunk).map_err(Error::Sink)?;
        self.sink.wrote(&self.summary);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.format.write_text(text.as_bytes(), &mut self.buffer);
    }
}
