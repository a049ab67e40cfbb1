//! Whether the service lives, and whether it can work.

use actix_web::web;

use super::App;
use super::problem::{Kind, Problem};
use crate::db::SchemaState;

/// Whether the process answers. It does not ask the database.
#[utoipa::path(method(get, head), path = "/livez", responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the database answers, and has the tables.
#[utoipa::path(method(get, head), path = "/readyz", responses((status = 200, body = String)))]
pub(super) async fn readyz(app: web::Data<App>) -> Result<&'static str, Problem> {
    match web::block(move || app.database.schema_state()).await {
        Ok(Ok(SchemaState::Missing)) => Err(Problem::new(Kind::DatabaseUnavailable)),
        Ok(outcome) => Ok(outcome.map(|_| "ok\n")?),
        Err(_cancelled) => Err(Problem::new(Kind::Internal)),
    }
}
