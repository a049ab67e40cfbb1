//! The workbook's file: a ZIP of XML parts, in the order in which they are made. Nothing that is written is changed afterwards.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

/// The usual level, 6, takes 2.6 times as long for a file that is 2 % smaller.
const COMPRESSION: i64 = 4;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
pub(super) const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
pub(super) const RELATIONSHIPS: &str =
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const TYPES: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";

/// A file that is being written.
pub(super) struct Package {
    zip: ZipWriter<StreamWriter<Pending>>,
    pending: Pending,
    /// The content types of the parts so far.
    types: String,
}

/// Bytes of the file that are still to be taken.
// `ZipWriter` has the other end. Dropped, as after an error, it writes the end of a complete file: that must not reach the sink.
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

impl Package {
    /// A file whose workbook will be `xl/workbook.xml`.
    pub(super) fn new() -> io::Result<Self> {
        let pending = Pending::default();
        let mut package = Self {
            zip: ZipWriter::new_stream(pending.clone()),
            pending,
            types: String::new(),
        };
        // Programs that guess a file's type recognize it by the name of the first part.
        package.relationships(
            "_rels/.rels",
            [("officeDocument", "xl/workbook.xml".to_owned())],
        )?;
        Ok(package)
    }

    /// How many bytes are still to be taken.
    pub(super) fn pending(&self) -> usize {
        self.pending.0.borrow().len()
    }

    /// Takes them.
    pub(super) fn take(&self) -> Vec<u8> {
        self.pending.0.take()
    }

    /// Writes a part of this type.
    pub(super) fn part(&mut self, name: &str, kind: &str, xml: &str) -> io::Result<()> {
        self.begin_part(name, kind)?;
        self.write(xml.as_bytes())
    }

    /// Begins a part of this type.
    pub(super) fn begin_part(&mut self, name: &str, kind: &str) -> io::Result<()> {
        self.types.push_str(&format!(
            "<Override PartName=\"/{name}\" ContentType=\"{TYPES}.{kind}+xml\"/>"
        ));
        self.begin_file(name)
    }

    /// Writes more of the part.
    pub(super) fn write(&mut self, xml: &[u8]) -> io::Result<()> {
        self.zip.write_all(xml)
    }

    /// Writes the relationships of a part. Their ids are their positions: `rId1` is the first.
    pub(super) fn relationships(
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
        self.begin_file(name)?;
        self.write(
            format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\">{relationships}</Relationships>"
            )
            .as_bytes(),
        )
    }

    /// Ends the file; returns the bytes that are still to be taken.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.begin_file("[Content_Types].xml")?;
        let types = std::mem::take(&mut self.types);
        self.write(
            format!(
                "<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"rels\" \
                 ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Default Extension=\"xml\" \
                 ContentType=\"application/xml\"/>{types}</Types>"
            )
            .as_bytes(),
        )?;
        self.zip.finish()?;
        Ok(self.pending.0.take())
    }

    fn begin_file(&mut self, name: &str) -> io::Result<()> {
        // The same data give the same bytes: no time of day is in them.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(COMPRESSION))
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644);
        self.zip.start_file(name, options)?;
        self.write(DECLARATION.as_bytes())
    }
}
