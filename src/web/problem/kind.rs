//! What can go wrong, in the client's terms.

use actix_web::http::StatusCode;

/// What went wrong, in the client's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum Kind {
    /// A parameter is unknown, repeated, or has a bad value.
    InvalidParameter,
    /// What was sent is larger than it may be.
    TooLarge,
    /// There is nothing at this address.
    NotFound,
    /// The address does not take this method.
    MethodNotAllowed {
        /// Those that it takes.
        allowed: &'static str,
    },
    /// The request names another host than this one, as that of a page does that rebinds its own name to this machine.
    WrongHost,
    /// A page of another site has sent the request.
    CrossSite,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The address has sent wrong credentials too often.
    TooManyTries {
        /// After which time it may try again.
        retry_seconds: u64,
    },
    /// A part was asked for of a file that is made for each request.
    RangeNotPossible,
    /// As many exports as are allowed run already, or they hold all of the memory for rows.
    Busy,
    /// The export's id is another one's.
    ExportIdTaken,
    /// As many exports as are allowed wait to be prepared.
    QueueFull,
    /// Exports cannot be prepared on this service.
    PreparingOff,
    /// The export has no file yet.
    NotFinished,
    /// The file is not the one that the client has a part of.
    PreconditionFailed,
    /// The file has no such part.
    RangeNotSatisfiable {
        /// Its length.
        length: u64,
    },
    /// A strategy would hold more rows in memory than it may.
    TooManyRows,
    /// `joined` met a NULL for which its structs have no place.
    UnexpectedNull,
    /// A strategy would hold more bytes in memory than it may.
    TooLargeToBuffer,
    /// A text is longer than the format takes.
    TextTooLong,
    /// A file that is sent when it is whole has no room in the spool.
    SpoolFull,
    /// The query took longer than the statement timeout.
    StatementTimeout,
    /// The export was stopped before its first byte.
    ExportCancelled,
    /// A benchmark runs already.
    BenchmarkRuns,
    /// The service is bound beyond loopback, and benchmarks were not allowed.
    BenchmarksOff,
    /// The database cannot be reached, or all connections to it are in use.
    DatabaseUnavailable,
    /// No replica will do, and exports may not run on the primary.
    NoReplica,
    /// No server could be shown to have all that the primary has.
    NotFresh,
    /// A replica has twice cancelled the query, because it was in the way of changes from the primary.
    RecoveryConflict,
    /// Somebody has locked a table, as a change of it does.
    TableLocked,
    /// The database has no tables that our role can read.
    TablesMissing,
    /// The database's tables are not as the program has them.
    TablesDiffer,
    /// Anything else; the log says what.
    Internal,
}

