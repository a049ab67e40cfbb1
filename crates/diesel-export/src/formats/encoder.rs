//! From rows to the export's bytes.

use bytes::Bytes;

use crate::cancellation::Cancellation;
use crate::cells::{Cells, unreadable};
use crate::csv::{FieldWriter, Format};
use crate::dataset::{Cell, Column, ColumnKind};
use crate::format::FileFormat;
use crate::formats::chunks::Chunks;
use crate::formats::ndjson::NdjsonEncoder;
use crate::xlsx::XlsxEncoder;
use crate::{Error, Export, Observer, Sink, Summary, Target};

/// Writes what a strategy loads in the export's format, to a sink.
pub(crate) enum Encoder<'s> {
    Csv(CsvEncoder<'s>),
    Xlsx(Box<XlsxEncoder<'s>>),
    Ndjson(NdjsonEncoder<'s>),
}

impl<'s> Encoder<'s> {
    /// Returns an encoder for an export.
    pub(crate) fn new(
        export: &'s Export,
        target: &Target<'_>,
        sink: &'s mut dyn Sink,
        observer: &'s dyn Observer,
        cancellation: &'s Cancellation,
    ) -> Result<Self, Error> {
        Ok(match export.format {
            FileFormat::Csv(format) => Self::Csv(CsvEncoder::new(export, format, sink, observer)),
            FileFormat::Xlsx => {
                let encoder = XlsxEncoder::new(export, target, sink, observer, cancellation)?;
                Self::Xlsx(Box::new(encoder))
            }
            FileFormat::Ndjson => Self::Ndjson(NdjsonEncoder::new(export, sink, observer)?),
        })
    }

    /// Writes a row of these values.
    pub(crate) fn row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = Cell<'a>>,
    ) -> Result<(), Error> {
        match self {
            Self::Csv(encoder) => encoder.row(cells),
            Self::Xlsx(encoder) => encoder.row(cells),
            Self::Ndjson(encoder) => encoder.row(cells),
        }
    }

    /// Writes a line that COPY has encoded; it ends with LF.
    pub(crate) fn copied_line(&mut self, line: &[u8]) -> Result<(), Error> {
        match self {
            Self::Csv(encoder) => encoder.copied_line(line),
            Self::Xlsx(encoder) => encoder.lines(line, 1),
            Self::Ndjson(encoder) => encoder.lines(line, 1),
        }
    }

    /// Writes lines that are already encoded.
    pub(crate) fn encoded_lines(&mut self, lines: Bytes, rows: u64) -> Result<(), Error> {
        match self {
            Self::Csv(encoder) => encoder.chunks.rows(lines, rows),
            Self::Xlsx(encoder) => encoder.lines(&lines, rows),
            Self::Ndjson(encoder) => encoder.lines(&lines, rows),
        }
    }

    /// Hands over the remaining bytes.
    pub(crate) fn finish(self) -> Result<Summary, Error> {
        match self {
            Self::Csv(encoder) => encoder.chunks.finish(),
            Self::Xlsx(encoder) => encoder.finish(),
            Self::Ndjson(encoder) => encoder.finish(),
        }
    }
}

/// Writes the CSV to a sink, in chunks, the header first.
pub(crate) struct CsvEncoder<'s> {
    format: Format,
    fields: FieldWriter,
    kinds: Vec<ColumnKind>,
    read: Cells,
    chunks: Chunks<'s>,
}

impl<'s> CsvEncoder<'s> {
    /// An encoder whose first bytes are the header's.
    fn new(
        export: &Export,
        format: Format,
        sink: &'s mut dyn Sink,
        observer: &'s dyn Observer,
    ) -> Self {
        let columns = export.columns.columns();
        let mut chunks = Chunks::new(sink, observer);
        chunks.buffer.extend_from_slice(format.byte_order_mark());
        let mut encoder = Self {
            format,
            fields: FieldWriter::new(format, columns.len()),
            kinds: columns.iter().map(|column| column.kind().clone()).collect(),
            read: Cells::default(),
            chunks,
        };
        encoder.header(&columns);
        encoder
    }

    /// Writes a line of these values.
    fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> Result<(), Error> {
        self.line(cells);
        self.chunks.end_row()
    }

