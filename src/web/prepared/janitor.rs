//! What is kept: until its time is over, or somebody deletes it. What has no room is refused.

use time::OffsetDateTime;

use crate::web::monitoring::metrics::Removal;
use crate::web::prepared::Prepared;
use crate::web::prepared::entry::Entry;
use crate::web::problem::{Kind, Problem};
use diesel_export::manifest::Manifest;
use diesel_export::store::Label;

/// Prepared exports at most, those that wait and those that came to nothing included: each is a file, or two, and some memory.
const MAX_PREPARED: usize = 1_000;

impl Prepared {
    /// Puts the label of one that is kept in the store.
    pub(crate) fn note(&self, id: &str) {
        let label = self.with(|all| {
            let entry = all.by_id.get(id)?;
            Some(Label {
                manifest: entry.manifest(),
                disposition: entry.disposition.clone(),
            })
        });
        let Some(store) = self.store.get() else {
            return;
        };
        if let Some(Err(error)) = label.map(|label| store.put(&label)) {
            tracing::error!(export_id = id, %error, "how an export ended cannot be noted");
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

    /// Removes what was kept for long enough.
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

    /// Makes the store's directory again if somebody has removed it, and forgets the files that were there.
    fn restore(&self) {
        let Some(store) = self.store.get() else {
            return;
        };
        match store.restore() {
            Ok(false) => self.set_obstacle(None),
            Ok(true) => {
                let is_lost =
                    |id: &String, entry: &mut Entry| entry.has_file() && !store.has_file(id);
                let lost = self.with(|all| all.by_id.extract_if(is_lost).count());
                tracing::error!(
                    lost,
                    "the directory of prepared exports was gone: it is made again"
                );
                self.set_obstacle(None);
            }
            Err(error) => self.set_obstacle(Some(&error)),
        }
    }

    /// Finds out whether there is a place and room for one more. The oldest that came to nothing gives way: it has no file.
    pub(crate) fn make_place(&self) -> Result<(), Problem> {
        if !self.spool.as_ref().is_some_and(|spool| spool.has_room(1)) {
            return Err(full("the server's room for files is taken"));
        }
        let (has_place, given_up) = self.with(|all| {
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
        if has_place {
            Ok(())
        } else {
            Err(full("there are as many prepared exports as there may be"))
        }
    }

    pub(crate) fn remove(&self, ids: &[&str], why: Removal) {
        if let Some(store) = self.store.get() {
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
