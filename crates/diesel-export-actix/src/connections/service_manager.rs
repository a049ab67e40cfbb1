//! What a service manager such as systemd hands over: the socket to listen on. And what it is told: that the service is ready, and, if it
//! has a watchdog, that the service still answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use socket2::SockRef;

/// The socket that the service manager has opened for this process, if it has: it keeps the address while the service restarts.
///
/// To be called while no other thread runs, as it changes the environment.
pub fn handed_over_listener() -> io::Result<Option<TcpListener>> {
    let mut sockets = ListenFd::from_env();
    let listener = match sockets.len() {
        0 | 1 => sockets.take_tcp_listener(0)?,
        more => {
            return Err(io::Error::other(format!(
                "expected one socket, found {more}"
            )));
        }
    };
    if let Some(socket) = &listener
        && SockRef::from(socket).peer_addr().is_ok()
    {
        return Err(io::Error::other(
            "expected a socket that listens, found a connection: the socket's unit must not say Accept=yes",
        ));
    }
    Ok(listener)
}

/// Reports that the service at `address` is ready, and from now on, if the manager has a watchdog, that it answers.
pub(crate) fn tell(address: SocketAddr) {
    send(NotifyState::Ready);
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    // A thread of its own: it must not depend on what it watches.
    let watchdog = thread::Builder::new().name("watchdog".into());
    if let Err(error) = watchdog.spawn(move || watch(address, patience / 3)) {
        tracing::error!(%error, "no thread for the watchdog: the service manager will consider the service dead");
    }
}

/// Checks, as a client would, that the service lives, and if so tells the manager.
fn watch(address: SocketAddr, interval: Duration) {
    loop {
        match ask(address, interval) {
            Ok(()) => send(NotifyState::Watchdog),
            Err(error) => tracing::warn!(%error, "the service does not answer itself"),
        }
        thread::sleep(interval);
    }
}

/// Requests `/livez`. Only the answer's status matters.
fn ask(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&address, patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut status = [0; "HTTP/1.1 200".len()];
    connection.read_exact(&mut status)?;
    if status.ends_with(b" 200") {
        Ok(())
    } else {
        Err(io::Error::other(
            String::from_utf8_lossy(&status).into_owned(),
        ))
    }
}

fn send(state: NotifyState<'_>) {
    // Without a manager, nothing is sent, and nothing fails.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}
