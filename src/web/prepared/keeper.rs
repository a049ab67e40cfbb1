//! What is kept: for so long, so many, and for as long as there is room.

use time::OffsetDateTime;

use super::Prepared;
use super::entry::{All, Entry};
use crate::export::manifest::Manifest;
use crate::shelf::Label;
use crate::web::metrics::Removal;

/// Exports that are kept at most, those that came to nothing included: each is a file, or two, and some memory.
const MAX_KEPT: usize = 1_000;

impl Prepared {
    /// Puts the label of one that is kept on the shelf.
    pub(super) fn note(&self, id: &str) {
        let label = self.with(|all| {
            let entry = all.by_id.get(id)?;
            Some(Label {
                manifest: entry.manifest(),
                disposition: entry.disposition.clone(),
            })
        });
        let Some(shelf) = self.shelf.get() else {
            return;
        };
        if let Some(Err(error)) = label.map(|label| shelf.put(&label)) {
            tracing::error!(export_id = id, %error, "how an export ended cannot be noted");
        }
        // Removed meanwhile: then its label goes, too.
        if !self.has(id) {
            shelf.remove_all(&[id]);
        }
    }

    /// The same manifest, of an export that is kept from now on.
    pub(super) fn kept(&self, manifest: Manifest) -> Manifest {
        Manifest {
            expires_at: Some(OffsetDateTime::now_utc() + self.keep),
            ..manifest
        }
    }

    /// Removes what was kept for long enough, and the oldest if there are too many.
    pub(in crate::web) fn sweep(&self) {
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
        let are_too_many = |all: &mut All| {
            let kept = all.by_id.values().filter(|entry| entry.job().is_none());
            kept.count() > MAX_KEPT
        };
        while self.with(are_too_many) && self.give_up(|_| true) {}
    }

    /// Gives up the oldest file that nobody reads; whether there was one.
    pub(super) fn give_one_up(&self) -> bool {
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
                self.remove(&[id], Removal::Evicted);
            })
            .is_some()
    }

    pub(super) fn remove(&self, ids: &[&str], why: Removal) {
        if let Some(shelf) = self.shelf.get() {
            shelf.remove_all(ids);
        }
        // Only now is it so.
        ids.iter().for_each(|_| self.metrics.removed(why));
    }
}
