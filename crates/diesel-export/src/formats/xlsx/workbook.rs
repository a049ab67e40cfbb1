//! The workbook's sheets, in the order in which they are made.

use std::io;

use memchr::memchr_iter;

use super::about::Line;
use super::package::{MAIN, Package, RELATIONSHIPS};
use super::value::{self, MOST_WIDTH, Value, width};
use super::xml::{column_name, push_text};
use super::{styles, table};

/// Maximum number of rows of a sheet below its header.
pub(super) const SHEET_ROWS: u32 = 1_048_575;
/// Maximum length of a cell's text in Excel, in characters of UTF-16.
pub(super) const MOST_CHARACTERS: usize = 32_767;
/// Bytes of a sheet after which another sheet begins: a sheet must end below 4 GiB, the limit of some readers.
const SHEET_BYTES: u64 = (4 << 30) - (64 << 20);
/// Bytes of XML that are compressed at a time. Those of the first rows also are the sample for the columns' widths.
const CHUNK: usize = 64 * 1024;
/// Characters that a column is wide, and what its filter's button takes of its header.
const WIDTHS: std::ops::RangeInclusive<usize> = 6..=MOST_WIDTH;
const BUTTON: usize = 3;
/// Excel allows 31 characters for a sheet's name, and a number may follow these.
const MOST_TITLE: usize = 25;
/// The height of a row of one line, and the maximum that Excel allows, in points.
const ROW_HEIGHT: usize = 15;
const MOST_HEIGHT: usize = 409;

/// A workbook that is being written.
pub(super) struct Workbook {
    package: Package,
    title: String,
    headers: Vec<String>,
    /// The columns' names in a sheet.
    names: Vec<String>,
    widths: Vec<usize>,
    /// How many sheets are done.
    done: usize,
    /// Rows below this sheet's header.
    rows: u32,
    most_rows: u32,
    /// Whether this sheet's part was begun.
    begun: bool,
    /// Bytes of this sheet that are written, and those that are not yet.
    written: u64,
    xml: Vec<u8>,
}

