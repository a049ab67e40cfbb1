//! One prepared export, queued, running or ended; and all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use time::OffsetDateTime;

use crate::service::base_path::BasePath;
use diesel_export::ExportRun;
use diesel_export::dataset::Scope;
use diesel_export::manifest::Manifest;
use diesel_export::spool::Space;
use diesel_export::store::Label;

/// The prepared exports.
#[derive(Default)]
pub(crate) struct All {
    pub(crate) by_id: HashMap<String, Entry>,
    /// The queue, next first.
    pub(crate) queue: VecDeque<Arc<ExportRun>>,
}

pub(crate) struct Entry {
    pub(crate) requested_at: OffsetDateTime,
    pub(crate) disposition: String,
    /// What its user might see, if the application says that: nobody else gets it, and neither does the user with another scope.
    pub(crate) owner: Option<Scope>,
    pub(crate) state: JobState,
}

/// The state of a prepared export.
pub(crate) enum JobState {
    /// Queued or running.
    Live(Arc<ExportRun>),
    /// Ended, and kept: with the space of its file, if it has one.
    Kept(Box<Manifest>, Option<Arc<Space>>),
}

impl All {
    /// The export of this id, if it is of this scope.
    pub(crate) fn get(&self, id: &str, scope: Option<&Scope>) -> Option<&Entry> {
        let entry = self.by_id.get(id)?;
        (entry.owner.as_ref() == scope).then_some(entry)
    }

    pub(crate) fn manifest(&self, id: &str, scope: Option<&Scope>) -> Option<Manifest> {
        let position = self.queue.iter().position(|job| job.record.id() == id);
        Some(Manifest {
            queued: position.map(|position| position + 1),
            ..self.get(id, scope)?.manifest()
        })
    }
}

impl Entry {
    pub(crate) fn job(&self) -> Option<&Arc<ExportRun>> {
        match &self.state {
            JobState::Live(job) => Some(job),
            JobState::Kept(..) => None,
        }
    }

    /// Its label in the store, with this manifest.
    pub(crate) fn label(&self, manifest: Manifest) -> Label {
        Label {
            manifest,
            disposition: self.disposition.clone(),
            owner: self.owner.clone(),
        }
    }

    pub(crate) fn manifest(&self) -> Manifest {
        match &self.state {
            JobState::Live(job) => Manifest {
                requested_at: Some(self.requested_at),
                ..job.record.manifest()
            },
            JobState::Kept(manifest, _) => manifest.as_ref().clone(),
        }
    }

    /// A manifest that says where the file is.
    pub(crate) fn complete(&self, manifest: Manifest, base_path: &BasePath) -> Manifest {
        Manifest {
            file: Some(address(&manifest, base_path)),
            requested_at: Some(self.requested_at),
            ..manifest
        }
    }

    pub(crate) fn expires_at(&self) -> Option<OffsetDateTime> {
        match &self.state {
            JobState::Live(_) => None,
            JobState::Kept(manifest, _) => manifest.expires_at,
        }
    }

    pub(crate) fn has_file(&self) -> bool {
        matches!(self.state, JobState::Kept(_, Some(_)))
    }

    /// Whether it has ended without a file.
    pub(crate) fn is_without_file(&self) -> bool {
        matches!(self.state, JobState::Kept(_, None))
    }
}

/// The address of its file.
pub(crate) fn address(manifest: &Manifest, base_path: &BasePath) -> String {
    let name = file_name(manifest);
    format!("{base_path}/exports/{}/{name}", manifest.id)
}

/// The last part of its file's address.
pub(crate) fn file_name(manifest: &Manifest) -> String {
    format!("{}.{}", manifest.dataset, manifest.format.extension())
}
