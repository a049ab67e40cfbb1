//! A client's connection, as the HTTP server reads and writes it.
//!
//! By itself, actix accepts all requests that a client pipelines, thousands at a time, of some KiB each, and waits for ever for a client
//! that reads no response. Here, actix gets the next request when the response to the last one was written: a connection holds one request
//! and one response.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use actix_web::rt::time::{Sleep, sleep};
use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connections::client_socket::ClientSocket;
use crate::connections::{Connections, Link};

/// The send buffer for anything but a file, in bytes. By default the system would hold up to 4 MiB. (Linux doubles it.)
const SEND_BUFFER: usize = 32 * 1024;

/// Bytes that are read at a time.
const READ_AHEAD: usize = 8 * 1024;

/// Time limit for a client to send a request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Connection {
    link: Arc<Link>,
    reader_timeout: Duration,
    /// What was read, but may not be handed on yet.
    ahead: BytesMut,
    /// Whether a request may be complete, and is to be checked before anything more is read.
    is_complete: bool,
    /// Set while the client accepts nothing of what is to be written: its deadline.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whether reading has to go on when the client accepts something.
    is_deferred: bool,
    /// Set while a request arrives: its deadline.
    late: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        connections: &Arc<Connections>,
        reader_timeout: Duration,
    ) -> Self {
        let socket = SockRef::from(&stream);
        // Else the last piece of a small response waits until the client has acknowledged the one before: 40 ms.
        let set = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
        if let Err(error) = set {
            tracing::debug!(%error, "the connection keeps the system's settings");
        }
        Self {
            link: connections.add(stream),
            reader_timeout,
            ahead: BytesMut::new(),
            is_complete: false,
            stalled: None,
            is_deferred: false,
            late: None,
        }
    }

    /// The client, for those who serve it.
    pub(crate) fn client_socket(&self) -> ClientSocket {
        ClientSocket::of(Arc::clone(&self.link))
    }

    /// Reads ahead; returns the number of bytes, 0 at the end.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_AHEAD];
        loop {
            ready!(self.link.stream.poll_read_ready(context))?;
            match self.link.stream.try_read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    let length = outcome?;
                    self.ahead.extend_from_slice(&bytes[..length]);
                    return Poll::Ready(Ok(length));
                }
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stalled.is_some() {
            this.is_deferred = true;
            return Poll::Pending;
        }
        let reading = this.link.reading(context);
        if reading.has_body || reading.is_served {
            this.late = None;
        }
        if reading.is_served {
            // Only the end matters now.
            return match this.ahead.is_empty() {
                true => match ready!(this.poll_ahead(context))? {
                    0 => Poll::Ready(Ok(())),
                    _ => Poll::Pending,
                },
                false => Poll::Pending,
            };
        }
        if std::mem::take(&mut this.is_complete) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.ahead.is_empty() {
            match this.poll_ahead(context)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    let Some(late) = &mut this.late else {
                        return Poll::Pending;
                    };
                    ready!(late.as_mut().poll(context));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        let end = end_of_head(&this.ahead);
        let length = end.unwrap_or(this.ahead.len()).min(buffer.remaining());
        buffer.put_slice(&this.ahead.split_to(length));
        this.is_complete = end.is_some();
        if this.ahead.is_empty() {
            // An idle connection need hold nothing.
            this.ahead = BytesMut::new();
        }
        if this.late.is_none() && !reading.has_body {
            this.late = Some(Box::pin(sleep(REQUEST_TIMEOUT)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while let Poll::Ready(ready) = this.link.stream.poll_write_ready(context) {
            ready?;
            match this.link.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    this.late = None;
                    this.stalled = None;
                    if std::mem::take(&mut this.is_deferred) {
                        context.waker().wake_by_ref();
                    }
                    return Poll::Ready(outcome);
                }
            }
        }
        let timeout = this.reader_timeout;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        while stalled.as_mut().poll(context).is_ready() {
            if !this.link.is_watched() {
                tracing::debug!("a client took nothing of its response for too long");
                this.client_socket().reset();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stalled.set(sleep(timeout));
        }
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.link.stream).shutdown(Shutdown::Write))
    }
}

/// Returns where a request without a body may end in these bytes: behind its first empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|end| match &bytes[end + 1..] {
        [b'\n', ..] => Some(end + 2),
        [b'\r', b'\n', ..] => Some(end + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::connections::connection::end_of_head;

    #[test]
    fn a_head_ends_behind_an_empty_line_however_lines_end() {
        for (bytes, end) in [
            ("", None),
            ("GET / HTTP/1.1\r\nHost: a\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r", None),
            ("GET / HTTP/1.1\r\n\r\nGET", Some(18)),
            ("GET / HTTP/1.1\n\nGET", Some(16)),
            ("GET / HTTP/1.1\n\r\n\n\n", Some(17)),
        ] {
            assert_eq!(end_of_head(bytes.as_bytes()), end, "{bytes:?}");
        }
    }
}
