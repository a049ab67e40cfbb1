//! The workbook's file: a ZIP of XML, in the order in which it comes to be. Nothing that is written is changed afterwards.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use memchr::memchr_iter;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::xml::{column_name, push_text};
use crate::dataset::Cell;

/// Rows that a sheet has below its header.
pub(super) const SHEET_ROWS: u32 = 1_048_575;
/// Characters, as UTF-16 counts them, that Excel takes in a cell.
pub(super) const MOST_CHARACTERS: usize = 32_767;
/// Bytes of a sheet after which another one begins: its end has to be below 4 GiB, which some readers do not go beyond.
const SHEET_BYTES: u64 = (4 << 30) - (64 << 20);
/// Bytes of XML that are compressed at a time. Those of the first rows also are the sample for the columns' widths.
const CHUNK: usize = 64 * 1024;
/// The usual level, 6, takes 2.6 times as long for a file that is 2 % smaller.
const COMPRESSION: i64 = 4;
/// Integers up to here are the same as numbers of a spreadsheet.
const MOST_EXACT: u64 = 1 << 53;
/// Characters that a column is wide, and what its filter's button takes of its header.
const WIDTHS: std::ops::RangeInclusive<usize> = 6..=60;
const BUTTON: usize = 3;
/// How high a row of one line is, and the most that Excel takes for one, in points.
const ROW_HEIGHT: usize = 15;
const MOST_HEIGHT: usize = 409;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONSHIPS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const TYPES: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";

/// Beside a text of several lines, the others are at the height of its first one.
const TOP: &str = "applyAlignment=\"1\"><alignment vertical=\"top\"";
/// The styles of cells, by their place in the styles' list.
const HEADER: u8 = 1;
const INTEGER: u8 = 2;
const TEXT: u8 = 3;
/// A text of several lines: without it, Excel shows them as one, and LibreOffice over those of the next row.
const LINES: u8 = 4;

/// A workbook that is being written.
pub(super) struct Workbook<'h> {
    zip: ZipWriter<StreamWriter<Pending>>,
    pending: Pending,
    title: String,
    headers: Vec<&'h str>,
    /// The columns' names in a sheet.
    names: Vec<String>,
    widths: Vec<usize>,
    /// Rows below the headers of the sheets that are done.
    done: Vec<u32>,
    /// Rows below this sheet's header.
    rows: u32,
    most_rows: u32,
    /// Whether this sheet's file is begun.
    begun: bool,
    /// Bytes of this sheet that are written, and those that are not yet.
    written: u64,
    xml: Vec<u8>,
}

