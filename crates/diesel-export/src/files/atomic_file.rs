//! Files that get their names only once they are completely on the disk: a crash leaves the earlier file, or none.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file, replacing an earlier one. Until it is complete, its name begins with `unfinished`.
pub fn write(path: &Path, unfinished: &str, bytes: &[u8]) -> io::Result<()> {
    let directory = parent(path);
    let mut file = tempfile::Builder::new()
        .prefix(unfinished)
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_names(directory)
}

/// Waits until a directory's entries are on the disk: they must survive a crash, too.
pub fn sync_names(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The directory that a file is in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
