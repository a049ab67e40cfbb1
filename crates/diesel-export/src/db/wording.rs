//! Which parts of a database's message are repeated: never a row's content.
//!
//! A message about a value quotes the value, as in `invalid input syntax for type bigint: "…"`, and a function that a view calls may
//! raise one of any text with any SQLSTATE. So a message is repeated only if no function has failed, which its context tells, and the
//! SQLSTATE is that of an error of the statement, the session or the server. Diesel hides both, but says where in the statement the error
//! is: only a message of the parser's has such a place. Details, which quote whole rows, are never repeated. The server's own log has
//! all of it.

use std::fmt::{self, Display};

use diesel::result::{DatabaseErrorKind as Kind, Error as QueryError};

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

/// The text that replaces a message.
const LEFT_OUT: &str =
    "the server's message is left out, as it may quote a row: PostgreSQL's own log has it";

/// The text of an error of libpq.
pub(super) struct CopyMessage<'e>(pub(super) &'e libpq::Error);

impl Display for CopyMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.0.sqlstate.as_deref() else {
            // No server has sent it.
            return self.0.fmt(f);
        };
        let class = code.get(..2).unwrap_or_default();
        if self.0.context.is_some() {
            f.write_str(LEFT_OUT)?;
        } else if ABOUT_NO_VALUE.contains(&class) || class == STATEMENT && self.0.position.is_some()
        {
            f.write_str(&self.0.message)?;
        } else if class == STATEMENT {
            write_beginning(&self.0.message, f)?;
        } else {
            f.write_str(LEFT_OUT)?;
        }
        write!(f, " (SQLSTATE {code})")
    }
}

/// The text of an error of Diesel.
pub(super) struct QueryMessage<'e>(pub(super) &'e QueryError);

impl Display for QueryMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            QueryError::DatabaseError(kind, information)
                if information.statement_position().is_none() =>
            {
                kind
            }
            error => return error.fmt(f),
        };
        let code = match kind {
            // The message may be libpq's, the server's last one, or a function's with such a SQLSTATE.
            Kind::ClosedConnection => return f.write_str("the connection was lost"),
            // No server has sent it.
            Kind::UnableToSendCommand => return self.0.fmt(f),
            Kind::UniqueViolation => "23505",
            Kind::ForeignKeyViolation => "23503",
            Kind::NotNullViolation => "23502",
            Kind::CheckViolation => "23514",
            Kind::RestrictViolation => "23001",
            Kind::ExclusionViolation => "23P01",
            Kind::SerializationFailure => "40001",
            Kind::ReadOnlyTransaction => "25006",
            _ => return f.write_str(LEFT_OUT),
        };
        write!(f, "{LEFT_OUT} (SQLSTATE {code})")
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
        CopyMessage(&copy_error(sqlstate, message, position)).to_string()
    }

    fn copy_error(sqlstate: &str, message: &str, position: Option<u32>) -> libpq::Error {
        let mut error = libpq::Error::new(libpq::ErrorKind::Server, message);
        error.sqlstate = Some(sqlstate.to_owned());
        error.detail = Some("Failing row contains (secret).".into());
        error.position = position;
        error
    }

    struct Information(&'static str, Option<i32>);

    impl DatabaseErrorInformation for Information {
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
        let told = Box::new(Information(message, position));
        QueryMessage(&QueryError::DatabaseError(Kind::Unknown, told)).to_string()
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
    fn what_a_function_raises_is_never_repeated() {
        const RAISED: &str = "no secret is for you";
        for code in ["P0001", "55000", "42501", "23505", "40001", "57014"] {
            let mut error = copy_error(code, RAISED, None);
            error.context = Some("PL/pgSQL function f(text) line 2 at RAISE".into());
            let text = CopyMessage(&error).to_string();
            assert!(!text.contains("secret") && text.contains(code), "{text}");
        }
        for kind in [
            Kind::Unknown,
            Kind::UniqueViolation,
            Kind::SerializationFailure,
            Kind::ReadOnlyTransaction,
            Kind::ClosedConnection,
        ] {
            let raised = QueryError::DatabaseError(kind, Box::new(Information(RAISED, None)));
            let text = QueryMessage(&raised).to_string();
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn what_is_about_the_statement_or_the_server_is_repeated() {
        let missing = "column books.title does not exist";
        assert_eq!(of_query(missing, Some(8)), missing);
        assert_eq!(
            of_copy("42703", "column \"books\".title does not exist", Some(8)),
            "column \"books\".title does not exist (SQLSTATE 42703)"
        );
        let denied = "permission denied for table books";
        assert_eq!(
            of_copy("42501", denied, None),
            format!("{denied} (SQLSTATE 42501)")
        );
        let full = "could not write to file \"base/1\": No space left on device";
        assert_eq!(
            of_copy("53100", full, None),
            format!("{full} (SQLSTATE 53100)")
        );
    }
}
