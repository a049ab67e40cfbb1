//! The store of prepared exports: the file of each, with its manifest, in a directory of the spool that outlives the program.
//!
//! An export has up to three files there: `{id}.json`, its label, from when it was requested; `{id}.part` while it is written; and
//! `{id}.export` once it is complete. The label of a complete one is written last: an export whose label does not say so is not complete.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::atomic_file::{self, sync_names};
use crate::dataset::Scope;
use crate::manifest::{ErrorClass, Manifest, State};
use crate::spool::{Space, Spool, SpoolFile, make_private, or_full};

/// The lock file, by which services on one spool exclude each other.
const LOCK: &str = "lock";
/// The prefix of a label's name until the label is complete.
const UNFINISHED: &str = ".label-";

/// The directory.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    spool: Arc<Spool>,
    /// Locked as long as the program runs.
    lock: Mutex<File>,
}

/// What is kept of an export besides its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Label {
    /// Its manifest.
    pub manifest: Manifest,
    /// The name under which its file is saved: the value of `Content-Disposition`.
    pub disposition: String,
    /// What its user might see, if an application says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Scope>,
}

impl Label {
    fn id(&self) -> &str {
        &self.manifest.id
    }
}

/// An export that was found in the store.
#[derive(Debug)]
pub struct Found {
    /// What is known of it. It has ended.
    pub label: Label,
    /// The space of its file, if it is complete.
    pub space: Option<Space>,
}

impl Store {
    /// Opens the store in the spool's directory of this name, and takes inventory: exports that were under way when the program ended are
    /// interrupted, leave no file, and are kept for `keep` from now on.
    pub fn open(spool: &Arc<Spool>, name: &str, keep: Duration) -> io::Result<(Self, Vec<Found>)> {
        let directory = spool.directory().join(name);
        let store = Self {
            lock: Mutex::new(lock(spool, &directory)?),
            spool: Arc::clone(spool),
            directory,
        };
        let found = store.take_stock(keep, |_| false)?;
        Ok((store, found))
    }

    /// Creates the directory again, and locks it, if it was removed together with its content. Then returns what another service, which may
    /// have had it meanwhile, has left there besides what `is_known`.
    pub fn restore(
        &self,
        keep: Duration,
        is_known: impl Fn(&str) -> bool,
    ) -> io::Result<Option<Vec<Found>>> {
        let identity = |file: &Metadata| (file.dev(), file.ino());
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::metadata(self.directory.join(LOCK)) {
            Ok(there) if identity(&there) == identity(&held.metadata()?) => return Ok(None),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let lock = lock(&self.spool, &self.directory)?;
        tracing::warn!(
            "the directory of prepared exports, or its lock, was gone: it is made again"
        );
        let found = self.take_stock(keep, is_known)?;
        *held = lock;
        Ok(Some(found))
    }

    /// Whether an export's file is there, as far as that can be determined.
    pub fn has_file(&self, id: &str) -> bool {
        self.path(id, "export").try_exists().unwrap_or(true)
    }

    /// The same for its label.
    pub fn has_label(&self, id: &str) -> bool {
        self.path(id, "json").try_exists().unwrap_or(true)
    }

    fn take_stock(
        &self,
        keep: Duration,
        is_known: impl Fn(&str) -> bool,
    ) -> io::Result<Vec<Found>> {
        let is_known = |path: &Path| {
            let id = path.file_stem().and_then(|stem| stem.to_str());
            id.is_some_and(&is_known)
        };
        let mut found = Vec::new();
        let mut whole = Vec::new();
        for path in self
            .files(|path| path.extension().is_some_and(|kind| kind == "json") && !is_known(path))?
        {
            match self.find(&path, keep) {
                Ok(export) => {
                    if export.space.is_some() {
                        whole.push(self.path(export.label.id(), "export"));
                    }
                    found.push(export);
                }
                Err(error) => {
                    // It may be complete: a newer version may have written what this one does not know, or the disk may fail for a moment.
                    tracing::error!(?path, %error, "an export's label or file cannot be read: both are left alone");
                    whole.push(path.with_extension("export"));
                }
            }
        }
        for path in self.files(|path| {
            is_unfinished(path) && !is_known(path) && !whole.iter().any(|it| it == path)
        })? {
            tracing::warn!(?path, "an export that is not complete is removed");
            fs::remove_file(path)?;
        }
        if let Err(error) = self.sync() {
            tracing::error!(%error, "the state of the store cannot be recorded");
        }
        Ok(found)
    }

    fn files(&self, is_meant: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.directory)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths
            .filter(|path| path.as_ref().map_or(true, |path| is_meant(path)))
            .collect()
    }