/// Bytes of the file that nobody has taken yet.
// `ZipWriter` has the other end. Dropped, as after an error, it writes what ends a file that is whole: that must reach nobody.
#[derive(Clone, Default)]
struct Pending(Rc<RefCell<Vec<u8>>>);

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'h> Workbook<'h> {
    /// A workbook with these columns, whose sheets are called so.
    pub(super) fn new(title: String, headers: Vec<&'h str>, most_rows: u32) -> io::Result<Self> {
        let pending = Pending::default();
        let mut workbook = Self {
            zip: ZipWriter::new_stream(pending.clone()),
            pending,
            title,
            names: (0..headers.len()).map(column_name).collect(),
            widths: headers
                .iter()
                .map(|header| width(header) + BUTTON)
                .collect(),
            headers,
            done: Vec::new(),
            rows: 0,
            most_rows,
            begun: false,
            written: 0,
            xml: Vec::new(),
        };
        // All other files but these two are sheets: their number is not known yet, and readers look for this file first.
        workbook.file(
            "[Content_Types].xml",
            &format!(
                "<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"rels\" \
                 ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Default Extension=\"xml\" \
                 ContentType=\"{TYPES}.worksheet+xml\"/><Override PartName=\"/xl/workbook.xml\" \
                 ContentType=\"{TYPES}.sheet.main+xml\"/><Override PartName=\"/xl/styles.xml\" \
                 ContentType=\"{TYPES}.styles+xml\"/></Types>"
            ),
        )?;
        workbook.relationships(
            "_rels/.rels",
            [("officeDocument", "xl/workbook.xml".to_owned())],
        )?;
        // A text has the format of texts: who edits it makes no formula and no number of it.
        workbook.file(
            "xl/styles.xml",
            &format!(
                "<styleSheet xmlns=\"{MAIN}\">\
                 <fonts count=\"2\"><font><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font>\
                 <font><b/><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font></fonts>\
                 <fills count=\"2\"><fill><patternFill patternType=\"none\"/></fill>\
                 <fill><patternFill patternType=\"gray125\"/></fill></fills>\
                 <borders count=\"1\"><border><left/><right/><top/><bottom/><diagonal/></border></borders>\
                 <cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"/></cellStyleXfs>\
                 <cellXfs count=\"5\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\"/>\
                 <xf numFmtId=\"49\" fontId=\"1\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\" \
                 applyFont=\"1\"/>\
                 <xf numFmtId=\"1\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\" {TOP}/></xf>\
                 <xf numFmtId=\"49\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\" {TOP}/></xf>\
                 <xf numFmtId=\"49\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\" {TOP} \
                 wrapText=\"1\"/></xf>\
                 </cellXfs><cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" builtinId=\"0\"/></cellStyles>\
                 </styleSheet>"
            ),
        )?;
        workbook.header();
        Ok(workbook)
    }

    /// Appends a row. The caller has checked the texts.
    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> io::Result<()> {
        if self.rows == self.most_rows || self.written >= SHEET_BYTES {
            self.end_sheet()?;
            self.header();
        }
        self.rows += 1;
        let row = self.rows + 1;
        self.begin_row(row);
        let attributes = self.xml.len() - 1;
        let mut lines = 1;
        let is_sample = !self.begun && self.done.is_empty();
        for (column, cell) in cells.into_iter().enumerate() {
            if is_sample {
                let seen = match cell {
                    Cell::Null | Cell::Boolean(_) => 0,
                    Cell::Integer(integer) => itoa::Buffer::new().format(integer).len(),
                    Cell::Text(text) => width(text),
                };
                if let Some(width) = self.widths.get_mut(column) {
                    *width = seen.max(*width);
                }
            }
            match cell {
                Cell::Null => {}
                Cell::Integer(integer) if integer.unsigned_abs() <= MOST_EXACT => {
                    self.begin_cell(column, row, INTEGER);
                    self.xml.extend_from_slice(b"\"><v>");
                    self.push_integer(integer);
                    self.xml.extend_from_slice(b"</v></c>");
                }
                Cell::Integer(integer) => {
                    self.text_cell(column, row, TEXT, itoa::Buffer::new().format(integer));
                }
                Cell::Boolean(boolean) => {
                    self.begin_cell(column, row, INTEGER);
                    self.xml.extend_from_slice(b"\" t=\"b\"><v>");
                    self.push_integer(boolean.into());
                    self.xml.extend_from_slice(b"</v></c>");
                }
                Cell::Text(text) => {
                    let of_text = 1 + memchr_iter(b'\n', text.as_bytes()).count();
                    lines = lines.max(of_text);
                    let style = if of_text > 1 { LINES } else { TEXT };
                    self.text_cell(column, row, style, text);
                }
            }
        }
        self.xml.extend_from_slice(b"</row>");
        if lines > 1 {
            let height = format!(" ht=\"{}\"", (lines * ROW_HEIGHT).min(MOST_HEIGHT));
            self.xml.splice(attributes..attributes, height.into_bytes());
        }
        if self.xml.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    /// How many bytes nobody has taken yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.0.borrow().len()
    }

    /// Takes them.
    pub(super) fn take(&self) -> Vec<u8> {
        self.pending.0.take()
    }

    /// Ends the workbook; returns what of it nobody has taken.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.end_sheet()?;
        let mut sheets = Vec::new();
        let mut filters = Vec::new();
        let mut parts = vec![("styles", "styles.xml".to_owned())];
        let done = std::mem::take(&mut self.done);
        for (index, rows) in done.into_iter().enumerate() {
            let number = index + 1;
            // The relationships' ids are their places: the styles' is the first.
            write!(sheets, "<sheet name=\"")?;
            self.push_title(number, &mut sheets);
            write!(
                sheets,
                "\" sheetId=\"{number}\" r:id=\"rId{}\"/>",
                number + 1
            )?;
            write!(
                filters,
                "<definedName name=\"_xlnm._FilterDatabase\" localSheetId=\"{index}\" hidden=\"1\">'"
            )?;
            self.push_title(number, &mut filters);
            let last = self.names.last().map_or("A", String::as_str);
            write!(filters, "'!$A$1:${last}${}</definedName>", rows + 1)?;
            parts.push(("worksheet", format!("worksheets/sheet{number}.xml")));
        }
        self.file(
            "xl/workbook.xml",
            &format!(
                "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONSHIPS}\"><bookViews><workbookView/></bookViews><sheets>{}</sheets>\
                 <definedNames>{}</definedNames></workbook>",
                String::from_utf8_lossy(&sheets),
                String::from_utf8_lossy(&filters)
            ),
        )?;
        self.relationships("xl/_rels/workbook.xml.rels", parts)?;
        self.zip.finish()?;
        Ok(self.pending.0.take())
    }

    fn push_title(&self, number: usize, xml: &mut Vec<u8>) {
        push_text(&self.title, xml);
        if number > 1 {
            push_text(&format!(" {number}"), xml);
        }
    }

    fn header(&mut self) {
        self.begin_row(1);
        for column in 0..self.headers.len() {
            self.text_cell(column, 1, HEADER, self.headers[column]);
        }
        self.xml.extend_from_slice(b"</row>");
    }

    fn begin_row(&mut self, row: u32) {
        self.xml.extend_from_slice(b"<row r=\"");
        self.push_integer(row.into());
        self.xml.extend_from_slice(b"\">");
    }

    fn begin_cell(&mut self, column: usize, row: u32, style: u8) {
        self.xml.extend_from_slice(b"<c r=\"");
        if let Some(name) = self.names.get(column) {
            self.xml.extend_from_slice(name.as_bytes());
        }
        self.push_integer(row.into());
        self.xml.extend_from_slice(b"\" s=\"");
        self.push_integer(style.into());
    }

    fn text_cell(&mut self, column: usize, row: u32, style: u8, text: &str) {
        self.begin_cell(column, row, style);
        // Without it, readers of XML may take off what is blank at either end.
        let preserve = text.starts_with([' ', '\t', '\n']) || text.ends_with([' ', '\t', '\n']);
        let start: &[u8] = if preserve {
            b"\" t=\"inlineStr\"><is><t xml:space=\"preserve\">"
        } else {
            b"\" t=\"inlineStr\"><is><t>"
        };
        self.xml.extend_from_slice(start);
        push_text(text, &mut self.xml);
        self.xml.extend_from_slice(b"</t></is></c>");
    }

    fn push_integer(&mut self, integer: i64) {
        self.xml
            .extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    }

    /// Writes what there is of this sheet.
    fn flush(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            let number = self.done.len() + 1;
            self.start_file(&format!("xl/worksheets/sheet{number}.xml"))?;
            let start = self.sheet_start();
            self.zip.write_all(start.as_bytes())?;
        }
        self.zip.write_all(&self.xml)?;
        self.written += self.xml.len() as u64;
        self.xml.clear();
        Ok(())
    }

    /// All of a sheet that is before its rows: the header stays where it is, and the columns have their widths.
    fn sheet_start(&self) -> String {
        // One sheet is the one that is shown.
        let selected = if self.done.is_empty() {
            " tabSelected=\"1\""
        } else {
            ""
        };
        let columns = self.widths.iter().enumerate().map(|(index, width)| {
            let number = index + 1;
            let width = width.clamp(WIDTHS.start(), WIDTHS.end()) + 2;
            format!("<col min=\"{number}\" max=\"{number}\" width=\"{width}\" customWidth=\"1\"/>")
        });
        format!(
            "{DECLARATION}<worksheet xmlns=\"{MAIN}\"><sheetViews><sheetView{selected} workbookViewId=\"0\">\
             <pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/><selection pane=\"bottomLeft\"/>\
             </sheetView></sheetViews><sheetFormatPr defaultRowHeight=\"{ROW_HEIGHT}\"/><cols>{}</cols><sheetData>",
            columns.collect::<String>()
        )
    }

    fn end_sheet(&mut self) -> io::Result<()> {
        let last = self.names.last().map_or("A", String::as_str);
        let rows = std::mem::take(&mut self.rows);
        let end = format!(
            "</sheetData><autoFilter ref=\"A1:{last}{}\"/></worksheet>",
            rows + 1
        );
        self.xml.extend_from_slice(end.as_bytes());
        self.flush()?;
        self.done.push(rows);
        self.written = 0;
        self.begun = false;
        Ok(())
    }

    fn relationships(
        &mut self,
        name: &str,
        targets: impl IntoIterator<Item = (&'static str, String)>,
    ) -> io::Result<()> {
        let targets = targets.into_iter().enumerate();
        let relationships = targets.map(|(index, (kind, target))| {
            let number = index + 1;
            format!("<Relationship Id=\"rId{number}\" Type=\"{RELATIONSHIPS}/{kind}\" Target=\"{target}\"/>")
        });
        let relationships: String = relationships.collect();
        self.file(
            name,
            &format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\">{relationships}</Relationships>"
            ),
        )
    }

    fn file(&mut self, name: &str, xml: &str) -> io::Result<()> {
        self.start_file(name)?;
        self.zip.write_all(DECLARATION.as_bytes())?;
        self.zip.write_all(xml.as_bytes())
    }

    fn start_file(&mut self, name: &str) -> io::Result<()> {
        // The same data are the same bytes: no time of day is in them.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(COMPRESSION))
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644);
        Ok(self.zip.start_file(name, options)?)
    }
}

/// Characters of a text's first line.
fn width(text: &str) -> usize {
    let line = text.split('\n').next().unwrap_or_default();
    line.chars().take(*WIDTHS.end()).count()
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
