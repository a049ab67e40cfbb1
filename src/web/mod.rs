//! The web service. Nothing below this module knows HTTP.

mod access;
mod benchmark;
mod benchmark_page;
mod benchmark_store;
mod body;
mod choices;
mod client_address;
mod compression;
mod conditions;
mod connection;
mod connections;
mod digest;
mod download;
mod events;
mod export_page;
mod exports;
mod failures;
mod filename;
mod flow;
mod handover;
mod health;
mod html;
mod metrics;
mod openapi;
mod order;
mod pace;
mod peer;
mod prepared;
mod prepared_file;
mod prepared_page;
mod preparing;
mod problem;
mod query_string;
mod read;
mod registry;
mod request_log;
mod requests;
mod rows;
mod server;
mod service_manager;
mod sites;
mod starting;
mod static_files;
mod watch;

use std::future::{Future, Ready, poll_fn, ready};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::middleware::from_fn;
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, web};
use ipnet::IpNet;
use tokio::sync::Semaphore;

use self::access::Access;
use self::benchmark_store::Benchmarks;
pub use self::compression::Compression;
use self::connections::{Connections, raise_descriptor_limit};
use self::metrics::Metrics;
use self::prepared::Prepared;
use self::problem::{Kind, Problem};
use self::registry::{Known, Registry};
use self::server::{Timeouts, server};
pub use self::service_manager::handed_over_listener;
pub use self::starting::Starting;
use diesel_export::dataset::{Catalog, Dataset};
use diesel_export::db::Database;
use diesel_export::db::servers::{Rules, Servers};
use diesel_export::manifest::{ErrorClass, State};
use diesel_export::spool::Spool;
use diesel_export::{Budget, Limits};

/// What the service is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What can be exported.
    pub catalog: Arc<Catalog>,
    /// What an export may cost.
    pub limits: Limits,
    /// Exports that may run at once.
    pub max_exports: usize,
    /// Downloads that may be under way at once.
    pub max_downloads: usize,
    /// Exports that may wait to be prepared.
    pub max_queued: usize,
    /// How long a prepared export is kept.
    pub keep_exports: Duration,
    /// Where prepared exports are, and what slow readers have not taken; none if nothing is prepared, and exports wait for their
    /// readers.
    pub spool: Option<Arc<Spool>>,
    /// How long a reader may take nothing.
    pub reader_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long running exports may take to finish when the service is told to stop.
    pub shutdown_timeout: Duration,
    /// When downloads are compressed.
    pub compression: Compression,
    /// Names to answer to beside loopback ones. Without any, a service that is bound beyond loopback answers to all.
    pub allowed_hosts: Vec<String>,
    /// Origins of other sites whose pages may do what the service's own do.
    pub allowed_origins: Vec<String>,
    /// Proxies that are believed when they name their clients' addresses.
    pub trusted_proxies: Vec<IpNet>,
    /// What a client must know, if anything.
    pub auth_token: Option<String>,
    /// Whether clients may run the benchmark even if the service is bound beyond loopback.
    pub allow_benchmarks: bool,
    /// Where exports run.
    pub rules: Rules,
    /// Where the benchmark's processes and the servers' monitor find the database.
    pub database_url: String,
    /// Where the benchmark's results are kept; `None` if there is no such place.
    pub data_dir: Option<PathBuf>,
    /// Whether the database is the private one, whose data are made up.
    pub is_demonstration: bool,
}

/// What all requests share.
struct App {
    database: Database,
    servers: Arc<Servers>,
    settings: Settings,
    /// Places for exports on the database.
    permits: Arc<Semaphore>,
    /// Places for downloads.
    download_permits: Arc<Semaphore>,
    /// Places for counts.
    count_permits: Semaphore,
    /// Places for pages that read the database.
    read_permits: Arc<Semaphore>,
    /// Places for streams of events.
    event_permits: Arc<Semaphore>,
    exports: Registry,
    prepared: Arc<Prepared>,
    metrics: Arc<Metrics>,
    access: Access,
    benchmarks: Benchmarks,
}

impl App {
    fn benchmarks_allowed(&self) -> bool {
        self.access.loopback || self.settings.allow_benchmarks
    }

    /// Notes how an export has ended, unless that is known already.
    fn export_ended(&self, known: &Known, state: State, error: Option<ErrorClass>) {
        if known.record.end(state, error) {
            self.exports.ended(&known.record);
            self.metrics.ended(&known.record.manifest());
        }
    }
}

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
            read_only_or("/api/benchmarks", "GET, HEAD, POST", benchmark::list)
                .post(benchmark::post),
        )
        .service(
            read_only_or("/api/benchmarks/{id}", "GET, HEAD, DELETE", benchmark::get)
                .delete(benchmark::delete),
        )
        .service(resource("/api/benchmarks/{id}/cancel", "POST").post(benchmark::cancel))
        .service(resource("/api/benchmarks/{id}/events", "GET").get(benchmark::follow))
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

/// The dataset that an address is of.
#[derive(Clone)]
struct OfDataset(Arc<dyn Dataset>);

impl FromRequest for OfDataset {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let dataset = request.app_data().cloned();
        ready(dataset.ok_or_else(|| Problem::new(Kind::NotFound)))
    }
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
