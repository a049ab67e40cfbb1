//! The client's end of a connection, past actix, which neither tells a handler that its client has disconnected before there is a response,
//! nor gives up on a client that receives nothing.

use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::connect_unspec;
use socket2::SockRef;

use crate::connections::{Link, Served};

/// Interval at which a body checks whether the system has room.
const ROOM_INTERVAL: Duration = Duration::from_millis(10);

/// How often in a row there must be room: after the first time, the runtime notices; after the second, the server writes all that it has.
const ROUNDS: u8 = 2;

/// The send buffer for a file, in bytes. By default the system would hold up to 4 MiB: a slow client would then seem to receive nothing for
/// minutes, and one that receives nothing would seem to have all of an export. (Linux doubles it.)
const FILE_SEND_BUFFER: usize = 256 * 1024;

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct ClientSocket(Arc<Link>);

impl ClientSocket {
    pub(crate) fn of(link: Arc<Link>) -> Self {
        Self(link)
    }

    /// Sets whether a request's body is being read: its reader has a timeout of its own.
    pub(crate) fn set_has_body(&self, has_body: bool) {
        self.0.set_has_body(has_body);
    }

    /// Begins to serve a request, unless too many are being served.
    pub(crate) fn serve(&self) -> Option<Served> {
        self.0.serve()
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.0.stream)
    }

    /// Sets how the connection ends when it is closed, also by the end of the process. A download, which is to end with a reset, has its
    /// own timeout for a client that receives nothing.
    fn closes_with_reset(&self, with_reset: bool) {
        self.0.set_watched(with_reset);
        if let Err(error) = self
            .socket()
            .set_linger(with_reset.then_some(Duration::ZERO))
        {
            tracing::debug!(%error, "the connection is closed already");
        }
    }

    /// Whether the client has closed the connection, or its own direction of it: the two look the same before something is sent. In either
    /// case, all that arrives is the end of what the client sends, and for as long as its system remembers the closed connection (Linux: 60
    /// s) it acknowledges keep-alives as if the client were there. Before the first row there is nothing to send, and a query without a
    /// client is to end at once: so both count as disconnected.
    pub(crate) fn is_gone(&self) -> bool {
        match self.socket().peek(&mut [MaybeUninit::uninit()]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Whether the system has room for more, or the connection has ended. Linux says so only if a third of the send buffer is free:
    /// more than the server holds back.
    fn has_room(&self) -> bool {
        let mut asked = [PollFd::new(&self.0.stream, PollFlags::OUT)];
        // If it cannot be asked, nothing would ever show that there is room.
        !matches!(poll(&mut asked, Some(&Timespec::default())), Ok(0))
    }

    /// Resets the connection, and discards what the client has not received. Other holders of the socket find it closed.
    pub(crate) fn reset(&self) {
        if self.reset_at_once() {
            return;
        }
        // Other systems (macOS) reset only when the descriptor closes, and the server closes it only when it fails to write.
        let socket = self.socket();
        let reset = socket
            .set_linger(Some(Duration::ZERO))
            .and_then(|()| socket.shutdown(Shutdown::Both));
        if let Err(error) = reset {
            tracing::debug!(%error, "the connection is closed already");
        }
    }

    /// On Linux this sends the reset at once, whoever else has the connection; returns whether it did. Not `shutdown`, which would
    /// end the stream in good order, and many clients take that for the end of the file.
    fn reset_at_once(&self) -> bool {
        connect_unspec(&self.0.stream).is_ok()
    }
}

/// A file that is being sent. Unless it is [finished](Self::finish), its connection ends with a reset, also if the process is killed:
/// of a stream that ends in good order, many clients do not notice that the final chunk is missing.
pub(crate) struct Unfinished {
    client: Option<ClientSocket>,
    /// How often in a row there was room.
    rounds: u8,
    /// Wakes the body that waits for room.
    timer: Option<Pin<Box<rt::time::Sleep>>>,
}

impl Unfinished {
    /// Begins to send one.
    pub(crate) fn begin(client: Option<ClientSocket>) -> Self {
        if let Some(client) = &client {
            client.closes_with_reset(true);
            if let Err(error) = client.socket().set_send_buffer_size(FILE_SEND_BUFFER) {
                tracing::debug!(%error, "the file is sent in small pieces");
            }
        }
        Self {
            client,
            rounds: 0,
            timer: None,
        }
    }

    /// Waits until the system has all that was handed on: the server itself holds some of it back while the client is slow, and says
    /// nothing of it. Each time that a body has nothing yet, the server writes what it holds, and can if there is room. So what the body
    /// hands on next, if it is no more than a piece, goes to the system before anything else happens.
    pub(crate) fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(client) = &self.client else {
            return Poll::Ready(());
        };
        self.timer = None;
        if client.has_room() {
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
    pub(crate) fn finish(mut self) {
        if let Some(client) = self.client.take() {
            client.closes_with_reset(false);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it cannot be reset at once, it is reset when the server closes it, as it does now that the body fails.
        if let Some(client) = &self.client {
            client.reset_at_once();
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use actix_web::rt::{System, net};

    use super::*;
    use crate::connections::Connections;
    use crate::connections::connection::Connection;

    #[test]
    fn the_system_holds_little_for_a_client_until_it_gets_a_file() {
        System::new().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            let _client = TcpStream::connect(address).expect("it listens");
            let (stream, _) = listener.accept().expect("just connected");
            stream.set_nonblocking(true).expect("a socket");
            let stream = net::TcpStream::from_std(stream).expect("a runtime");
            let connections = Connections::new(16, 0);
            let connection = Connection::new(stream, &connections, Duration::from_secs(30));
            let client = connection.client_socket();
            let held = || client.socket().send_buffer_size().expect("open");
            assert!(held() <= 64 * 1024, "{}", held());
            let unfinished = Unfinished::begin(Some(client.clone()));
            assert!(held() >= FILE_SEND_BUFFER.min(200 * 1024), "{}", held());
            unfinished.finish();
        });
    }
}
