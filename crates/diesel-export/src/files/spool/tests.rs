use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::Error;
use crate::manifest::ErrorClass;

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
fn nothing_that_is_kept_gives_way_to_what_is_made() -> io::Result<()> {
    let (_parent, spool) = open(10);
    let spool = spool?;
    let kept = spool.occupied(8);
    let file = spool.unnamed()?;
    assert!(!file.reserve(3) && !spool.has_room(3) && spool.used() == 8);
    assert!(file.reserve(2) && !spool.has_room(1));
    drop(kept);
    assert!(spool.has_room(8) && file.reserve(8));
    Ok(())
}

#[test]
fn its_directory_is_made_again_if_somebody_has_removed_it() -> io::Result<()> {
    let (parent, spool) = open(10);
    let spool = spool?;
    std::fs::remove_dir_all(parent.path().join("made"))?;
    spool.unnamed()?.write_at(b"bytes", 0)?;
    let mode = spool.directory().metadata()?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    Ok(())
}

#[test]
fn a_sink_fails_with_the_class_of_a_full_spool_and_frees_its_space_at_once() -> io::Result<()> {
    let (_parent, spool) = open(10);
    let spool = spool?;
    let mut sink = SpoolSink::new(Arc::new(spool.unnamed()?));
    sink.write(Bytes::from_static(b"123456"))?;
    let full = sink.write(Bytes::from_static(b"78901"));
    let class = full.map_err(|error| Error::Sink(error).class()).err();
    assert_eq!(class, Some(Some(ErrorClass::SpoolFull)));
    assert_eq!(spool.used(), 0);
    // Nothing comes of it later.
    assert!(sink.write(Bytes::from_static(b"7")).is_err() && !sink.start_over());
    Ok(())
}

#[test]
fn a_sink_can_start_over() -> io::Result<()> {
    let (_parent, spool) = open(10);
    let spool = spool?;
    let mut sink = SpoolSink::new(Arc::new(spool.unnamed()?));
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
