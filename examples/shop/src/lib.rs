//! A shop of several tenants, whose employees export what is their tenant's: an application that mounts `diesel-export-actix`.

mod datasets;
mod login;
mod schema;

use std::error::Error;
use std::future::ready;
use std::path::Path;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_export::db::Database;
use diesel_export::spool::Spool;
use diesel_export_actix::{Application, Authorize, ExportService, Settings};

use login::Logins;

/// The shop: its own routes, and its exports at `/exports`.
#[derive(Clone)]
pub struct Shop {
    logins: web::Data<Logins>,
    exports: ExportService,
}

impl Shop {
    /// Opens the shop on this database. Prepared exports are kept in the directory `spool`.
    pub fn open(url: &str, spool: &Path) -> Result<Self, Box<dyn Error>> {
        let logins = web::Data::new(Logins::new(Pool::new(ConnectionManager::new(url))?));
        let asked = logins.clone();
        let settings = Settings {
            base_path: "/exports".parse()?,
            spool: Some(Spool::open(spool, 1 << 30)?),
            authorize: Some(Authorize::new(move |request| ready(asked.scope(request)))),
            ..Settings::of(datasets::catalog()?, url, Application::named("shop"))
        };
        let database = Database::new(url, 8, Duration::from_secs(5));
        Ok(Self {
            logins,
            exports: ExportService::start(database, settings)?,
        })
    }

    /// Mounts all of it.
    pub fn mount(&self, config: &mut ServiceConfig) {
        config.app_data(self.logins.clone());
        config
            .configure(login::routes)
            .configure(self.exports.routes());
    }

    /// Closes it: exports that are being prepared are interrupted.
    pub fn close(&self) {
        self.exports.stop();
    }
}
