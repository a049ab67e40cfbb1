//! `GET /static/…`: the pages' stylesheets and scripts, under names that change with their content.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use super::problem::{Kind, Problem};
use crate::units::hexadecimal;

/// An extension, and the type of what has it.
const CSS: (&str, &str) = ("css", "text/css; charset=utf-8");
const JAVASCRIPT: (&str, &str) = ("js", "text/javascript; charset=utf-8");

const SVG: (&str, &str) = ("svg", "image/svg+xml");

/// The picture that browsers show with a page's title.
pub(super) static FAVICON: LazyLock<StaticFile> =
    LazyLock::new(|| StaticFile::new("favicon", SVG, include_str!("../../templates/favicon.svg")));

/// The stylesheet of all pages.
pub(super) static BASE_STYLE: LazyLock<StaticFile> =
    LazyLock::new(|| StaticFile::new("base", CSS, include_str!("../../templates/base.css")));

/// What the export page adds to it.
pub(super) static EXPORT_STYLE: LazyLock<StaticFile> =
    LazyLock::new(|| StaticFile::new("export", CSS, include_str!("../../templates/export.css")));

/// The export page's script.
pub(super) static EXPORT_SCRIPT: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "export",
        JAVASCRIPT,
        include_str!("../../templates/export.js"),
    )
});

/// The script of its downloads.
pub(super) static DOWNLOADS_SCRIPT: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "downloads",
        JAVASCRIPT,
        include_str!("../../templates/downloads.js"),
    )
});

/// The script of what is prepared for later.
pub(super) static PREPARED_SCRIPT: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "prepared",
        JAVASCRIPT,
        include_str!("../../templates/prepared.js"),
    )
});

/// What the benchmark page adds to the stylesheet.
pub(super) static BENCHMARK_STYLE: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "benchmark",
        CSS,
        include_str!("../../templates/benchmark.css"),
    )
});

/// The benchmark page's script.
pub(super) static BENCHMARK_SCRIPT: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new(
        "benchmark",
        JAVASCRIPT,
        include_str!("../../templates/benchmark.js"),
    )
});

/// A file that is part of the program.
pub(super) struct StaticFile {
    name: String,
    content_type: &'static str,
    content: &'static str,
}

impl StaticFile {
    fn new(
        stem: &str,
        (extension, content_type): (&str, &'static str),
        content: &'static str,
    ) -> Self {
        let hash = hexadecimal(&Sha256::digest(content)[..8]);
        Self {
            name: format!("{stem}-{hash}.{extension}"),
            content_type,
            content,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        format!("/static/{}", self.name)
    }
}

/// The icon at the address where browsers look by themselves, as for a problem, which has no page to name it.
pub(super) async fn favicon() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, FAVICON.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=86400"))
        .body(FAVICON.content)
}

/// A file. It never changes under its name.
pub(super) async fn get(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let files = [
        &*FAVICON,
        &*BASE_STYLE,
        &*EXPORT_STYLE,
        &*EXPORT_SCRIPT,
        &*DOWNLOADS_SCRIPT,
        &*PREPARED_SCRIPT,
        &*BENCHMARK_STYLE,
        &*BENCHMARK_SCRIPT,
    ];
    let file = files
        .into_iter()
        .find(|file| file.name == *name)
        .ok_or_else(|| Problem::new(Kind::NotFound))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, file.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(file.content))
}
