//! Comparison of workbooks.

use std::io::{Cursor, Read};

use zip::ZipArchive;

/// The sheet that says when the workbook was made.
const ABOUT: &str = "xl/worksheets/about.xml";

/// All parts of a workbook except that sheet, with their names, in their order.
pub fn without_about(workbook: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(workbook)).expect("a workbook");
    let mut parts: Vec<(String, Vec<u8>)> = (0..archive.len())
        .map(|index| {
            let mut part = archive.by_index(index).expect("a part");
            let name = part.name().expect("UTF-8").into_owned();
            let mut xml = Vec::new();
            part.read_to_end(&mut xml).expect("whole");
            (name, xml)
        })
        .collect();
    let all = parts.len();
    parts.retain(|(name, _)| name != ABOUT);
    assert_eq!(parts.len(), all - 1);
    parts
}
