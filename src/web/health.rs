//! Whether the service lives, and whether it can work.

use actix_web::web;

use super::problem::{Kind, Problem};
use crate::db::Database;

/// `GET /livez`: the process answers. It does not ask the database.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers.
pub(super) async fn readyz(database: web::Data<Database>) -> Result<&'static str, Problem> {
    match web::block(move || database.schema_state()).await {
        Ok(Ok(crate::db::SchemaState::Missing)) => Err(Problem::new(Kind::DatabaseUnavailable)),
        Ok(outcome) => Ok(outcome.map(|_| "ok\n")?),
        Err(_cancelled) => Err(Problem::new(Kind::Internal)),
    }
}
