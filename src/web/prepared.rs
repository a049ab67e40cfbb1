//! The exports that are prepared for later: those that wait in the queue, those that run, and those that are kept.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::metrics::{Metrics, Rejection, Removal};
use super::problem::{Kind, Problem};
use crate::export::cancellation::Cancellation;
use crate::export::manifest::{ErrorClass, Manifest, State};
use crate::export::record::Record;
use crate::export::{self, Export};
use crate::shelf::{Label, Shelf};
use crate::spool::{Space, Spool, SpoolFile};

/// Exports that are kept at most, those that came to nothing included: each is a file, or two, and some memory.
const MAX_KEPT: usize = 1_000;
/// Time that the queries of those that are interrupted have to go.
const INTERRUPTION: Duration = Duration::from_secs(2);
/// How many are listed at a time.
pub(super) const PAGE: usize = 100;

/// All of them.
pub(super) struct Prepared {
    /// None if exports cannot be prepared here.
    shelf: Option<Shelf>,
    max_queued: usize,
    /// How long one is kept after its end.
    keep: Duration,
    metrics: Arc<Metrics>,
    all: Mutex<All>,
    ordering: Mutex<()>,
    /// Told of each one that is queued.
    queued: Notify,
    /// Cancelled when the program is to end.
    pub(super) stopping: CancellationToken,
}

#[derive(Default)]
struct All {
    by_id: HashMap<String, Entry>,
    /// Those that wait for a place, the next one first.
    queue: VecDeque<Arc<Job>>,
}

struct Entry {
    requested_at: OffsetDateTime,
    disposition: String,
    stands: Stands,
}

/// How one stands.
enum Stands {
    /// It waits, or runs.
    Live(Arc<Job>),
    /// It has ended, and is kept: with a file, if that takes space.
    Kept(Box<Manifest>, Option<Arc<Space>>),
}

/// An export that is to be made.
pub(super) struct Job {
    pub(super) export: Export,
    pub(super) fresh: bool,
    pub(super) record: Arc<Record>,
    pub(super) cancellation: Cancellation,
}

/// A file that is being read. Until it is dropped, the file's space is taken, and it is not given up for others.
pub(super) struct Fetched {
    pub(super) file: File,
    pub(super) manifest: Manifest,
    pub(super) disposition: String,
    pub(super) space: Arc<Space>,
}

impl Prepared {
    /// Those on the shelf of this spool.
    pub(super) fn open(
        spool: Option<&Arc<Spool>>,
        max_queued: usize,
        keep: Duration,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let opened = spool.map(Shelf::open).transpose();
        let opened = opened.unwrap_or_else(|error| {
            tracing::warn!(%error, "no exports can be prepared for later: give this service a --spool-dir of its own");
            None
        });
        let (shelf, found) = opened.unzip();
        let mut all = All::default();
        for found in found.into_iter().flatten() {
            let Label {
                mut manifest,
                disposition,
            } = found.label;
            let now = OffsetDateTime::now_utc();
            manifest.expires_at.get_or_insert(now + keep);
            let entry = Entry {
                requested_at: manifest.requested_at.unwrap_or(now),
                disposition,
                stands: Stands::Kept(Box::new(manifest.clone()), found.space.map(Arc::new)),
            };
            metrics.paces.note(&manifest);
            all.by_id.insert(manifest.id, entry);
        }
        let prepared = Arc::new(Self {
            shelf,
            max_queued,
            keep,
            metrics,
            all: Mutex::new(all),
            ordering: Mutex::default(),
            queued: Notify::new(),
            stopping: CancellationToken::new(),
        });
        if let Some(spool) = spool {
            let keeper = Arc::downgrade(&prepared);
            spool.set_keeper(move || keeper.upgrade().is_some_and(|it| it.give_one_up()));
            // There may be less space than there was.
            spool.make_room(0);
        }
        prepared.sweep();
        prepared
    }

    /// Whether exports can be prepared here.
    pub(super) fn is_possible(&self) -> bool {
        self.shelf.is_some()
    }

    fn shelf(&self) -> Result<&Shelf, Problem> {
        let off = || Problem::new(Kind::PreparingOff);
        self.shelf.as_ref().ok_or_else(off)
    }

