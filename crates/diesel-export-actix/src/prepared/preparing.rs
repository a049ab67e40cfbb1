//! How the exports in the queue are made, one after the other or a few at once, in threads of their own.
//!
//! They take permits for the database as downloads do, but never more than half of them, and at least one: so the other half is left to
//! downloads, if there is more than one. A permit that is released goes first to the next export in the queue: so downloads, which are
//! requested again and again, never keep it waiting for ever.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Duration, interval};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::download::supervisor::{ObstacleWatch, give_back_permits};
use crate::service::app::App;
use diesel_export::{self as export, ExportRun, db};

/// Interval between two removals of expired exports.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the thread that works off the queue.
pub(crate) fn start(app: Arc<App>) -> io::Result<()> {
    if !app.prepared.has_spool() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let thread = std::thread::Builder::new().name("prepare".into());
    thread.spawn(move || LocalSet::new().block_on(&runtime, see_to(app)))?;
    Ok(())
}

async fn see_to(app: Arc<App>) {
    let stopping = app.prepared.stopping.clone();
    let seeing = async {
        app.prepared.wait_for_store().await;
        spawn_local(sweep(Arc::clone(&app)));
        work_off(app).await;
    };
    stopping.run_until_cancelled(seeing).await;
}

async fn sweep(app: Arc<App>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        app.prepared.sweep();
    }
}

async fn work_off(app: Arc<App>) {
    let half = Arc::new(Semaphore::new((app.settings.max_exports / 2).max(1)));
    loop {
        app.prepared.wait_for_one().await;
        let mut permits = Vec::new();
        for semaphore in [&half, &app.permits] {
            // The semaphores are never closed.
            let Ok(permit) = Arc::clone(semaphore).acquire_owned().await else {
                return;
            };
            permits.push(permit);
        }
        // It may have been deleted while it waited.
        if let Some(job) = app.prepared.next() {
            let span = job.record.span().clone();
            spawn_local(prepare(Arc::clone(&app), job, permits).instrument(span));
        }
    }
}

/// Makes one export, and records its end.
async fn prepare(app: Arc<App>, job: Arc<ExportRun>, permits: Vec<OwnedSemaphorePermit>) {
    app.metrics.started();
    let over = CancellationToken::new();
    let guard = over.clone().drop_guard();
    let making = Arc::clone(&app);
    job.spawn(permits, move |job| {
        // Dropped also if it panics.
        let _over = guard;
        if let Err(error) = make(&making, job) {
            fail(&making, job, &error);
        }
    });
    let watch = ObstacleWatch {
        flow: &job.flow,
        peer: None,
        reader_timeout: None,
        servers: Some(&app.servers),
    };
    if over.run_until_cancelled(watch.obstacle()).await.is_some() {
        // Otherwise it has just ended, and its result counts, or it was cancelled.
        if fail(&app, &job, &db::Error::silent_server().into()) {
            job.cancellation.cancel_elsewhere();
        }
        give_back_permits(&job, &app.servers).await;
        over.cancelled().await;
    }
    app.prepared.finish(&job);
}

/// Records that one has failed, unless it has ended already; returns whether it had not.
fn fail(app: &App, job: &ExportRun, error: &export::Error) -> bool {
    job.record.breaks_off(error);
    let (state, class) = error.end();
    app.prepared.end(job, state, class, None)
}

fn make(app: &App, job: &ExportRun) -> Result<(), export::Error> {
    let file = app.prepared.begin(job);
    let made = file.and_then(|file| job.fill(&app.servers, file));
    // It no longer needs the database; what comes now is the disk's.
    job.release();
    let (file, _bytes) = made?;
    app.prepared.publish(job, file)
}
