//! The web service. Nothing below this module knows HTTP.

mod download;
mod health;
mod measure;
mod pages;
mod problem;

use std::io;
use std::net::TcpListener;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, Resource, web};

use self::problem::{Kind, Problem};
use crate::db::Database;

/// Serves until the process is told to stop (SIGINT, SIGTERM).
pub fn serve(listener: TcpListener, database: Database) -> io::Result<()> {
    let database = web::Data::new(database);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(database.clone())
            .configure(routes)
            .wrap(from_fn(measure::measure))
    });
    actix_web::rt::System::new().block_on(server.listen(listener)?.run())
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/", "GET").get(pages::index))
        .service(resource("/tasks.csv", "GET").get(download::tasks_csv))
        .service(
            resource("/livez", "GET, HEAD")
                .get(health::livez)
                .head(health::livez),
        )
        .service(
            resource("/readyz", "GET, HEAD")
                .get(health::readyz)
                .head(health::readyz),
        )
        .default_service(web::to(async || {
            Err::<HttpResponse, _>(Problem::new(Kind::NotFound))
        }));
}

/// An address, and what it answers to any method but the `allowed` ones.
fn resource(path: &str, allowed: &'static str) -> Resource {
    let problem = move || {
        std::future::ready(Err::<HttpResponse, _>(Problem::new(
            Kind::MethodNotAllowed { allowed },
        )))
    };
    web::resource(path).default_service(web::to(problem))
}
