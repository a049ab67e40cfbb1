//! Where the command line's export goes: stdout, or a file that appears under its name only when it is whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek, Stdout, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::NamedTempFile;

use crate::export::Sink;

/// How many links are followed, one to the next, as many as Linux follows: they may form a circle.
const MOST_LINKS: usize = 40;

/// An open output.
pub enum Output {
    /// The standard output.
    Stdout(Stdout),
    /// A pipe or a device. It is written to directly: a file in its place would destroy it.
    Special(File),
    /// A file beside the one that it will become.
    File {
        /// The unfinished file; dropped, it is deleted.
        unfinished: NamedTempFile,
        /// What it will become.
        path: PathBuf,
    },
}

impl Output {
    /// Opens `path`; `-` is the standard output.
    pub fn open(path: &Path) -> io::Result<Self> {
        // The umask takes from these permissions what it takes from those of any new file.
        Self::open_with(path, 0o666)
    }

    /// The same, for nobody else to read.
    pub fn open_private(path: &Path) -> io::Result<Self> {
        Self::open_with(path, 0o600)
    }

    fn open_with(path: &Path, mode: u32) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::stdout()));
        }
        // The file that a link points to is replaced, not the link.
        let path = resolve(path)?;
        match fs::metadata(&path).map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(kind)
                if kind.is_char_device()
                    || kind.is_block_device()
                    || kind.is_fifo()
                    || kind.is_socket() =>
            {
                return File::options().write(true).open(&path).map(Self::Special);
            }
            _ => {}
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let replaced = mode_of_replaced(&path, mode);
        let unfinished = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".unfinished")
            .permissions(Permissions::from_mode(replaced.unwrap_or(mode)))
            .tempfile_in(parent(&path))?;
        set_mode(unfinished.as_file(), replaced)?;
        Ok(Self::File { unfinished, path })
    }

    /// The file to remove if the process ends without dropping this.
    pub fn unfinished_path(&self) -> Option<PathBuf> {
        match self {
            Self::File { unfinished, .. } => Some(unfinished.path().to_owned()),
            Self::Stdout(_) | Self::Special(_) => None,
        }
    }

    /// Says that the output is whole: only now does the file get its name.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush(),
            Self::Special(mut file) => file.flush(),
            Self::File { unfinished, path } => {
                let (file, temporary) = unfinished.into_parts();
                let rename = || temporary.persist(&path).map_err(|error| error.error);
                publish(&file, &path, rename)
            }
        }
    }
}

impl Sink for Output {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(&chunk),
            Self::Special(file) => file.write_all(&chunk),
            Self::File { unfinished, .. } => unfinished.write_all(&chunk),
        }
    }

    fn start_over(&mut self) -> bool {
        match self {
            // It has no name yet that anybody knows.
            Self::File { unfinished, .. } => {
                let emptied = unfinished.as_file().set_len(0);
                emptied.and_then(|()| unfinished.rewind()).is_ok()
            }
            Self::Stdout(_) | Self::Special(_) => false,
        }
    }
}

/// The mode of a new file from its beginning, if it will replace the one at `path`: no more open than that one is, and than `most`.
pub(crate) fn mode_of_replaced(path: &Path, most: u32) -> Option<u32> {
    let replaced = fs::metadata(path).ok()?;
    Some(replaced.permissions().mode() & most)
}

/// Gives a file this mode, if there is one: the umask may have taken from it.
pub(crate) fn set_mode(file: &File, mode: Option<u32>) -> io::Result<()> {
    mode.map_or(Ok(()), |mode| {
        file.set_permissions(Permissions::from_mode(mode))
    })
}

/// Makes an unfinished file durable and lets `rename` give it the name `path`.
pub(crate) fn publish(
    unfinished: &File,
    path: &Path,
    rename: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    unfinished.sync_all()?;
    rename()?;
    // The name must survive a crash, too.
    File::open(parent(path))?.sync_all()
}

/// Follows the links from `path`; the file at the end need not exist yet.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(path) = fs::canonicalize(&path) {
            return Ok(path);
        }
        match fs::read_link(&path) {
            // A relative target starts from the link's directory.
            Ok(target) => path = parent(&path).join(target),
            Err(_no_link) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The directory that a file is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
