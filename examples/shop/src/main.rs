//! The shop: `DATABASE_URL=… cargo run -p shop`, after `psql -f schema.sql`.

use std::error::Error;
use std::path::Path;

use actix_web::{App, HttpServer};
use shop::Shop;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shop = Shop::open(&std::env::var("DATABASE_URL")?, Path::new("exports"))?;
    let mounted = shop.clone();
    let server = HttpServer::new(move || App::new().configure(|config| mounted.mount(config)));
    // The login is at http://127.0.0.1:8080/login.
    server.bind("127.0.0.1:8080")?.run().await?;
    shop.close();
    Ok(())
}
