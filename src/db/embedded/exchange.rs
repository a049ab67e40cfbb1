//! A new cluster takes the place of the one in the data directory.
//!
//! It is made beside it, and moved there when it is whole. The old one is kept. Whenever this is interrupted, one of the two is there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::cluster::Cluster;
use super::{Durability, Embedded, EmbeddedError, at, binaries};

/// Where the new cluster is made: a data directory in the data directory.
const UNFINISHED: &str = "restoring";
/// The cluster that is being replaced, amid an exchange. By this name, and no other, one comes back: what somebody keeps or removes
/// later is theirs to decide.
const LEAVING: &str = "postgresql.leaving";
/// The cluster that was replaced; with a number if something of this name is there already.
const REPLACED: &str = "postgresql.old";
const PGDATA: &str = "postgresql";

/// A data directory that no other process can use while this lives.
pub struct Exclusive {
    cluster: Cluster,
    durability: Durability,
    claim: Arc<File>,
    programs: PathBuf,
    programs_version: String,
}

impl Exclusive {
    /// Claims the directory, for a new cluster of the newest PostgreSQL that is found.
    pub fn claim(data_dir: &Path, durability: Durability) -> Result<Self, EmbeddedError> {
        let cluster = Cluster::open(data_dir, durability)?;
        let claim = Arc::new(cluster.claim()?);
        settle(cluster.data_dir())?;
        let (programs, programs_version) = binaries::newest(cluster.account())?;
        Ok(Self {
            cluster,
            durability,
            claim,
            programs,
            programs_version,
        })
    }

    /// The major version of PostgreSQL that the cluster in the directory is of, if there is one.
    pub fn version(&self) -> Result<Option<String>, EmbeddedError> {
        self.cluster.version()
    }

    /// The major version of PostgreSQL that the new cluster is of.
    pub fn new_version(&self) -> &str {
        &self.programs_version
    }

    /// Whether the new cluster is of a newer version than `version`.
    pub fn is_newer_than(&self, version: &str) -> bool {
        binaries::number(&self.programs_version) > binaries::number(version)
    }

    /// Makes sure that there is room for the cluster that will be replaced.
    pub fn check_room(&self) -> Result<(), EmbeddedError> {
        let dir = self.cluster.data_dir().join(REPLACED);
        if dir.exists() {
            return Err(EmbeddedError::ReplacedIsThere { dir });
        }
        Ok(())
    }

    /// Starts the cluster that is in the directory, by programs of its own version: those in `programs` if they are given.
    pub fn start_present(
        &self,
        version: &str,
        programs: Option<&Path>,
    ) -> Result<Embedded, EmbeddedError> {
        let programs =
            binaries::of_version(self.cluster.account(), programs, version).ok_or_else(|| {
                EmbeddedError::NoOldBinaries {
                    needed: version.to_owned(),
                    found: self.programs_version.clone(),
                }
            })?;
        let present = Cluster::open(self.cluster.data_dir(), self.durability)?;
        Embedded::run(present.claimed(programs, Arc::clone(&self.claim)))
    }

    /// Starts a new cluster beside the present one.
    pub fn start_new(&self) -> Result<Embedded, EmbeddedError> {
        let unfinished = self.unfinished();
        self.remove_unfinished()?;
        let new = self.cluster.open_beside(&unfinished)?;
        Embedded::run(new.claimed(self.programs.clone(), Arc::clone(&self.claim)))
    }

    /// Puts the new cluster, which must be whole and stopped, into the place of the present one. Returns where that is now, if there
    /// was one. Once the new one is in its place, it is done: what fails then is only a warning.
    pub fn exchange(self) -> Result<Option<PathBuf>, EmbeddedError> {
        let data_dir = self.cluster.data_dir();
        let (pgdata, leaving) = (data_dir.join(PGDATA), data_dir.join(LEAVING));
        if pgdata.exists() {
            fs::rename(&pgdata, &leaving).map_err(at("move away", &pgdata))?;
        }
        // If the program ends between these two, the next start moves the old one back.
        #[cfg(feature = "fault-injection")]
        crate::fault::halt_at("leaving");
        fs::rename(self.unfinished().join(PGDATA), &pgdata).map_err(at("create", &pgdata))?;
        let settled = sync(data_dir).and_then(|()| settle(data_dir));
        let replaced = settled.unwrap_or_else(|error| {
            warn!(%error, "the new cluster is in its place; the next start tries that again");
            Some(leaving).filter(|leaving| leaving.exists())
        });
        if let Err(error) = self.remove_unfinished() {
            warn!(%error, "the new cluster is in its place, but something is left");
        }
        Ok(replaced)
    }

    /// Removes what is left of a new cluster that was not finished.
    pub fn remove_unfinished(&self) -> Result<(), EmbeddedError> {
        let unfinished = self.unfinished();
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(at("remove the unfinished", &unfinished))?;
        }
        Ok(())
    }

    fn unfinished(&self) -> PathBuf {
        self.cluster.data_dir().join(UNFINISHED)
    }
}

/// Returns where the cluster is, even if it is yet to be moved back; `None` if there is none.
pub(super) fn place(data_dir: &Path) -> Option<PathBuf> {
    let places = [PGDATA, LEAVING].map(|name| data_dir.join(name));
    places.into_iter().find(|place| place.exists())
}

/// A name for a cluster that was replaced. What has the name that it should get may be somebody's data, and stays.
fn free_place(data_dir: &Path) -> PathBuf {
    let mut place = data_dir.join(REPLACED);
    let mut number = 1;
    while place.symlink_metadata().is_ok() {
        number += 1;
        place = data_dir.join(format!("{REPLACED}-{number}"));
    }
    place
}

/// Finishes an interrupted exchange: with the new cluster if it is in its place, else with the old one moved back. Returns where the
/// old one is, if it was replaced now.
pub(super) fn settle(data_dir: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    let (pgdata, leaving) = (data_dir.join(PGDATA), data_dir.join(LEAVING));
    if !leaving.exists() {
        return Ok(None);
    }
    let replaced = pgdata.exists().then(|| free_place(data_dir));
    if replaced.is_none() {
        warn!("a restore or an upgrade was interrupted: the cluster is as it was before");
    }
    // If a crash of the machine undoes that, it is done anew.
    fs::rename(&leaving, replaced.as_ref().unwrap_or(&pgdata)).map_err(at("move", &leaving))?;
    Ok(replaced)
}

/// New names must survive a crash of the machine, too.
fn sync(dir: &Path) -> Result<(), EmbeddedError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(at("sync", dir))
}
