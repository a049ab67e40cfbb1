//! `/api/tasks` and `/api/filters`: what the export page shows while one chooses.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, rt, web};
use clap::ValueEnum;
use diesel::{PgConnection, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::download::{WATCH_INTERVAL, cancel};
use super::peer::Peer;
use super::problem::{Problem, ProblemBody};
use super::query::{invalid, pairs, take, take_bool};
use crate::db::{self, Database, Process};
use crate::export;
use crate::export::cancellation::Cancellation;
use crate::export::choices::{self, Choices, Of};
use crate::export::filter::Title;
use crate::export::parameters::filter_from_pairs;
use crate::export::preview::{self, Row};
use crate::export::routing::{self, Failure};

/// Time for each query: there are few connections for them.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// What an export would give.
#[derive(Serialize, ToSchema)]
pub(super) struct Preview {
    /// How many rows it has; `null` if that was not asked for.
    count: Option<i64>,
    /// The first of them.
    rows: Vec<Row>,
}

/// How many rows an export would have.
#[derive(Serialize, ToSchema)]
pub(super) struct Count {
    /// All rows that match.
    count: i64,
}

/// Where something is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// From the database's own server.
    Database,
    /// From one of those that exports run on.
    Exports,
}

/// Does `work` in a snapshot on a connection that no export uses, and in a thread that may wait; gives it up where the client
/// has gone, as one does who goes on choosing.
pub(super) async fn read<T: Send + 'static>(
    request: &HttpRequest,
    app: &App,
    from: From,
    timeout: Duration,
    work: impl Fn(&mut PgConnection) -> QueryResult<T> + Send + 'static,
) -> Result<T, export::Error> {
    let cancellation = Cancellation::default();
    let (database, servers) = (app.database.clone(), Arc::clone(&app.servers));
    let cancelled = cancellation.clone();
    let mut reading = pin!(web::block(move || {
        let attempt = |database: &Database| {
            let mut connection = database.control_connection()?;
            let started = Instant::now();
            let outcome = db::short_snapshot(&mut connection, timeout, |connection| {
                let _backend = cancelled.register(database, Process::of(connection)?)?;
                Ok(work(connection)?)
            });
            let waited = Some(started.elapsed());
            outcome.map_err(|error: export::Error| error.explained(&mut connection, waited))
        };
        match from {
            From::Database => attempt(&database),
            From::Exports => routing::route(&servers, false, |server| {
                attempt(&server.database).map_err(|error| Failure {
                    is_final: cancelled.is_cancelled(),
                    error,
                })
            }),
        }
    }));
    let mut peer = request.conn_data::<Peer>();
    loop {
        tokio::select! {
            outcome = &mut reading => return outcome.unwrap_or(Err(export::Error::Cancelled)),
            () = rt::time::sleep(WATCH_INTERVAL) => {}
        }
        if peer.is_some_and(Peer::is_gone) {
            peer = None;
            cancel(cancellation.clone());
        }
    }
}

/// The number of the tasks.
#[utoipa::path(
    method(get, head),
    path = "/api/tasks/count",
    params(
        ("done" = Option<bool>, Query, description = "Only tasks that are done, or that are not"),
        ("location_id" = Option<i64>, Query, description = "Only tasks on assets at this location"),
        ("asset_id" = Option<i64>, Query, description = "Only tasks on this asset"),
        ("created_by_id" = Option<i64>, Query, description = "Only tasks that this user created"),
        ("updated_by_id" = Option<String>, Query, description = "Only tasks that this user, or nobody (`none`), has changed since"),
        ("title" = Option<String>, Query, description = "Only tasks whose title has this text in it, in upper or lower case"),
    ),
    responses((status = 200, body = Count))
)]
pub(super) async fn count(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<web::Json<Count>, Problem> {
    let filter = filter_from_pairs(pairs(request.query_string())?)?;
    let count = read(
        &request,
        &app,
        From::Exports,
        QUERY_TIMEOUT,
        move |connection| preview::count(connection, &filter),
    );
    Ok(web::Json(Count {
        count: count.await?,
    }))
}

/// The number of the tasks, and the first of them.
#[utoipa::path(
    method(get, head),
    path = "/api/tasks",
    params(
        ("done" = Option<bool>, Query, description = "Only tasks that are done, or that are not"),
        ("location_id" = Option<i64>, Query, description = "Only tasks on assets at this location"),
        ("asset_id" = Option<i64>, Query, description = "Only tasks on this asset"),
        ("created_by_id" = Option<i64>, Query, description = "Only tasks that this user created"),
        ("updated_by_id" = Option<String>, Query, description = "Only tasks that this user, or nobody (`none`), has changed since"),
        ("title" = Option<String>, Query, description = "Only tasks whose title has this text in it, in upper or lower case"),
        ("count" = Option<bool>, Query, description = "Whether to count them too, which takes the longer the more there are: `true` without a word"),
    ),
    responses((status = 200, body = Preview))
)]
pub(super) async fn tasks(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<web::Json<Preview>, Problem> {
    let mut pairs = pairs(request.query_string())?;
    let counts = take_bool(&mut pairs, "count")?.unwrap_or(true);
    let filter = filter_from_pairs(pairs)?;
    let preview = read(
        &request,
        &app,
        From::Exports,
        QUERY_TIMEOUT,
        move |connection| {
            Ok(Preview {
                count: counts
                    .then(|| preview::count(connection, &filter))
                    .transpose()?,
                rows: preview::rows(connection, &filter)?,
            })
        },
    );
    Ok(web::Json(preview.await?))
}

/// What a filter can be set to: the first 200, in the order of their names.
#[utoipa::path(
    method(get, head),
    path = "/api/filters",
    params(
        ("of" = Of, Query, description = "Of what"),
        ("q" = Option<String>, Query, description = "Only those whose name has this text in it, in upper or lower case"),
        ("location_id" = Option<i64>, Query, description = "Only assets at this location"),
    ),
    responses(
        (status = 200, body = Choices),
        (status = 400, description = "A parameter is not understood", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn filters(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<web::Json<Choices>, Problem> {
    let mut pairs = pairs(request.query_string())?;
    let of = take(&mut pairs, "of")?.unwrap_or_default();
    let of = Of::from_str(&of, false)
        .map_err(|_| invalid("`of`: expected one of `locations`, `assets`, `users`"))?;
    let text = search_text(&take(&mut pairs, "q")?.unwrap_or_default(), "q")?;
    let location_id = match take(&mut pairs, "location_id")? {
        Some(id) if !id.is_empty() => Some(
            id.parse()
                .map_err(|error| invalid(format!("`location_id`: {error}")))?,
        ),
        _ => None,
    };
    if let Some((name, _)) = pairs.first() {
        return Err(invalid(format!("unknown field `{name}`")));
    }
    if location_id.is_some() && of != Of::Assets {
        return Err(invalid("`location_id`: goes with `of=assets` only"));
    }
    let choices = read(
        &request,
        &app,
        From::Database,
        QUERY_TIMEOUT,
        move |connection| choices::load(connection, of, &text, location_id),
    );
    Ok(web::Json(choices.await?))
}

/// A text to look for in names.
pub(super) fn search_text(text: &str, name: &str) -> Result<Title, Problem> {
    text.parse()
        .map_err(|error| invalid(format!("`{name}`: {error}")))
}
