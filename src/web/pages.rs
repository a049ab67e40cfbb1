//! The pages.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use askama::Template;

use super::problem::{Kind, Problem};
use crate::export::Strategy;

#[derive(Template)]
#[template(path = "index.html")]
struct Index {
    strategies: &'static [Strategy],
    default: Strategy,
}

/// The export page.
#[utoipa::path(get, path = "/", responses((status = 200, content_type = "text/html", body = String)))]
pub(super) async fn index() -> Result<HttpResponse, Problem> {
    let page = Index {
        strategies: Strategy::all(),
        default: Strategy::default(),
    };
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Problem::new(Kind::Internal)
    })?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::html())
        .body(html))
}

/// `GET /style.css`
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .body(include_str!("../../templates/style.css"))
}
