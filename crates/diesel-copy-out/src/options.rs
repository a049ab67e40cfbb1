//! How the rows are written.

use crate::literal::{quoted, quoted_name};

/// The format of a COPY, and its options, by the names that [`diesel::pg::CopyToQuery`] has for them. The characters are bytes, as
/// PostgreSQL takes no others: `b'é'` does not compile. What a format does not have, PostgreSQL refuses.
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
/// let options = Options::csv()
///     .with_header(true)
///     .with_delimiter(b';')
///     .with_null("-")
///     .with_force_quote(["one"]);
/// let copy = connection.copy_out("select 1 as one, null as none", &options)?;
/// assert_eq!(io::read_to_string(copy)?, "one;none\n\"1\";-\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Options {
    format: Format,
    header: bool,
    delimiter: Option<u8>,
    null: Option<String>,
    quote: Option<u8>,
    escape: Option<u8>,
    force_quote: Option<ForceQuote>,
    encoding: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Text,
    Binary,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ForceQuote {
    All,
    Columns(Vec<String>),
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

    /// Whether the first line has the columns' names. The text format can have it from PostgreSQL 15 on.
    pub const fn with_header(mut self, set: bool) -> Self {
        self.header = set;
        self
    }

    /// Puts this character between the values.
    pub const fn with_delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// Writes this text in place of NULL.
    pub fn with_null(mut self, null: impl Into<String>) -> Self {
        self.null = Some(null.into());
        self
    }

    /// Puts values of CSV into this character, where they need it.
    pub const fn with_quote(mut self, quote: u8) -> Self {
        self.quote = Some(quote);
        self
    }

    /// Puts this character before a quote within a value of CSV; without it, the quote is doubled.
    pub const fn with_escape(mut self, escape: u8) -> Self {
        self.escape = Some(escape);
        self
    }

    /// Puts all values of these columns of CSV into quotes, except NULL.
    pub fn with_force_quote<Name: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = Name>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.force_quote = Some(ForceQuote::Columns(columns));
        self
    }

    /// Puts all values of CSV into quotes, except NULL.
    pub fn with_force_quote_all(mut self) -> Self {
        self.force_quote = Some(ForceQuote::All);
        self
    }

    /// Writes the texts in this encoding, and not in UTF-8.
    pub fn with_encoding(mut self, encoding: impl Into<String>) -> Self {
        self.encoding = Some(encoding.into());
        self
    }

    const fn of(format: Format) -> Self {
        Self {
            format,
            header: false,
            delimiter: None,
            null: None,
            quote: None,
            escape: None,
            force_quote: None,
            encoding: None,
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
        let character = |byte: Option<u8>| byte.map(|byte| char::from(byte).to_string());
        for (name, value) in [
            ("delimiter", character(self.delimiter)),
            ("null", self.null.clone()),
            ("quote", character(self.quote)),
            ("escape", character(self.escape)),
            ("encoding", self.encoding.clone()),
        ] {
            if let Some(value) = value {
                sql.push_str(&format!(", {name} {}", quoted(&value)));
            }
        }
        match &self.force_quote {
            Some(ForceQuote::All) => sql.push_str(", force_quote *"),
            Some(ForceQuote::Columns(columns)) if !columns.is_empty() => {
                let columns: Vec<_> = columns.iter().map(|name| quoted_name(name)).collect();
                sql.push_str(&format!(", force_quote ({})", columns.join(", ")));
            }
            Some(ForceQuote::Columns(_)) | None => {}
        }
        sql
    }

    /// Returns how many messages are no rows: the header, or the end of the binary format.
    pub(crate) fn messages_beside_rows(&self) -> u64 {
        u64::from(self.header || self.format == Format::Binary)
    }
}
