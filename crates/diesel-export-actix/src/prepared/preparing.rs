//! How the exports in the queue are made, one after the other or a few at once, in threads of their own.
//!
//! They take places among the exports on the database as downloads do, but never more than half of them, and at least one: so
//! downloads always find the other half, if there is more than one place. A place that comes free is the next one's in the queue
//! first: so downloads, which are asked for again and again, never keep it waiting for ever.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Duration, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::app::App;
use crate::download::stall_detector::StallDetector;
use crate::download::supervisor::{Place, WATCH_INTERVAL, cancel};
use crate::prepared::Job;
use diesel_export::db;
use diesel_export::spool::SpoolSink;
use diesel_export::{self as export, routing};

/// Time between two looks for what is not to be kept any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the thread that sees to the queue.
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
        let mut places = Vec::new();
        for semaphore in [&half, &app.permits] {
            // Nobody closes them.
            let Ok(place) = Arc::clone(semaphore).acquire_owned().await else {
                return;
            };
            places.push(place);
        }
        // It may have been deleted while it waited.
        if let Some(job) = app.prepared.next() {
            let span = job.record.span().clone();
            spawn_local(prepare(Arc::clone(&app), job, places).instrument(span));
        }
    }
}

/// Makes one export, and sees that it ends.
async fn prepare(app: Arc<App>, job: Arc<Job>, places: Vec<OwnedSemaphorePermit>) {
    app.metrics.started();
    let place = Arc::new(Place::of(places));
    let flow = Arc::new(StallDetector::default());
    let over = CancellationToken::new();
    let work = Work {
        app: Arc::clone(&app),
        job: Arc::clone(&job),
        place: Arc::clone(&place),
        flow: Arc::clone(&flow),
    };
    let guard = over.clone().drop_guard();
    let thread = std::thread::Builder::new().name("export".into());
    let span = Span::current();
    let spawned = thread.spawn(move || {
        let _entered = span.entered();
        // Dropped also if it panics.
        let _over = guard;
        work.run();
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for an export");
    }
    let mut is_abandoned = false;
    loop {
        tokio::select! {
            biased;
            () = over.cancelled() => break,
            () = sleep(WATCH_INTERVAL) => {}
        }
        if !is_abandoned && !job.record.is_loaded() && flow.is_dried_up(&app.servers) {
            // Else it has just ended, and may be read.
            if fail(&app, &job, &db::Error::silent_server().into()) {
                cancel(job.cancellation.clone());
                place.abandon();
            }
            is_abandoned = true;
        }
    }
    app.prepared.finish(&job);
}

/// Notes that one has failed, unless it has ended already; whether it had not.
fn fail(app: &App, job: &Job, error: &export::Error) -> bool {
    job.record.breaks_off(error);
    let (state, class) = error.end();
    app.prepared.end(job, state, class, None)
}

/// What an export's thread does.
struct Work {
    app: Arc<App>,
    job: Arc<Job>,
    place: Arc<Place>,
    flow: Arc<StallDetector>,
}

impl Work {
    fn run(self) {
        let made = self.make();
        // It needs nothing more of the database; what comes now is the disk's.
        self.place.free();
        let published = made.and_then(|sink| {
            let (file, _bytes) = sink.into_file();
            self.app.prepared.publish(&self.job, file)
        });
        if let Err(error) = published {
            fail(&self.app, &self.job, &error);
        }
    }

    fn make(&self) -> Result<SpoolSink, export::Error> {
        let (job, record, flow) = (&self.job, &self.job.record, &self.flow);
        let mut file = SpoolSink::new(self.app.prepared.begin(job)?);
        self.place.fills(file.file());
        record.of(&mut file, |sink| {
            let observer = (record.as_ref(), flow.as_ref());
            let (servers, cancellation) = (&self.app.servers, &job.cancellation);
            routing::run(
                &job.export,
                servers,
                job.fresh,
                cancellation,
                &observer,
                sink,
            )
        })?;
        Ok(file)
    }
}
