//! What an application adds to the service: pages of its own, and texts about itself.

use actix_web::http::StatusCode;

use crate::pages::static_files::StaticFile;
use crate::routes::Route;

/// What an application adds to the service.
#[derive(Debug, Clone, Copy)]
pub struct Application {
    /// The name of the service in problem types, metrics, the OpenAPI document and the spool: lower case, as `cmms-export`.
    pub name: &'static str,
    /// Its version, in the metrics.
    pub version: &'static str,
    /// The commit that it was built from, in the metrics, if that is known.
    pub commit: Option<&'static str>,
    /// What the OpenAPI document says about the service.
    pub description: &'static str,
    /// The environment variable that has the token, in the commands that pages show.
    pub token_variable: &'static str,
    /// Its own pages that the navigation leads to.
    pub sections: &'static [Section],
    /// The stylesheets and scripts of its own pages.
    pub static_files: fn() -> Vec<&'static StaticFile>,
    /// Its own routes.
    pub routes: fn() -> Vec<Route>,
    /// HTML that stands above all pages, if the data are made up.
    pub demonstration: &'static str,
    /// HTML that a page shows if the dataset has no rows.
    pub no_rows: &'static str,
    /// What a page says if the database has no tables.
    pub tables_missing: &'static str,
}

impl Application {
    /// An application that adds nothing.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            version: "0",
            commit: None,
            description: "Exports tables of a PostgreSQL database to CSV and to Excel workbooks",
            token_variable: "TOKEN",
            sections: &[],
            static_files: Vec::new,
            routes: Vec::new,
            demonstration: "",
            no_rows: "",
            tables_missing: "Tell the database administrator: the server’s log says what is there instead.",
        }
    }
}

/// A page that the navigation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Its address.
    pub path: &'static str,
    /// Its name in the navigation.
    pub title: &'static str,
}

/// The export pages.
pub(crate) const EXPORT: Section = Section {
    path: "/",
    title: "Export",
};

/// A kind of problem that only the application's own routes have.
#[derive(Debug, PartialEq, Eq)]
pub struct ApplicationProblem {
    /// The status of the response.
    pub status: StatusCode,
    /// Its name, the last part of the problem's type.
    pub name: &'static str,
    /// Its title, the same for all problems of the kind.
    pub title: &'static str,
    /// The heading and the text of the page that people get.
    pub page: (&'static str, &'static str),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An application that adds nothing but a page.
    pub(crate) const APPLICATION: Application = Application {
        description: "Exports books",
        sections: &[Section {
            path: "/more",
            title: "More",
        }],
        ..Application::named("books")
    };
}
