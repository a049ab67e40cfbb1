//! From rows to an Excel workbook, in constant memory.
//!
//! Its bytes go to the sink as they are made. A part of them is no workbook: the list of sheets, and where each begins, comes last. A sink
//! that must deliver all or nothing keeps the bytes until then.
//!
//! The XML is written here, into a ZIP by `zip`, and not by `rust_xlsxwriter` (0.102), the library for this: it leaves an empty text
//! out, as if it were NULL; it makes an `A` of `_x0041` before a control character; and it panics if its temporary file fails.

mod about;
mod package;
mod styles;
mod table;
mod value;
mod workbook;
mod xml;

use self::about::About;
use self::value::Value;
use self::workbook::{MOST_CHARACTERS, SHEET_ROWS, Workbook};
use crate::cancellation::Cancellation;
use crate::cells::{Cells, unreadable};
use crate::dataset::{Cell, Column};
use crate::formats::chunks::CHUNK;
use crate::{Error, Export, Observer, Sink, Summary, Target};

/// Rows after which the observer is told of the progress, and the export checks for a cancellation: a strategy may have all of its rows
/// already, and many rows are few bytes for the sink.
const TELL: u64 = 1_000;

/// Writes the workbook to a sink, in chunks.
pub(crate) struct XlsxEncoder<'s> {
    workbook: Workbook,
    about: About,
    columns: Vec<&'s Column>,
    most_rows: Option<u64>,
    read: Cells,
    sink: &'s mut dyn Sink,
    observer: &'s dyn Observer,
    cancellation: &'s Cancellation,
    summary: Summary,
}

impl<'s> XlsxEncoder<'s> {
    pub(crate) fn new(
        export: &'s Export,
        target: &Target<'_>,
        sink: &'s mut dyn Sink,
        observer: &'s dyn Observer,
        cancellation: &'s Cancellation,
    ) -> Result<Self, Error> {
        let columns = export.columns.columns();
        let headers = columns.iter().map(|column| column.header());
        let title = capitalized(export.dataset().name());
        Ok(Self {
            workbook: Workbook::new(&title, headers, SHEET_ROWS).map_err(Error::Workbook)?,
            about: About::of(export, target),
            columns,
            most_rows: export.limits.max_xlsx_rows,
            read: Cells::default(),
            sink,
            observer,
            cancellation,
            summary: Summary::default(),
        })
    }

    /// Writes a row of these values.
    pub(crate) fn row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = Cell<'a>>,
    ) -> Result<(), Error> {
        let cells = cells.into_iter().map(Ok);
        write_row(&mut self.workbook, &self.columns, &self.summary, cells)?;
        self.end_row()
    }

    /// Writes the rows of these lines, each of which ends with LF. Their number must match.
    pub(crate) fn lines(&mut self, mut lines: &[u8], rows: u64) -> Result<(), Error> {
        let end = self.summary.rows + rows;
        while !lines.is_empty() {
            let cells = self.read.row(&mut lines, &self.columns)?;
            write_row(&mut self.workbook, &self.columns, &self.summary, cells)?;
            self.end_row()?;
        }
        if self.summary.rows != end {
            return Err(unreadable());
        }
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), Error> {
        self.summary.rows += 1;
        #[cfg(feature = "fault-injection")]
        crate::fault::panic_at(self.summary.rows);
        if let Some(limit) = self.most_rows
            && self.summary.rows > limit
        {
            return Err(Error::TooManyRowsForXlsx { limit });
        }
        if self.workbook.pending() >= CHUNK {
            let chunk = self.workbook.take();
            send(chunk, &mut self.summary, self.sink, self.observer)?;
        }
        if self.summary.rows.is_multiple_of(TELL) {
            if self.cancellation.is_cancelled() {
                return Err(Error::Cancelled);
            }
            self.observer.progress(&self.summary);
        }
        Ok(())
    }

    /// Ends the workbook, and hands over the remaining bytes.
    pub(crate) fn finish(mut self) -> Result<Summary, Error> {
        let about = self.about.lines(self.summary.rows);
        let rest = self.workbook.finish(&about).map_err(Error::Workbook)?;
        send(rest, &mut self.summary, self.sink, self.observer)?;
        Ok(self.summary)
    }
}

fn send(
    chunk: Vec<u8>,
    summary: &mut Summary,
    sink: &mut dyn Sink,
    observer: &dyn Observer,
) -> Result<(), Error> {
    summary.bytes += chunk.len() as u64;
    sink.write(chunk.into()).map_err(Error::Sink)?;
    observer.progress(summary);
    Ok(())
}

/// Writes a row, after this many, if Excel accepts its texts.
fn write_row<'a>(
    workbook: &mut Workbook,
    columns: &[&Column],
    so_far: &Summary,
    cells: impl Iterator<Item = Result<Cell<'a>, Error>>,
) -> Result<(), Error> {
    let mut failure = None;
    let checked = cells.zip(columns).map_while(|(cell, column)| {
        let value = cell.and_then(|cell| match Value::of(cell, column.kind()) {
            Value::Text(text) if is_too_long(text) => Err(Error::TextTooLong {
                row: so_far.rows + 1,
                column: column.name().to_owned(),
                most: MOST_CHARACTERS,
            }),
            value => Ok(value),
        });
        value.map_err(|error| failure = Some(error)).ok()
    });
    let written = workbook.row(checked);
    match failure {
        Some(failure) => Err(failure),
        None => written.map_err(Error::Workbook),
    }
}

fn is_too_long(text: &str) -> bool {
    // No text has more of these characters than bytes.
    text.len() > MOST_CHARACTERS && text.encode_utf16().count() > MOST_CHARACTERS
}

fn capitalized(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next();
    first
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(characters)
        .collect()
}
