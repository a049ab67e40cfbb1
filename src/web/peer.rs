//! The client's end of a connection, seen past actix, which neither tells a handler that its client has gone before there is
//! a response, nor gives up a client that takes nothing.

use std::any::Any;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt;
use actix_web::rt::net::TcpStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::connect_unspec;
use socket2::Socket;

/// Bytes that the system may hold for a client. By itself it would hold up to 4 MiB: then a slow client would seem to take
/// nothing for minutes, and one that takes nothing would seem to have taken a whole export. (Linux doubles it.)
const SEND_BUFFER: usize = 256 * 1024;

/// How often a body asks that waits until the system has room.
const ROOM_INTERVAL: Duration = Duration::from_millis(10);

/// How often in a row there must be room: after the first time, the runtime learns of it; after the second, the server writes all that
/// it has.
const ROUNDS: u8 = 2;

/// A second handle on a connection's socket.
#[derive(Clone)]
pub(super) struct Peer(Arc<Socket>);

impl Peer {
    /// Keeps a handle with each new connection.
    pub(super) fn keep(connection: &dyn Any, extensions: &mut Extensions) {
        let stream = connection.downcast_ref::<TcpStream>();
        if let Some(Ok(socket)) = stream.map(|stream| stream.as_fd().try_clone_to_owned()) {
            let socket = Socket::from(socket);
            if let Err(error) = socket.set_send_buffer_size(SEND_BUFFER) {
                tracing::debug!(%error, "the send buffer keeps its size");
            }
            extensions.insert(Self(Arc::new(socket)));
        }
    }

    /// Sets how the connection ends when its last descriptor closes, whoever closes it.
    fn closes_with_reset(&self, with_reset: bool) {
        if let Err(error) = self.0.set_linger(with_reset.then_some(Duration::ZERO)) {
            tracing::debug!(%error, "the connection is closed already");
        }
    }

    /// Whether the client has closed the connection, or its own side of it: nothing tells the two apart before something is sent. The
    /// end of what the client sends is all that comes in either case, and for as long as its system remembers the closed connection
    /// (Linux: 60 s) it acknowledges keep-alives as if somebody were there. Before the first row there is nothing to send, and a query
    /// that nobody waits for is to end at once: so both count as gone.
    pub(super) fn is_gone(&self) -> bool {
        match self.0.peek(&mut [MaybeUninit::uninit()]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Whether the system has room for more, or the connection has ended. Linux says so only if a third of the send buffer is free:
    /// more than the server holds back.
    fn has_room(&self) -> bool {
        let mut asked = [PollFd::new(&*self.0, PollFlags::OUT)];
        // If it cannot be asked, nothing would ever show that there is room.
        !matches!(poll(&mut asked, Some(&Timespec::default())), Ok(0))
    }

    /// Resets the connection, together with what the client has not taken. Whoever else has the socket open finds it closed.
    pub(super) fn reset(&self) {
        if self.reset_at_once() {
            return;
        }
        // Other systems (macOS) reset only when the last descriptor closes, and the server closes its own only when it fails to write.
        let reset = self
            .0
            .set_linger(Some(Duration::ZERO))
            .and_then(|()| self.0.shutdown(Shutdown::Both));
        if let Err(error) = reset {
            tracing::debug!(%error, "the connection is closed already");
        }
    }

    /// On Linux this sends the reset at once, however many descriptors there are; returns whether it did. Not `shutdown`, which would
    /// end the stream in good order, and many clients take that for the end of the file.
    fn reset_at_once(&self) -> bool {
        connect_unspec(&*self.0).is_ok()
    }
}

/// A file that is being sent. Unless it is [finished](Self::finish), its connection ends with a reset, also if the process is killed:
/// of a stream that ends in good order, many clients do not notice that the final chunk is missing.
pub(super) struct Unfinished {
    peer: Option<Peer>,
    /// How often in a row there was room.
    rounds: u8,
    /// Wakes the body that waits for room.
    timer: Option<Pin<Box<rt::time::Sleep>>>,
}

impl Unfinished {
    /// Begins to send one.
    pub(super) fn begin(peer: Option<Peer>) -> Self {
        if let Some(peer) = &peer {
            peer.closes_with_reset(true);
        }
        Self {
            peer,
            rounds: 0,
            timer: None,
        }
    }

    /// Waits until the system has all that was handed on: the server itself holds some of it back while the client is slow, and says
    /// nothing of it. Each time that a body has nothing yet, the server writes what it holds, and can if there is room. So what the body
    /// hands on next, if it is no more than a piece, goes to the system before anything else happens.
    pub(super) fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(peer) = &self.peer else {
            return Poll::Ready(());
        };
        self.timer = None;
        if peer.has_room() {
            if self.rounds == ROUNDS {
                return Poll::Ready(());
            }
            self.rounds += 1;
            // Wakes the body when the runtime has looked at its sockets: only then does it let the server write again.
            return pin!(rt::task::yield_now()).poll(context);
        }
        self.rounds = 0;
        let mut timer = Box::pin(rt::time::sleep(ROOM_INTERVAL));
        let waiting = timer.as_mut().poll(context);
        self.timer = Some(timer);
        waiting
    }

    /// Notes that the last byte is handed on: from now on, the connection closes in good order.
    pub(super) fn finish(mut self) {
        if let Some(peer) = self.peer.take() {
            peer.closes_with_reset(false);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it cannot be reset at once, it is reset when the server closes it, as it does now that the body fails.
        if let Some(peer) = &self.peer {
            peer.reset_at_once();
        }
    }
}
