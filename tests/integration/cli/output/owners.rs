//! The owner, the group and the permissions of an output, and files of other users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::{entries, export_to, open_file_in};
use crate::support::gate::{Gate, Gated, ROWS};
use crate::support::program::{program, stderr};
use crate::support::{TestDatabase, eventually};

/// Another user, and a group that root is not in: no account has these numbers, and none needs to.
const NOBODY: u32 = 65_432;
const OTHERS: u32 = 65_433;

#[test]
fn what_replaces_a_file_is_no_more_open_than_that_was_from_its_beginning() {
    let gated = Gated::new();
    let gate = Gate::close(&gated, ROWS / 2);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    let mut export = program(&gated.url);
    export
        .args(["export", "--strategy=copy", "--output"])
        .arg(&file);
    let mut export = export.spawn().expect("the program runs");
    let mode = |path: &Path| {
        let file = fs::metadata(path).expect("there");
        file.permissions().mode() & 0o777
    };
    let mut unfinished = None;
    eventually("the new file is there", || {
        unfinished = open_file_in(&export, directory.path());
        unfinished.is_some()
    });
    let modes = [0o600, 0o640];
    assert!(modes.contains(&mode(&unfinished.expect("just seen"))));
    drop(gate);
    assert!(export.wait().expect("ours").success());
    assert_eq!(entries(directory.path()), ["tasks.csv"]);
    assert_eq!(mode(&file), 0o640);
}

#[test]
fn what_replaces_a_file_has_its_owner_and_its_group() {
    // Nobody else can give files away.
    if !geteuid().is_root() {
        return;
    }
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tasks.csv");
    fs::write(&file, "an older export").expect("written");
    chown(&file, Some(NOBODY), Some(OTHERS)).expect("root may");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    export_to(&file, &database);
    let replaced = fs::metadata(&file).expect("there");
    assert!(replaced.len() > 20);
    assert_eq!((replaced.uid(), replaced.gid()), (NOBODY, OTHERS));
    assert_eq!(replaced.mode() & 0o777, 0o640);
}

#[test]
fn what_another_user_has_put_where_everybody_may_write_is_no_output() {
    // Nobody else can make another user's files.
    if !geteuid().is_root() {
        return;
    }
    let database = TestDatabase::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("target"), "precious").expect("written");
    fs::create_dir(path("shared")).expect("ours");
    for name in ["link", "file", "pipe", "ours"] {
        let name = path("shared").join(name);
        match name.file_name().and_then(|name| name.to_str()) {
            Some("link" | "ours") => symlink(path("target"), &name).expect("linked"),
            Some("file") => fs::write(&name, "").expect("written"),
            _ => nix::unistd::mkfifo(&name, Mode::S_IRWXU).expect("made"),
        }
        if !name.ends_with("ours") {
            lchown(&name, Some(NOBODY), None).expect("root may");
        }
    }
    let shared = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(path("shared"), shared).expect("ours");
    for name in ["link", "file", "pipe"] {
        let mut export = program(&database.url);
        let output = export
            .args(["export", "--output"])
            .arg(path("shared").join(name))
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{name}");
        let said = stderr(&output);
        assert!(said.contains("belongs to another user"), "{name}: {said}");
    }
    let target = || fs::read_to_string(path("target")).expect("there");
    assert_eq!(target(), "precious");

    // A link of one's own is as good there as anywhere, and another's elsewhere.
    export_to(&path("shared/ours"), &database);
    assert!(target().starts_with("ID,"));
    symlink(path("target"), path("elsewhere")).expect("linked");
    lchown(path("elsewhere"), Some(NOBODY), None).expect("root may");
    export_to(&path("elsewhere"), &database);
}

#[test]
fn a_file_in_a_sticky_directory_that_only_others_may_replace_is_refused_before_any_work() {
    // Nobody else can become another user.
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    };
    set_mode(directory.path(), 0o755);
    // Whether everybody or a group may make files there, and whose the directory and the file are.
    for (mode, owner, group, file_owner, is_refused) in [
        (0o1777, 0, 0, 0, true),
        (0o1777, 0, 0, NOBODY, false),
        (0o1770, 0, OTHERS, 0, true),
        (0o1770, 0, OTHERS, OTHERS, true),
        (0o1770, NOBODY, OTHERS, OTHERS, false),
        (0o770, 0, OTHERS, OTHERS, false),
    ] {
        let shared = directory.path().join("shared");
        fs::create_dir(&shared).expect("ours");
        let file = shared.join("tasks.csv");
        fs::write(&file, "an older export").expect("written");
        set_mode(&file, 0o666);
        chown(&file, Some(file_owner), None).expect("root may");
        chown(&shared, Some(owner), Some(group)).expect("root may");
        set_mode(&shared, mode);
        // No database is there. It is looked for only if the output is good.
        let output = program("postgresql://127.0.0.1:1/nowhere")
            .args(["export", "--output"])
            .arg(&file)
            .uid(NOBODY)
            .gid(OTHERS)
            .output()
            .expect("the program runs");
        let case = format!("{mode:o} {owner} {file_owner}: {output:?}");
        assert_eq!(output.status.code(), Some(1), "{case}");
        let said = stderr(&output);
        assert_eq!(said.contains("only a file's owner"), is_refused, "{case}");
        assert_eq!(said.contains("database"), !is_refused, "{case}");
        assert_eq!(entries(&shared), ["tasks.csv"], "{case}");
        fs::remove_dir_all(&shared).expect("ours");
    }
}
