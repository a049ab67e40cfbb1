//! The private cluster on a newer PostgreSQL. `make test-postgres` runs these: they need the programs of two versions, those of the
//! newer one in `PG_BINDIR`, those of the older one in `CMMS_OLD_BINDIR`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::cluster::temporary_directory;
use crate::support::eventually;
use crate::support::program::{bare_program, stderr};

/// A data directory, and the programs that its cluster is run by.
struct Place {
    directory: PathBuf,
    old: PathBuf,
    new: PathBuf,
}

impl Place {
    /// With a cluster of the older version, and rows in it.
    fn of_the_old_version() -> Self {
        let programs = |name| {
            env::var_os(name)
                .unwrap_or_else(|| panic!("{name} is not set: run make test-postgres"))
                .into()
        };
        let place = Self {
            directory: temporary_directory("upgrade"),
            old: programs("CMMS_OLD_BINDIR"),
            new: programs("PG_BINDIR"),
        };
        let seeded = place.run(&place.old, &["seed", "--tasks=20000"]);
        assert!(seeded.status.success(), "{seeded:?}");
        place
    }

    fn command(&self, programs: &PathBuf, arguments: &[&str]) -> Command {
        let mut command = bare_program();
        command
            .env("CMMS_DATA_DIR", self.directory.join("data"))
            .env("PG_BINDIR", programs)
            .args(arguments);
        command
    }

    fn run(&self, programs: &PathBuf, arguments: &[&str]) -> Output {
        let mut command = self.command(programs, arguments);
        command.output().expect("the program runs")
    }

    fn export(&self, programs: &PathBuf) -> Vec<u8> {
        let columns = "--columns=id,title,description,done,asset_id,created_by_id,updated_by_id";
        let output = self.run(programs, &["export", columns]);
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    }

    fn upgrade(&self) -> Command {
        let mut command = self.command(&self.new, &["database", "upgrade"]);
        command.env("CMMS_OLD_BINDIR", &self.old);
        command
    }

    fn version(&self, cluster: &str) -> u32 {
        let file = self.directory.join("data").join(cluster).join("PG_VERSION");
        let version = fs::read_to_string(file).expect("a cluster");
        version.trim().parse().expect("a number")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
#[ignore = "needs the programs of two versions: make test-postgres"]
fn an_upgrade_keeps_all_rows_and_the_old_cluster() {
    let place = Place::of_the_old_version();
    let before = place.export(&place.old);
    let old = place.version("postgresql");

    let told = place.run(&place.new, &["export"]);
    assert_eq!(told.status.code(), Some(1));
    let said = stderr(&told);
    assert!(
        said.contains(&format!("PostgreSQL {old},")) && said.contains("database upgrade"),
        "{said}"
    );

    let upgraded = place.upgrade().output().expect("the program runs");
    assert!(upgraded.status.success(), "{upgraded:?}");
    let said = String::from_utf8_lossy(&upgraded.stdout).into_owned();
    let kept = place.directory.join("data/postgresql.old");
    assert!(
        said.contains("20000 tasks") && said.contains(kept.to_str().expect("text")),
        "{said}"
    );
    assert!(place.version("postgresql") > old);
    assert_eq!(place.version("postgresql.old"), old);
    assert!(place.export(&place.new) == before, "not the same rows");

    let again = place.upgrade().output().expect("the program runs");
    assert!(again.status.success(), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to do"));
    // The next task gets an id of its own.
    fs::remove_dir_all(kept).expect("ours");
    let more = place.run(&place.new, &["seed", "--tasks=1"]);
    assert!(stderr(&more).contains("not empty"), "{more:?}");
}

#[test]
#[ignore = "needs the programs of two versions: make test-postgres"]
fn an_upgrade_that_is_killed_leaves_the_old_cluster_and_the_next_one_succeeds() {
    let place = Place::of_the_old_version();
    let before = place.export(&place.old);
    let old = place.version("postgresql");
    for sign in [
        "postgresql/postmaster.pid",
        "restoring",
        "restoring/postgresql/postmaster.pid",
    ] {
        let mut upgrade = place.upgrade().spawn().expect("the program runs");
        eventually(sign, || place.directory.join("data").join(sign).exists());
        upgrade.kill().expect("ours");
        upgrade.wait().expect("ours");
        assert!(
            place.export(&place.old) == before,
            "killed at {sign}: not the same rows"
        );
    }
    let upgraded = place.upgrade().output().expect("the program runs");
    assert!(upgraded.status.success(), "{upgraded:?}");
    assert!(place.version("postgresql") > old);
    assert!(place.export(&place.new) == before, "not the same rows");
    assert!(!place.directory.join("data/restoring").exists());
}

#[test]
#[ignore = "needs the programs of two versions: make test-postgres"]
fn an_upgrade_without_the_old_programs_or_to_an_older_version_says_what_is_missing() {
    let place = Place::of_the_old_version();
    let before = place.export(&place.old);
    let mut command = place.upgrade();
    command.env("CMMS_OLD_BINDIR", &place.new);
    let refused = command.output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(
        said.contains("are needed too") && said.contains("--old-bindir"),
        "{said}"
    );
    assert!(place.export(&place.old) == before);

    let upgraded = place.upgrade().output().expect("the program runs");
    assert!(upgraded.status.success(), "{upgraded:?}");
    let refused = place.run(&place.old, &["database", "upgrade"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("no newer programs"),
        "{refused:?}"
    );
    assert!(place.export(&place.new) == before);
}

#[test]
#[ignore = "needs the programs of two versions: make test-postgres"]
fn a_backup_of_the_old_version_is_restored_on_the_new_one() {
    let place = Place::of_the_old_version();
    let before = place.export(&place.old);
    let file = place.directory.join("backup.zip");
    let file = file.to_str().expect("text");
    let made = place.run(&place.old, &["database", "backup", file]);
    assert!(made.status.success(), "{made:?}");
    let restored = place.run(&place.new, &["database", "restore", file]);
    assert!(restored.status.success(), "{restored:?}");
    assert!(place.export(&place.new) == before, "not the same rows");
}