    fn find(&self, path: &Path, keep: Duration) -> io::Result<Found> {
        let mut label: Label = serde_json::from_slice(&fs::read(path)?)?;
        let before = (label.manifest.state, label.manifest.expires_at);
        if path.file_stem().and_then(|stem| stem.to_str()) != Some(label.id()) {
            return Err(io::Error::other("it is another one's"));
        }
        let manifest = &mut label.manifest;
        let space = match manifest.state {
            State::Complete => {
                let length = match fs::metadata(self.path(&manifest.id, "export")) {
                    Ok(file) => Some(file.len()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
                if length == Some(manifest.bytes) {
                    Some(self.spool.occupied(manifest.bytes))
                } else {
                    tracing::error!(export_id = manifest.id, ?length, "an export's file is lost");
                    fail(manifest, ErrorClass::Output);
                    None
                }
            }
            State::Failed | State::Cancelled => None,
            State::Queued | State::Running => {
                fail(manifest, ErrorClass::Interrupted);
                None
            }
        };
        let expires_at = OffsetDateTime::now_utc() + keep;
        label.manifest.expires_at.get_or_insert(expires_at);
        if (label.manifest.state, label.manifest.expires_at) != before
            && let Err(error) = self.put(&label)
        {
            // This service remembers the state; the next one determines it again.
            tracing::error!(export_id = label.id(), %error, "an export's label cannot be written");
        }
        Ok(Found { label, space })
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        self.directory.join(id).with_extension(kind)
    }

    /// Writes an export's label, replacing an earlier one.
    pub fn put(&self, label: &Label) -> io::Result<()> {
        let path = self.path(label.id(), "json");
        atomic_file::write(&path, UNFINISHED, &serde_json::to_vec(label)?).map_err(or_full)
    }

    /// Creates an export's file.
    pub fn begin(&self, id: &str) -> io::Result<SpoolFile> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(id, "part"))
            .map_err(or_full)?;
        Ok(self.spool.adopt(file))
    }

    /// Publishes an export that is complete: its file, and then its label.
    pub fn publish(&self, file: Arc<SpoolFile>, label: &Label) -> io::Result<Arc<Space>> {
        let space = file.finish()?;
        #[cfg(feature = "fault-injection")]
        crate::fault::halt_at("written");
        fs::rename(
            self.path(label.id(), "part"),
            self.path(label.id(), "export"),
        )?;
        #[cfg(feature = "fault-injection")]
        crate::fault::halt_at("renamed");
        self.sync()?;
        self.put(label)?;
        #[cfg(feature = "fault-injection")]
        crate::fault::halt_at("labelled");
        Ok(space)
    }

    /// Opens a published export, whose file takes this space.
    pub fn open_file(&self, id: &str, space: Arc<Space>) -> io::Result<SpoolFile> {
        let file = File::open(self.path(id, "export"))?;
        Ok(SpoolFile::of(file, space))
    }

    /// Removes an export's file, complete or not. Readers can finish reading.
    pub fn remove_file(&self, id: &str) {
        self.remove(&["part", "export"], id);
    }

    /// Removes exports, each one's label first: a file without a label does not count. So they do not come back, whatever happens then.
    pub fn remove_all(&self, ids: &[&str]) {
        for id in ids {
            self.remove(&["json", "part", "export"], id);
        }
        if let Err(error) = self.sync() {
            tracing::error!(%error, "after a power cut, exports that were removed may come back");
        }
    }

    fn remove(&self, kinds: &[&str], id: &str) {
        for kind in kinds {
            match fs::remove_file(self.path(id, kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(export_id = id, kind, %error, "an export's file cannot be removed");
                }
                _ => {}
            }
        }
    }

    /// Waits until the directory's entries are on the disk.
    fn sync(&self) -> io::Result<()> {
        sync_names(&self.directory).map_err(or_full)
    }
}

fn fail(manifest: &mut Manifest, error: ErrorClass) {
    *manifest = Manifest {
        state: State::Failed,
        error: Some(error),
        sha256: None,
        file: None,
        queued: None,
        ..manifest.clone()
    };
}

/// Whether a file of this name is useless unless its export is known.
fn is_unfinished(path: &Path) -> bool {
    let kind = path.extension().and_then(|kind| kind.to_str());
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(kind, Some("part" | "export")) || name.is_some_and(|name| name.starts_with(UNFINISHED))
}

/// Locks the directory; creates it if it is missing.
fn lock(spool: &Spool, directory: &Path) -> io::Result<File> {
    spool.in_directory(|_| make_private(directory))?;
    check_owner(directory)?;
    let lock = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(LOCK))?;
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another service keeps its exports there",
        ),
        fs::TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

/// In a world-writable directory, such as `/tmp`, another account may have created it first.
fn check_owner(directory: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(directory)?;
    let is_ours = metadata.is_dir()
        && metadata.uid() == Uid::effective().as_raw()
        && metadata.mode() & 0o077 == 0;
    if is_ours {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not ours alone", directory.display()),
        ))
    }
}

#[cfg(test)]
mod tests;
