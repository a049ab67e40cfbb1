//! Where the command line's export goes: stdout, or a file that appears under its name only once it is complete.

pub mod printable;
pub mod progress;

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tempfile::TempPath;

use diesel_export::Sink;
use diesel_export::atomic_file::{parent, sync_names};

/// How many links are followed, as many as Linux follows: they may form a circle.
const MOST_LINKS: usize = 40;

/// The permissions of a new file, before the umask.
const MODE: u32 = 0o666;

/// An open output.
pub enum Output {
    /// An existing output: the standard output, a pipe, a device. It is written to directly: a file in its place would destroy it.
    Direct(File),
    /// A file that gets its name once it is complete.
    File {
        /// The unfinished file.
        file: File,
        /// The name of the unfinished file, if it needs one; dropped, it is deleted.
        name: Option<TempPath>,
        /// Its final name.
        path: PathBuf,
    },
}

impl Output {
    /// Opens `path`; `-` is the standard output.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return standard_output().map(Self::Direct);
        }
        // The file that a link points to is replaced, not the link.
        let path = follow_links(path)?;
        if is_descriptor(&path) {
            return open_descriptor(&path).map(Self::Direct);
        }
        // Whatever could keep the file from its name must be known before the export, not after it.
        let replaced = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            found => found.ok(),
        };
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(found) = &replaced {
            let kind = found.file_type();
            if kind.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            refuse_trap(&path, found)?;
            if kind.is_file() {
                refuse_kept(&path, found)?;
            }
            if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket()
            {
                return File::options().write(true).open(&path).map(Self::Direct);
            }
        }
        // The new file is never more accessible than the one that it replaces.
        let mode = if replaced.is_some() { 0o600 } else { MODE };
        let (file, name) = match unnamed(&path, mode) {
            Ok(file) => (file, None),
            Err(_no_such_files_here) => {
                let named = unfinished()
                    .permissions(Permissions::from_mode(mode))
                    .tempfile_in(parent(&path))?;
                let (file, name) = named.into_parts();
                (file, Some(name))
            }
        };
        if let Some(replaced) = &replaced {
            take_after(&file, &path, replaced)?;
        }
        Ok(Self::File { file, name, path })
    }

    /// Returns whether it is a file that will have a name.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// The file to remove if the process ends without dropping this.
    pub fn unfinished_path(&self) -> Option<PathBuf> {
        match self {
            Self::File { name, .. } => name.as_ref().map(|name| name.to_path_buf()),
            Self::Direct(_) => None,
        }
    }

    /// Completes the output: only now does the file get its name.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Direct(mut file) => file.flush(),
            Self::File { file, name, path } => {
                file.sync_all()?;
                let name = name.map_or_else(|| link(&file, &path), Ok)?;
                name.persist(&path)?;
                sync_names(parent(&path))
            }
        }
    }
}

impl Sink for Output {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        match self {
            Self::Direct(file) | Self::File { file, .. } => file.write_all(&chunk),
        }
    }

    fn start_over(&mut self) -> bool {
        match self {
            // Nobody knows its name yet.
            Self::File { file, .. } => {
                let emptied = file.set_len(0);
                emptied.and_then(|()| file.rewind()).is_ok()
            }
            Self::Direct(_) => false,
        }
    }
}

/// Opens the standard output.
///
/// If it was closed, Rust has opened `/dev/null` for reading and writing in its place before `main` began, and an export to it would
/// succeed. Shells, systemd and most programs open `/dev/null` for writing alone if nobody wants what is written. Some that start
/// others (Python's `DEVNULL`, Node's `ignore`) open it as Rust does. These cannot be told apart, so they get the error, too, which says what to do.
fn standard_output() -> io::Result<File> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let access = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL)?);
    let metadata = file.metadata()?;
    let is_null =
        |null: Metadata| metadata.file_type().is_char_device() && metadata.rdev() == null.rdev();
    if access & OFlag::O_ACCMODE == OFlag::O_RDWR && fs::metadata("/dev/null").is_ok_and(is_null) {
        return Err(io::Error::other(
            "the standard output is closed (if it is /dev/null on purpose, say --output /dev/null)",
        ));
    }
    Ok(file)
}

/// Follows the links from `path`; the file at the end need not exist yet.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let found = fs::symlink_metadata(&path).ok();
        let Some(link) = found.filter(Metadata::is_symlink) else {
            return Ok(path);
        };
        if is_descriptor(&path) {
            return Ok(path);
        }
        refuse_trap(&path, &link)?;
        // A relative target starts from the link's directory.
        path = parent(&path).join(fs::read_link(&path)?);
    }
    Err(io::Error::other("too many links"))
}

