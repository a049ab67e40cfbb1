//! The list of routes. A route is a path, its methods, its handler and its description: from the list come the router, `Allow`, the
//! OpenAPI document, and the table in `docs/http.md`.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, HttpResponse, Responder, guard, web};
#[doc(hidden)]
pub use pastey::paste;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::{OpenApi, RefOr, Schema};

use crate::api::openapi::{self, datasets, request_body};
use crate::api::{choices, exports, rows};
use crate::download;
use crate::monitoring::{health, metrics};
use crate::pages::{export_page, static_files};
use crate::prepared::{file as prepared_file, page as prepared_page};
use crate::problem::{Kind, Problem};
use crate::route;
use crate::service::app::OfDataset;
use strum::VariantArray;

use diesel_export::dataset::{Catalog, Dataset};
use diesel_export::format::FileType;

const READ: [HttpMethod; 2] = [HttpMethod::Get, HttpMethod::Head];

/// Returns the routes of a service, in the order of the documentation, with those of the application.
pub fn routes(catalog: &Catalog, of_application: Vec<Route>) -> Vec<Route> {
    let [of_orders, of_choices] = [catalog.clone(), catalog.clone()];
    let prepare = route!(exports::post).amend(move |operation| {
        operation.request_body = request_body::request_body(&of_orders).map(RefOr::T);
    });
    let own = [
        route!(exports::list),
        prepare,
        route!(exports::get),
        route!(exports::follow),
        route!(exports::delete),
        route!(prepared_page::delete).of_pages(),
        route!(prepared_page::page).of_pages(),
        route!(prepared_file::get),
        Route::new("/api/filters", &READ, choices::filters)
            .described(move || datasets::filters_of(&of_choices)),
        route!(metrics::metrics),
        route!(openapi::document),
        route!(health::livez),
        route!(health::readyz),
        Route::new("/static/{name}", &READ, static_files::get).of_pages(),
        Route::new("/favicon.ico", &READ, static_files::favicon).of_pages(),
    ];
    [route!(export_page::index).of_pages()]
        .into_iter()
        .chain(catalog.all().flat_map(of_dataset))
        .chain(own)
        .chain(of_application)
        .collect()
}

fn of_dataset(dataset: &Arc<dyn Dataset>) -> impl Iterator<Item = Route> {
    let name = dataset.name();
    let by = |describe: fn(&Arc<dyn Dataset>) -> Operation| {
        let dataset = Arc::clone(dataset);
        move || describe(&dataset)
    };
    let (preview, count) = (format!("/api/{name}"), format!("/api/{name}/count"));
    let others = [
        Route::new(format!("/{name}"), &READ, export_page::page)
            .described(by(datasets::page))
            .of_pages(),
        Route::new(preview, &READ, rows::preview).described(by(datasets::preview)),
        Route::new(count, &READ, rows::count).described(by(datasets::count)),
    ];
    let files = FileType::VARIANTS
        .iter()
        .flat_map(|file_type| of_file(dataset, *file_type));
    let routes: Vec<Route> = files.chain(others).collect();
    let dataset = OfDataset(Arc::clone(dataset));
    routes.into_iter().map(move |route| Route {
        dataset: Some(dataset.clone()),
        ..route
    })
}

fn of_file(dataset: &Arc<dyn Dataset>, file_type: FileType) -> [Route; 2] {
    let path = format!("/{}.{file_type}", dataset.name());
    let by = |describe: fn(&Arc<dyn Dataset>, FileType) -> Operation| {
        let dataset = Arc::clone(dataset);
        move || describe(&dataset, file_type)
    };
    [
        Route::new(
            &path,
            &[HttpMethod::Get],
            move |request, app, dataset, visible| {
                download::get(request, app, dataset, visible, file_type)
            },
        )
        .described(by(datasets::download)),
        Route::new(&path, &[HttpMethod::Head], move |request, app, dataset| {
            download::head(request, app, dataset, file_type)
        })
        .described(by(datasets::head)),
    ]
}

/// Returns the [`Route`] of a handler that [`utoipa::path`] describes: `route!(module::handler)`.
#[macro_export]
macro_rules! route {
    ($module:ident::$handler:ident) => {
        $crate::routes::paste! {
            $crate::routes::Route::of_path::<$module::[<__path_ $handler>], _, _>($module::$handler)
        }
    };
}

