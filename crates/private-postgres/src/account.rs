//! The account that PostgreSQL runs as, and everything that depends on it: its processes, its
//! private directories.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, geteuid};

use crate::{Error, at};

/// The environment variables that PostgreSQL's programs inherit: where to find programs, libraries and a place for temporary files, and the
/// time zone of a new cluster.
const ENVIRONMENT: [&str; 5] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "TZ",
];

pub(crate) struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    /// Whether this process is root, which PostgreSQL refuses: then every child runs as the account.
    dropped_to: bool,
}

impl Account {
    /// This process's own account; for root the one that owns the cluster already, else
    /// `postgres`, else any other.
    pub(crate) fn choose(data_dir: &Path, pgdata: &Path) -> Result<Self, Error> {
        let me = geteuid();
        if !me.is_root() {
            let user = User::from_uid(me)
                .ok()
                .flatten()
                .ok_or(Error::NoPasswdEntry { uid: me.as_raw() })?;
            return Ok(Self {
                name: user.name,
                uid: me,
                gid: user.gid,
                dropped_to: false,
            });
        }
        let owner = |dir: &Path| {
            User::from_uid(Uid::from_raw(fs::metadata(dir).ok()?.uid()))
                .ok()
                .flatten()
        };
        let named = |name: &str| User::from_name(name).ok().flatten();
        // `nobody` comes last: other services may run as it too, and would then own the cluster's
        // files as well.
        [
            owner(pgdata),
            owner(data_dir),
            named("postgres"),
            named("_postgres"),
        ]
        .into_iter()
        .chain([
            env::var("SUDO_USER").ok().and_then(|name| named(&name)),
            named("daemon"),
            named("nobody"),
        ])
        .flatten()
        .find(|user| !user.uid.is_root())
        .map(|user| Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            dropped_to: true,
        })
        .ok_or(Error::NoAccount)
    }

    pub(crate) fn uid(&self) -> Uid {
        self.uid
    }

    /// A child that runs as the account, out of the terminal's reach, and does not outlive the
    /// calling thread.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // initdb and postgres need a working directory that they may read. In a process group of
        // its own, Ctrl-C reaches this process only, which then shuts the server down in its own
        // time.
        command
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null());
        if self.dropped_to {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        // Nothing else: tokens and URLs are not the account's to read, PGDATA, PGOPTIONS and the
        // like would redirect the programs, and a locale that is not installed stops them.
        command
            .env_clear()
            .envs(
                ENVIRONMENT
                    .iter()
                    .filter_map(|name| Some((name, env::var_os(name)?))),
            )
            .env("LC_ALL", "C");
        die_with_this_thread(&mut command);
        command
    }

    /// Creates `data_dir` if it is missing and returns its real path, after checking that the account can reach it.
    pub(crate) fn data_dir(&self, data_dir: &Path) -> Result<PathBuf, Error> {
        let refused = |source| Error::DataDir {
            dir: data_dir.to_owned(),
            source,
        };
        let wanted = path::absolute(data_dir).map_err(refused)?;
        // Before anything is created: a refusal leaves no trace.
        let there = wanted
            .ancestors()
            .find(|dir| dir.exists())
            .unwrap_or(Path::new("/"));
        self.check_reach(&there.canonicalize().map_err(refused)?, data_dir)?;
        if there != wanted {
            // Root keeps the directory itself, so that no other account can swap what root creates and opens in it.
            let mode = if self.dropped_to { 0o711 } else { 0o700 };
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&wanted)
                .map_err(refused)?;
            // Whatever the umask is.
            fs::set_permissions(&wanted, Permissions::from_mode(mode)).map_err(refused)?;
        }
        let real = wanted.canonicalize().map_err(refused)?;
        self.check_reach(&real, data_dir)?;
        Ok(real)
    }

    /// Creates `dir` for the account alone, or makes sure that the existing one is just that: in a shared temporary directory, anyone may
    /// have come first.
    pub(crate) fn private_dir(&self, dir: &Path) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(at("create", dir)(error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(dir).map_err(at("read", dir))?;
        let owner = Uid::from_raw(found.uid());
        if !found.is_dir() || found.mode() & 0o077 != 0 || (owner != self.uid && owner != geteuid())
        {
            return Err(Error::Untrusted {
                dir: dir.to_owned(),
                account: self.name.clone(),
            });
        }
        if owner != self.uid {
            lchown(dir, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
                .map_err(at("hand over", dir))?;
        }
        Ok(())
    }

    /// Gives a file that this process has just opened to the account.
    pub(crate) fn own(&self, file: &fs::File, path: &Path) -> Result<(), Error> {
        if !self.dropped_to {
            return Ok(());
        }
        fchown(file, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(at("hand over", path))
    }

    fn check_reach(&self, dir: &Path, data_dir: &Path) -> Result<(), Error> {
        if !self.dropped_to || self.can_enter(dir) {
            return Ok(());
        }
        let path: Vec<&Path> = dir.ancestors().collect();
        let barrier = path
            .into_iter()
            .rev()
            .find(|ancestor| !self.can_enter(ancestor))
            .unwrap_or(dir);
        Err(Error::Unreachable {
            data_dir: data_dir.to_owned(),
            account: self.name.clone(),
            barrier: barrier.to_owned(),
        })
    }

    /// Tries it: the mode bits know nothing of access control lists.
    fn can_enter(&self, dir: &Path) -> bool {
        let tried = self
            .command(Path::new("/bin/sh"))
            .args(["-c", ":"])
            .current_dir(dir)
            .status();
        !tried.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }
}

/// Has the kernel interrupt the child when this thread ends, be it by `kill -9` of the process: to
/// PostgreSQL that is a fast shutdown.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "a child can set its own death signal only between fork and exec"
)]
fn die_with_this_thread(command: &mut Command) {
    use nix::sys::{prctl, signal::Signal};
    use nix::unistd::{Pid, getppid};

    let parent = Pid::this();
    let set_death_signal = move || {
        prctl::set_pdeathsig(Signal::SIGINT)?;
        // A parent that died before that sends nothing any more.
        if getppid() == parent {
            Ok(())
        } else {
            Err(nix::errno::Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: these are two bare
    // system calls, and the errors are made of an errno without allocating. std runs this after its
    // change of uid, which would reset the signal.
    unsafe { command.pre_exec(set_death_signal) };
}

/// Other systems know no death signal: there a server survives `kill -9` of its owner and is
/// adopted at the next start.
#[cfg(not(target_os = "linux"))]
fn die_with_this_thread(_: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Account {
        Account {
            name: "me".into(),
            uid: geteuid(),
            gid: nix::unistd::getegid(),
            dropped_to: false,
        }
    }

    #[test]
    fn a_socket_directory_that_others_can_enter_is_not_trusted() -> std::io::Result<()> {
        let temp = tempfile::tempdir()?;
        let dir = temp.path().join("socket");
        assert!(me().private_dir(&dir).is_ok());
        assert!(
            me().private_dir(&dir).is_ok(),
            "its own directory is trusted again"
        );
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        assert!(matches!(
            me().private_dir(&dir),
            Err(Error::Untrusted { .. })
        ));
        Ok(())
    }

    #[test]
    fn a_symbolic_link_is_not_trusted_as_socket_directory() -> std::io::Result<()> {
        let temp = tempfile::tempdir()?;
        let (target, link) = (temp.path().join("target"), temp.path().join("link"));
        DirBuilder::new().mode(0o700).create(&target)?;
        std::os::unix::fs::symlink(&target, &link)?;
        assert!(matches!(
            me().private_dir(&link),
            Err(Error::Untrusted { .. })
        ));
        Ok(())
    }
}