impl Workbook {
    /// A workbook with these columns, whose sheets have this name.
    pub(super) fn new<'h>(
        title: &str,
        headers: impl IntoIterator<Item = &'h str>,
        most_rows: u32,
    ) -> io::Result<Self> {
        let headers = table::unique(headers);
        let mut workbook = Self {
            package: Package::new()?,
            title: title.chars().take(MOST_TITLE).collect(),
            names: (0..headers.len()).map(column_name).collect(),
            widths: headers
                .iter()
                .map(|header| width(header) + BUTTON)
                .collect(),
            headers,
            done: 0,
            rows: 0,
            most_rows,
            begun: false,
            written: 0,
            xml: Vec::new(),
        };
        let styles = styles::part();
        workbook.package.part("xl/styles.xml", "styles", &styles)?;
        workbook.header();
        Ok(workbook)
    }

    /// Appends a row. The caller has checked the texts.
    pub(super) fn row<'a>(
        &mut self,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> io::Result<()> {
        if self.rows == self.most_rows || self.written >= SHEET_BYTES {
            self.end_sheet()?;
            self.header();
        }
        self.rows += 1;
        let is_sample = !self.begun && self.done == 0;
        self.push_row(self.rows + 1, is_sample, values);
        if self.xml.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    /// How many bytes are still to be taken.
    pub(super) fn pending(&self) -> usize {
        self.package.pending()
    }

    /// Takes them.
    pub(super) fn take(&self) -> Vec<u8> {
        self.package.take()
    }

    /// Ends the workbook, with a sheet of these lines; returns the bytes that are still to be taken.
    pub(super) fn finish(mut self, about: &[Line<'_>]) -> io::Result<Vec<u8>> {
        self.end_sheet()?;
        self.about(about)?;
        let mut sheets = String::new();
        let mut print_titles = String::new();
        let mut parts = vec![("styles", "styles.xml".to_owned())];
        for index in 0..self.done {
            let number = index + 1;
            let title = self.sheet_title(number);
            sheets.push_str(&sheet(&title, number));
            print_titles.push_str(&format!(
                "<definedName name=\"_xlnm.Print_Titles\" localSheetId=\"{index}\">'{title}'!$1:$1</definedName>"
            ));
            parts.push(("worksheet", format!("worksheets/sheet{number}.xml")));
        }
        let is_taken = self.title.eq_ignore_ascii_case("About");
        let title = if is_taken {
            "About the export"
        } else {
            "About"
        };
        sheets.push_str(&sheet(title, self.done + 1));
        parts.push(("worksheet", "worksheets/about.xml".to_owned()));
        self.package.part(
            "xl/workbook.xml",
            "sheet.main",
            &format!(
                "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONSHIPS}\"><bookViews><workbookView/></bookViews>\
                 <sheets>{sheets}</sheets><definedNames>{print_titles}</definedNames></workbook>"
            ),
        )?;
        self.package
            .relationships("xl/_rels/workbook.xml.rels", parts)?;
        self.package.finish()
    }

    /// The title of the sheet of this number, as it is in XML.
    fn sheet_title(&self, number: usize) -> String {
        let mut title = Vec::new();
        push_text(&self.title, &mut title);
        if number > 1 {
            push_text(&format!(" {number}"), &mut title);
        }
        String::from_utf8_lossy(&title).into_owned()
    }

    fn header(&mut self) {
        self.begin_row(1);
        for column in 0..self.headers.len() {
            let header = std::mem::take(&mut self.headers[column]);
            self.text_cell(column, 1, styles::HEADER, &header);
            self.headers[column] = header;
        }
        self.xml.extend_from_slice(b"</row>");
    }

    fn push_row<'a>(
        &mut self,
        row: u32,
        is_sample: bool,
        values: impl IntoIterator<Item = Value<'a>>,
    ) {
        self.begin_row(row);
        let attributes = self.xml.len() - 1;
        let mut lines = 1;
        for (column, value) in values.into_iter().enumerate() {
            if is_sample && let Some(width) = self.widths.get_mut(column) {
                *width = value.width().max(*width);
            }
            lines = lines.max(self.cell(column, row, value));
        }
        self.xml.extend_from_slice(b"</row>");
        if lines > 1 {
            let height = format!(" ht=\"{}\"", (lines * ROW_HEIGHT).min(MOST_HEIGHT));
            self.xml.splice(attributes..attributes, height.into_bytes());
        }
    }

    /// Appends a cell; returns how many lines it has.
    fn cell(&mut self, column: usize, row: u32, value: Value<'_>) -> usize {
        match value {
            Value::Null => {}
            Value::Integer(integer) if value::is_exact(integer) => {
                let mut digits = itoa::Buffer::new();
                self.number_cell(column, row, styles::INTEGER, digits.format(integer));
            }
            Value::Integer(integer) => {
                let mut digits = itoa::Buffer::new();
                self.text_cell(column, row, styles::TEXT, digits.format(integer));
            }
            Value::Number(number, style) => self.number_cell(column, row, style, number),
            Value::Moment(milliseconds, style) => {
                let days = value::days(milliseconds).to_string();
                self.number_cell(column, row, style, &days);
            }
            Value::Boolean(boolean) => {
                self.begin_cell(column, row, styles::GENERAL);
                let end: &[u8] = match boolean {
                    true => b"\" t=\"b\"><v>1</v></c>",
                    false => b"\" t=\"b\"><v>0</v></c>",
                };
                self.xml.extend_from_slice(end);
            }
            Value::Text(text) => {
                let lines = 1 + memchr_iter(b'\n', text.as_bytes()).count();
                let style = if lines > 1 {
                    styles::LINES
                } else {
                    styles::TEXT
                };
                self.text_cell(column, row, style, text);
                return lines;
            }
        }
        1
    }

    fn begin_row(&mut self, row: u32) {
        self.xml.extend_from_slice(b"<row r=\"");
        self.push_integer(row);
        self.xml.extend_from_slice(b"\">");
    }

    fn begin_cell(&mut self, column: usize, row: u32, style: u8) {
        self.xml.extend_from_slice(b"<c r=\"");
        if let Some(name) = self.names.get(column) {
            self.xml.extend_from_slice(name.as_bytes());
        }
        self.push_integer(row);
        self.xml.extend_from_slice(b"\" s=\"");
        self.push_integer(style);
    }

    fn number_cell(&mut self, column: usize, row: u32, style: u8, number: &str) {
        self.begin_cell(column, row, style);
        self.xml.extend_from_slice(b"\"><v>");
        self.xml.extend_from_slice(number.as_bytes());
        self.xml.extend_from_slice(b"</v></c>");
    }

    fn text_cell(&mut self, column: usize, row: u32, style: u8, text: &str) {
        self.begin_cell(column, row, style);
        // Without it, XML readers may strip blanks at either end.
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

    fn push_integer(&mut self, integer: impl itoa::Integer) {
        self.xml
            .extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    }

    /// Writes the pending XML of this sheet.
    fn flush(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            let name = format!("xl/worksheets/sheet{}.xml", self.done + 1);
            self.package.begin_part(&name, "worksheet")?;
            let start = self.sheet_start();
            self.package.write(start.as_bytes())?;
        }
        self.package.write(&self.xml)?;
        self.written += self.xml.len() as u64;
        self.xml.clear();
        Ok(())
    }

    /// The part of a sheet before its rows: the header stays where it is, and the columns have their widths.
    fn sheet_start(&self) -> String {
        // One sheet is the one that is shown.
        let selected = if self.done == 0 {
            " tabSelected=\"1\""
        } else {
            ""
        };
        format!(
            "<worksheet xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONSHIPS}\"><sheetViews><sheetView{selected} workbookViewId=\"0\">\
             <pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/><selection pane=\"bottomLeft\"/>\
             </sheetView></sheetViews><sheetFormatPr defaultRowHeight=\"{ROW_HEIGHT}\"/><cols>{}</cols><sheetData>",
            columns(&self.widths)
        )
    }

    /// Ends a sheet, whose cells are a table. A table needs a row, if an empty one: without it, Excel reports the workbook as broken.
    fn end_sheet(&mut self) -> io::Result<()> {
        self.xml.extend_from_slice(
            b"</sheetData><tableParts count=\"1\"><tablePart r:id=\"rId1\"/></tableParts></worksheet>",
        );
        self.flush()?;
        let rows = std::mem::take(&mut self.rows);
        self.done += 1;
        self.written = 0;
        self.begun = false;

        let number = self.done;
        self.package.relationships(
            &format!("xl/worksheets/_rels/sheet{number}.xml.rels"),
            [("table", format!("../tables/table{number}.xml"))],
        )?;
        let last = self.names.last().map_or("A", String::as_str);
        let cells = format!("A1:{last}{}", rows.max(1) + 1);
        let name = table::name(&self.title, number);
        let table = table::part(&name, number, &cells, &self.headers);
        self.package
            .part(&format!("xl/tables/table{number}.xml"), "table", &table)
    }

    /// The sheet about the workbook.
    fn about(&mut self, lines: &[Line<'_>]) -> io::Result<()> {
        self.names = [0, 1].map(column_name).to_vec();
        self.widths = vec![0; 2];
        for (row, (name, value)) in (1..).zip(lines) {
            self.push_row(row, true, [Value::Text(name), *value]);
        }
        self.package
            .begin_part("xl/worksheets/about.xml", "worksheet")?;
        let start = format!(
            "<worksheet xmlns=\"{MAIN}\"><sheetFormatPr defaultRowHeight=\"{ROW_HEIGHT}\"/><cols>{}</cols><sheetData>",
            columns(&self.widths)
        );
        self.package.write(start.as_bytes())?;
        self.package.write(&self.xml)?;
        self.package.write(b"</sheetData></worksheet>")
    }
}

/// The workbook's entry for a sheet. The first relationship is that of the styles.
fn sheet(title: &str, number: usize) -> String {
    format!(
        "<sheet name=\"{title}\" sheetId=\"{number}\" r:id=\"rId{}\"/>",
        number + 1
    )
}

/// The columns of these widths.
fn columns(widths: &[usize]) -> String {
    let columns = (1..).zip(widths).map(|(number, width)| {
        let width = width.clamp(WIDTHS.start(), WIDTHS.end()) + 2;
        format!("<col min=\"{number}\" max=\"{number}\" width=\"{width}\" customWidth=\"1\"/>")
    });
    columns.collect()
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