/// How a path answers to one or more methods.
pub struct Route {
    /// The path, with `{name}` for its variable parts.
    pub path: String,
    methods: Vec<HttpMethod>,
    handler: actix_web::Route,
    dataset: Option<OfDataset>,
    /// Whether it is a page for people, or of one.
    pub(crate) is_page: bool,
    /// Returns its description. Each worker makes the routes when the service starts, and only the document needs their descriptions, which
    /// take most of the time.
    describe: Option<Box<dyn Fn() -> Operation>>,
    add_schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Route {
    /// Returns a route without a description.
    fn new<F, Arguments>(path: impl Into<String>, methods: &[HttpMethod], handler: F) -> Self
    where
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let allowed: Vec<Method> = methods.iter().map(method).collect();
        let is_allowed = guard::fn_guard(move |context| allowed.contains(&context.head().method));
        Self {
            path: path.into(),
            methods: methods.to_vec(),
            handler: web::route().guard(is_allowed).to(handler),
            dataset: None,
            is_page: false,
            describe: None,
            add_schemas: |_| (),
        }
    }

    /// Returns the route of a handler that [`utoipa::path`] describes, as [`route!`] names it.
    #[doc(hidden)]
    pub fn of_path<P, F, Arguments>(handler: F) -> Self
    where
        P: utoipa::Path + utoipa::__dev::SchemaReferences + 'static,
        F: Handler<Arguments>,
        Arguments: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self {
            add_schemas: P::schemas,
            ..Self::new(P::path(), &P::methods(), handler).described(P::operation)
        }
    }

    fn of_pages(self) -> Self {
        Self {
            is_page: true,
            ..self
        }
    }

    fn described(self, describe: impl Fn() -> Operation + 'static) -> Self {
        Self {
            describe: Some(Box::new(describe)),
            ..self
        }
    }

    /// Changes the description where the attributes cannot say it.
    pub fn amend(mut self, amend: impl Fn(&mut Operation) + 'static) -> Self {
        match self.describe.take() {
            Some(describe) => self.described(move || {
                let mut operation = describe();
                amend(&mut operation);
                operation
            }),
            None => self,
        }
    }

    /// Returns the name of the dataset that the path is of, if it is of one.
    pub fn dataset(&self) -> Option<&str> {
        self.dataset.as_ref().map(|dataset| dataset.0.name())
    }

    /// Returns the names of the methods.
    pub fn methods(&self) -> Vec<String> {
        let names = self.methods.iter().map(method);
        names.map(|method| method.to_string()).collect()
    }

    /// Returns what it does, in a sentence; nothing of a file that belongs to a page.
    pub fn summary(&self) -> Option<String> {
        self.describe.as_ref()?().summary
    }

    /// Adds the route to the document, unless it has no description.
    pub(crate) fn describe(self, document: &mut OpenApi) {
        let Some(describe) = self.describe else {
            return;
        };
        let mut schemas = Vec::new();
        (self.add_schemas)(&mut schemas);
        let components = document.components.get_or_insert_default();
        components.schemas.extend(schemas);
        document
            .paths
            .add_path_operation(self.path, self.methods, describe());
    }
}

fn method(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Post => Method::POST,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

/// Adds the routes: a resource for each path, which refuses the methods that none of its routes takes.
pub(crate) fn configure(config: &mut web::ServiceConfig, routes: Vec<Route>) {
    let mut paths: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for route in routes {
        paths.entry(route.path.clone()).or_default().push(route);
    }
    for (path, routes) in paths {
        let methods: Vec<String> = routes.iter().flat_map(Route::methods).collect();
        let allowed = methods.join(", ");
        let refuse = move || {
            ready(Err::<HttpResponse, _>(Problem::method_not_allowed(
                allowed.clone(),
            )))
        };
        let mut resource = web::resource(path).default_service(web::to(refuse));
        for route in routes {
            if let Some(dataset) = route.dataset {
                resource = resource.app_data(dataset);
            }
            resource = resource.route(route.handler);
        }
        config.service(resource);
    }
}

/// Answers at any other path.
pub(crate) async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(Kind::NotFound))
}