/// Refuses what another user may have put there to capture others' output: as Linux does by `protected_symlinks`, `protected_fifos` and
/// `protected_regular`, and on the same condition. The kernel's own check does not cover us, as we read links and replace files.
fn refuse_trap(path: &Path, found: &Metadata) -> io::Result<()> {
    /// A sticky directory that everybody may write to: nobody may remove another user's files.
    const SHARED: u32 = 0o1002;
    let directory = fs::metadata(parent(path))?;
    let is_trusted = [nix::unistd::geteuid().as_raw(), directory.uid()].contains(&found.uid());
    if is_trusted || directory.mode() & SHARED != SHARED {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} belongs to another user, in a directory where everybody may make files",
            path.display()
        ),
    ))
}

/// Refuses to replace a file that only others may replace: in a sticky directory, a name belongs to the owners of the file and of the
/// directory. The kernel would refuse only when the export is complete.
fn refuse_kept(path: &Path, found: &Metadata) -> io::Result<()> {
    const STICKY: u32 = 0o1000;
    let directory = fs::metadata(parent(path))?;
    let may_replace = [0, found.uid(), directory.uid()];
    if directory.mode() & STICKY == 0 || may_replace.contains(&nix::unistd::geteuid().as_raw()) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} belongs to another user, in a directory where only a file's owner may replace it",
            path.display()
        ),
    ))
}

/// Returns whether the path stands for an open file of a process: `/dev/stdout`, `/dev/fd/63`, as bash has it for `>(…)`.
fn is_descriptor(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    return nix::sys::statfs::statfs(parent(path))
        .is_ok_and(|system| system.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC);
    #[cfg(not(target_os = "linux"))]
    return fs::canonicalize(parent(path)).is_ok_and(|it| it == Path::new("/dev/fd"));
}

/// Opens an open file of a process.
fn open_descriptor(path: &Path) -> io::Result<File> {
    let directory = fs::canonicalize(parent(path))?;
    let own = format!("/proc/{}/fd", std::process::id());
    let is_own = [Path::new(&own), Path::new("/dev/fd")].contains(&directory.as_path());
    match path.file_name().and_then(|name| name.to_str()) {
        // The same open file, and not another one of the same path: other writers continue after our output.
        Some("1") if is_own => standard_output(),
        Some("2") if is_own => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        // If it is a file, its content stays.
        _ => File::options().append(true).open(path),
    }
}

/// Creates a file without a name in the directory of the future file: it disappears however the process ends.
#[cfg(target_os = "linux")]
fn unnamed(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .mode(mode)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(parent(path))?;
    // The path by which it gets its name.
    fs::metadata(descriptor(&file))?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path, _: u32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn descriptor(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;

    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Gives a file without a name that of an unfinished file: no system call links a file in place of another.
fn link(file: &File, path: &Path) -> io::Result<TempPath> {
    use nix::fcntl::{AT_FDCWD, AtFlags};

    let target = descriptor(file);
    let linked = unfinished().make_in(parent(path), |name| {
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        Ok(nix::unistd::linkat(
            AT_FDCWD, &target, AT_FDCWD, name, follow,
        )?)
    });
    Ok(linked?.into_temp_path())
}

/// The name of an unfinished file. The final name may be as long as a name can be.
fn unfinished() -> tempfile::Builder<'static, 'static> {
    let mut unfinished = tempfile::Builder::new();
    unfinished.prefix(".cmms-export-").suffix(".unfinished");
    unfinished
}

/// Gives a file the owner, the group and the permissions of the one that it will replace, as far as this process may.
fn take_after(file: &File, path: &Path, replaced: &Metadata) -> io::Result<()> {
    /// Linux's attribute for a file's access control list. Without a list, the error says that there is no such attribute.
    const ACL: &str = "system.posix_acl_access";
    let group = Some(replaced.gid());
    if fchown(file, Some(replaced.uid()), group).is_err() {
        // Only root may give files away; its owner may give it any group that they are in.
        let _ = fchown(file, None, group);
    }
    let mut mode = replaced.mode() & MODE;
    if file.metadata()?.gid() != replaced.gid() {
        // It has another group now: that one gets the permissions of everybody.
        mode = mode & 0o606 | (mode & 0o006) << 3;
    }
    if rustix::fs::getxattr_query(path, ACL).is_ok()
        || rustix::fs::fgetxattr_query(file, ACL).is_ok()
    {
        // The group's permissions are then the most that the list grants anybody, and a user whom the list denies access may be among all
        // others.
        // The new file may have a list from its directory.
        mode &= 0o600;
    }
    file.set_permissions(Permissions::from_mode(mode))
}
