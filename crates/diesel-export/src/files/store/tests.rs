use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::example;
use crate::manifest::Facts;
use crate::record::Record;
use crate::spool::SpoolSink;
use crate::{Export, Sink};

const KEEP: Duration = Duration::from_secs(60);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn label(id: &str) -> Label {
    let export = Export::of(&example::books());
    Label {
        manifest: Record::queue(id.to_owned(), &export, Facts::new()).manifest(),
        owner: None,
        disposition: String::new(),
    }
}

fn whole(id: &str, bytes: u64) -> Label {
    let mut label = label(id);
    label.manifest.state = State::Complete;
    label.manifest.bytes = bytes;
    label
}

fn write(store: &Store, id: &str) -> io::Result<Arc<SpoolFile>> {
    let mut sink = SpoolSink::new(Arc::new(store.begin(id)?));
    sink.write(Bytes::from_static(b"bytes"))?;
    Ok(sink.into_file().0)
}

fn stands(found: &[Found]) -> Vec<(&str, State, Option<ErrorClass>, bool)> {
    let mut stands: Vec<_> = found
        .iter()
        .map(|found| {
            let manifest = &found.label.manifest;
            let is_there = found.space.is_some();
            (
                manifest.id.as_str(),
                manifest.state,
                manifest.error,
                is_there,
            )
        })
        .collect();
    stands.sort_by_key(|(id, ..)| *id);
    stands
}

fn expiry(found: &[Found]) -> BTreeMap<&str, Option<OffsetDateTime>> {
    let manifests = found.iter().map(|found| &found.label.manifest);
    manifests
        .map(|manifest| (manifest.id.as_str(), manifest.expires_at))
        .collect()
}

