//! The settings of the service, and its shared state.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tracing::Span;

use crate::access::Access;
use crate::access::visible::{Authorize, Visible};
use crate::download::compression::Compression;
use crate::download::registry::{Known, Registry};
use crate::monitoring::metrics::Metrics;
use crate::pages::layout::Layout;
use crate::prepared::Prepared;
use crate::problem::{Kind, Problem};
use crate::routes::{Route, routes};
use crate::service::application::{Application, Section};
use crate::service::base_path::BasePath;
use diesel_export::Limits;
use diesel_export::dataset::{Catalog, Dataset};
use diesel_export::db::Database;
use diesel_export::db::servers::{Rules, Servers};
use diesel_export::manifest::{ErrorClass, Facts, State};
use diesel_export::spool::Spool;

/// The settings of the service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the service is.
    pub base_path: BasePath,
    /// What can be exported.
    pub catalog: Arc<Catalog>,
    /// Whether it has pages for people; without them, it is an API.
    pub has_pages: bool,
    /// What an export may cost.
    pub limits: Limits,
    /// Maximum number of concurrent exports.
    pub max_exports: usize,
    /// Maximum number of concurrent downloads.
    pub max_downloads: usize,
    /// Maximum length of the preparation queue.
    pub max_queued: usize,
    /// How long prepared exports are kept.
    pub keep_exports: Duration,
    /// For prepared exports and for what slow clients have not read yet; without it, nothing is prepared, and exports wait for their
    /// clients.
    pub spool: Option<Arc<Spool>>,
    /// Time after which a client that reads nothing is disconnected.
    pub reader_timeout: Duration,
    /// Keep-alive timeout of idle connections.
    pub keep_alive: Duration,
    /// Time that running exports have to finish when the service is stopped.
    pub shutdown_timeout: Duration,
    /// When to compress downloads.
    pub compression: Compression,
    /// Host names to accept besides loopback names. Without any, a service that is bound beyond loopback accepts all.
    pub allowed_hosts: Vec<String>,
    /// Origins whose cross-site requests are allowed.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Says what the user of a request may see; without it, everybody who gets in sees all, and all prepared exports are everybody's.
    pub authorize: Option<Authorize>,
    /// The token that requests need, if any.
    pub auth_token: Option<String>,
    /// Where exports run.
    pub rules: Rules,
    /// Where the servers' monitor finds the database.
    pub database_url: String,
    /// What the application adds to the manifests of exports.
    pub facts: Facts,
    /// Whether the data are made up, which all pages then say.
    pub is_demonstration: bool,
    /// What the application adds.
    pub application: Application,
}

impl Settings {
    /// The routes of a service with this catalog.
    pub(crate) fn routes(&self, catalog: &Catalog) -> Vec<Route> {
        let mut routes = routes(catalog, (self.application.routes)());
        routes.retain(|route| self.has_pages || !route.is_page);
        routes
    }

    /// The settings of a service of this database at the root of its host, with the usual limits, without a spool and without a token.
    pub fn of(catalog: Catalog, database_url: &str, application: Application) -> Self {
        Self {
            base_path: BasePath::default(),
            catalog: Arc::new(catalog),
            has_pages: true,
            limits: Limits::default(),
            max_exports: 8,
            max_downloads: 200,
            max_queued: 100,
            keep_exports: Duration::from_secs(24 * 3600),
            spool: None,
            reader_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            shutdown_timeout: Duration::from_secs(30),
            compression: Compression::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            authorize: None,
            auth_token: None,
            rules: Rules::default(),
            database_url: database_url.to_owned(),
            facts: Facts::default(),
            is_demonstration: false,
            application,
        }
    }
}

/// The state that all requests share.
pub struct App {
    pub(crate) database: Database,
    pub(crate) servers: Arc<Servers>,
    pub(crate) settings: Settings,
    /// Permits for exports on the database.
    pub(crate) permits: Arc<Semaphore>,
    /// Permits for downloads.
    pub(crate) download_permits: Arc<Semaphore>,
    /// Permits for counts.
    pub(crate) count_permits: Semaphore,
    /// Permits for pages that read the database.
    pub(crate) read_permits: Arc<Semaphore>,
    /// Permits for streams of events.
    pub(crate) event_permits: Arc<Semaphore>,
    pub(crate) exports: Registry,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
}

impl App {
    /// What can be exported, by whoever may see all: [`Visible`] has what the user of a request may.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.settings.catalog
    }

    pub(crate) fn routes(&self) -> Vec<Route> {
        self.settings.routes(self.catalog())
    }

    /// Whether the application says what each user may see.
    pub fn has_users(&self) -> bool {
        self.settings.authorize.is_some()
    }

    /// Whether only this machine can reach the service.
    pub fn is_loopback(&self) -> bool {
        self.access.loopback
    }

    /// The address of a path that the list of routes has.
    pub fn address(&self, path: impl fmt::Display) -> String {
        format!("{}{path}", self.settings.base_path)
    }

    /// What a page in a section shows around its content.
    pub fn layout(&self, section: Section) -> Layout {
        Layout::new(Some(&self.settings), section)
    }

    /// Records how an export has ended, unless that is known already.
    pub(crate) fn export_ended(&self, known: &Known, state: State, error: Option<ErrorClass>) {
        if known.run.record.end(state, error) {
            self.exports.ended(&known.run);
            self.metrics.ended(&known.run.record.manifest());
        }
    }
}

/// The dataset of a path, as the request's user may see it.
#[derive(Clone)]
pub(crate) struct OfDataset(pub(crate) Arc<dyn Dataset>);

impl FromRequest for OfDataset {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visible = Visible::from_request(request, payload).into_inner();
        ready(visible.and_then(|visible| {
            let declared = request.app_data::<Self>();
            let dataset = declared.and_then(|of| visible.catalog.find(of.0.name()));
            let dataset = dataset.ok_or_else(|| Problem::new(Kind::NotFound))?;
            Ok(Self(Arc::clone(dataset)))
        }))
    }
}

/// Runs blocking work, such as reading files, outside of the event loop.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let span = Span::current();
    web::block(move || span.in_scope(work))
        .await
        .map_err(|_| Problem::new(Kind::Internal))
}
