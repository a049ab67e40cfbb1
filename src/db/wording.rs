//! What is repeated of a database's message: never a row's content.
//!
//! A message about a value quotes the value, as in `invalid input syntax for type bigint: "…"`, and a function that a view calls may
//! raise one of any text. The SQLSTATE tells such messages from those about the statement, the session and the server. Diesel hides it,
//! but says where in the statement the error is: a message that has such a place is about the statement. Details, which quote whole
//! rows, are never repeated. The server's own log has all of it.

use std::fmt::{self, Display};

use diesel::result::{DatabaseErrorKind, Error as QueryError};

use super::libpq;

/// The classes of SQLSTATEs whose messages quote no values. (Those of class 23 name constraints; the values are in the details.)
const ABOUT_NO_VALUE: [&str; 24] = [
    "08", "0A", "0L", "0P", "21", "23", "24", "25", "26", "28", "2B", "2D", "34", "3B", "3D", "3F",
    "40", "53", "54", "55", "57", "58", "F0", "XX",
];
/// That of errors in statements. A cast to `regclass` has them, too, and quotes its value.
const STATEMENT: &str = "42";

/// Where a message begins to quote something, in any of PostgreSQL's languages.
const QUOTES: [char; 18] = [
    '"', '\'', '`', '«', '»', '‹', '›', '„', '“', '”', '‚', '‘', '’', '「', '『', '《', ':', '：',
];

/// The text of an error of libpq.
pub(super) struct OfCopy<'e>(pub(super) &'e libpq::Error);

impl Display for OfCopy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.0.sqlstate.as_deref() else {
            // No server has said it.
            return self.0.fmt(f);
        };
        let class = code.get(..2).unwrap_or_default();
        if ABOUT_NO_VALUE.contains(&class) || class == STATEMENT && self.0.position.is_some() {
            return self.0.fmt(f);
        }
        if class == STATEMENT {
            write_beginning(&self.0.message, f)?;
        } else {
            f.write_str("the server's message is left out, as it may quote a row")?;
        }
        write!(f, " (SQLSTATE {code})")
    }
}

/// The text of an error of Diesel.
pub(super) struct OfQuery<'e>(pub(super) &'e QueryError);

impl Display for OfQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // Every other kind has one of the SQLSTATEs above.
            QueryError::DatabaseError(DatabaseErrorKind::Unknown, information)
                if information.statement_position().is_none() =>
            {
                write_beginning(information.message(), f)
            }
            error => error.fmt(f),
        }
    }
}

/// Writes a message up to the first thing that it quotes.
fn write_beginning(message: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match message.split_once(QUOTES) {
        None => f.write_str(message),
        Some((beginning, _)) => write!(
            f,
            "{}… (the rest is left out, as it may quote a row)",
            beginning.trim_end()
        ),
    }
}

#[cfg(test)]
mod tests {
    use diesel::result::DatabaseErrorInformation;

    use super::*;

    fn of_copy(sqlstate: &str, message: &str, position: Option<u32>) -> String {
        let mut error = libpq::Error::new(libpq::ErrorKind::Server, message);
        error.sqlstate = Some(sqlstate.to_owned());
        error.detail = Some("Failing row contains (secret).".to_owned());
        error.position = position;
        OfCopy(&error).to_string()
    }

    struct Told(&'static str, Option<i32>);

    impl DatabaseErrorInformation for Told {
        fn message(&self) -> &str {
            self.0
        }
        fn details(&self) -> Option<&str> {
            Some("Failing row contains (secret).")
        }
        fn hint(&self) -> Option<&str> {
            None
        }
        fn table_name(&self) -> Option<&str> {
            None
        }
        fn column_name(&self) -> Option<&str> {
            None
        }
        fn constraint_name(&self) -> Option<&str> {
            None
        }
        fn statement_position(&self) -> Option<i32> {
            self.1
        }
    }

    fn of_query(message: &'static str, position: Option<i32>) -> String {
        let told = Box::new(Told(message, position));
        OfQuery(&QueryError::DatabaseError(DatabaseErrorKind::Unknown, told)).to_string()
    }

    #[test]
    fn a_value_is_never_repeated() {
        for code in [
            "22P02", "22003", "P0001", "38000", "44000", "HV000", "ZZ999",
        ] {
            let text = of_copy(code, "no secret is a bigint", Some(1));
            assert!(!text.contains("secret") && text.contains(code), "{text}");
        }
        for message in [
            "invalid input syntax for type bigint: \"secret\"",
            "value \"secret\" is out of range for type integer",
            "invalid byte sequence for encoding \"UTF8\": secret",
            "ungültige Eingabesyntax für Typ bigint: »secret«",
            "la valeur « secret » est hors limites",
            "無効な値です：secret",
        ] {
            let text = of_query(message, None);
            assert!(!text.contains("secret"), "{text}");
            let text = of_copy("42P01", message, None);
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn what_is_about_the_statement_or_the_server_is_repeated() {
        let missing = "column tasks.title does not exist";
        assert_eq!(of_query(missing, Some(8)), missing);
        assert_eq!(
            of_copy("42703", "column \"tasks\".title does not exist", Some(8)),
            "column \"tasks\".title does not exist (SQLSTATE 42703)"
        );
        let denied = "permission denied for table tasks";
        assert_eq!(of_query(denied, None), denied);
        assert_eq!(
            of_copy("42501", denied, None),
            format!("{denied} (SQLSTATE 42501)")
        );
        let full = "could not write to file \"base/1\": No space left on device";
        assert_eq!(
            of_copy("53100", full, None),
            format!("{full} (SQLSTATE 53100)")
        );
        assert_eq!(
            of_query(full, None),
            "could not write to file… (the rest is left out, as it may quote a row)"
        );
    }
}
