//! The exports that run, and those that have ended recently.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use diesel_export::dataset::Scope;
use diesel_export::manifest::Facts;
use diesel_export::record::Record;
use diesel_export::{Export, ExportRun};

/// How long an export stays known after its end.
const KEPT: Duration = Duration::from_secs(3600);
/// How many exports that have ended stay known.
const MAX_ENDED: usize = 1_000;

/// An export that is known.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) run: Arc<ExportRun>,
    /// Stops it.
    pub(crate) stop: CancellationToken,
    /// Whether the head of the response that hands it over is on its way.
    pub(crate) begun: Arc<AtomicBool>,
}

/// The exports that are known, by their ids.
#[derive(Default)]
pub(crate) struct Registry {
    exports: Mutex<Exports>,
}

/// Each user has ids of their own.
type Key = (Option<String>, String);

fn key(scope: Option<&Scope>, id: &str) -> Key {
    (scope.map(|scope| scope.user().to_owned()), id.to_owned())
}

#[derive(Default)]
struct Exports {
    by_id: HashMap<Key, Known>,
    ended: VecDeque<(Instant, Arc<ExportRun>)>,
}

impl Registry {
    /// Registers a new export; `None` if its ID is in use.
    pub(crate) fn begin(
        &self,
        id: String,
        export: &Export,
        fresh: bool,
        facts: &Facts,
    ) -> Option<Known> {
        let key = key(export.dataset().scope(), &id);
        self.with(|exports| {
            exports.forget(|ended, count| ended.elapsed() > KEPT || count > MAX_ENDED);
            if exports
                .by_id
                .get(&key)
                .is_some_and(|known| !gave_nothing(known))
            {
                return None;
            }
            let record = Record::start(id, export, facts.clone());
            let known = Known {
                run: ExportRun::new(record, fresh),
                stop: CancellationToken::new(),
                begun: Arc::default(),
            };
            exports.by_id.insert(key, known.clone());
            Some(known)
        })
    }

    /// Records that an export has ended: from now on, it expires.
    pub(crate) fn ended(&self, run: &Arc<ExportRun>) {
        self.with(|exports| exports.ended.push_back((Instant::now(), Arc::clone(run))));
    }

    /// The export of this id, if it is of this scope.
    pub(crate) fn get(&self, id: &str, scope: Option<&Scope>) -> Option<Known> {
        self.with(|exports| {
            exports.forget(|ended, _| ended.elapsed() > KEPT);
            let known = exports.by_id.get(&key(scope, id))?;
            let is_own = known.run.record.export().dataset().scope() == scope;
            is_own.then(|| known.clone())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Exports) -> T) -> T {
        work(&mut self.exports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Exports {
    /// Drops ended exports, oldest first, while `is_due(ended, count)`.
    fn forget(&mut self, is_due: impl Fn(Instant, usize) -> bool) {
        while let Some((ended, run)) = self.ended.front() {
            if !is_due(*ended, self.ended.len()) {
                return;
            }
            let record = &run.record;
            let key = key(record.export().dataset().scope(), record.id());
            // Another export may have its ID by now.
            if self
                .by_id
                .get(&key)
                .is_some_and(|known| Arc::ptr_eq(&known.run, run))
            {
                self.by_id.remove(&key);
            }
            self.ended.pop_front();
        }
    }
}

/// Whether an export has failed before its first byte: a client may try it again under the same id.
fn gave_nothing(known: &Known) -> bool {
    known.run.record.manifest().state.is_over() && !known.begun.load(Ordering::Relaxed)
}
