//! All connections of the service. Their number is limited, below the limit on file descriptors: beyond it, the connection that has been
//! idle for the longest time is closed. So clients that connect and ask for nothing, or never send the end of a request, cannot keep others
//! out.

pub(crate) mod client_socket;
pub(crate) mod connection;
pub(crate) mod requests;
pub(crate) mod server;
pub(crate) mod service_manager;
pub(crate) mod starting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use actix_web::rt::net::TcpStream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::connections::client_socket::ClientSocket;

/// Connections that are allowed whatever the number of downloads: what they may hold fits into memory.
const USUAL: usize = 2_048;

/// Raises the limit on file descriptors as far as possible, and returns it.
pub(crate) fn raise_descriptor_limit() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((256, 256));
    let limit = if soft == hard {
        soft
    } else {
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        // macOS has a limit of its own below an infinite one.
        raised.map_or_else(
            |error| {
                tracing::warn!(%error, limit = soft, "the limit on file descriptors cannot be raised");
                soft
            },
            |()| hard,
        )
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The open connections.
pub(crate) struct Connections {
    /// The maximum number of connections.
    pub(crate) limit: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Those on which no request is being served, by the time since when.
    idle: BTreeMap<u64, Weak<Link>>,
    /// The number of the others.
    served: usize,
    last: u64,
}

impl Open {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// A connection's socket, and its state among the connections.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    state: Mutex<LinkState>,
    all: Arc<Connections>,
}

/// Whether a connection is idle, and what it waits for.
#[derive(Default)]
struct LinkState {
    /// The key among the idle connections; 0 if a request is being served.
    idle: u64,
    /// Woken when the next request may be read.
    reader: Option<Waker>,
    /// Whether a request's body is being read: its reader has a timeout of its own.
    has_body: bool,
    /// Whether a download enforces its own timeout for the client.
    is_watched: bool,
}

/// What the reader of a connection must know.
pub(crate) struct Reading {
    /// Whether a request is being served: then the next one has to wait.
    pub(crate) is_served: bool,
    /// Whether a request's body is being read: its reader has a timeout of its own.
    pub(crate) has_body: bool,
}

impl Connections {
    /// The connections of a service with these limits on open files and on downloads. Half of the files are left to the database's
    /// connections and the spool.
    pub(crate) fn new(descriptors: usize, max_downloads: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: (descriptors / 2).min(USUAL.max(2 * max_downloads)).max(8),
            open: Mutex::default(),
        })
    }

    /// The requests that may be served at once: fewer than connections, so that there is always one to close.
    pub(crate) fn max_served(&self) -> usize {
        self.limit - self.limit / 8
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a new connection, replacing another one if there are too many.
    pub(crate) fn add(self: &Arc<Self>, stream: TcpStream) -> Arc<Link> {
        let mut open = self.open();
        let idle = open.next();
        let link = Arc::new(Link {
            stream,
            state: Mutex::new(LinkState {
                idle,
                ..LinkState::default()
            }),
            all: Arc::clone(self),
        });
        open.idle.insert(idle, Arc::downgrade(&link));
        let too_many = open.idle.len() + open.served > self.limit;
        let oldest = too_many.then(|| open.idle.pop_first()).flatten();
        drop(open);
        if let Some(oldest) = oldest.and_then(|(_, oldest)| oldest.upgrade()) {
            tracing::debug!("there are too many connections: an idle one is closed");
            ClientSocket::of(oldest).reset();
        }
        link
    }
}

impl Link {
    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state; if the next request has to wait, its reader is woken when it may go on.
    pub(crate) fn reading(&self, context: &Context<'_>) -> Reading {
        let mut state = self.state();
        let is_served = state.idle == 0;
        state.reader = is_served.then(|| context.waker().clone());
        Reading {
            is_served,
            has_body: state.has_body,
        }
    }

    /// Sets whether a request's body is being read.
    pub(crate) fn set_has_body(&self, has_body: bool) {
        self.state().has_body = has_body;
    }

    /// Sets whether a download enforces its own timeout for the client.
    pub(crate) fn set_watched(&self, is_watched: bool) {
        self.state().is_watched = is_watched;
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.state().is_watched
    }

    /// Begins to serve a request, unless too many are being served.
    pub(crate) fn serve(self: &Arc<Self>) -> Option<Served> {
        let mut open = self.all.open();
        if open.served >= self.all.max_served() {
            return None;
        }
        open.served += 1;
        open.idle.remove(&std::mem::take(&mut self.state().idle));
        Some(Served(Arc::clone(self)))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let idle = self.state().idle;
        self.all.open().idle.remove(&idle);
    }
}

/// A request that is being served, until all of its response is handed on.
pub(crate) struct Served(Arc<Link>);

impl Drop for Served {
    fn drop(&mut self) {
        let link = &self.0;
        let mut open = link.all.open();
        open.served -= 1;
        let idle = open.next();
        open.idle.insert(idle, Arc::downgrade(link));
        let mut state = link.state();
        state.idle = idle;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use actix_web::rt::System;

    use super::*;

    /// The clients' ends of connections, and the service's.
    fn connect(all: &Arc<Connections>, number: usize) -> Vec<(std::net::TcpStream, Arc<Link>)> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let one = |_| {
            let client = std::net::TcpStream::connect(address).expect("it listens");
            let (stream, _) = listener.accept().expect("just connected");
            stream.set_nonblocking(true).expect("a socket");
            let stream = TcpStream::from_std(stream).expect("a runtime");
            (client, all.add(stream))
        };
        (0..number).map(one).collect()
    }

    fn is_open((client, _): &(std::net::TcpStream, Arc<Link>)) -> bool {
        client.set_nonblocking(true).expect("a socket");
        let read = (&*client).read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[test]
    fn of_too_many_connections_the_one_closes_that_has_been_idle_for_the_longest_time() {
        System::new().block_on(async {
            let all = Connections::new(16, 0);
            let first = connect(&all, all.limit);
            let served = first[0].1.serve().expect("there is a place");
            drop(first[2].1.serve());
            let second = connect(&all, 2);
            let open: Vec<bool> = first.iter().chain(&second).map(is_open).collect();
            let t = true;
            assert_eq!(open, [t, false, t, false, t, t, t, t, t, t]);
            drop((served, first, second));
            assert!(all.open().idle.is_empty());
            assert_eq!(all.open().served, 0);
        });
    }

    #[test]
    fn some_connections_are_always_left_to_be_closed() {
        System::new().block_on(async {
            let all = Connections::new(1_024, 200);
            assert_eq!(all.limit, 512);
            let all = Connections::new(16, 0);
            let links = connect(&all, all.limit);
            let served: Vec<_> = links.iter().map(|(_, link)| link.serve()).collect();
            assert_eq!(served.iter().flatten().count(), all.max_served());
            drop(served);
            assert!(links[7].1.serve().is_some());
        });
    }
}
