//! What the user of a request may see, if the application says that.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, web};

use crate::access::OPEN;
use crate::pages::static_files;
use crate::problem::{Kind, Problem};
use crate::service::app::App;
use diesel_export::dataset::{Catalog, Scope};

type Authorized = Pin<Box<dyn Future<Output = Result<Scope, Error>>>>;

/// Says what the user of a request may see.
#[derive(Clone)]
pub struct Authorize(Arc<dyn Fn(&HttpRequest) -> Authorized + Send + Sync>);

impl Authorize {
    /// Asks `authorize` at each request but those for a state (`/livez`, `/readyz`) and for the files of pages. Its error is the response.
    ///
    /// It is also asked for `/metrics`, which count what all users do: refuse that path to users, if they should not know. A clone of the
    /// request must not outlive the future: actix has it alone from then on.
    pub fn new<F, A>(authorize: F) -> Self
    where
        F: Fn(&HttpRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Scope, Error>> + 'static,
    {
        Self(Arc::new(move |request| Box::pin(authorize(request))))
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorize")
    }
}

/// What the user of a request may see. The application's own handlers take it, too.
#[derive(Debug, Clone)]
pub struct Visible {
    /// What can be exported.
    pub catalog: Arc<Catalog>,
    /// What the application has said; `None` if it says nothing of its users.
    pub scope: Option<Arc<Scope>>,
}

/// Asks the application what the request's user may see.
pub(crate) async fn authorize(request: &HttpRequest) -> Result<(), Error> {
    let app = request.app_data::<web::Data<App>>();
    let asks = app.and_then(|app| Some((app, app.settings.authorize.as_ref()?)));
    let Some((app, Authorize(authorize))) = asks else {
        return Ok(());
    };
    let path = app.settings.base_path.strip(request.path());
    if OPEN.contains(&path) || static_files::is_one(path) {
        return Ok(());
    }
    let scope = Arc::new(authorize(request).await?);
    let catalog = app.catalog().scoped(&scope).map_err(|error| {
        tracing::error!(user = scope.user(), %error, "what the application says that a user may see cannot be");
        Problem::new(Kind::Internal)
    })?;
    let catalog = catalog.ok_or_else(|| Problem::new(Kind::NoDatasets))?;
    request.extensions_mut().insert(Visible {
        catalog: Arc::new(catalog),
        scope: Some(scope),
    });
    Ok(())
}

impl FromRequest for Visible {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let visible = request.extensions().get::<Self>().cloned();
        let app = request.app_data::<web::Data<App>>();
        // Where the application says what may be seen, nothing is, unless it was asked.
        let all = app
            .filter(|app| app.settings.authorize.is_none())
            .map(|app| Self {
                catalog: Arc::clone(app.catalog()),
                scope: None,
            });
        ready(visible.or(all).ok_or_else(|| Problem::new(Kind::Internal)))
    }
}
