//! `GET /static/…`: the pages' stylesheets and scripts, under names that change with their content.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use crate::problem::{Kind, Problem};
use crate::service::app::App;
use diesel_export::units::hexadecimal;

/// Declares the files of the folder `templates` that pages name.
macro_rules! static_files {
    ($($(#[$comment:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$comment])* pub(crate) static $name: LazyLock<StaticFile> = LazyLock::new(|| {
            StaticFile::new($file, include_str!(concat!("../../templates/", $file)))
        });)*

        fn all() -> Vec<&'static StaticFile> {
            vec![$(&$name),*]
        }
    };
}

static_files! {
    /// The picture that browsers show with a page's title.
    FAVICON = "favicon.svg";
    /// The stylesheet of all pages.
    BASE_STYLE = "base.css";
    /// What the export page adds to it.
    EXPORT_STYLE = "export.css";
    /// What the scripts of the export page share.
    PAGE_SCRIPT = "page.js";
    /// The export page's columns.
    COLUMNS_SCRIPT = "columns.js";
    /// The export page's choice and preview.
    EXPORT_SCRIPT = "export.js";
    /// The export page's lists to choose from.
    COMBOBOX_SCRIPT = "combobox.js";
    /// The export page's downloads.
    DOWNLOADS_SCRIPT = "downloads.js";
    /// The export page's exports with a name.
    SAVED_SCRIPT = "saved.js";
    /// The export page's list of what is prepared for later.
    PREPARED_SCRIPT = "prepared.js";
}

/// A file that is part of the program.
#[derive(Debug)]
pub struct StaticFile {
    name: String,
    content_type: &'static str,
    content: &'static str,
}

impl StaticFile {
    /// A file by this name, whose content is part of the program.
    pub fn new(file: &str, content: &'static str) -> Self {
        let (stem, extension) = file.split_once('.').unwrap_or_default();
        let hash = hexadecimal(&Sha256::digest(content)[..8]);
        Self {
            name: format!("{stem}-{hash}.{extension}"),
            content_type: match extension {
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                _ => "text/javascript; charset=utf-8",
            },
            content,
        }
    }

    /// Where it is.
    pub fn path(&self) -> String {
        format!("/static/{}", self.name)
    }
}

/// Whether a path of the list of routes is that of a file.
pub(crate) fn is_one(path: &str) -> bool {
    path == "/favicon.ico" || path.starts_with("/static/")
}

/// The icon at the address where browsers look by themselves, as for a problem, which has no page to name it.
pub(crate) async fn favicon() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, FAVICON.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=86400"))
        .body(FAVICON.content)
}

/// A file. It never changes under its name.
pub(crate) async fn get(
    name: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let file = all()
        .into_iter()
        .chain((app.settings.application.static_files)())
        .find(|file| file.name == *name)
        .ok_or_else(|| Problem::new(Kind::NotFound))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, file.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(file.content))
}
