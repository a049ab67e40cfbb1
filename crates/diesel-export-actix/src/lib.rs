#![doc = include_str!("../README.md")]
//!
//! # A tour
//!
//! From the edge inwards:
//!
//! * `connections`: limits on clients before their requests are known; systemd's sockets; the answer while the service starts.
//! * `access`: hosts, tokens, other sites.
//! * `monitoring`: the request log, metrics, health.
//! * [`pages`]: pages for people, in [`askama`] templates, with their scripts and styles.
//! * `api`: what programs ask for: rows, counts, choices, exports, events, and the OpenAPI document.
//! * `download`: an export while its reader takes it: its thread, its end, its headers.
//! * `prepared`: exports that are made first and fetched later.
//! * [`problem`]: errors, as RFC 9457 has them.

extern crate self as diesel_export_actix;

mod access;
mod api;
mod connections;
mod download;
mod monitoring;
pub mod pages;
mod prepared;
pub mod problem;
pub mod routes;
mod service;

use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::task::Poll;

use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::web::{self, ServiceConfig};

pub use self::access::forwarded_user::ForwardedUser;
pub use self::access::rules::{AccessRules, InvalidRules};
pub use self::access::visible::{Authorize, Visible};
pub use self::api::events;
use self::connections::server::{Timeouts, server};
use self::connections::service_manager;
pub use self::connections::service_manager::handed_over_listener;
pub use self::connections::starting::Starting;
use self::connections::{Connections, raise_descriptor_limit};
pub use self::download::compression::Compression;
pub use self::download::is_id;
pub use self::service::ExportService;
pub use self::service::app::{App, Settings, blocking};
pub use self::service::application::{Application, ApplicationProblem, Section};
pub use self::service::base_path::{BasePath, InvalidBasePath};
use diesel_export::db::Database;

/// Serves until the process is told to stop (SIGINT, SIGTERM). `configure` adds what the handlers of the application's own routes take,
/// and `ready` is called as soon as it serves.
pub fn serve(
    listener: TcpListener,
    database: Database,
    settings: Settings,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let service = ExportService::start_at(database, settings, address.ip().is_loopback())?;
    let app = &service.app;
    let connections = Connections::new(raise_descriptor_limit(), app.settings.max_downloads);
    if connections.max_served() < app.settings.max_downloads {
        tracing::warn!(
            connections = connections.limit,
            max_downloads = app.settings.max_downloads,
            "the limit on file descriptors allows fewer connections than downloads"
        );
    }
    let timeouts = Timeouts {
        keep_alive: app.settings.keep_alive,
        reader: app.settings.reader_timeout,
        shutdown: app.settings.shutdown_timeout,
    };
    let mounted = service.clone();
    let server = server(listener, &connections, timeouts, None, move || {
        actix_web::App::new()
            .configure(configure.clone())
            .configure(mounted.routes())
            .default_service(web::to(routes::not_found))
    })?;
    let outcome = actix_web::rt::System::new().block_on(async {
        let mut server = pin!(server);
        // The first step starts the threads, which may fail, and says so in the log. The address comes behind that.
        let started = poll_fn(|context| Poll::Ready(server.as_mut().poll(context))).await;
        if let Poll::Ready(ended) = started {
            return ended;
        }
        // Before any request can start something to stop.
        interrupt_on_signal(service.clone())?;
        ready()?;
        service_manager::tell(address);
        server.await
    });
    service.stop();
    outcome
}

/// Interrupts prepared exports as soon as the program is told to stop; readers have their time.
fn interrupt_on_signal(service: ExportService) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    actix_web::rt::spawn(async move {
        terminated.recv().await;
        // Files are written.
        web::block(move || service.stop()).await
    });
    Ok(())
}
