//! The spool: a directory for files that wait for their readers, and the space that all of them may take together.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::export::{Sink, SpoolFull};

/// A directory for files that wait for their readers.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    /// Bytes that all files may have together.
    size: u64,
    /// Bytes that they have, or may be about to have.
    used: AtomicU64,
}

impl Spool {
    /// The spool in this directory, made if it is not there, for its owner alone.
    pub fn open(directory: &Path, size: u64) -> io::Result<Arc<Self>> {
        if let Some(parent) = directory.parent() {
            // As usual, and not for us alone: the private cluster below it may be another account's.
            std::fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let spool = Arc::new(Self {
            directory: directory.to_owned(),
            size,
            used: AtomicU64::new(0),
        });
        // Found out now, and not by the first slow reader.
        tempfile::tempfile_in(&spool.directory)?.write_all_at(b"\n", 0)?;
        Ok(spool)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// A new file without a name, which is gone as soon as nobody has it open, however the program ends.
    pub fn unnamed(self: &Arc<Self>) -> io::Result<SpoolFile> {
        Ok(SpoolFile {
            // Of mode 0600 if the system cannot make one without a name.
            file: tempfile::tempfile_in(&self.directory)?,
            space: Space {
                spool: Arc::clone(self),
                bytes: AtomicU64::new(0),
            },
        })
    }

    /// Whether there is space for so much more now.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.size
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.size);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }
}

/// A file in the spool. Dropped, it frees its space.
#[derive(Debug)]
pub struct SpoolFile {
    // Closed before its space is another one's.
    file: File,
    space: Space,
}

/// Space in the spool that is taken until the value is dropped.
#[derive(Debug)]
struct Space {
    spool: Arc<Spool>,
    bytes: AtomicU64,
}

impl SpoolFile {
    /// Takes so much more space for it; whether there was so much.
    pub fn reserve(&self, bytes: u64) -> bool {
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

    /// Writes all bytes, from `offset` on.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Reads exactly so many bytes, from `offset` on.
    pub fn read_at(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// Writes an export to a file of the spool, which takes space as it grows. Out of space, its error is [`SpoolFull`].
#[derive(Debug)]
pub struct SpoolSink {
    file: SpoolFile,
    written: u64,
}

impl SpoolSink {
    /// Writes to an empty file.
    pub fn new(file: SpoolFile) -> Self {
        Self { file, written: 0 }
    }

    /// Returns the file, and the bytes that were written to it.
    pub fn into_file(self) -> (SpoolFile, u64) {
        (self.file, self.written)
    }
}

impl Sink for SpoolSink {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let length = chunk.len() as u64;
        if !self.file.reserve(length) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, SpoolFull));
        }
        self.file.write_at(&chunk, self.written).map_err(or_full)?;
        self.written += length;
        Ok(())
    }

    fn start_over(&mut self) -> bool {
        self.written = 0;
        self.file.clear().is_ok()
    }
}

/// To whoever exports, a full disk is a full spool.
pub(crate) fn or_full(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            io::Error::new(kind, SpoolFull)
        }
        _ => error,
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.spool.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::export::Error;
    use crate::export::manifest::ErrorClass;

    fn open(size: u64) -> (tempfile::TempDir, io::Result<Arc<Spool>>) {
        let parent = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let spool = Spool::open(&parent.path().join("made/spool"), size);
        (parent, spool)
    }

    #[test]
    fn its_directory_is_for_its_owner_alone_and_its_files_have_no_names() -> io::Result<()> {
        let (_parent, spool) = open(10);
        let spool = spool?;
        let mode = spool.directory().metadata()?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let file = spool.unnamed()?;
        file.write_at(b"bytes", 2)?;
        assert_eq!(file.read_at(3, 4)?, b"tes");
        assert_eq!(std::fs::read_dir(spool.directory())?.count(), 0);
        Ok(())
    }

    #[test]
    fn all_files_together_never_take_more_than_its_size() -> io::Result<()> {
        let (_parent, spool) = open(1_000);
        let spool = spool?;
        let files: Vec<SpoolFile> = (0..8).map(|_| spool.unnamed()).collect::<Result<_, _>>()?;
        std::thread::scope(|scope| {
            for file in &files {
                scope.spawn(|| {
                    while file.reserve(3) {
                        assert!(spool.used() <= 1_000);
                    }
                });
            }
        });
        let taken = |file: &SpoolFile| file.space.bytes.load(Ordering::Relaxed);
        assert_eq!(files.iter().map(taken).sum::<u64>(), 999);
        assert_eq!(spool.used(), 999);
        Ok(())
    }

    #[test]
    fn a_file_that_is_dropped_frees_its_space() -> io::Result<()> {
        let (_parent, spool) = open(10);
        let spool = spool?;
        let file = spool.unnamed()?;
        assert!(file.reserve(6) && !file.reserve(5) && file.reserve(4));
        drop(file);
        assert_eq!(spool.used(), 0);
        Ok(())
    }

    #[test]
    fn a_sink_fails_with_the_class_of_a_full_spool_and_what_it_wrote_before_stays() -> io::Result<()>
    {
        let (_parent, spool) = open(10);
        let mut sink = SpoolSink::new(spool?.unnamed()?);
        sink.write(Bytes::from_static(b"123456"))?;
        let full = sink.write(Bytes::from_static(b"78901"));
        let class = full.map_err(|error| Error::Sink(error).class()).err();
        assert_eq!(class, Some(Some(ErrorClass::SpoolFull)));
        sink.write(Bytes::from_static(b"7890"))?;
        let (file, written) = sink.into_file();
        assert_eq!(file.read_at(written as usize, 0)?, b"1234567890");
        assert!(file.read_at(1, 10).is_err());
        Ok(())
    }

    #[test]
    fn a_sink_can_start_over() -> io::Result<()> {
        let (_parent, spool) = open(10);
        let spool = spool?;
        let mut sink = SpoolSink::new(spool.unnamed()?);
        sink.write(Bytes::from_static(b"12345678"))?;
        assert!(sink.start_over());
        assert_eq!(spool.used(), 0);
        sink.write(Bytes::from_static(b"abc"))?;
        sink.write(Bytes::from_static(b"def"))?;
        let (file, length) = sink.into_file();
        assert_eq!((length, spool.used()), (6, 6));
        assert_eq!(file.read_at(6, 0)?, b"abcdef");
        Ok(())
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error_at_once() {
        for nowhere in ["/proc/spool", "/dev/null/spool", "/dev/null"] {
            assert!(Spool::open(Path::new(nowhere), 10).is_err(), "{nowhere}");
        }
    }
}
