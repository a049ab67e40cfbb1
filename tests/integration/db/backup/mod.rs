//! Backups of the private cluster, and what a restore leaves whenever it ends.

mod refusal;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::support::cluster::temporary_directory;
use crate::support::eventually;
use crate::support::program::{bare_program, stderr};
use crate::support::running::Running;

/// A directory with a data directory in it, which goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        Self(temporary_directory("backup"))
    }

    fn data_dir(&self) -> PathBuf {
        self.0.join("data")
    }

    fn backup(&self) -> PathBuf {
        self.0.join("backup.zip")
    }

    /// With a cluster that has rows of every kind.
    fn filled() -> Self {
        let place = Self::new();
        let seeded = run(&place, &["seed", "--tasks=3000"]);
        assert!(seeded.status.success(), "{seeded:?}");
        let cluster = Running::start(&place.data_dir());
        cluster.psql(
            r#"insert into locations values (1000, E'a "b", c\nd\te\\.'), (1001, ''), (1002, E'\\.'), (1003, 'Zürich 🔧');
               update tasks set title = E'\\N', description = '' where id = 7;
               update tasks set description = E'\r\n,"' where id = 8;
               delete from tasks where id > 2900;
               create index tasks_title_length_idx on tasks (length(title))"#,
        );
        place
    }

    fn backed_up() -> Self {
        let place = Self::filled();
        let made = run(
            &place,
            &["database", "backup", place.backup().to_str().expect("text")],
        );
        assert!(made.status.success(), "{made:?}");
        assert!(
            stderr(&made).contains("54 locations, 300 assets, 100 users, 2900 tasks"),
            "{made:?}"
        );
        place
    }

    fn restore(&self) -> Command {
        let mut command = command(self);
        command.args(["database", "restore"]).arg(self.backup());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(place: &Place) -> Command {
    let mut command = bare_program();
    command.env("CMMS_DATA_DIR", place.data_dir());
    command
}

fn run(place: &Place, arguments: &[&str]) -> Output {
    command(place)
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// All rows, the ids that come next, and the indexes.
fn contents(data_dir: &Path) -> String {
    let cluster = Running::start(data_dir);
    let tables = ["locations", "assets", "users", "tasks"];
    let of = |table| {
        let rows = cluster.psql(&format!(
            "copy (select * from {table} order by id) to stdout"
        ));
        let next = cluster.psql(&format!("select * from {table}_id_seq"));
        let next = next.split('|').next().map(str::to_owned);
        let indexes = cluster.psql(&format!(
            "select indexdef from pg_indexes where tablename = '{table}' order by 1"
        ));
        format!("{rows}\n{next:?}\n{indexes}\n")
    };
    tables.map(of).concat()
}

/// The names in the data directory that only a restore makes.
fn leftovers(place: &Place) -> Vec<PathBuf> {
    ["restoring", "postgresql.leaving", "postgresql.old"]
        .iter()
        .map(|name| place.data_dir().join(name))
        .filter(|path| path.exists())
        .collect()
}

#[test]
fn what_was_backed_up_while_others_used_it_is_restored_elsewhere() {
    let place = Place::filled();
    let before = contents(&place.data_dir());
    let used = Running::start(&place.data_dir());
    let made = run(
        &place,
        &["database", "backup", place.backup().to_str().expect("text")],
    );
    assert!(made.status.success(), "{made:?}");
    drop(used);

    let elsewhere = Place::new();
    fs::copy(place.backup(), elsewhere.backup()).expect("ours");
    let restored = elsewhere.restore().output().expect("the program runs");
    assert!(restored.status.success(), "{restored:?}");
    assert!(String::from_utf8_lossy(&restored.stdout).contains("2900 tasks"));
    assert_eq!(contents(&elsewhere.data_dir()), before);
    assert!(leftovers(&elsewhere).is_empty());
    let export = |place| run(place, &["export"]).stdout;
    assert!(export(&elsewhere) == export(&place) && export(&place).len() > 100_000);
}

#[test]
fn a_restore_keeps_the_cluster_that_it_replaces_and_no_second_one_takes_its_place() {
    let place = Place::backed_up();
    let before = contents(&place.data_dir());
    Running::start(&place.data_dir()).psql("delete from tasks");
    let restored = place.restore().output().expect("the program runs");
    assert!(restored.status.success(), "{restored:?}");
    let old = place.data_dir().join("postgresql.old");
    assert!(String::from_utf8_lossy(&restored.stdout).contains(old.to_str().expect("text")));
    assert_eq!(contents(&place.data_dir()), before);

    let again = place.restore().output().expect("the program runs");
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("remove it, or move it away"),
        "{again:?}"
    );
    fs::remove_dir_all(&old).expect("ours");
    assert!(
        place
            .restore()
            .status()
            .expect("the program runs")
            .success()
    );
}

#[test]
fn what_somebody_keeps_under_the_old_clusters_name_stays_and_stops_no_start() {
    let place = Place::backed_up();
    let before = contents(&place.data_dir());
    let restore = place.restore().stdout(Stdio::piped()).spawn();
    let restore = restore.expect("the program runs");
    eventually("the new cluster is made", || {
        place.data_dir().join("restoring").exists()
    });
    let theirs = place.data_dir().join("postgresql.old/theirs");
    fs::create_dir(place.data_dir().join("postgresql.old")).expect("nothing is there yet");
    fs::write(&theirs, "theirs").expect("ours");
    let restored = restore.wait_with_output().expect("ours");
    assert!(restored.status.success(), "{restored:?}");
    let old = place.data_dir().join("postgresql.old-2");
    assert!(String::from_utf8_lossy(&restored.stdout).contains(old.to_str().expect("text")));
    assert!(old.join("PG_VERSION").exists() && theirs.exists());
    assert_eq!(contents(&place.data_dir()), before);
}

#[test]
fn a_restore_that_cannot_clear_up_is_done_and_warns() {
    let place = Place::backed_up();
    let before = contents(&place.data_dir());
    Running::start(&place.data_dir()).psql("delete from tasks");
    let restore = place.restore();
    // To remove a tree, it opens a file for each level.
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -n 200 && exec "$0" "$@""#]);
    limited.arg(restore.get_program()).args(restore.get_args());
    for (name, value) in restore.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let piped = limited.stdout(Stdio::piped()).stderr(Stdio::piped());
    let restore = piped.spawn().expect("the program runs");
    let unfinished = place.data_dir().join("restoring");
    eventually("the new cluster is made", || unfinished.exists());
    fs::create_dir_all(unfinished.join("d/".repeat(300))).expect("ours");
    let restored = restore.wait_with_output().expect("ours");
    assert!(restored.status.success(), "{restored:?}");
    let said = stderr(&restored);
    assert!(
        said.contains("WARN") && said.contains("Too many open files"),
        "{said}"
    );
    assert_eq!(contents(&place.data_dir()), before);
    assert!(place.data_dir().join("postgresql.old").exists() && unfinished.exists());
}

/// Changes the text of a backup's manifest.
fn rewrite(backup: &Path, from: &str, to: &str) {
    let mut old = ZipArchive::new(File::open(backup).expect("ours")).expect("a ZIP file");
    let mut manifest = String::new();
    let mut entry = old.by_name("manifest.json").expect("it is there");
    entry.read_to_string(&mut manifest).expect("text");
    drop(entry);
    assert!(manifest.contains(from), "{manifest}");
    let rewritten = backup.with_extension("rewritten");
    let mut new = ZipWriter::new(File::create(&rewritten).expect("ours"));
    for at in 0..old.len() {
        let entry = old.by_index_raw(at).expect("it is there");
        if entry.name().expect("text") != "manifest.json" {
            new.raw_copy_file(entry).expect("copied");
        }
    }
    new.start_file("manifest.json", SimpleFileOptions::default())
        .expect("begun");
    new.write_all(manifest.replace(from, to).as_bytes())
        .expect("written");
    new.finish().expect("whole");
    fs::rename(rewritten, backup).expect("ours");
}

#[test]
fn a_backup_is_its_makers_alone_and_runs_no_commands_of_others() {
    let place = Place::backed_up();
    let mode = fs::metadata(place.backup()).expect("there").mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = contents(&place.data_dir());
    let whole = fs::read(place.backup()).expect("ours");
    let witness = place.0.join("witness");
    let program = format!("\"name) from program 'touch {}' --\"", witness.display());
    for (from, to, says) in [
        ("\"name\"\n", format!("{program}\n"), "there is no column"),
        (
            "CREATE INDEX",
            "drop table tasks; --".to_owned(),
            "is no index",
        ),
    ] {
        fs::write(place.backup(), &whole).expect("ours");
        rewrite(&place.backup(), from, &to);
        let refused = place.restore().output().expect("the program runs");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(stderr(&refused).contains(says), "{refused:?}");
        assert!(!witness.exists() && leftovers(&place).is_empty());
    }
    assert_eq!(contents(&place.data_dir()), before);
}

#[test]
fn a_restore_that_is_killed_leaves_the_cluster_as_it_was() {
    let place = Place::backed_up();
    Running::start(&place.data_dir()).psql("delete from tasks where id > 1000");
    let before = contents(&place.data_dir());
    let mut restore = place.restore().spawn().expect("the program runs");
    eventually("the new cluster's server runs", || {
        place
            .data_dir()
            .join("restoring/postgresql/postmaster.pid")
            .exists()
    });
    restore.kill().expect("ours");
    restore.wait().expect("ours");
    assert_eq!(contents(&place.data_dir()), before);

    // Between the first two renames.
    if !cfg!(feature = "fault-injection") {
        panic!(
            "run `make test`, or `cargo test --features fault-injection`: only then the program can be stopped there"
        );
    }
    let data_dir = place.data_dir();
    let mut halted = place.restore();
    let mut restore = halted.env("CMMS_HALT_AT", "leaving").spawn().expect("runs");
    eventually("the cluster has left its place", || {
        data_dir.join("postgresql.leaving").exists()
    });
    restore.kill().expect("ours");
    restore.wait().expect("ours");
    assert!(!data_dir.join("postgresql").exists());
    if geteuid().is_root() {
        // It stays its account's, which is not the one that a new cluster would get.
        let mut chown = Command::new("chown");
        chown.args(["-R", "daemon"]);
        chown.args(["postgresql.leaving", "socket"].map(|name| data_dir.join(name)));
        assert!(chown.status().expect("it runs").success());
    }
    let told = run(&place, &["export", "--output=/dev/null"]);
    assert!(told.status.success(), "{told:?}");
    assert!(stderr(&told).contains("as it was before"), "{told:?}");
    assert_eq!(contents(&data_dir), before);

    let restored = place.restore().output().expect("the program runs");
    assert!(restored.status.success(), "{restored:?}");
    let restored = contents(&data_dir);
    assert_ne!(restored, before);
    assert!(!data_dir.join("restoring").exists());

    // As if it were killed before the last one.
    let old = data_dir.join("postgresql.old");
    fs::rename(&old, data_dir.join("postgresql.leaving")).expect("ours");
    assert_eq!(contents(&data_dir), restored);
    assert_eq!(leftovers(&place), [old]);
}

#[test]
fn a_cluster_that_somebody_removes_does_not_come_back_as_an_older_one() {
    let place = Place::backed_up();
    let restored = place.restore().output().expect("the program runs");
    assert!(restored.status.success(), "{restored:?}");
    fs::remove_dir_all(place.data_dir().join("postgresql")).expect("ours");
    let refused = run(
        &place,
        &["database", "backup", place.backup().to_str().expect("text")],
    );
    assert!(
        stderr(&refused).contains("no private cluster"),
        "{refused:?}"
    );
    let anew = run(&place, &["seed", "--tasks=1"]);
    assert!(anew.status.success(), "{anew:?}");
    assert_eq!(
        Running::start(&place.data_dir()).psql("select count(*) from tasks"),
        "1"
    );
    assert!(place.data_dir().join("postgresql.old").exists());
}

#[test]
fn a_cluster_that_others_use_is_not_replaced() {
    let place = Place::backed_up();
    let used = Running::start(&place.data_dir());
    let refused = place.restore().output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("stop it first"), "{refused:?}");
    drop(used);

    // A server in another container is seen by its lock alone.
    let log = File::open(place.data_dir().join("postgresql.log")).expect("there");
    log.lock().expect("nobody has it");
    let refused = place.restore().output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(leftovers(&place).is_empty());
}

#[test]
fn a_backup_that_is_stopped_leaves_no_file() {
    let place = Place::filled();
    let cluster = Running::start(&place.data_dir());
    let mut lock = cluster.locking("tasks");
    let mut backup = command(&place)
        .args(["database", "backup"])
        .arg(place.backup())
        .spawn()
        .expect("the program runs");
    eventually("the backup waits for the tasks", || {
        cluster.psql("select count(*) from pg_locks where not granted") == "1"
    });
    kill(Pid::from_raw(backup.id().cast_signed()), Signal::SIGTERM).expect("ours");
    assert_eq!(backup.wait().expect("ours").code(), Some(1));
    lock.kill().expect("ours");
    lock.wait().expect("ours");
    let names: Vec<_> = fs::read_dir(&place.0)
        .expect("ours")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["data"]);
}