    fn header(&mut self, columns: &[&Column]) {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                self.chunks.buffer.push(self.format.delimiter.byte());
            }
            self.fields
                .write_text(column.header().as_bytes(), &mut self.chunks.buffer);
        }
        self.chunks.buffer.extend_from_slice(self.format.line_end());
    }

    fn line<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        let mut is_first = true;
        for (cell, kind) in cells.into_iter().zip(&self.kinds) {
            if !std::mem::take(&mut is_first) {
                self.chunks.buffer.push(self.format.delimiter.byte());
            }
            self.fields.write(kind, cell, &mut self.chunks.buffer);
        }
        self.chunks.buffer.extend_from_slice(self.format.line_end());
    }

    /// Writes a line that COPY has encoded; it ends with LF.
    fn copied_line(&mut self, line: &[u8]) -> Result<(), Error> {
        if self.format.escapes_formulas() {
            let rest = self.read.read(line).ok_or_else(unreadable)?;
            let fields = self.read.fields();
            if !rest.is_empty() || fields.len() != self.kinds.len() {
                return Err(unreadable());
            }
            for (index, (field, kind)) in fields.zip(&self.kinds).enumerate() {
                if index > 0 {
                    self.chunks.buffer.push(self.format.delimiter.byte());
                }
                if let Some(field) = field {
                    self.fields
                        .write_printed(kind, field, &mut self.chunks.buffer);
                }
            }
        } else {
            self.chunks
                .buffer
                .extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        }
        self.chunks.buffer.extend_from_slice(self.format.line_end());
        self.chunks.end_row()
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{self, Cursor};
    use std::time::Duration;

    use calamine::{Reader, Xlsx};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::db::Database;
    use crate::example;
    use crate::formats::chunks::MOST;
    use crate::units::hexadecimal;

    #[derive(Default)]
    struct Kept(Vec<Bytes>);

    impl Sink for Kept {
        fn write(&mut self, chunk: Bytes) -> io::Result<()> {
            self.0.push(chunk);
            Ok(())
        }
    }

    /// What becomes of `lines`, each third of which is written in another way, and its chunks.
    fn encoded(format: FileFormat, lines: &[String]) -> (Summary, Vec<Bytes>) {
        let export = Export {
            format,
            ..Export::of(&example::books())
        };
        let (mut sink, cancellation) = (Kept::default(), Cancellation::default());
        let target = Target {
            database: &Database::new("", 1, Duration::from_secs(1)),
            freshness: None,
            role: None,
        };
        let encoder = Encoder::new(&export, &target, &mut sink, &(), &cancellation);
        let mut encoder = encoder.expect("begun");
        let third = lines.len() / 3;
        for (line, id) in lines[..third].iter().zip(0..) {
            let title = line.split(',').nth(1).expect("a title");
            let [lent, shelf] = [Cell::Text("yes"), Cell::Integer(3)];
            let cells = [Cell::Integer(id), Cell::Text(title), lent, shelf];
            encoder.row(cells).expect("written");
        }
        for line in &lines[third..2 * third] {
            encoder.copied_line(line.as_bytes()).expect("written");
        }
        let rest = lines[2 * third..].concat().into();
        encoder.encoded_lines(rest, third as u64).expect("written");
        let summary = encoder.finish().expect("ended");
        (summary, sink.0)
    }

    #[test]
    fn all_rows_are_written_and_counted_in_whichever_way_they_come() {
        // Hashes, so that the workbook is of several chunks, too.
        let title = |id: i32| hexadecimal(&Sha256::digest(id.to_be_bytes()));
        let lines = (0..15_000).map(|id| format!("{id},{},yes,3\n", title(id)));
        let lines: Vec<String> = lines.collect();
        let (summary, chunks) = encoded(FileFormat::default(), &lines);
        let file = chunks.concat();
        assert!(file == format!("ID,Title,Lent,Shelf ID\n{}", lines.concat()).into_bytes());
        assert_eq!((summary.rows, summary.bytes), (15_000, file.len() as u64));
        assert!((10..25).contains(&chunks.len()), "{}", chunks.len());
        assert!(chunks.iter().all(|chunk| chunk.len() <= MOST));

        let (summary, chunks) = encoded(FileFormat::Xlsx, &lines);
        let file = chunks.concat();
        assert_eq!((summary.rows, summary.bytes), (15_000, file.len() as u64));
        assert!(chunks.len() > 2);
        let mut workbook = Xlsx::new(Cursor::new(file)).expect("a workbook");
        let (_, sheet) = workbook.worksheets().swap_remove(0);
        let written = sheet.rows().skip(1).zip(&lines).filter(|(row, line)| {
            let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
            format!("{}\n", cells.join(",")) == **line
        });
        assert_eq!((sheet.height(), written.count()), (15_001, 15_000));
    }
}
