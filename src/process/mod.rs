//! This process: its signals, its limits and its end.

pub mod secret;

use std::io;
use std::sync::Arc;
use std::thread;

use nix::sys::resource::{Resource, getrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Runs `handler`, in a thread of its own, at each signal that asks this process to end: SIGINT, SIGTERM, SIGHUP.
pub fn on_interrupt(mut handler: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|_signal| handler()))?;
    Ok(())
}

/// Makes a write beyond the file size limit (`ulimit -f`) an error (EFBIG), like one to a full disk. The signal that comes with it,
/// SIGXFSZ, would end the process. A handler that does nothing is enough, and unlike an ignored signal, no child inherits it.
pub fn survive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// The address space that a process needs to open a database: with less, it panics or aborts wherever it starts a thread or allocates
/// memory, or not, by luck. This is not memory: glibc reserves 64 MiB of address space for each thread, and uses little of it.
const LEAST_ADDRESS_SPACE: u64 = 1 << 30;

/// Refuses to run with too small an address space (`ulimit -v`).
pub fn check_address_space() -> Result<(), String> {
    match getrlimit(Resource::RLIMIT_AS) {
        Ok((soft, _)) if soft < LEAST_ADDRESS_SPACE => Err(format!(
            "the address space is limited to {} MiB (ulimit -v), and each thread reserves 64: at least {} MiB are needed; to limit \
             memory, use a control group (systemd's MemoryMax=)",
            soft >> 20,
            LEAST_ADDRESS_SPACE >> 20
        )),
        _ => Ok(()),
    }
}

/// Ends the process at once: no thread is waited for, and no exit handler (`atexit`) runs.
///
/// There may be threads that are inside libpq: r2d2's, which open connections; one that opens a connection before it is needed; the
/// monitors of servers. One that logs in by SCRAM or TLS uses OpenSSL, which is registered for the exit and would free what that
/// thread is reading: a segmentation fault after an export that has succeeded. To wait for such a thread is no way out: libpq waits for
/// its server, which may be frozen, and cannot be interrupted.
///
/// What must happen before the end must have happened by now, as nothing is left to the exit: the private cluster is stopped and
/// temporary files are removed when their values are dropped, and whoever writes to the standard output flushes it.
pub fn end(code: u8) -> ! {
    signal_hook::low_level::exit(code.into())
}
