//! One export that is prepared, or was, and all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use time::OffsetDateTime;

use super::queue::Job;
use diesel_export::manifest::Manifest;
use diesel_export::spool::Space;

/// All of them.
#[derive(Default)]
pub(super) struct All {
    pub(super) by_id: HashMap<String, Entry>,
    /// Those that wait for a place, the next one first.
    pub(super) queue: VecDeque<Arc<Job>>,
}

/// One.
pub(super) struct Entry {
    pub(super) requested_at: OffsetDateTime,
    pub(super) disposition: String,
    pub(super) stands: Stands,
}

/// How one stands.
pub(super) enum Stands {
    /// It waits, or runs.
    Live(Arc<Job>),
    /// It has ended, and is kept: with a file, if that takes space.
    Kept(Box<Manifest>, Option<Arc<Space>>),
}

impl All {
    pub(super) fn manifest(&self, id: &str) -> Option<Manifest> {
        let place = self.queue.iter().position(|job| job.record.id() == id);
        Some(Manifest {
            queued: place.map(|place| place + 1),
            ..self.by_id.get(id)?.manifest()
        })
    }
}

impl Entry {
    pub(super) fn job(&self) -> Option<&Arc<Job>> {
        match &self.stands {
            Stands::Live(job) => Some(job),
            Stands::Kept(..) => None,
        }
    }

    pub(super) fn manifest(&self) -> Manifest {
        match &self.stands {
            Stands::Live(job) => Manifest {
                requested_at: Some(self.requested_at),
                ..job.record.manifest()
            },
            Stands::Kept(manifest, _) => manifest.as_ref().clone(),
        }
    }

    /// A manifest that says where the file is.
    pub(super) fn complete(&self, manifest: Manifest) -> Manifest {
        Manifest {
            file: Some(format!("/exports/{}/{}", manifest.id, file_name(&manifest))),
            requested_at: Some(self.requested_at),
            ..manifest
        }
    }

    pub(super) fn expires_at(&self) -> Option<OffsetDateTime> {
        match &self.stands {
            Stands::Live(_) => None,
            Stands::Kept(manifest, _) => manifest.expires_at,
        }
    }

    pub(super) fn has_file(&self) -> bool {
        matches!(self.stands, Stands::Kept(_, Some(_)))
    }

    /// Whether it has ended without a file.
    pub(super) fn is_without_file(&self) -> bool {
        matches!(self.stands, Stands::Kept(_, None))
    }
}

/// The last part of its file's address.
pub(super) fn file_name(manifest: &Manifest) -> String {
    format!("{}.{}", manifest.dataset, manifest.format.extension())
}
