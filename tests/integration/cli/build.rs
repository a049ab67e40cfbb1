//! The build script: of which commit the program says it is.

use std::fs;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");

/// Runs `command` in `directory`, without the settings of whoever runs the tests.
fn said(command: &mut Command, directory: &Path) -> String {
    let output = command
        .current_dir(directory)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let author = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
    said(Command::new("git").args(author).args(arguments), directory)
}

#[test]
fn a_build_from_a_changed_tree_says_so_beside_its_commit() {
    let place = tempfile::tempdir().expect("a directory");
    let script = place.path().join("script");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let mut compile = Command::new(compiler);
    compile.args(["--edition=2024", SCRIPT, "-o"]).arg(&script);
    said(&mut compile, place.path());
    let build = |directory: &Path| said(&mut Command::new(&script), directory);
    let commit = |directory: &Path| {
        let said = build(directory);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("cargo::rustc-env=CMMS_BUILD_COMMIT="));
        line.map(str::to_owned)
    };

    // As it is packaged, also below a repository of somebody else.
    let outer = place.path().join("outer");
    let packaged = outer.join("packaged");
    fs::create_dir_all(&packaged).expect("ours");
    git(&outer, &["init", "--quiet"]);
    git(
        &outer,
        &["commit", "--quiet", "--allow-empty", "-m", "outer"],
    );
    assert_eq!(commit(&packaged), None);

    let tree = place.path().join("tree");
    fs::create_dir_all(tree.join("src")).expect("ours");
    let main = tree.join("src/main.rs");
    fs::write(&main, "fn main() {}").expect("ours");
    fs::write(tree.join("README.md"), "before").expect("ours");
    git(&tree, &["init", "--quiet"]);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "--quiet", "-m", "first"]);
    let hash = git(&tree, &["rev-parse", "--short=12", "HEAD"]);
    let clean = Some(hash.trim().to_owned());
    let dirty = Some(format!("{}-dirty", hash.trim()));
    assert_eq!(commit(&tree), clean);
    fs::write(tree.join("README.md"), "after").expect("ours");
    assert_eq!(commit(&tree), clean, "it is no part of the program");
    fs::write(&main, "fn main() { }").expect("ours");
    assert_eq!(commit(&tree), dirty);
    git(&tree, &["add", "src"]);
    assert_eq!(commit(&tree), dirty, "also if that is to be committed");
    git(&tree, &["reset", "--quiet", "--hard"]);
    assert_eq!(commit(&tree), clean);
    let migration = tree.join("migrations/1_more/up.sql");
    fs::create_dir_all(migration.parent().expect("it has one")).expect("ours");
    fs::write(&migration, "select 1").expect("ours");
    assert_eq!(
        commit(&tree),
        dirty,
        "git does not know it, but the program would"
    );
    fs::remove_dir_all(tree.join("migrations")).expect("ours");

    // A work tree of its own has its log elsewhere. What the script asks to be watched is there.
    git(&tree, &["worktree", "add", "--quiet", "../second"]);
    let second = place.path().join("second");
    assert_eq!(commit(&second), clean);
    for directory in [&tree, &second] {
        let said = build(directory);
        let watched: Vec<_> = said
            .lines()
            .filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="))
            .collect();
        for part in ["src", "logs/HEAD"] {
            assert!(watched.iter().any(|path| path.ends_with(part)), "{said}");
        }
        for path in watched.iter().filter(|path| **path != "build.rs") {
            assert!(directory.join(path).exists(), "{path}");
        }
    }
}
