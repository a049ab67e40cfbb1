//! Who uses the shop: an employee, by a token, and then by a session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use actix_web::cookie::{Cookie, SameSite};
use actix_web::error::{ErrorInternalServerError, ErrorUnauthorized};
use actix_web::http::header::{ContentType, LOCATION};
use actix_web::{Error, HttpRequest, HttpResponse, get, post, web};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::Binary;
use diesel_export::dataset::Scope;
use serde::Deserialize;

use crate::datasets::TENANT;
use crate::schema::employees;

const COOKIE: &str = "shop-session";

diesel::define_sql_function! {
    /// The SHA-256 of a text.
    #[sql_name = "sha256"]
    fn sha256_of(text: Binary) -> Binary;
}

/// The employees who are logged in.
pub(crate) struct Logins {
    pool: Pool<ConnectionManager<PgConnection>>,
    sessions: Mutex<HashMap<String, Employee>>,
}

#[derive(Clone, Queryable, Selectable)]
struct Employee {
    name: String,
    tenant: String,
    is_manager: bool,
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

impl Logins {
    /// Nobody, yet.
    pub(crate) fn new(pool: Pool<ConnectionManager<PgConnection>>) -> Self {
        Self {
            pool,
            sessions: Mutex::default(),
        }
    }

    /// Says what the employee who sends a request may export: what is the tenant's; addresses only as a manager.
    pub(crate) fn scope(&self, request: &HttpRequest) -> Result<Scope, Error> {
        let cookie = request.cookie(COOKIE);
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let employee = cookie.and_then(|cookie| sessions.get(cookie.value()).cloned());
        let employee = employee.ok_or_else(|| ErrorUnauthorized("log in at /login"))?;
        let scope = Scope::of(employee.name).rows(TENANT, employee.tenant);
        Ok(if employee.is_manager {
            scope
        } else {
            scope.without("customers", "email")
        })
    }

    fn employee(
        &self,
        token: &str,
    ) -> Result<Option<Employee>, Box<dyn std::error::Error + Send + Sync>> {
        let mut connection = self.pool.get()?;
        let hash = sha256_of(token.as_bytes());
        let employee = employees::table.filter(employees::token_sha256.eq(hash));
        let employee = employee
            .select(Employee::as_select())
            .first(&mut connection);
        Ok(employee.optional()?)
    }
}

/// The shop's own routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.service(page).service(log_in);
}

#[get("/login")]
async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::html()).body(
        "<!doctype html><html lang=\"en\"><title>Log in</title><form method=\"post\"><label>Token \
         <input name=\"token\" type=\"password\"></label> <button>Log in</button></form></html>",
    )
}

#[post("/login")]
async fn log_in(login: web::Form<Login>, logins: web::Data<Logins>) -> Result<HttpResponse, Error> {
    let asked = logins.clone();
    let employee = web::block(move || asked.employee(&login.token)).await?;
    let employee = employee.map_err(ErrorInternalServerError)?;
    let employee = employee.ok_or_else(|| ErrorUnauthorized("this token is nobody's"))?;
    let session = format!("{:032x}", rand::random::<u128>());
    let mut sessions = logins
        .sessions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    sessions.insert(session.clone(), employee);
    let cookie = Cookie::build(COOKIE, session)
        .http_only(true)
        .same_site(SameSite::Lax)
        .path("/")
        .finish();
    Ok(HttpResponse::SeeOther()
        .cookie(cookie)
        .insert_header((LOCATION, "/exports/"))
        .finish())
}
