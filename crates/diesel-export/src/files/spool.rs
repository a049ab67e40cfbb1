//! The spool: a directory for files that wait for their readers, and the space that all of them may take together.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use nix::sys::statvfs::statvfs;

use crate::{Sink, SpoolFull};

/// Size from which on the system takes noticeable time to free a file's space.
const LARGE: u64 = 1 << 20;

/// A directory for files that wait for their readers.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    /// Maximum size of all files together, in bytes.
    size: u64,
    /// Bytes that the files take, or are about to take.
    used: AtomicU64,
}

impl Spool {
    /// Opens the spool in this directory; creates it, for its owner alone, if it is missing.
    pub fn open(directory: &Path, size: u64) -> io::Result<Arc<Self>> {
        let spool = Arc::new(Self {
            directory: directory.to_owned(),
            size,
            used: AtomicU64::new(0),
        });
        spool.make_directory()?;
        // Detected now, and not by the first slow reader.
        let written =
            tempfile::tempfile_in(&spool.directory).and_then(|file| file.write_all_at(b"\n", 0));
        match written {
            // Prepared exports free their space when they expire.
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "the spool's disk is full");
                Ok(spool)
            }
            written => written.map(|()| spool),
        }
    }

    fn make_directory(&self) -> io::Result<()> {
        if let Some(parent) = self.directory.parent() {
            // With the usual permissions, not for us alone: the private cluster below it may belong to another account.
            std::fs::create_dir_all(parent)?;
        }
        make_private(&self.directory)
    }

    /// Does what needs the directory; creates the directory again if it was removed.
    pub(crate) fn in_directory<T>(&self, work: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        match work(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(directory = ?self.directory, "the spool's directory is gone: it is made again");
                self.make_directory()?;
                work(&self.directory)
            }
            outcome => outcome,
        }
    }

    /// Its path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Warns if the disk has less free space than the spool may take: then the disk is full before the spool is.
    pub fn compare_with_disk(&self) {
        match statvfs(&self.directory) {
            Ok(disk) => {
                let free = wide(disk.blocks_available()) * wide(disk.fragment_size());
                if self.used().saturating_add(free) < self.size {
                    tracing::warn!(
                        free_bytes = free,
                        spool_size = self.size,
                        "the spool's disk has less room than the spool may take: exports that are kept fill it until they expire; make the spool smaller"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "how much room the spool's disk has is not known"),
        }
    }

    /// Maximum size of all files together, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Creates a file without a name. It disappears as soon as nothing has it open, however the program ends.
    pub fn unnamed(self: &Arc<Self>) -> io::Result<SpoolFile> {
        // With mode 0600 if the system cannot create one without a name.
        Ok(self.adopt(self.in_directory(|directory| tempfile::tempfile_in(directory))?))
    }

    /// An empty file, which takes space of the spool as it grows.
    pub fn adopt(self: &Arc<Self>, file: File) -> SpoolFile {
        SpoolFile::of(file, Arc::new(self.occupied(0)))
    }

    /// Takes the space of a file that exists already, even beyond the maximum.
    pub fn occupied(self: &Arc<Self>, bytes: u64) -> Space {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Space {
            spool: Arc::clone(self),
            bytes: AtomicU64::new(bytes),
        }
    }

    /// Whether there is room for this many more bytes now.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.with(bytes, self.used()).is_some()
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |used| self.with(bytes, used);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok()
    }

    /// The bytes in use with this many more, if there is room.
    fn with(&self, bytes: u64, used: u64) -> Option<u64> {
        used.checked_add(bytes).filter(|used| *used <= self.size)
    }
}

/// A file in the spool. Dropping it frees its space, unless a published file takes that; readers of a published file can finish reading
/// after its removal.
#[derive(Debug)]
pub struct SpoolFile {
    // Closed before its space is free for others.
    file: Arc<File>,
    space: Arc<Space>,
    /// Whether the file is no longer wanted.
    is_given_up: AtomicBool,
}

