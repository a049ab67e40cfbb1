//! A proxy between a client and a server that cuts connections.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::Server;

/// A proxy that cuts each connection after a number of bytes of answers.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes that the next connection lets pass.
    lets_pass: AtomicU64,
    /// Whether connections pause for now, instead of being cut.
    holds: Mutex<bool>,
    /// Wakes the connections that pause.
    let_go: Condvar,
    connections: AtomicUsize,
}

impl Proxy {
    /// A proxy to this server. Connections pause after this many bytes, until [`break_off`](Self::break_off).
    pub fn that_holds(server: &Server, lets_pass: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shared = Arc::new(Shared::default());
        shared.lets_pass.store(lets_pass, Ordering::SeqCst);
        *shared.holds.lock().expect("nobody panics") = true;
        let proxy = Self {
            address: listener.local_addr().expect("bound").to_string(),
            shared: Arc::clone(&shared),
        };
        let target = server.address.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, target) = (client.expect("one"), target.clone());
                let limit = shared.lets_pass.load(Ordering::SeqCst);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&shared);
                thread::spawn(move || pass(&client, &target, limit, &shared));
            }
        });
        proxy
    }

    /// Cuts the connections that pause.
    pub fn break_off(&self) {
        *self.shared.holds.lock().expect("nobody panics") = false;
        self.shared.let_go.notify_all();
    }

    /// From now on, connections let this many bytes pass.
    pub fn let_pass(&self, bytes: u64) {
        self.shared.lets_pass.store(bytes, Ordering::SeqCst);
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The URL of a path on the server, through the proxy.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Passes data both ways, from the server no more than `limit` bytes.
fn pass(client: &TcpStream, target: &str, limit: u64, shared: &Shared) {
    let server = TcpStream::connect(target).expect("the server listens");
    let (mut requests, mut to_server) = (
        client.try_clone().expect("ours"),
        server.try_clone().expect("ours"),
    );
    thread::spawn(move || std::io::copy(&mut requests, &mut to_server));
    let _ = std::io::copy(&mut (&server).take(limit), &mut &*client);
    let holds = shared.holds.lock().expect("nobody panics");
    let let_go = shared.let_go.wait_while(holds, |holds| *holds);
    drop(let_go.expect("nobody panics"));
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
