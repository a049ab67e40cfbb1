//! An export on its way: through the queue, while it is made, until it has ended.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::monitoring::metrics::Rejection;
use crate::prepared::Prepared;
use crate::prepared::entry::{Entry, JobState};
use crate::problem::{Kind, Problem};
use diesel_export::manifest::{ErrorClass, Facts, Manifest, State};
use diesel_export::record::Record;
use diesel_export::spool::{Space, SpoolFile};
use diesel_export::{self as export, Export, ExportRun};

/// Time that the queries of interrupted exports have to end.
const INTERRUPTION: Duration = Duration::from_secs(2);

impl Prepared {
    /// Puts an export at the end of the queue. Writes a file.
    pub(crate) fn order(
        &self,
        export: Export,
        fresh: bool,
        disposition: String,
        facts: Facts,
    ) -> Result<Manifest, Problem> {
        self.sweep();
        let store = self.store()?;
        let id = format!("{:032x}", rand::random::<u128>());
        let record = Record::queue(id.clone(), &export, facts);
        let job = ExportRun::new(record, fresh);
        let scope = job.record.export().dataset().scope();
        let owner = scope.cloned();
        let entry = Entry {
            owner: owner.clone(),
            requested_at: OffsetDateTime::now_utc(),
            disposition,
            state: JobState::Live(Arc::clone(&job)),
        };
        let _one_at_a_time = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = self.with(|all| all.queue.len() >= self.max_queued);
        if is_full || self.stopping.is_cancelled() {
            self.metrics.rejected(Rejection::Queue);
            return Err(Problem::new(Kind::QueueFull));
        }
        self.make_room().inspect_err(|_| {
            self.metrics.rejected(Rejection::Spool);
        })?;
        let label = entry.label(entry.manifest());
        // Recorded before it can run, so that no later label is overwritten.
        store.put(&label).map_err(export::Error::Sink)?;
        let manifest = self.with(|all| {
            all.by_id.insert(id.clone(), entry);
            all.queue.push_back(job);
            all.manifest(&id, owner.as_ref())
        });
        self.queued.notify_one();
        manifest.ok_or_else(|| Problem::new(Kind::Internal))
    }

    /// Shuts down: interrupts what is not complete yet.
    pub(crate) fn interrupt(&self) {
        self.stopping.cancel();
        let live: Vec<Arc<ExportRun>> = self.with(|all| {
            let jobs = all.by_id.values().filter_map(Entry::job);
            jobs.cloned().collect()
        });
        for job in &live {
            self.stop(job, State::Failed, Some(ErrorClass::Interrupted));
        }
        let deadline = Instant::now() + INTERRUPTION;
        while Instant::now() < deadline && !live.iter().all(|job| job.cancellation.is_idle()) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(&self, job: &ExportRun, state: State, error: Option<ErrorClass>) {
        if self.end(job, state, error, None) {
            job.cancellation.cancel_elsewhere();
        }
    }

    /// Waits until one is queued.
    pub(crate) async fn wait_for_one(&self) {
        while self.with(|all| all.queue.is_empty()) {
            self.queued.notified().await;
        }
    }

    /// Takes the next one from the queue.
    pub(crate) fn next(&self) -> Option<Arc<ExportRun>> {
        self.with(|all| {
            let job = all.queue.pop_front()?;
            job.record.begin();
            Some(job)
        })
    }

    /// Begins the file of one that runs.
    pub(crate) fn begin(&self, job: &ExportRun) -> Result<SpoolFile, export::Error> {
        self.restore();
        let store = self.own_store().ok_or(export::Error::Cancelled)?;
        store.begin(job.record.id()).map_err(export::Error::Sink)
    }

    /// Publishes the file of one that is complete, and records that it is complete.
    pub(crate) fn publish(
        &self,
        job: &ExportRun,
        file: Arc<SpoolFile>,
    ) -> Result<(), export::Error> {
        let id = job.record.id();
        self.restore();
        let store = self.own_store().ok_or(export::Error::Cancelled)?;
        let label = self.with(|all| {
            let entry = all.by_id.get(id)?;
            Some(entry.label(self.kept(entry.complete(job.record.whole(), &self.base_path))))
        });
        let label = label.ok_or(export::Error::Cancelled)?;
        let published = store.publish(file, &label);
        let space = published.map_err(export::Error::Sink)?;
        if !self.end(job, State::Complete, None, Some((label.manifest, space))) {
            // It was cancelled at the last moment.
            store.remove_file(id);
            self.note(id);
        }
        Ok(())
    }

    /// The thread of one has ended: without a result, it has panicked; and it may have created a file after it was cancelled.
    pub(crate) fn finish(&self, job: &ExportRun) {
        self.end(job, State::Failed, Some(ErrorClass::Internal), None);
        if let (Some(store), false) = (
            self.own_store(),
            job.record.manifest().state == State::Complete,
        ) {
            store.remove_file(job.record.id());
        }
    }

    /// Records how one has ended, unless that is known already; returns whether this was it. One that is complete has a file.
    pub(crate) fn end(
        &self,
        job: &ExportRun,
        state: State,
        error: Option<ErrorClass>,
        file: Option<(Manifest, Arc<Space>)>,
    ) -> bool {
        let id = job.record.id();
        let is_complete = file.is_some();
        // Visible to all at once: one that is complete has a file.
        let is_first = self.with(|all| {
            if !job.record.end(state, error) {
                return false;
            }
            all.queue.retain(|queued| queued.record.id() != id);
            if let Some(entry) = all.by_id.get_mut(id) {
                let (manifest, space) = file.unzip();
                let manifest = manifest.unwrap_or_else(|| self.kept(entry.manifest()));
                entry.state = JobState::Kept(Box::new(manifest), space);
            }
            true
        });
        if !is_first {
            return false;
        }
        if job.record.has_begun() {
            self.metrics.ended(&job.record.manifest());
        }
        if !is_complete {
            if let Some(store) = self.own_store() {
                store.remove_file(id);
            }
            // The label of an interrupted export says already that it has not ended; and a program that shuts down has no time for as many
            // labels as are queued.
            if error != Some(ErrorClass::Interrupted) {
                self.note(id);
            }
        }
        true
    }
}
