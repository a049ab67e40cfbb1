//! Retention: prepared exports are kept until they expire or are deleted. Those for which there is no room are refused.

use std::io;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::monitoring::metrics::Removal;
use crate::prepared::Prepared;
use crate::prepared::entry::Entry;
use crate::problem::{Kind, Problem};
use diesel_export::manifest::{ErrorClass, Manifest, State};
use diesel_export::spool::Spool;
use diesel_export::store::Store;

/// Maximum number of prepared exports, including those that are queued or have failed: each is a file, or two, and some memory.
const MAX_PREPARED: usize = 1_000;
/// Space that must be left for one more: an export that finds less has run for nothing. In a small spool, an eighth.
const LEAST_ROOM: u64 = 1 << 20;

impl Prepared {
    /// Writes the label of a kept export to the store.
    pub(crate) fn note(&self, id: &str) {
        let label = self.with(|all| {
            let entry = all.by_id.get(id)?;
            Some(entry.label(entry.manifest()))
        });
        let Some(store) = self.own_store() else {
            return;
        };
        if let Some(Err(error)) = label.map(|label| store.put(&label)) {
            tracing::error!(export_id = id, %error, "the result of an export cannot be recorded");
        }
        // Removed meanwhile: then its label goes, too.
        if !self.has(id) {
            store.remove_all(&[id]);
        }
    }

    /// The same manifest, of an export that is kept from now on.
    pub(crate) fn kept(&self, manifest: Manifest) -> Manifest {
        Manifest {
            expires_at: Some(OffsetDateTime::now_utc() + self.keep),
            ..manifest
        }
    }

    /// Removes expired exports.
    pub(crate) fn sweep(&self) {
        let now = OffsetDateTime::now_utc();
        let due: Vec<(String, Entry)> = self.with(|all| {
            let is_due =
                |_: &String, entry: &mut Entry| entry.expires_at().is_some_and(|it| it <= now);
            all.by_id.extract_if(is_due).collect()
        });
        if !due.is_empty() {
            let ids: Vec<&str> = due.iter().map(|(id, _)| id.as_str()).collect();
            self.remove(&ids, Removal::Expired);
        }
        drop(due);
        self.restore();
    }

    /// Creates the store's directory again if it was removed, and forgets the files that were there.
    pub(crate) fn restore(&self) {
        let Some(store) = self.store.get() else {
            return;
        };
        match store.restore(self.keep, |id| self.has(id)) {
            Ok(None) => self.set_obstacle(None),
            Ok(Some(found)) => {
                self.set_obstacle(None);
                self.forget_lost(store);
                let ids: Vec<String> = self.with(|all| {
                    self.keep_found(all, found);
                    all.by_id.keys().cloned().collect()
                });
                // Without their labels, they would be unknown after a crash.
                let unlabelled = ids.iter().filter(|id| !store.has_label(id));
                unlabelled.for_each(|id| self.note(id));
            }
            Err(error) => {
                self.set_obstacle(Some(&error));
                if error.kind() == io::ErrorKind::ResourceBusy {
                    self.forget_lost(store);
                    let jobs = |entry: &Entry| entry.job().cloned();
                    let live: Vec<_> =
                        self.with(|all| all.by_id.values().filter_map(jobs).collect());
                    for job in live {
                        self.stop(&job, State::Failed, Some(ErrorClass::Output));
                    }
                }
            }
        }
    }

    /// Forgets the exports whose files are not there any more.
    fn forget_lost(&self, store: &Store) {
        let is_lost = |id: &String, entry: &mut Entry| entry.has_file() && !store.has_file(id);
        let lost = self.with(|all| all.by_id.extract_if(is_lost).count());
        if lost > 0 {
            tracing::error!(
                lost,
                "files of prepared exports are lost: they were removed from outside"
            );
        }
    }

    /// Checks that there is room for one more, in number and in space. If there are too many, removes the oldest one without a file.
    pub(crate) fn make_room(&self) -> Result<(), Problem> {
        let has_room = |spool: &Arc<Spool>| spool.has_room(LEAST_ROOM.min(spool.size() / 8));
        if !self.spool.as_ref().is_some_and(has_room) {
            return Err(full("the server's room for files is taken"));
        }
        let (has_room, given_up) = self.with(|all| {
            if all.by_id.len() < MAX_PREPARED {
                return (true, None);
            }
            let came_to_nothing = all.by_id.iter().filter(|(_, it)| it.is_without_file());
            let oldest = came_to_nothing.min_by_key(|(_, it)| it.expires_at());
            let oldest = oldest.map(|(id, _)| id.clone());
            let given_up = oldest.and_then(|id| all.by_id.remove_entry(&id));
            (given_up.is_some(), given_up)
        });
        if let Some((id, _)) = given_up {
            self.remove(&[&id], Removal::Expired);
        }
        if has_room {
            Ok(())
        } else {
            Err(full("there are as many prepared exports as there may be"))
        }
    }

    pub(crate) fn remove(&self, ids: &[&str], why: Removal) {
        if let Some(store) = self.own_store() {
            store.remove_all(ids);
        }
        // Only now is it so.
        ids.iter().for_each(|_| self.metrics.removed(why));
    }
}

fn full(what: &str) -> Problem {
    let advice =
        "delete prepared exports, or wait until some expire; a CSV can be downloaded without";
    Problem::with_detail(Kind::SpoolFull, format!("{what}: {advice}"))
}
