//! How the rows are written.

use crate::literal::quoted;

/// The format of a COPY, and its options.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
/// use std::io;
///
/// use diesel_copy_out::{CopyConnection, Options};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = Cluster::start();
/// # let url = cluster.url();
/// let mut connection = CopyConnection::establish(&url)?;
/// let options = Options::csv().header().delimiter(';').null("-");
/// let copy = connection.copy_out("select 1 as one, null as none", &options)?;
/// assert_eq!(io::read_to_string(copy)?, "one;none\n1;-\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Options {
    format: Format,
    header: bool,
    delimiter: Option<char>,
    null: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Text,
    Binary,
}

impl Options {
    /// Comma-separated values.
    pub const fn csv() -> Self {
        Self::of(Format::Csv)
    }

    /// PostgreSQL's own text format, with tabs between the values, and backslashes before special characters.
    pub const fn text() -> Self {
        Self::of(Format::Text)
    }

    /// PostgreSQL's binary format, with its signature, and its end, which counts as a message.
    pub const fn binary() -> Self {
        Self::of(Format::Binary)
    }

    /// Writes the columns' names in the first line. In the text format, this needs PostgreSQL 15.
    pub fn header(mut self) -> Self {
        self.header = true;
        self
    }

    /// Sets the column separator.
    pub fn delimiter(mut self, delimiter: char) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// Writes this text in place of NULL.
    pub fn null(mut self, null: impl Into<String>) -> Self {
        self.null = Some(null.into());
        self
    }

    const fn of(format: Format) -> Self {
        Self {
            format,
            header: false,
            delimiter: None,
            null: None,
        }
    }

    pub(crate) fn sql(&self) -> String {
        let mut sql = match self.format {
            Format::Csv => "format csv",
            Format::Text => "format text",
            Format::Binary => "format binary",
        }
        .to_owned();
        if self.header {
            sql.push_str(", header");
        }
        if let Some(delimiter) = self.delimiter {
            sql.push_str(&format!(", delimiter {}", quoted(&delimiter.to_string())));
        }
        if let Some(null) = &self.null {
            sql.push_str(&format!(", null {}", quoted(null)));
        }
        sql
    }

    /// Returns how many messages are no rows: the header, or the end of the binary format.
    pub(crate) fn messages_beside_rows(&self) -> u64 {
        u64::from(self.header || self.format == Format::Binary)
    }
}
