//! A web service that exports the rows of declared datasets ([`diesel_export`]): downloads, prepared exports, pages, metrics, OpenAPI.
//!
//! [`serve`] takes a listener, a database, [`Settings`] and what the application adds ([`Application`]), and serves
//! until the process is told to stop. `docs/http.md` of the repository has the contract.
//!
//! A tour, from the edge inwards:
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
mod app;
mod application;
mod connections;
mod download;
mod monitoring;
pub mod pages;
mod prepared;
pub mod problem;
pub mod routes;

use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use actix_web::middleware::from_fn;
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::web::{self, ServiceConfig};
use tokio::sync::Semaphore;

pub use self::api::events;
use self::api::{read, rows};
pub use self::app::{App, Settings, blocking};
pub use self::application::{Application, ApplicationProblem, Section};
use self::connections::{requests, service_manager};
pub use self::download::is_id;
use self::monitoring::request_log;
use self::prepared::preparing;
use crate::access::Access;
use crate::connections::server::{Timeouts, server};
pub use crate::connections::service_manager::handed_over_listener;
pub use crate::connections::starting::Starting;
use crate::connections::{Connections, raise_descriptor_limit};
pub use crate::download::compression::Compression;
use crate::download::registry::Registry;
use crate::monitoring::metrics::Metrics;
use crate::prepared::Prepared;
use diesel_export::Budget;
use diesel_export::db::Database;
use diesel_export::db::servers::Servers;

/// The name of the service in problem types, metrics and the OpenAPI document.
pub const NAME: &str = "cmms-export";

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
    let metrics = Arc::new(Metrics::new(
        settings.application.version,
        settings.application.commit,
    ));
    let budget = Budget::default();
    let observed = |database: Database| {
        let metrics = Arc::clone(&metrics);
        database
            .with_budget(budget.clone())
            .with_wait_observer(move |time| metrics.waited(time))
    };
    let database = observed(database);
    let fallbacks = Arc::clone(&metrics);
    let servers = Servers::start(
        &settings.database_url,
        database.clone(),
        settings.rules.clone(),
        |url, wait| observed(database.like(url, settings.max_exports as u32, wait)),
        move |reason| fallbacks.fell_back(reason),
    );
    let app = web::Data::new(App {
        servers: Arc::new(servers),
        database,
        permits: Arc::new(Semaphore::new(settings.max_exports)),
        download_permits: Arc::new(Semaphore::new(settings.max_downloads)),
        count_permits: Semaphore::new(rows::MAX_COUNTS),
        read_permits: Arc::new(Semaphore::new(read::MAX_READS)),
        event_permits: Arc::new(Semaphore::new(events::MAX_STREAMS)),
        exports: Registry::default(),
        prepared: Prepared::open(
            settings.spool.as_ref(),
            settings.max_queued,
            settings.keep_exports,
            Arc::clone(&metrics),
        ),
        metrics,
        access: Access::new(address.ip().is_loopback(), &settings),
        settings,
    });
    let running = app.clone();
    preparing::start(Arc::clone(&running))?;
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
    let server = server(listener, &connections, timeouts, None, move || {
        actix_web::App::new()
            .app_data(app.clone())
            .app_data(requests::body_limit())
            .configure(|config| routes::configure(config, app.routes()))
            .configure(configure.clone())
            .default_service(web::to(routes::not_found))
            .wrap(from_fn(requests::admit))
            .wrap(from_fn(access::guard))
            .wrap(access::security_headers())
            .wrap(from_fn(request_log::request_log))
    })?;
    let outcome = actix_web::rt::System::new().block_on(async {
        let mut server = pin!(server);
        // The first step starts the threads, which may fail, and says so in the log. The address comes behind that.
        let started = poll_fn(|context| Poll::Ready(server.as_mut().poll(context))).await;
        if let Poll::Ready(ended) = started {
            return ended;
        }
        // Before any request can start something to stop.
        interrupt_on_signal(Arc::clone(&running.prepared))?;
        ready()?;
        service_manager::tell(address);
        server.await
    });
    running.prepared.interrupt();
    outcome
}

/// Interrupts prepared exports as soon as the program is told to stop; readers have their time.
fn interrupt_on_signal(prepared: Arc<Prepared>) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    actix_web::rt::spawn(async move {
        terminated.recv().await;
        // Files are written.
        web::block(move || prepared.interrupt()).await
    });
    Ok(())
}
