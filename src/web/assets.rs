//! `GET /assets/…`: the pages' stylesheet and script, under names that change with their content.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use super::problem::{Kind, Problem};

/// The export page's stylesheet.
pub(super) static EXPORT_STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "export",
        "css",
        "text/css; charset=utf-8",
        include_str!("../../templates/export.css"),
    )
});

/// The export page's script.
pub(super) static EXPORT_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "export",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("../../templates/export.js"),
    )
});

/// A file that is part of the program.
pub(super) struct Asset {
    name: String,
    content_type: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let hash: String = Sha256::digest(content)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            name: format!("{stem}-{hash}.{extension}"),
            content_type,
            content,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// An asset. It never changes under its name.
pub(super) async fn get(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let assets = [&*EXPORT_STYLE, &*EXPORT_SCRIPT];
    let asset = assets
        .into_iter()
        .find(|asset| asset.name == *name)
        .ok_or_else(|| Problem::new(Kind::NotFound))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, asset.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(asset.content))
}