/// Space in the spool that is taken until the value is dropped.
#[derive(Debug)]
pub struct Space {
    spool: Arc<Spool>,
    bytes: AtomicU64,
}

impl SpoolFile {
    /// A file that takes this space.
    pub(crate) fn of(file: File, space: Arc<Space>) -> Self {
        Self {
            file: Arc::new(file),
            space,
            is_given_up: AtomicBool::new(false),
        }
    }

    /// Takes this much more space for it; returns whether there was room, and the file is still wanted.
    pub fn reserve(&self, bytes: u64) -> bool {
        if self.is_given_up.load(Ordering::Relaxed) {
            return false;
        }
        let taken = self.space.spool.take(bytes);
        if taken {
            self.space.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Empties it, and frees its space.
    fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        let bytes = self.space.bytes.swap(0, Ordering::Relaxed);
        self.space.spool.used.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Frees its space at once, although others have it open: the file is no longer wanted.
    pub fn give_up(&self) -> io::Result<()> {
        self.is_given_up.store(true, Ordering::Relaxed);
        self.clear()
    }

    /// Writes all bytes at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Reads exactly this many bytes at `offset`.
    pub fn read_at(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// When it was last written.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Waits until all of it is on the disk, and returns the space that it goes on taking.
    pub fn finish(&self) -> io::Result<Arc<Space>> {
        self.file.sync_all().map_err(or_full)?;
        Ok(Arc::clone(&self.space))
    }
}

/// Writes an export to a file of the spool, which takes space as it grows. If there is none left, the error is [`SpoolFull`].
#[derive(Debug)]
pub struct SpoolSink {
    file: Arc<SpoolFile>,
    written: u64,
}

impl SpoolSink {
    /// Writes to an empty file.
    pub fn new(file: Arc<SpoolFile>) -> Self {
        Self { file, written: 0 }
    }

    /// Returns the file, and the bytes that were written to it.
    pub fn into_file(self) -> (Arc<SpoolFile>, u64) {
        (self.file, self.written)
    }
}

impl Sink for SpoolSink {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let length = chunk.len() as u64;
        let written = if !self.file.reserve(length) {
            Err(io::Error::new(io::ErrorKind::StorageFull, SpoolFull::Spool))
        } else {
            self.file.write_at(&chunk, self.written).map_err(or_full)
        };
        if let Err(error) = written {
            // Without space, this file's goes back to the others at once, so that they do not all fail.
            let _ = self.file.give_up();
            return Err(error);
        }
        self.written += length;
        Ok(())
    }

    fn start_over(&mut self) -> bool {
        self.written = 0;
        !self.file.is_given_up.load(Ordering::Relaxed) && self.file.clear().is_ok()
    }
}

/// Creates a directory for its owner alone, if it is missing.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // While it is kept, or read by others, closing it frees nothing.
        let is_last = Arc::strong_count(&self.space) == 1;
        if is_last && self.space.bytes.load(Ordering::Relaxed) >= LARGE {
            let all = (Arc::clone(&self.file), Arc::clone(&self.space));
            free_elsewhere(move || drop(all));
        }
    }
}

/// Does work that may free a large file's space, in a thread of its own, as the system takes time for it.
pub(crate) fn free_elsewhere(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("free".into());
    if let Err(error) = thread.spawn(work) {
        // The closure, and the file in it, is dropped here instead.
        tracing::debug!(%error, "no thread to free space");
    }
}

/// An error of the spool's disk; says so if the disk is full.
pub fn or_full(error: io::Error) -> io::Error {
    if is_full(&error) {
        io::Error::new(error.kind(), SpoolFull::Disk)
    } else {
        error
    }
}

/// Whether a disk has no room, or none for this account.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Drop for Space {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.spool.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A number that is narrower on some systems than on others.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

#[cfg(test)]
mod tests;
