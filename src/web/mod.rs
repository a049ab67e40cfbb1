//! The web service. Nothing below this module knows HTTP.

mod download;
mod health;
mod measure;
mod pages;
mod problem;

use std::io;
use std::net::TcpListener;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, web};

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
    let get =
        |path: &str| web::resource(path.to_owned()).default_service(web::to(method_not_allowed));
    config
        .service(get("/").get(pages::index))
        .service(get("/tasks.csv").get(download::tasks_csv))
        .service(get("/livez").get(health::livez))
        .service(get("/readyz").get(health::readyz))
        .default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(Kind::NotFound))
}

async fn method_not_allowed() -> Result<HttpResponse, Problem> {
    Err(Problem::new(Kind::MethodNotAllowed))
}
