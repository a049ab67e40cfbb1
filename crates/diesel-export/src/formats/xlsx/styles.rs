//! The styles of cells.

use super::package::MAIN;

/// The styles, by their positions in the list.
pub(super) const HEADER: u8 = 1;
pub(super) const TEXT: u8 = 2;
/// A text of several lines: without the style, Excel shows the lines as one, and LibreOffice shows them over those of the next row.
pub(super) const LINES: u8 = 3;
/// A number, as Excel likes to show it.
pub(super) const GENERAL: u8 = 4;
pub(super) const DATE: u8 = 5;
pub(super) const TIME: u8 = 6;
pub(super) const TIME_MILLISECONDS: u8 = 7;
pub(super) const TIMESTAMP: u8 = 8;
pub(super) const TIMESTAMP_MILLISECONDS: u8 = 9;
/// A number without decimals. The styles of numbers with one, two, … decimals follow.
pub(super) const INTEGER: u8 = 10;
/// The most decimals that have a style.
pub(super) const MOST_DECIMALS: u8 = 15;

/// The IDs of Excel's own number formats, and the first ID that is free.
const FORMAT_GENERAL: usize = 0;
const FORMAT_TEXT: usize = 49;
const FIRST_FORMAT: usize = 164;

/// The formats of the styles from [`DATE`] on.
const MOMENTS: [&str; 5] = [
    "yyyy-mm-dd",
    "hh:mm:ss",
    "hh:mm:ss.000",
    "yyyy-mm-dd hh:mm:ss",
    "yyyy-mm-dd hh:mm:ss.000",
];

/// The width of a value of such a style, in characters.
pub(super) fn width(style: u8) -> usize {
    let moment = style.checked_sub(DATE).map(usize::from);
    moment
        .and_then(|index| MOMENTS.get(index))
        .map_or(0, |format| format.len())
}

/// The style of numbers with this many decimals.
pub(super) fn of_decimals(decimals: usize) -> u8 {
    match u8::try_from(decimals) {
        Ok(decimals) if decimals <= MOST_DECIMALS => INTEGER + decimals,
        _ => GENERAL,
    }
}

/// The part with the styles.
pub(super) fn part() -> String {
    let decimals = (0..=usize::from(MOST_DECIMALS)).map(|decimals| match decimals {
        0 => "0".to_owned(),
        decimals => format!("0.{}", "0".repeat(decimals)),
    });
    let formats: Vec<String> = MOMENTS
        .map(str::to_owned)
        .into_iter()
        .chain(decimals)
        .collect();
    // Beside a text of several lines, the others are at the height of its first one.
    let style = |format: usize, more: &str| {
        format!(
            "<xf numFmtId=\"{format}\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\" \
             applyAlignment=\"1\"><alignment vertical=\"top\"{more}/></xf>"
        )
    };
    // A text has the text format: editing it does not turn it into a formula or a number.
    let mut styles = format!(
        "<xf numFmtId=\"{FORMAT_GENERAL}\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\"/>\
         <xf numFmtId=\"{FORMAT_TEXT}\" fontId=\"1\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\" applyFont=\"1\"/>"
    );
    styles.push_str(&style(FORMAT_TEXT, ""));
    styles.push_str(&style(FORMAT_TEXT, " wrapText=\"1\""));
    styles.push_str(&style(FORMAT_GENERAL, ""));
    let mut codes = String::new();
    for (index, format) in formats.iter().enumerate() {
        let number = FIRST_FORMAT + index;
        codes.push_str(&format!(
            "<numFmt numFmtId=\"{number}\" formatCode=\"{format}\"/>"
        ));
        styles.push_str(&style(number, ""));
    }
    format!(
        "<styleSheet xmlns=\"{MAIN}\"><numFmts count=\"{}\">{codes}</numFmts>\
         <fonts count=\"2\"><font><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font>\
         <font><b/><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font></fonts>\
         <fills count=\"2\"><fill><patternFill patternType=\"none\"/></fill>\
         <fill><patternFill patternType=\"gray125\"/></fill></fills>\
         <borders count=\"1\"><border><left/><right/><top/><bottom/><diagonal/></border></borders>\
         <cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"/></cellStyleXfs>\
         <cellXfs count=\"{}\">{styles}</cellXfs><cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" builtinId=\"0\"/>\
         </cellStyles></styleSheet>",
        formats.len(),
        usize::from(DATE) + formats.len(),
    )
}
