//! A running server: recognised, watched, stopped.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tracing::warn;

use crate::Error;

pub(crate) const POLL: Duration = Duration::from_millis(5);
/// The characters that must be escaped in a URL's parameter.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A server that is up, be it this process's own or another's.
pub(crate) struct Server {
    pub(crate) postmaster: Postmaster,
    /// `None` if another process runs it.
    pub(crate) child: Option<Child>,
    pub(crate) bin_dir: PathBuf,
    pub(crate) pgdata: PathBuf,
    pub(crate) user: &'static str,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.postmaster.pid.as_raw().unsigned_abs()
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn address(&self) -> (&Path, u16) {
        (&self.postmaster.socket_dir, self.postmaster.port)
    }

    /// The URL of one of its databases, for libpq. The port is named although it is the usual one, because a PGPORT in the
    /// environment would change it.
    pub(crate) fn url(&self, database: &str) -> String {
        let (socket_dir, port) = self.address();
        let host = percent_encode(socket_dir.as_os_str().as_bytes(), ENCODED);
        let user = self.user;
        format!("postgresql://{user}@/{database}?host={host}&port={port}")
    }

    pub(crate) fn is_up(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_postmaster(self.postmaster.pid, &self.pgdata),
        }
    }

    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.child.as_mut().map_or(Ok(()), stop)
    }
}

/// What a server says about itself in `postmaster.pid`.
pub(crate) struct Postmaster {
    pub(crate) pid: Pid,
    pub(crate) port: u16,
    pub(crate) socket_dir: PathBuf,
    pub(crate) ready: bool,
}

impl Postmaster {
    pub(crate) fn read(pgdata: &Path) -> Option<Self> {
        let content = fs::read(pgdata.join("postmaster.pid")).ok()?;
        let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
        let line = |number: usize| lines.get(number - 1).copied().unwrap_or_default();
        let number = |text| str::from_utf8(text).ok()?.trim().parse::<i32>().ok();
        Some(Self {
            // The server in single-user mode writes a negative one.
            pid: Pid::from_raw(number(line(1))?.saturating_abs()),
            // Not written yet while it is starting.
            port: number(line(4))
                .and_then(|port| port.try_into().ok())
                .unwrap_or_default(),
            socket_dir: OsStr::from_bytes(line(5)).into(),
            ready: line(8).starts_with(b"ready"),
        })
    }
}

/// Whether the process is really the server of `pgdata`, which is then its working directory: not a
/// zombie, and not another process that has got the same id.
#[cfg(target_os = "linux")]
pub(crate) fn is_postmaster(pid: Pid, pgdata: &Path) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let dead = stat
        .rsplit(") ")
        .next()
        .is_none_or(|state| state.is_empty() || state.starts_with(['Z', 'X']));
    // In a container even root may not read the link of another account's process, which is then
    // taken on trust.
    !dead && !fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory != pgdata)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_postmaster(pid: Pid, _: &Path) -> bool {
    kill(pid, None) != Err(nix::errno::Errno::ESRCH)
}

/// Shuts a server down, open connections or not.
pub(crate) fn stop(postmaster: &mut Child) -> Result<(), Error> {
    // An immediate shutdown loses nothing but time: the next start recovers.
    for (signal, patience) in [
        (Signal::SIGINT, STOP_TIMEOUT),
        (Signal::SIGQUIT, STOP_TIMEOUT / 2),
    ] {
        let began = Instant::now();
        let mut signalled = false;
        while began.elapsed() < patience {
            if !matches!(postmaster.try_wait(), Ok(None)) {
                return Ok(());
            }
            // Only now is it certain that the process id is still the server's.
            if !signalled {
                signalled = kill(Pid::from_raw(postmaster.id().cast_signed()), signal).is_ok();
            }
            thread::sleep(POLL);
        }
        warn!(pid = postmaster.id(), %signal, "the PostgreSQL server does not stop");
    }
    Err(Error::StopTimeout {
        pid: postmaster.id(),
    })
}
