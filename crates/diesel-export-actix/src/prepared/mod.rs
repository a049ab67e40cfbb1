//! Prepared exports: those in the queue, those that run, and those that are kept.

pub(crate) mod file;
pub(crate) mod page;
pub(crate) mod preparing;
pub(crate) mod request;
pub(crate) mod row_cost;

mod entry;
mod janitor;
mod queue;

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use self::entry::{All, Entry, JobState, address, file_name};
use crate::monitoring::metrics::{Metrics, Removal};
use crate::problem::{Kind, Problem};
use crate::service::app::Settings;
use crate::service::base_path::BasePath;
use diesel_export::dataset::Scope;
use diesel_export::manifest::{Manifest, State};
use diesel_export::spool::{Spool, SpoolFile};
use diesel_export::store::{Found, Label, Store};

/// Interval between two attempts to open a store that another service has locked.
const TAKE_OVER_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of exports in a list.
pub(crate) const PAGE: usize = 100;

/// All prepared exports.
pub(crate) struct Prepared {
    spool: Option<Arc<Spool>>,
    base_path: BasePath,
    /// The store's directory in the spool.
    directory: String,
    /// Empty if there is no store, or it is not open yet.
    store: OnceLock<Store>,
    /// Why the last attempt to open the store has failed.
    obstacle: Mutex<Option<io::ErrorKind>>,
    max_queued: usize,
    /// How long an export is kept after its end.
    keep: Duration,
    metrics: Arc<Metrics>,
    all: Mutex<All>,
    ordering: Mutex<()>,
    /// Notified of each one that is queued.
    queued: Notify,
    /// Cancelled when the program shuts down.
    pub(crate) stopping: CancellationToken,
}

/// A file that is being read.
pub(crate) struct Fetched {
    pub(crate) file: SpoolFile,
    pub(crate) manifest: Manifest,
    pub(crate) disposition: String,
}

impl Prepared {
    /// The exports in the store of the spool.
    pub(crate) fn open(settings: &Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let prepared = Arc::new(Self {
            spool: settings.spool.clone(),
            base_path: settings.base_path.clone(),
            directory: format!("{}s", settings.application.name),
            store: OnceLock::new(),
            max_queued: settings.max_queued,
            keep: settings.keep_exports,
            metrics,
            all: Mutex::default(),
            ordering: Mutex::default(),
            queued: Notify::new(),
            stopping: CancellationToken::new(),
            obstacle: Mutex::default(),
        });
        if let Some(spool) = &prepared.spool {
            prepared.take_store(spool);
        }
        prepared
    }

    /// Opens the store, if possible, and adds what is in it.
    fn take_store(&self, spool: &Arc<Spool>) {
        let (store, found) = match Store::open(spool, &self.directory, self.keep) {
            Ok(opened) => opened,
            Err(error) => return self.set_obstacle(Some(&error)),
        };
        self.set_obstacle(None);
        self.with(|all| {
            self.keep_found(all, found);
            // Before any of them can be removed.
            let _ = self.store.set(store);
        });
        self.sweep();
        spool.compare_with_disk();
    }

    fn keep_found(&self, all: &mut All, found: Vec<Found>) {
        for found in found {
            let Label {
                mut manifest,
                disposition,
                owner,
            } = found.label;
            // The service may have been under another path.
            let moved = address(&manifest, &self.base_path);
            manifest.file = manifest.file.map(|_| moved);
            let entry = Entry {
                requested_at: manifest
                    .requested_at
                    .unwrap_or_else(OffsetDateTime::now_utc),
                disposition,
                owner,
                state: JobState::Kept(Box::new(manifest.clone()), found.space.map(Arc::new)),
            };
            self.metrics.row_costs.note(&manifest);
            all.by_id.insert(manifest.id, entry);
        }
    }

    /// Records whether the store can be used. Logs why not, but not repeatedly.
    fn set_obstacle(&self, error: Option<&io::Error>) {
        let mut obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = error.map(io::Error::kind);
        let before = std::mem::replace(&mut *obstacle, kind);
        match error {
            _ if before == kind => {}
            None => tracing::info!("from now on, exports can be prepared for later"),
            Some(error) => {
                let advice = if kind == Some(io::ErrorKind::ResourceBusy) {
                    "give this service a --spool-dir of its own, or end the other one"
                } else {
                    "it is tried again until it can be done"
                };
                tracing::warn!(%error, "no exports can be prepared for later: {advice}");
            }
        }
    }

    /// Waits until the store is open. An earlier service may take time to end.
    pub(crate) async fn wait_for_store(&self) {
        while let (Some(spool), None) = (&self.spool, self.store.get()) {
            sleep(TAKE_OVER_INTERVAL).await;
            self.take_store(spool);
        }
    }

