//! Looks after the private cluster: backs it up, restores it, brings it to a newer PostgreSQL.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use bytes::Bytes;

use crate::backup::{self, Manifest};
use crate::connect::CONNECTION_WAIT;
use crate::db::Database;
use crate::db::embedded::{Durability, Embedded, EmbeddedError, Exclusive, has_cluster};
use crate::export::Sink;
use crate::output::Output;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster does not start, or is not there.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The backup failed.
    #[error(transparent)]
    Backup(#[from] backup::Error),
    /// A file failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Backs up the cluster, which others may use meanwhile, and says what the backup holds.
pub fn backup(data_dir: &Path, mut output: Output) -> Result<String, Error> {
    if !has_cluster(data_dir) {
        return Err(EmbeddedError::NoCluster {
            data_dir: data_dir.to_owned(),
        }
        .into());
    }
    let embedded = Embedded::start(data_dir, Durability::Durable)?;
    let manifest = backup::write(&open(&embedded), Chunks(&mut output))?;
    output.finish()?;
    embedded.stop()?;
    Ok(format!("backed up {}", manifest.summary()))
}

/// Puts a new cluster, filled from a backup, into the place of the one in the directory, and says what it holds and where the old one
/// is.
pub fn restore(data_dir: &Path, backup: File) -> Result<String, Error> {
    let exclusive = Exclusive::claim(data_dir, Durability::Durable)?;
    exclusive.check_room()?;
    let version = exclusive.new_version().to_owned();
    let manifest = fill(&exclusive, backup)?;
    let replaced = exclusive.exchange()?;
    let summary = manifest.summary();
    Ok(match replaced {
        Some(replaced) => format!(
            "restored {summary}, on PostgreSQL {version}; the cluster that was there is in {}: remove it if you do not need it any more",
            replaced.display()
        ),
        None => format!("restored {summary}, on PostgreSQL {version}"),
    })
}

/// Brings the cluster to the newest PostgreSQL that is found, and says where the old one is. `old_programs` is the directory of the
/// present version's programs, if they are not in one of the usual places.
pub fn upgrade(data_dir: &Path, old_programs: Option<&Path>) -> Result<String, Error> {
    if !has_cluster(data_dir) {
        return Err(EmbeddedError::NoCluster {
            data_dir: data_dir.to_owned(),
        }
        .into());
    }
    let exclusive = Exclusive::claim(data_dir, Durability::Durable)?;
    let old = exclusive.version()?.unwrap_or_default();
    let new = exclusive.new_version().to_owned();
    if old == new {
        return Ok(format!("nothing to do: the cluster is of PostgreSQL {new}"));
    }
    if !exclusive.is_newer_than(&old) {
        return Err(EmbeddedError::NoNewerBinaries {
            needed: old,
            found: new,
        }
        .into());
    }
    exclusive.check_room()?;
    let present = exclusive.start_present(&old, old_programs)?;
    // Without a name, it is gone with this process.
    let mut file = tempfile::tempfile_in(present.data_dir())?;
    backup::write(&open(&present), io::BufWriter::new(&file))?;
    present.stop()?;
    file.rewind()?;
    let manifest = fill(&exclusive, file)?;
    let replaced = exclusive.exchange()?.unwrap_or_default();
    Ok(format!(
        "the cluster is of PostgreSQL {new} now ({}); the old one, of {old}, is in {}: remove it if you do not need it any more",
        manifest.summary(),
        replaced.display()
    ))
}

/// Makes a new cluster beside the present one, fills it, and stops it.
fn fill(exclusive: &Exclusive, backup: File) -> Result<Manifest, Error> {
    let fill = || {
        let new = exclusive.start_new()?;
        let manifest = backup::read(backup, &open(&new))?;
        new.stop()?;
        Ok(manifest)
    };
    let filled = fill();
    if filled.is_err() {
        // The error matters more than what is left, which the next attempt removes.
        let _ = exclusive.remove_unfinished();
    }
    filled
}

fn open(embedded: &Embedded) -> Database {
    Database::new(embedded.database_url(), 1, CONNECTION_WAIT)
}

/// An output as a writer.
struct Chunks<'a>(&'a mut Output);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(Bytes::copy_from_slice(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
