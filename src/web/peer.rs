//! The client's end of a connection, seen past actix, which neither tells a handler that its client has gone before there is
//! a response, nor gives up a client that takes nothing.

use std::any::Any;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::Socket;

/// Bytes that the system may hold for a client. By itself it would hold up to 4 MiB: then a slow client would seem to take
/// nothing for minutes, and one that takes nothing would seem to have taken a whole export. (Linux doubles it.)
const SEND_BUFFER: usize = 256 * 1024;

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

    /// Breaks the connection off, together with what the client has not taken.
    pub(super) fn abort(&self) {
        // Otherwise the kernel would go on offering it to the client.
        let aborted = self
            .0
            .set_linger(Some(Duration::ZERO))
            .and_then(|()| self.0.shutdown(Shutdown::Both));
        if let Err(error) = aborted {
            tracing::debug!(%error, "the connection is closed already");
        }
    }
}
