//! `GET /livez` and `GET /readyz`: whether the service lives, and whether it can export.

use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::read;
use crate::problem::{Kind, Problem, ProblemBody};
use crate::service::app::App;
use diesel_export::db::UnfitTables;
use diesel_export::db::servers::Role;

/// Liveness probe: whether the process answers.
///
/// Without a query on the database.
#[utoipa::path(method(get, head), path = "/livez", responses((status = 200, body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// The servers that exports can run on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// The database's own server first, then those for exports.
    servers: Vec<ServerState>,
    /// The datasets whose tables differ from what is expected, while others are served; the log says how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differing: Vec<String>,
}

/// The state of a server, at most a second old.
#[derive(Serialize, ToSchema)]
struct ServerState {
    /// `database`, or `export-1` and so on, in the order of their configuration.
    name: String,
    /// Whether it is reachable.
    reachable: bool,
    /// Its role, if it is reachable.
    role: Option<Role>,
    /// Replication lag in seconds, if known.
    lag_seconds: Option<f64>,
}

/// Readiness probe: whether exports can run, with the state of each server.
///
/// The database answers and has the expected tables, or a replica is usable.
#[utoipa::path(
    method(get, head),
    path = "/readyz",
    responses(
        (status = 200, body = Readiness),
        (status = 503, description = "Exports cannot run", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn readyz(app: web::Data<App>) -> Result<web::Json<Readiness>, Problem> {
    let usable_replica = app.servers.has_usable_replica();
    if app.servers.is_replica_only() && !usable_replica {
        return Err(Problem::new(Kind::NoReplica));
    }
    // Do not ask a server that is known to be away: a probe does not wait long.
    let differing = if app.servers.has_primary() || !usable_replica {
        differing(app.clone()).await?
    } else {
        Vec::new()
    };
    let servers = app.servers.all().map(|server| {
        let state = server.state();
        ServerState {
            name: server.name.clone(),
            reachable: state.is_some(),
            role: state.map(|state| state.role),
            lag_seconds: state.and_then(|state| Some(state.lag?.as_secs_f64())),
        }
    });
    Ok(web::Json(Readiness {
        servers: servers.collect(),
        differing,
    }))
}

/// The datasets whose tables differ, unless no dataset can be served.
async fn differing(app: web::Data<App>) -> Result<Vec<String>, Problem> {
    let permit = read::place(&app).await?;
    let unfit = web::block(move || {
        let _permit = permit;
        app.database.unfit(None)
    });
    match unfit.await {
        Ok(unfit) => match unfit? {
            None => Ok(Vec::new()),
            Some(UnfitTables::Partly(datasets)) => Ok(datasets),
            Some(unfit) => Err(unfit.into()),
        },
        Err(_cancelled) => Err(Problem::new(Kind::Internal)),
    }
}
