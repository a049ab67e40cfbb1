//! The web service. Nothing below this module knows HTTP.

mod access;
mod api;
mod app;
mod benchmark;
mod connections;
mod download;
mod monitoring;
mod pages;
mod prepared;
mod problem;

use std::future::{Future, poll_fn, ready};
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use actix_web::middleware::from_fn;
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, web};
use tokio::sync::Semaphore;

use self::api::{choices, events, exports, openapi, read, rows};
pub use self::app::Settings;
use self::app::{App, OfDataset};
use self::benchmark::{api as benchmark_api, page as benchmark_page};
use self::connections::{requests, service_manager};
use self::monitoring::{health, metrics, request_log};
use self::pages::{export_page, static_files};
use self::prepared::{file as prepared_file, page as prepared_page, preparing};
use crate::web::access::Access;
use crate::web::benchmark::store::Benchmarks;
use crate::web::connections::server::{Timeouts, server};
pub use crate::web::connections::service_manager::handed_over_listener;
pub use crate::web::connections::starting::Starting;
use crate::web::connections::{Connections, raise_descriptor_limit};
pub use crate::web::download::compression::Compression;
use crate::web::download::registry::Registry;
use crate::web::monitoring::metrics::Metrics;
use crate::web::prepared::Prepared;
use crate::web::problem::{Kind, Problem};
use diesel_export::Budget;
use diesel_export::dataset::Catalog;
use diesel_export::db::Database;
use diesel_export::db::servers::Servers;

/// Serves until the process is told to stop (SIGINT, SIGTERM). `ready` is called as soon as it does.
pub fn serve(
    listener: TcpListener,
    database: Database,
    settings: Settings,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let metrics = Arc::new(Metrics::new());
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
        benchmarks: Benchmarks::new(settings.data_dir.as_deref()),
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
            .configure(|config| routes(config, &app.settings.catalog))
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
        // Before anybody knows that there is something to stop.
        interrupt_on_signal(Arc::clone(&running.prepared))?;
        ready()?;
        service_manager::tell(address);
        server.await
    });
    running.prepared.interrupt();
    running.benchmarks.stop(None);
    outcome
}

/// Interrupts what is prepared as soon as the program is told to stop; readers have their time.
fn interrupt_on_signal(prepared: Arc<Prepared>) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    actix_web::rt::spawn(async move {
        terminated.recv().await;
        // Files are written.
        web::block(move || prepared.interrupt()).await
    });
    Ok(())
}

fn routes(config: &mut web::ServiceConfig, catalog: &Catalog) {
    for dataset in catalog.all() {
        let name = dataset.name();
        let of_dataset = |resource: Resource| resource.app_data(OfDataset(Arc::clone(dataset)));
        config
            .service(of_dataset(read_only(
                &format!("/{name}"),
                export_page::page,
            )))
            .service(of_dataset(
                resource(&format!("/{name}.csv"), "GET, HEAD")
                    .get(download::csv)
                    .head(download::csv_head),
            ))
            .service(of_dataset(
                resource(&format!("/{name}.xlsx"), "GET, HEAD")
                    .get(download::xlsx)
                    .head(download::xlsx_head),
            ))
            .service(of_dataset(read_only(
                &format!("/api/{name}"),
                rows::preview,
            )))
            .service(of_dataset(read_only(
                &format!("/api/{name}/count"),
                rows::count,
            )));
    }
    config
        .service(read_only("/", export_page::index))
        .service(read_only("/static/{name}", static_files::get))
        .service(read_only("/favicon.ico", static_files::favicon))
        .service(read_only("/benchmark", benchmark_page::page))
        .service(
            read_only_or("/api/benchmarks", "GET, HEAD, POST", benchmark_api::list)
                .post(benchmark_api::post),
        )
        .service(
            read_only_or(
                "/api/benchmarks/{id}",
                "GET, HEAD, DELETE",
                benchmark_api::get,
            )
            .delete(benchmark_api::delete),
        )
        .service(resource("/api/benchmarks/{id}/cancel", "POST").post(benchmark_api::cancel))
        .service(resource("/api/benchmarks/{id}/events", "GET").get(benchmark_api::follow))
        .service(read_only_or("/api/exports", "GET, HEAD, POST", exports::list).post(exports::post))
        .service(
            read_only_or("/api/exports/{id}", "GET, HEAD, DELETE", exports::get)
                .delete(exports::delete),
        )
        .service(resource("/api/exports/{id}/events", "GET").get(exports::follow))
        .service(resource("/api/exports/{id}/delete", "POST").post(prepared_page::delete))
        .service(read_only("/exports", prepared_page::page))
        .service(read_only("/exports/{id}/{name}", prepared_file::get))
        .service(read_only("/api/filters", choices::filters))
        .service(read_only("/livez", health::livez))
        .service(read_only("/readyz", health::readyz))
        .service(read_only("/metrics", metrics::metrics))
        .service(read_only("/openapi.json", openapi::document))
        .default_service(web::to(async || {
            Err::<HttpResponse, _>(Problem::new(Kind::NotFound))
        }));
}

/// An address that takes GET and HEAD, which is GET without the body.
fn read_only<F, Arguments>(path: &str, handler: F) -> Resource
where
    F: Handler<Arguments>,
    Arguments: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    read_only_or(path, "GET, HEAD", handler)
}

/// The same, if it takes others, too.
fn read_only_or<F, Arguments>(path: &str, allowed: &'static str, handler: F) -> Resource
where
    F: Handler<Arguments>,
    Arguments: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path, allowed).get(handler.clone()).head(handler)
}

/// An address, and what it answers to any method but the `allowed` ones.
fn resource(path: &str, allowed: &'static str) -> Resource {
    let problem = move || {
        ready(Err::<HttpResponse, _>(Problem::new(
            Kind::MethodNotAllowed { allowed },
        )))
    };
    web::resource(path).default_service(web::to(problem))
}