fn names(store: &Store) -> io::Result<Vec<String>> {
    let files = store.files(|_| true)?;
    let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

#[test]
fn what_is_whole_is_found_again_and_the_rest_is_interrupted_and_leaves_no_file() -> Outcome {
    let parent = tempfile::tempdir()?;
    let spool = Spool::open(parent.path(), 100)?;
    let (store, found) = Store::open(&spool, "exports", KEEP)?;
    assert!(found.is_empty());
    store.put(&label("queued"))?;
    store.put(&label("written"))?;
    write(&store, "written")?;
    // Killed between the file's new name and its label's.
    store.put(&label("named"))?;
    write(&store, "named")?.finish()?;
    fs::rename(store.path("named", "part"), store.path("named", "export"))?;
    fs::write(store.directory.join(".label-half"), "{")?;
    store.put(&label("whole"))?;
    store.publish(write(&store, "whole")?, &whole("whole", 5))?;
    store.put(&label("short"))?;
    store.publish(write(&store, "short")?, &whole("short", 6))?;
    // As a newer version may have written it.
    fs::write(store.path("unread", "json"), "{}")?;
    fs::write(store.path("unread", "export"), "12345")?;
    drop(store);
    assert_eq!(spool.used(), 0);

    let (store, found) = Store::open(&spool, "exports", KEEP)?;
    let interrupted = Some(ErrorClass::Interrupted);
    let expected = [
        ("named", State::Failed, interrupted, false),
        ("queued", State::Failed, interrupted, false),
        ("short", State::Failed, Some(ErrorClass::Output), false),
        ("whole", State::Complete, None, true),
        ("written", State::Failed, interrupted, false),
    ];
    assert_eq!(stands(&found), expected);
    assert_eq!(spool.used(), 5);
    let left = [
        "lock",
        "named.json",
        "queued.json",
        "short.json",
        "unread.export",
        "unread.json",
        "whole.export",
        "whole.json",
        "written.json",
    ];
    assert_eq!(names(&store)?, left);
    drop(store);
    let (_store, again) = Store::open(&spool, "exports", KEEP)?;
    assert_eq!(stands(&again), expected, "it stays so");
    assert_eq!(expiry(&again), expiry(&found), "nor is it kept for longer");
    assert!(
        expiry(&found)
            .iter()
            .all(|(_, expires_at)| expires_at.is_some())
    );
    Ok(())
}

#[test]
fn what_is_removed_is_gone_with_its_space_and_its_reader_reads_on() -> Outcome {
    let parent = tempfile::tempdir()?;
    let spool = Spool::open(parent.path(), 100)?;
    let (store, _) = Store::open(&spool, "exports", KEEP)?;
    let space = store.publish(write(&store, "a")?, &whole("a", 5))?;
    let mode = fs::metadata(store.path("a", "export"))?
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let reader = store.open_file("a", space)?;
    store.remove_all(&["a"]);
    assert_eq!(names(&store)?, ["lock"]);
    assert_eq!(reader.read_at(5, 0)?, b"bytes");
    assert_eq!(spool.used(), 5);
    drop(reader);
    // In a thread of its own.
    let deadline = Instant::now() + Duration::from_secs(30);
    while spool.used() > 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(spool.used(), 0);
    Ok(())
}

#[test]
fn a_directory_that_somebody_has_removed_is_made_again_and_locked() -> Outcome {
    let parent = tempfile::tempdir()?;
    let spool = Spool::open(&parent.path().join("spool"), 100)?;
    let (store, _) = Store::open(&spool, "exports", KEEP)?;
    store.publish(write(&store, "a")?, &whole("a", 5))?;
    let restore = |known: &'static str| {
        let found = store.restore(KEEP, |id| id == known);
        found.map(|found| found.map(|found| found.len()))
    };
    assert!(restore("a")?.is_none() && store.has_file("a"));
    fs::remove_dir_all(spool.directory())?;
    assert!(store.put(&label("b")).is_err());
    assert_eq!(restore("a")?, Some(0));
    assert!(!store.has_file("a") && !store.has_label("a"));
    store.put(&label("b"))?;
    assert_eq!(names(&store)?, ["b.json", "lock"]);
    let second = Store::open(&spool, "exports", KEEP).map_err(|error| error.kind());
    assert_eq!(second.err(), Some(io::ErrorKind::ResourceBusy));
    // Another service was faster.
    fs::remove_dir_all(&store.directory)?;
    let (other, _) = Store::open(&spool, "exports", KEEP)?;
    let restored = restore("a").map_err(|error| error.kind());
    assert_eq!(restored, Err(io::ErrorKind::ResourceBusy));
    other.publish(write(&other, "c")?, &whole("c", 5))?;
    drop(other);
    assert_eq!(restore("a")?, Some(1), "what it has left there");
    // The lock alone is gone: what is known is left alone.
    let _unfinished = write(&store, "d")?;
    fs::remove_file(store.directory.join(LOCK))?;
    assert_eq!(restore("d")?, Some(1));
    assert_eq!(names(&store)?, ["c.export", "c.json", "d.part", "lock"]);
    Ok(())
}

#[test]
fn a_directory_of_somebody_elses_is_refused() -> Outcome {
    let parent = tempfile::tempdir()?;
    let spool = Spool::open(parent.path(), 100)?;
    let (kept, _) = Store::open(&spool, "exports", KEEP)?;
    let second = Store::open(&spool, "exports", KEEP).map_err(|error| error.kind());
    assert_eq!(second.err(), Some(io::ErrorKind::ResourceBusy));
    let directory = kept.directory.clone();
    drop(kept);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    assert!(
        Store::open(&spool, "exports", KEEP).is_err(),
        "others can look into it"
    );
    fs::remove_dir_all(&directory)?;
    let elsewhere = tempfile::tempdir()?;
    std::os::unix::fs::symlink(elsewhere.path(), &directory)?;
    assert!(
        Store::open(&spool, "exports", KEEP).is_err(),
        "a link leads elsewhere"
    );
    Ok(())
}
