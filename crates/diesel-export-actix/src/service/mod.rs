//! The service as a part of an actix application.

pub(crate) mod app;
pub(crate) mod application;
pub(crate) mod base_path;

use std::io;
use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use tokio::sync::Semaphore;

use crate::access::{self, Access};
use crate::api::{events, read, rows};
use crate::connections::requests;
use crate::download::registry::Registry;
use crate::monitoring::metrics::Metrics;
use crate::monitoring::request_log;
use crate::prepared::{Prepared, preparing};
use crate::problem::{self, Identity};
use crate::routes;
use crate::service::app::{App, Settings};
use diesel_export::Budget;
use diesel_export::db::Database;
use diesel_export::db::servers::Servers;

/// The service, for an application to mount. All clones are the same one.
#[derive(Clone)]
pub struct ExportService {
    pub(crate) app: web::Data<App>,
}

impl ExportService {
    /// Starts it: the monitor of its servers, and the queue of prepared exports, each in a thread of its own.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(database: Database, settings: Settings) -> io::Result<Self> {
        Self::start_at(database, settings, false)
    }

    /// The same; `is_loopback` if only this machine can reach it.
    pub(crate) fn start_at(
        database: Database,
        settings: Settings,
        is_loopback: bool,
    ) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::new(&settings.application));
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
            prepared: Prepared::open(&settings, Arc::clone(&metrics)),
            metrics,
            access: Access::new(is_loopback, &settings),
            settings,
        });
        preparing::start(Arc::clone(&app))?;
        Ok(Self { app })
    }

    /// Returns what mounts it, for [`App::configure`](actix_web::App::configure): a scope at its base path, with its middleware.
    ///
    /// At the root, which is the default base path, that scope takes every path: mount it last. Not within another scope: the base path is
    /// all that addresses begin with.
    pub fn routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let app = self.app.clone();
        move |config| {
            let base_path = &app.settings.base_path;
            if !base_path.is_root() {
                // A scope matches its own path, too.
                let index = app.address("/");
                let base = web::resource(base_path.to_string());
                config.service(base.route(web::to(move || {
                    let index = index.clone();
                    async move { crate::pages::html::see_other(&index) }
                })));
            }
            let identity = Identity {
                name: app.settings.application.name,
                base_path: base_path.clone(),
            };
            let scope = web::scope(&base_path.to_string())
                .app_data(app.clone())
                .app_data(identity)
                .app_data(requests::body_limit())
                .configure(|config| routes::configure(config, app.routes()))
                .default_service(web::to(routes::not_found))
                .wrap(from_fn(requests::admit))
                .wrap(from_fn(access::guard))
                .wrap(from_fn(problem::identify))
                .wrap(access::security_headers())
                .wrap(from_fn(request_log::request_log));
            config.service(scope);
        }
    }

    /// Interrupts the prepared exports that are not complete yet, as when the application ends. Writes files.
    pub fn stop(&self) {
        self.app.prepared.interrupt();
    }
}
