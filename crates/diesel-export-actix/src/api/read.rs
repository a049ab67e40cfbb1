//! Short reads of the database, for pages and previews.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, rt, web};
use diesel::{PgConnection, QueryResult};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use crate::download::supervisor::{Obstacle, ObstacleWatch};
use crate::service::app::App;
use diesel_export::cancellation::Cancellation;
use diesel_export::dataset::Dataset;
use diesel_export::db::servers::PATIENCE;
use diesel_export::db::snapshot::{self, Beginning};
use diesel_export::db::{self, Database, LOCK_TIMEOUT};
use diesel_export::routing::{self, Failure};
use diesel_export::stall_detector::StallDetector;
use diesel_export::{self as export, Export, Observer as _};

/// Time for each query: there are few connections for them.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads at once, those that wait for a connection included: each one has a thread.
pub(crate) const MAX_READS: usize = 32;

/// Waits for a place to read in; it is the thread's that reads.
pub(crate) async fn place(app: &App) -> Result<OwnedSemaphorePermit, db::Error> {
    let place = Arc::clone(&app.read_permits).acquire_owned();
    match rt::time::timeout(PATIENCE, place).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(db::Error::silent_server()),
    }
}

/// Where something is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadFrom {
    /// From the database's own server.
    Database,
    /// From one of those that exports run on.
    Exports,
}

/// Does `work`, which reads a dataset, in a snapshot, on a connection that no export uses, in a thread that may wait. If the client goes away, as it does
/// when its user goes on choosing, the work is cancelled.
pub(crate) async fn read<T: Send + 'static>(
    request: &HttpRequest,
    app: &App,
    dataset: Arc<dyn Dataset>,
    from: ReadFrom,
    timeout: Duration,
    work: impl Fn(&mut PgConnection) -> QueryResult<T> + Send + 'static,
) -> Result<T, export::Error> {
    let cancellation = Cancellation::default();
    let flow = Arc::new(StallDetector::default());
    let from_server = Arc::clone(&flow);
    let (database, servers) = (app.database.clone(), Arc::clone(&app.servers));
    let cancelled = cancellation.clone();
    let span = Span::current();
    let place = place(app).await?;
    let mut reading = pin!(web::block(move || {
        let (_entered, _place) = (span.entered(), place);
        let attempt = |database: &Database| {
            let mut connection = database.control_connection()?;
            let started = Instant::now();
            let backend = cancelled.register(database)?;
            let beginning = Beginning {
                name: backend.transaction(),
                relations: dataset.relations(),
                role: dataset.role(),
                user: dataset.user(),
                proof: dataset.proof(),
                time_zone: database.time_zone(),
                statement_timeout: Some(timeout),
                // There are few connections for short work, and one that waits is in use.
                lock_timeout: Some(LOCK_TIMEOUT),
            };
            let query = || Export::of(&dataset).sql();
            let outcome = snapshot::snapshot(&mut connection, &beginning, query, |connection| {
                Ok(work(connection)?)
            });
            let waited = Some(started.elapsed());
            outcome.map_err(|error: export::Error| error.explained(&mut connection, waited))
        };
        match from {
            ReadFrom::Database => attempt(&database)
                .map_err(|error| error.because_of_tables(&database, dataset.name())),
            ReadFrom::Exports => routing::route(&servers, dataset.name(), |server| {
                from_server.server(server);
                attempt(&server.database).map_err(|error| Failure {
                    is_final: cancelled.is_cancelled(),
                    error,
                })
            }),
        }
    }));
    let mut watch = ObstacleWatch {
        flow: &flow,
        peer: request.conn_data(),
        reader_timeout: None,
        servers: Some(&app.servers),
    };
    loop {
        let obstacle = tokio::select! {
            outcome = &mut reading => return outcome.unwrap_or(Err(export::Error::Cancelled)),
            obstacle = watch.obstacle() => obstacle,
        };
        cancellation.cancel_elsewhere();
        watch.peer = None;
        if obstacle == Obstacle::ServerSilent {
            // The thread is left behind: it waits for its server, maybe for ever, and cannot be woken.
            return Err(db::Error::silent_server().into());
        }
    }
}