impl Kind {
    pub(in crate::web) fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::InvalidParameter => (
                "invalid-parameter",
                StatusCode::BAD_REQUEST,
                "A parameter is not understood",
            ),
            Self::TooLarge => (
                "too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "What was sent is too large",
            ),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed { .. } => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "This address does not take that method",
            ),
            Self::DatabaseUnavailable => (
                "database-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The database cannot be reached now",
            ),
            Self::TablesMissing => (
                "tables-missing",
                StatusCode::SERVICE_UNAVAILABLE,
                "The database has no tables that can be read",
            ),
            Self::TablesDiffer => (
                "tables-differ",
                StatusCode::SERVICE_UNAVAILABLE,
                "The database's tables are not as expected",
            ),
            Self::TableLocked => (
                "table-locked",
                StatusCode::SERVICE_UNAVAILABLE,
                "A table of the database is being changed",
            ),
            Self::NoReplica => (
                "no-replica",
                StatusCode::SERVICE_UNAVAILABLE,
                "No replica of the database can be used now",
            ),
            Self::NotFresh => (
                "not-fresh",
                StatusCode::SERVICE_UNAVAILABLE,
                "No server can be shown to have the newest data",
            ),
            Self::RecoveryConflict => (
                "recovery-conflict",
                StatusCode::SERVICE_UNAVAILABLE,
                "The export stood in the way of changes to the data",
            ),
            Self::WrongHost => (
                "wrong-host",
                StatusCode::MISDIRECTED_REQUEST,
                "This service does not answer to this host name",
            ),
            Self::CrossSite => (
                "cross-site",
                StatusCode::FORBIDDEN,
                "Another site's page may not do this",
            ),
            Self::Unauthorized => (
                "unauthorized",
                StatusCode::UNAUTHORIZED,
                "Credentials are needed",
            ),
            Self::TooManyTries { .. } => (
                "too-many-tries",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tries with wrong credentials",
            ),
            Self::RangeNotPossible => (
                "range-not-possible",
                StatusCode::BAD_REQUEST,
                "This address does not support ranges",
            ),
            Self::Busy => (
                "busy",
                StatusCode::SERVICE_UNAVAILABLE,
                "As many exports as are allowed run already",
            ),
            Self::ExportIdTaken => (
                "export-id-taken",
                StatusCode::CONFLICT,
                "There is another export of this id",
            ),
            Self::QueueFull => (
                "queue-full",
                StatusCode::SERVICE_UNAVAILABLE,
                "As many exports as are allowed wait already",
            ),
            Self::PreparingOff => (
                "preparing-off",
                StatusCode::FORBIDDEN,
                "This service has no place to prepare exports in",
            ),
            Self::NotFinished => (
                "not-finished",
                StatusCode::CONFLICT,
                "The export is not finished yet",
            ),
            Self::PreconditionFailed => (
                "precondition-failed",
                StatusCode::PRECONDITION_FAILED,
                "The file is another one",
            ),
            Self::RangeNotSatisfiable { .. } => (
                "range-not-satisfiable",
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The file has no such part",
            ),
            Self::TooManyRows => (
                "too-many-rows",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too many rows for this strategy",
            ),
            Self::UnexpectedNull => (
                "unexpected-null",
                StatusCode::UNPROCESSABLE_ENTITY,
                "A value is NULL that the strategy joined cannot do without",
            ),
            Self::TooLargeToBuffer => (
                "too-large-to-buffer",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too much data for this strategy",
            ),
            Self::TextTooLong => (
                "text-too-long",
                StatusCode::UNPROCESSABLE_ENTITY,
                "A text is too long for an Excel workbook",
            ),
            Self::SpoolFull => (
                "spool-full",
                StatusCode::INSUFFICIENT_STORAGE,
                "There is no room to make the file in",
            ),
            Self::StatementTimeout => (
                "statement-timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "The query took longer than it may",
            ),
            Self::ExportCancelled => (
                "export-cancelled",
                StatusCode::CONFLICT,
                "The export was stopped",
            ),
            Self::BenchmarkRuns => (
                "benchmark-runs",
                StatusCode::CONFLICT,
                "Another benchmark runs already",
            ),
            Self::BenchmarksOff => (
                "benchmarks-off",
                StatusCode::FORBIDDEN,
                "Benchmarks were not allowed on this service",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong",
            ),
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use regex_lite::Regex;

    use super::*;

    /// The number of a status, by the name of its constant.
    fn code(name: &str) -> u16 {
        let reason = name.replace('_', " ");
        let named = |code: &u16| {
            StatusCode::from_u16(*code).is_ok_and(|status| {
                let known = status.canonical_reason();
                known.is_some_and(|known| known.eq_ignore_ascii_case(&reason))
            })
        };
        (400..600).find(named).expect("a status")
    }

    #[test]
    fn the_docs_list_every_problem_with_its_status_and_title() {
        let docs = include_str!("../../../docs/http.md");
        // Each kind's parts, as they stand above.
        let parts =
            Regex::new(r#"\(\s*"([a-z-]+)",\s*StatusCode::(\w+),\s*"([^"]+)""#).expect("ours");
        let kinds: Vec<String> = parts
            .captures_iter(include_str!("kind.rs"))
            .map(|kind| format!("| {} | `{}` | {} |", code(&kind[2]), &kind[1], &kind[3]))
            .collect();
        for row in &kinds {
            assert!(docs.contains(row.as_str()), "docs/http.md lacks: {row}");
        }
        let listed = Regex::new(r"(?m)^\| [45]\d\d \| `[a-z-]+` \| ").expect("ours");
        assert_eq!(listed.find_iter(docs).count(), kinds.len());
        assert!(kinds.len() > 20, "{kinds:?}");
    }
}