    /// Whether there is a spool for a store, open or not.
    pub(crate) fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// Whether exports can be prepared here.
    pub(crate) fn is_possible(&self) -> bool {
        self.store().is_ok()
    }

    fn store(&self) -> Result<&Store, Problem> {
        let obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.store.get().filter(|_| obstacle.is_none());
        store.ok_or_else(|| Problem::new(Kind::PreparingOff))
    }

    /// The store, unless another service has locked it: then nothing in it is this service's.
    fn own_store(&self) -> Option<&Store> {
        let obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another_ones = *obstacle == Some(io::ErrorKind::ResourceBusy);
        self.store.get().filter(|_| !is_another_ones)
    }

    fn with<T>(&self, work: impl FnOnce(&mut All) -> T) -> T {
        work(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is an export of this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.with(|all| all.by_id.contains_key(id))
    }

    /// The manifest of the export of this id, if it is of this scope, as all that clients ask for is.
    pub(crate) fn manifest(&self, id: &str, scope: Option<&Scope>) -> Option<Manifest> {
        self.sweep();
        self.peek(id, scope)
    }

    /// The same, also of one that is about to be removed: without access to the disk.
    pub(crate) fn peek(&self, id: &str, scope: Option<&Scope>) -> Option<Manifest> {
        self.with(|all| all.manifest(id, scope))
    }

    /// At most this many manifests, the newest first, of those before the export of this id, if one is given; and the id of the last, if
    /// there are more. None if there is no such id.
    pub(crate) fn list(
        &self,
        scope: Option<&Scope>,
        before: Option<&str>,
        limit: usize,
    ) -> Option<(Vec<Manifest>, Option<String>)> {
        self.sweep();
        self.with(|all| {
            let key = |(id, entry): &(&String, &Entry)| (entry.requested_at, (*id).clone());
            let before = match before {
                Some(id) => {
                    let id = id.to_owned();
                    Some(key(&(&id, all.get(&id, scope)?)))
                }
                None => None,
            };
            let mut listed: Vec<_> = all.by_id.iter().collect();
            listed.retain(|(_, entry)| entry.owner.as_ref() == scope);
            listed.retain(|entry| before.as_ref().is_none_or(|before| key(entry) < *before));
            listed.sort_by_cached_key(key);
            let listed: Vec<&String> = listed.into_iter().rev().map(|(id, _)| id).collect();
            let last = limit.checked_sub(1).and_then(|last| listed.get(last));
            let next = last.filter(|_| listed.len() > limit);
            let next = next.map(|id| (*id).clone());
            let page = listed.iter().take(limit);
            let manifests = page.filter_map(|id| all.manifest(id, scope)).collect();
            Some((manifests, next))
        })
    }

    /// How many are queued, and how many are kept with a file.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.with(|all| {
            let files = all.by_id.values().filter(|entry| entry.has_file());
            (all.queue.len(), files.count())
        })
    }

    /// Opens the file of the export of this id.
    pub(crate) fn fetch(
        &self,
        id: &str,
        name: &str,
        scope: Option<&Scope>,
    ) -> Result<Fetched, Problem> {
        self.sweep();
        let not_found = || Problem::new(Kind::NotFound);
        let (manifest, disposition, space) = self.with(|all| {
            let entry = all.get(id, scope).ok_or_else(not_found)?;
            match &entry.state {
                JobState::Live(job) => Err(if file_name(&job.record.manifest()) == name {
                    Problem::new(Kind::NotFinished)
                } else {
                    not_found()
                }),
                JobState::Kept(manifest, Some(space)) if file_name(manifest) == name => {
                    // Held until it is read, also if it is removed meanwhile.
                    let space = Arc::clone(space);
                    Ok((manifest.as_ref().clone(), entry.disposition.clone(), space))
                }
                JobState::Kept(..) => Err(not_found()),
            }
        })?;
        let file = self.store()?.open_file(id, space).map_err(|error| {
            // Deleted meanwhile, here or from outside.
            tracing::warn!(export_id = id, %error, "the file of an export cannot be opened");
            not_found()
        })?;
        Ok(Fetched {
            file,
            manifest,
            disposition,
        })
    }

    /// Cancels the export of this id, or removes it if it has ended; returns whether there is one. Writes or removes files.
    pub(crate) fn delete(&self, id: &str, scope: Option<&Scope>) -> bool {
        self.sweep();
        let found = self.with(|all| match &all.get(id, scope)?.state {
            JobState::Live(job) => Some(Ok(Arc::clone(job))),
            JobState::Kept(..) => all.by_id.remove(id).map(Err),
        });
        match found {
            None => return false,
            Some(Ok(job)) => self.stop(&job, State::Cancelled, None),
            Some(Err(entry)) => {
                self.remove(&[id], Removal::Deleted);
                // Its space is free when its file is gone.
                drop(entry);
            }
        }
        true
    }
}
