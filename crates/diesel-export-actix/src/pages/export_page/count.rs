//! How many rows match, and what that means for a download.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;

use crate::api::read::{ReadFrom, read};
use crate::prepared::row_cost::RowCost;
use crate::service::app::App;
use diesel_export::dataset::Filter;
use diesel_export::manifest::ErrorClass;
use diesel_export::units::{readable_bytes, readable_seconds};
use diesel_export::{self as export, queries};

/// Time to count the matching rows in. The page does not wait any longer: its script asks for the count once it is shown.
const COUNT_TIMEOUT: Duration = Duration::from_millis(50);
/// Without an exact count, the page says at least whether there are more rows than this.
const MANY: i64 = 100_000;

/// How many rows match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Exactly(i64),
    MoreThan(i64),
    Unknown,
}

/// Time for each query: for a test, whose query takes as long as a busy machine makes it, more.
fn timeout() -> Duration {
    #[cfg(feature = "fault-injection")]
    if let Some(asked) = std::env::var("FAULT_COUNT_TIMEOUT_MS")
        .ok()
        .and_then(|asked| asked.parse().ok())
    {
        return Duration::from_millis(asked);
    }
    COUNT_TIMEOUT
}

/// Counts the rows that match, if that does not take too long.
pub(crate) async fn of(
    request: &HttpRequest,
    app: &App,
    filter: Filter,
) -> Result<Count, export::Error> {
    let at_least = filter.clone();
    let exact = read(
        request,
        app,
        Arc::clone(filter.dataset()),
        ReadFrom::Exports,
        timeout(),
        move |connection| queries::count(connection, &filter),
    );
    if let Some(count) = in_time(exact.await)? {
        return Ok(Count::Exactly(count));
    }
    let many = read(
        request,
        app,
        Arc::clone(at_least.dataset()),
        ReadFrom::Exports,
        timeout(),
        move |connection| queries::has_more_than(connection, &at_least, MANY),
    );
    Ok(match in_time(many.await)? {
        Some(true) => Count::MoreThan(MANY),
        _ => Count::Unknown,
    })
}

/// Returns `None` if the query took too long.
fn in_time<T>(outcome: Result<T, export::Error>) -> Result<Option<T>, export::Error> {
    match outcome {
        Err(error) if error.class() == Some(ErrorClass::StatementTimeout) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Returns what the page says about preparing so many rows. Its script says the same of other choices.
pub(crate) fn estimate(count: Count, cost: Option<RowCost>) -> String {
    let (rows, is_many) = match count {
        Count::Exactly(count) => (count, count >= MANY),
        Count::MoreThan(count) => (0, count >= MANY),
        Count::Unknown => (0, true),
    };
    let mut text = String::new();
    if let Some(cost) = cost.filter(|_| rows > 0) {
        let bytes = readable_bytes((rows as f64 * cost.bytes_per_row) as u64);
        let seconds = readable_seconds(rows as f64 * cost.seconds_per_row);
        text = format!("About {bytes}, ready in about {seconds}. ");
    }
    text += "The server makes the file and keeps it for a while: download it when you like.";
    if is_many {
        text += " With so many rows, this is the better way.";
    }
    text
}
