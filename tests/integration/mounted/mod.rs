//! The service as a part of other applications, on actix's own HTTP server.

mod service;
mod shop;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

use crate::support::client::Download;
use crate::support::cluster::temporary_directory;

/// An application that runs in a thread of the test.
struct Mounting {
    address: String,
    handle: ServerHandle,
    directory: PathBuf,
}

impl Mounting {
    /// Starts the application that `make` returns for a directory of its own, and calls `end` when it has ended.
    fn start<R, E>(make: impl FnOnce(&Path) -> (R, E)) -> Self
    where
        R: Fn(&mut ServiceConfig) + Clone + Send + 'static,
        E: FnOnce() + Send + 'static,
    {
        let directory = temporary_directory("mounted");
        let (routes, end) = make(&directory);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let server = HttpServer::new(move || App::new().configure(routes.clone()));
                let server = server.workers(1).disable_signals();
                let server = server.listen(listener).expect("it listens").run();
                send.send(server.handle()).expect("the test waits");
                server.await.expect("it serves");
            });
            end();
        });
        let handle = receive.recv().expect("it runs");
        Self {
            address,
            handle,
            directory,
        }
    }

    fn get(&self, path: &str) -> Download {
        Download::start(&self.address, path)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        // It is told; its thread ends by itself.
        drop(self.handle.stop(false));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