    fn with<T>(&self, work: impl FnOnce(&mut All) -> T) -> T {
        work(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts an export at the end of the queue. Writes a file.
    pub(super) fn order(
        &self,
        export: Export,
        fresh: bool,
        disposition: String,
        is_demonstration: bool,
    ) -> Result<Manifest, Problem> {
        let shelf = self.shelf()?;
        let id = format!("{:032x}", rand::random::<u128>());
        let record = Record::queue(id.clone(), &export, is_demonstration);
        let job = Arc::new(Job {
            export,
            fresh,
            record: Arc::new(record),
            cancellation: Cancellation::default(),
        });
        let entry = Entry {
            requested_at: OffsetDateTime::now_utc(),
            disposition,
            stands: Stands::Live(Arc::clone(&job)),
        };
        let _one_at_a_time = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = self.with(|all| all.queue.len() >= self.max_queued);
        if is_full || self.stopping.is_cancelled() {
            self.metrics.rejected(Rejection::Queue);
            return Err(Problem::new(Kind::QueueFull));
        }
        let label = Label {
            manifest: entry.manifest(),
            disposition: entry.disposition.clone(),
        };
        // Noted before it can run, so that no later note is overwritten.
        shelf.put(&label).map_err(export::Error::Sink)?;
        let manifest = self.with(|all| {
            all.by_id.insert(id.clone(), entry);
            all.queue.push_back(job);
            all.manifest(&id)
        });
        self.queued.notify_one();
        manifest.ok_or_else(|| Problem::new(Kind::Internal))
    }

    /// Whether there is one of this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.with(|all| all.by_id.contains_key(id))
    }

    /// The manifest of the one of this id.
    pub(super) fn manifest(&self, id: &str) -> Option<Manifest> {
        self.sweep();
        self.peek(id)
    }

    /// The same, also of one that is about to be removed: without the disk.
    pub(super) fn peek(&self, id: &str) -> Option<Manifest> {
        self.with(|all| all.manifest(id))
    }

    /// A page of manifests, the newest first, of those before the one of this id, if one is given; and the id of the last, if there are
    /// more. None if there is no such id.
    pub(super) fn list(&self, before: Option<&str>) -> Option<(Vec<Manifest>, Option<String>)> {
        self.sweep();
        self.with(|all| {
            let key = |(id, entry): &(&String, &Entry)| (entry.requested_at, (*id).clone());
            let before = match before {
                Some(id) => Some(key(&all.by_id.get_key_value(id)?)),
                None => None,
            };
            let mut listed: Vec<_> = all.by_id.iter().collect();
            listed.retain(|entry| before.as_ref().is_none_or(|before| key(entry) < *before));
            listed.sort_by_cached_key(key);
            let listed: Vec<&String> = listed.into_iter().rev().map(|(id, _)| id).collect();
            let next = (listed.len() > PAGE).then(|| listed[PAGE - 1].clone());
            let page = listed.iter().take(PAGE);
            let manifests = page.filter_map(|id| all.manifest(id)).collect();
            Some((manifests, next))
        })
    }

    /// How many wait, and how many are kept with a file.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.with(|all| {
            let files = all.by_id.values().filter(|entry| entry.has_file());
            (all.queue.len(), files.count())
        })
    }

    /// Opens the file of the one of this id.
    pub(super) fn fetch(&self, id: &str, name: &str) -> Result<Fetched, Problem> {
        self.sweep();
        let not_found = || Problem::new(Kind::NotFound);
        let (manifest, disposition, space) = self.with(|all| {
            let entry = all.by_id.get(id).ok_or_else(not_found)?;
            match &entry.stands {
                Stands::Live(job) => Err(if file_name(&job.record.manifest()) == name {
                    Problem::new(Kind::NotFinished)
                } else {
                    not_found()
                }),
                Stands::Kept(manifest, Some(space)) if file_name(manifest) == name => {
                    // From here on it is read, and not given up for others.
                    let space = Arc::clone(space);
                    Ok((manifest.as_ref().clone(), entry.disposition.clone(), space))
                }
                Stands::Kept(..) => Err(not_found()),
            }
        })?;
        let file = self.shelf()?.open_file(id).map_err(|error| {
            // Deleted meanwhile, or by somebody else.
            tracing::warn!(export_id = id, %error, "the file of an export cannot be opened");
            not_found()
        })?;
        Ok(Fetched {
            file,
            manifest,
            disposition,
            space,
        })
    }

    /// Stops the one of this id, or, if it has ended, removes it; whether there is one. Writes or removes files.
    pub(super) fn delete(&self, id: &str) -> bool {
        self.sweep();
        let live = self.with(|all| match &all.by_id.get(id)?.stands {
            Stands::Live(job) => Some(Some(Arc::clone(job))),
            Stands::Kept(..) => {
                all.by_id.remove(id);
                Some(None)
            }
        });
        match live {
            None => return false,
            Some(Some(job)) => self.stop(&job, State::Cancelled, None),
            Some(None) => self.remove(id, Removal::Deleted),
        }
        true
    }

    /// The program is to end: what is not whole yet is interrupted.
    pub(super) fn interrupt(&self) {
        self.stopping.cancel();
        let live: Vec<Arc<Job>> = self.with(|all| {
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

    fn stop(&self, job: &Job, state: State, error: Option<ErrorClass>) {
        if self.end(job, state, error, None) {
            super::watch::cancel(job.cancellation.clone());
        }
    }

    /// Waits until one is queued.
    pub(super) async fn wait_for_one(&self) {
        while self.with(|all| all.queue.is_empty()) {
            self.queued.notified().await;
        }
    }

    /// Takes the next one from the queue.
    pub(super) fn next(&self) -> Option<Arc<Job>> {
        self.with(|all| {
            let job = all.queue.pop_front()?;
            job.record.begin();
            Some(job)
        })
    }

    /// Begins the file of one that runs.
    pub(super) fn begin(&self, job: &Job) -> Result<SpoolFile, export::Error> {
        let shelf = self.shelf.as_ref().ok_or(export::Error::Cancelled)?;
        shelf.begin(job.record.id()).map_err(export::Error::Sink)
    }

    /// Publishes the file of one that is whole, and notes that it is complete.
    pub(super) fn publish(&self, job: &Job, file: SpoolFile) -> Result<(), export::Error> {
        let id = job.record.id();
        let shelf = self.shelf.as_ref().ok_or(export::Error::Cancelled)?;
        let label = self.with(|all| {
            let entry = all.by_id.get(id)?;
            Some(Label {
                manifest: self.kept(entry.complete(job.record.whole())),
                disposition: entry.disposition.clone(),
            })
        });
        let label = label.ok_or(export::Error::Cancelled)?;
        let published = shelf.publish(file, &label);
        let space = Arc::new(published.map_err(export::Error::Sink)?);
        if !self.end(job, State::Complete, None, Some((label.manifest, space))) {
            // It was stopped at the last moment.
            shelf.remove_file(id);
            self.note(id);
        }
        Ok(())
    }

    /// The thread of one has ended: if it did so without a word, it has panicked; and it may have begun a file after it was stopped.
    pub(super) fn finish(&self, job: &Job) {
        self.end(job, State::Failed, Some(ErrorClass::Internal), None);
        if let (Some(shelf), false) = (&self.shelf, job.record.manifest().state == State::Complete)
        {
            shelf.remove_file(job.record.id());
        }
    }

    /// Notes how one has ended, unless that is known already; whether this was it. One that is complete has a file.
    pub(super) fn end(
        &self,
        job: &Job,
        state: State,
        error: Option<ErrorClass>,
        file: Option<(Manifest, Arc<Space>)>,
    ) -> bool {
        let id = job.record.id();
        let is_complete = file.is_some();
        // At once for all who look: one that is complete has a file.
        let is_first = self.with(|all| {
            if !job.record.end(state, error) {
                return false;
            }
            all.queue.retain(|queued| queued.record.id() != id);
            if let Some(entry) = all.by_id.get_mut(id) {
                let (manifest, space) = file.unzip();
                let manifest = manifest.unwrap_or_else(|| self.kept(entry.manifest()));
                entry.stands = Stands::Kept(Box::new(manifest), space);
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
            if let Some(shelf) = &self.shelf {
                shelf.remove_file(id);
            }
            self.note(id);
        }
        true
    }

    /// Puts the label of one that is kept on the shelf.
    fn note(&self, id: &str) {
        let label = self.with(|all| {
            let entry = all.by_id.get(id)?;
            Some(Label {
                manifest: entry.manifest(),
                disposition: entry.disposition.clone(),
            })
        });
        let Some(shelf) = &self.shelf else { return };
        if let Some(Err(error)) = label.map(|label| shelf.put(&label)) {
            tracing::error!(export_id = id, %error, "how an export ended cannot be noted");
        }
        // Removed meanwhile: then its label goes, too.
        if !self.has(id) {
            shelf.remove_all(id);
        }
    }

    /// The same manifest, of an export that is kept from now on.
    fn kept(&self, manifest: Manifest) -> Manifest {
        Manifest {
            expires_at: Some(OffsetDateTime::now_utc() + self.keep),
            ..manifest
        }
    }

    /// Removes what was kept for long enough, and the oldest if there are too many.
    pub(super) fn sweep(&self) {
        let now = OffsetDateTime::now_utc();
        let due: Vec<(String, Entry)> = self.with(|all| {
            let is_due =
                |_: &String, entry: &mut Entry| entry.expires_at().is_some_and(|it| it <= now);
            all.by_id.extract_if(is_due).collect()
        });
        for (id, _) in &due {
            self.remove(id, Removal::Expired);
        }
        drop(due);
        let are_too_many = |all: &mut All| {
            let kept = all.by_id.values().filter(|entry| entry.job().is_none());
            kept.count() > MAX_KEPT
        };
        while self.with(are_too_many) && self.give_up(|_| true) {}
    }

    /// Gives up the oldest file that nobody reads; whether there was one.
    fn give_one_up(&self) -> bool {
        self.give_up(Entry::has_file)
    }

    fn give_up(&self, is_meant: impl Fn(&Entry) -> bool) -> bool {
        let given_up = self.with(|all| {
            let idle = all
                .by_id
                .iter()
                .filter(|(_, entry)| entry.is_idle() && is_meant(entry));
            // What came to nothing goes before any file.
            let (id, _) = idle.min_by_key(|(_, entry)| (entry.has_file(), entry.expires_at()))?;
            let id = id.clone();
            all.by_id.remove_entry(&id)
        });
        // Its space is free when its file is gone.
        given_up
            .inspect(|(id, _)| {
                tracing::warn!(
                    export_id = id,
                    "an export that was kept is given up for others"
                );
                self.remove(id, Removal::Evicted);
            })
            .is_some()
    }

    fn remove(&self, id: &str, why: Removal) {
        if let Some(shelf) = &self.shelf {
            shelf.remove_all(id);
        }
        self.metrics.removed(why);
    }
}

impl All {
    fn manifest(&self, id: &str) -> Option<Manifest> {
        let place = self.queue.iter().position(|job| job.record.id() == id);
        Some(Manifest {
            queued: place.map(|place| place + 1),
            ..self.by_id.get(id)?.manifest()
        })
    }
}

impl Entry {
    fn job(&self) -> Option<&Arc<Job>> {
        match &self.stands {
            Stands::Live(job) => Some(job),
            Stands::Kept(..) => None,
        }
    }

    fn manifest(&self) -> Manifest {
        match &self.stands {
            Stands::Live(job) => Manifest {
                requested_at: Some(self.requested_at),
                ..job.record.manifest()
            },
            Stands::Kept(manifest, _) => manifest.as_ref().clone(),
        }
    }

    /// A manifest that says where the file is.
    fn complete(&self, manifest: Manifest) -> Manifest {
        Manifest {
            file: Some(format!("/exports/{}/{}", manifest.id, file_name(&manifest))),
            requested_at: Some(self.requested_at),
            ..manifest
        }
    }

    fn expires_at(&self) -> Option<OffsetDateTime> {
        match &self.stands {
            Stands::Live(_) => None,
            Stands::Kept(manifest, _) => manifest.expires_at,
        }
    }

    fn has_file(&self) -> bool {
        matches!(self.stands, Stands::Kept(_, Some(_)))
    }

    /// Whether it is kept, and nobody reads it.
    fn is_idle(&self) -> bool {
        match &self.stands {
            Stands::Live(_) => false,
            Stands::Kept(_, None) => true,
            Stands::Kept(_, Some(space)) => Arc::strong_count(space) == 1,
        }
    }
}

/// The last part of its file's address.
fn file_name(manifest: &Manifest) -> String {
    format!("{}.{}", manifest.dataset, manifest.format.extension())
}
