//! Proxies between a client and a server: one that breaks connections off, and one that speaks TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rcgen::CertifiedKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Server;

/// A way to a server on which each connection breaks off after so many bytes of answers.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes that the next connection lets pass.
    lets_pass: AtomicU64,
    /// Whether connections stand still for now, instead of breaking off.
    holds: Mutex<bool>,
    /// Wakes them when they may go on.
    let_go: Condvar,
    connections: AtomicUsize,
}

impl Proxy {
    /// One to this server, which lets so many bytes pass.
    pub(crate) fn to(server: &Server, lets_pass: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shared = Arc::new(Shared::default());
        shared.lets_pass.store(lets_pass, Ordering::SeqCst);
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

    /// The same, but connections stand still at that point until [`break_off`](Self::break_off).
    pub(crate) fn that_holds(server: &Server, lets_pass: u64) -> Self {
        let proxy = Self::to(server, lets_pass);
        *proxy.shared.holds.lock().expect("nobody panics") = true;
        proxy
    }

    /// Lets connections break off that stand still.
    pub(crate) fn break_off(&self) {
        *self.shared.holds.lock().expect("nobody panics") = false;
        self.shared.let_go.notify_all();
    }

    /// From now on, connections let so many bytes pass.
    pub(crate) fn let_pass(&self, bytes: u64) {
        self.shared.lets_pass.store(bytes, Ordering::SeqCst);
    }

    /// Connections that there were.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The URL of a path on the server, by this way.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Passes on what both say, the server no more than `limit` bytes.
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

/// A proxy that speaks TLS, under a name and with a certificate of its own.
pub(crate) struct Tls {
    port: u16,
    /// The certificate, in PEM.
    pub(crate) certificate: String,
}

impl Tls {
    /// One before this server.
    pub(crate) fn before(server: &Server) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .expect("they fit");
        let config = Arc::new(config);
        let listener = TcpListener::bind("localhost:0").expect("a port");
        let tls = Self {
            port: listener.local_addr().expect("bound").port(),
            certificate: cert.pem(),
        };
        let target = server.address.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let session = ServerConnection::new(Arc::clone(&config)).expect("configured");
                let client = StreamOwned::new(session, client.expect("one"));
                let target = target.clone();
                thread::spawn(move || answer(client, &target));
            }
        });
        tls
    }

    /// The URL of a path on the server, by this way.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

/// Passes one request on, and its answer back.
fn answer(client: StreamOwned<ServerConnection, TcpStream>, target: &str) {
    let mut server = TcpStream::connect(target).expect("the server listens");
    let mut client = BufReader::new(client);
    loop {
        let mut line = String::new();
        // A client that does not trust the certificate says nothing.
        if client.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        server.write_all(line.as_bytes()).expect("sent");
    }
    server
        .write_all(b"Connection: close\r\n\r\n")
        .expect("sent");
    let mut client = client.into_inner();
    let _ = std::io::copy(&mut server, &mut client);
    client.conn.send_close_notify();
    let _ = client.flush();
}
