//! Texts as a database can hold them.

use diesel::dsl::AsExprOf;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::Text;
use encoding_rs::Encoding;

use crate::units::hexadecimal;

/// The encodings of databases in which a character is a byte, with their labels in the encoding standard.
const ENCODINGS: [(&str, &str); 27] = [
    ("LATIN1", "iso-8859-1"),
    ("LATIN2", "iso-8859-2"),
    ("LATIN3", "iso-8859-3"),
    ("LATIN4", "iso-8859-4"),
    ("LATIN5", "iso-8859-9"),
    ("LATIN6", "iso-8859-10"),
    ("LATIN7", "iso-8859-13"),
    ("LATIN8", "iso-8859-14"),
    ("LATIN9", "iso-8859-15"),
    ("LATIN10", "iso-8859-16"),
    ("ISO_8859_5", "iso-8859-5"),
    ("ISO_8859_6", "iso-8859-6"),
    ("ISO_8859_7", "iso-8859-7"),
    ("ISO_8859_8", "iso-8859-8"),
    ("KOI8R", "koi8-r"),
    ("KOI8U", "koi8-u"),
    ("WIN866", "ibm866"),
    ("WIN874", "windows-874"),
    ("WIN1250", "windows-1250"),
    ("WIN1251", "windows-1251"),
    ("WIN1252", "windows-1252"),
    ("WIN1253", "windows-1253"),
    ("WIN1254", "windows-1254"),
    ("WIN1255", "windows-1255"),
    ("WIN1256", "windows-1256"),
    ("WIN1257", "windows-1257"),
    ("WIN1258", "windows-1258"),
];

/// Names those that lack a character of the text.
fn lacking(text: &str) -> Vec<&'static str> {
    let lacks = |label: &str| {
        let Some(encoding) = Encoding::for_label(label.as_bytes()) else {
            return false;
        };
        let (bytes, _, is_lost) = encoding.encode(text);
        // The standard takes some for those of Windows, which have characters where ISO has controls.
        let is_of_windows = |byte| (0x80..0xa0).contains(byte);
        is_lost || label.starts_with("iso") && bytes.iter().any(is_of_windows)
    };
    let encodings = ENCODINGS.iter().filter(|(_, label)| lacks(label));
    encodings.map(|(name, _)| *name).collect()
}

/// A text that may have characters that the database cannot hold.
pub(super) enum PortableText {
    /// Of characters that every database can hold.
    Plain(AsExprOf<String, Text>),
    /// SQL that makes the text on the server; NULL, which equals and matches nothing, if the database lacks one of its characters. Sent
    /// as a text, such a character is an error.
    Encoded(String),
}

impl PortableText {
    pub(super) fn of(text: String) -> Self {
        if text.is_ascii() {
            return Self::Plain(text.into_sql::<Text>());
        }
        // `concat` keeps the planner from converting it beforehand; the query in parentheses does so once, and not for each row.
        // Without its own collation, it had that of an argument, "C", which would be at odds with the column's.
        Self::Encoded(format!(
            "(select case when getdatabaseencoding() <> all ('{{{}}}')
                then convert_from(decode(concat('{}'), 'hex'), 'UTF8') collate \"default\" end)",
            lacking(&text).join(","),
            hexadecimal(text.as_bytes())
        ))
    }
}

impl QueryFragment<Pg> for PortableText {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self {
            Self::Plain(text) => text.walk_ast(out),
            Self::Encoded(sql) => {
                out.push_sql(sql);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_known_and_says_what_it_lacks() {
        for (_, label) in ENCODINGS {
            assert!(Encoding::for_label(label.as_bytes()).is_some(), "{label}");
        }
        for (text, has, has_not) in [
            ("süß\u{ff}", "LATIN1", "LATIN2"),
            ("łódź", "LATIN2", "LATIN1"),
            ("€", "LATIN9", "LATIN1"),
            ("€", "WIN1254", "LATIN5"),
            ("ж", "KOI8R", "WIN1252"),
        ] {
            let lacking = lacking(text);
            assert!(
                !lacking.contains(&has) && lacking.contains(&has_not),
                "{text}: {lacking:?}"
            );
        }
        assert_eq!(lacking("本").len(), ENCODINGS.len());
    }

    #[test]
    fn a_text_is_sent_in_characters_that_every_database_has() {
        let encoded = |text: &str| match PortableText::of(text.to_owned()) {
            PortableText::Plain(_) => None,
            PortableText::Encoded(sql) => Some(sql),
        };
        assert_eq!(encoded("%it's \\%"), None);
        let sql = encoded("%\u{ff}'").unwrap_or_default();
        assert!(
            sql.is_ascii() && sql.contains("concat('25c3bf27')"),
            "{sql}"
        );
    }
}
