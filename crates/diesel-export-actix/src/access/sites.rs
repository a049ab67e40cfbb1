//! What pages of other sites may make a browser request here: links to pages and prepared files. Nothing else: every other request costs
//! something, and the time of its answer reveals something of its content.
//!
//! Over plain HTTP under a name, browsers send no `Sec-Fetch` headers, and a page can make them omit `Referer`. Then `Accept` shows what
//! kind of request it is.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderMap};

use crate::pages::html::accepts_html;
use crate::pages::static_files;
use crate::problem::{Kind, Problem};
use crate::service::application::Section;
use diesel_export::dataset::Catalog;
use diesel_export::format::FileType;

/// The sites that requests come from.
pub(crate) struct Sites {
    /// Origins whose cross-site requests are allowed.
    allowed: Vec<String>,
    catalog: Arc<Catalog>,
    /// The application's own pages.
    sections: &'static [Section],
}

impl Sites {
    pub(crate) fn new(
        allowed: &[String],
        catalog: &Arc<Catalog>,
        sections: &'static [Section],
    ) -> Self {
        Self {
            allowed: allowed.to_vec(),
            catalog: Arc::clone(catalog),
            sections,
        }
    }

    /// Rejects cross-site requests to a path of the list of routes, unless the reader has followed a link.
    pub(crate) fn check(&self, request: &HttpRequest, path: &str) -> Result<(), Problem> {
        let headers = request.headers();
        match self.names_another(headers) {
            Some(true) if !(is_navigation(request) && self.may_be_linked(path)) => {
                Err(Problem::new(Kind::CrossSite))
            }
            None if self.is_hidden_part(headers, path) => {
                let detail = "a browser sends this for a page that hides itself; programs send no Accept-Language";
                Err(Problem::with_detail(Kind::CrossSite, detail))
            }
            _ => Ok(()),
        }
    }

    /// Whether another site's page may have made a browser send this. Programs send none of these headers.
    pub(crate) fn may_have_sent(&self, headers: &HeaderMap) -> bool {
        self.names_another(headers)
            .unwrap_or_else(|| is_browser(headers))
    }

    /// Whether the request names another site as its origin; `None` if it names none.
    fn names_another(&self, headers: &HeaderMap) -> Option<bool> {
        let origin = text(headers, "origin").or_else(|| text(headers, "referer").map(origin_of));
        if origin.is_some_and(|origin| self.allowed.iter().any(|allowed| allowed == origin)) {
            return Some(false);
        }
        // Over plain HTTP, browsers send no Sec-Fetch headers but to loopback addresses.
        match (text(headers, "sec-fetch-site"), origin) {
            (Some(site), _) => Some(!matches!(site, "same-origin" | "none")),
            (None, Some(origin)) => Some(
                origin.split_once("://").map(|(_, authority)| authority) != text(headers, "host"),
            ),
            (None, None) => None,
        }
    }

    /// Whether a browser loads this as a subresource of a page that it does not name. (Some load a page's icon in this way.)
    fn is_hidden_part(&self, headers: &HeaderMap, path: &str) -> bool {
        let is_icon = static_files::is_one(path);
        let accept = text(headers, ACCEPT.as_str()).unwrap_or_default();
        let is_picture_or_style = accept.starts_with("image/") || accept.starts_with("text/css");
        (is_picture_or_style && !is_icon)
            || (is_browser(headers) && !accepts_html(headers) && self.is_download(path))
    }

    /// Whether links may lead there: to pages, to prepared files, and to downloads, which then show the page instead.
    fn may_be_linked(&self, path: &str) -> bool {
        let page = path.trim_start_matches('/');
        matches!(page, "" | "exports")
            || self.sections.iter().any(|section| section.path == path)
            || page.starts_with("exports/")
            || self.catalog.find(page).is_some()
            || self.is_download(path)
    }

    /// Whether a GET makes a file.
    fn is_download(&self, path: &str) -> bool {
        let file = path.trim_start_matches('/').split_once('.');
        file.is_some_and(|(name, extension)| {
            extension.parse::<FileType>().is_ok() && self.catalog.find(name).is_some()
        })
    }
}

/// Whether a browser has sent this: each sends the languages of its user, and what it accepts. (Node sends any language, `*`.)
fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ACCEPT)
        && text(headers, ACCEPT_LANGUAGE.as_str()).is_some_and(|languages| languages != "*")
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}

/// Returns the origin of an address.
fn origin_of(address: &str) -> &str {
    let authority = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[authority..].find(['/', '?', '#']);
    &address[..end.map_or(address.len(), |end| authority + end)]
}

/// Whether this is a navigation, whose response the user sees.
fn is_navigation(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_opened = match (
        text(headers, "sec-fetch-mode"),
        text(headers, "sec-fetch-dest"),
    ) {
        (None, None) => accepts_html(headers),
        parts => parts == (Some("navigate"), Some("document")),
    };
    is_opened && *request.method() == Method::GET
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::service::application::tests::APPLICATION;

    const CROSS_SITE: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
    const OPENED: [(&str, &str); 2] = [
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];

    /// Whether a request to us, exports.example.org, is accepted.
    fn passes(method: Method, path: &str, headers: &[(&str, &str)]) -> bool {
        let sites = Sites::new(
            &["https://portal.example.org".to_owned()],
            &Arc::new(diesel_export::example::catalog()),
            APPLICATION.sections,
        );
        let mut request = TestRequest::with_uri(path).method(method);
        for header in [&[("Host", "exports.example.org")], headers].concat() {
            request = request.append_header(header);
        }
        let request = request.to_http_request();
        sites.check(&request, request.path()).is_ok()
    }

    #[test]
    fn an_origin_ends_before_the_path() {
        for (address, origin) in [
            ("http://a/b?c", "http://a"),
            ("https://a:1?b/c", "https://a:1"),
            ("http:///b", "http://"),
            ("a/b", "a"),
            ("/b", ""),
        ] {
            assert_eq!(origin_of(address), origin);
        }
    }

    #[test]
    fn what_another_sites_page_loads_is_refused_everywhere() {
        for path in [
            "/",
            "/books.csv",
            "/api/books/count",
            "/exports/1/books.csv",
            "/livez",
        ] {
            let get = |headers: &[(&str, &str)]| passes(Method::GET, path, headers);
            for site in ["cross-site", "same-site", "anything"] {
                assert!(!get(&[("Sec-Fetch-Site", site)]), "{path} {site}");
                let image = [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")];
                assert!(!get(&[&[("Sec-Fetch-Site", site)], &image[..]].concat()));
                let frame = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")];
                assert!(!get(&[&[("Sec-Fetch-Site", site)], &frame[..]].concat()));
            }
            for origin in [
                "https://example.com",
                "null",
                "https://exports.example.org.x",
                "",
            ] {
                assert!(!get(&[("Origin", origin)]), "{path} {origin}");
            }
            assert!(!get(&[(
                "Referer",
                "https://example.com/exports.example.org"
            )]));
        }
    }

    #[test]
    fn our_own_pages_and_programs_and_typed_addresses_pass() {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let sent = |headers: &[(&str, &str)]| passes(method.clone(), "/api/exports/1", headers);
            assert!(sent(&[]));
            assert!(sent(&[("Sec-Fetch-Site", "none")]));
            assert!(sent(&[("Sec-Fetch-Site", "same-origin")]));
            assert!(sent(&[("Origin", "https://exports.example.org")]));
            assert!(sent(&[("Referer", "http://exports.example.org/?title=a")]));
        }
    }

    #[test]
    fn a_link_leads_to_pages_and_files_and_to_nothing_else() {
        let follow = |path: &str| passes(Method::GET, path, &[&[CROSS_SITE], &OPENED[..]].concat());
        let linked = [
            "/",
            "/?title=a",
            "/books",
            "/more",
            "/exports",
            "/exports/1/books.csv",
            "/books.csv",
            "/books.xlsx",
        ];
        for path in linked {
            assert!(follow(path), "{path}");
            let by_referer = [("Referer", "http://wiki/page"), ("Accept", "text/html,*/*")];
            assert!(passes(Method::GET, path, &by_referer), "{path}");
            assert!(!passes(Method::GET, path, &by_referer[..1]), "{path}");
            let post = [&[CROSS_SITE], &OPENED[..]].concat();
            assert!(!passes(Method::POST, path, &post), "{path}");
        }
        for path in [
            "/api/books",
            "/api/books/count",
            "/api/exports/1",
            "/metrics",
            "/books.x",
            "/static/page.js",
        ] {
            assert!(!follow(path), "{path}");
        }
    }

    #[test]
    fn a_page_that_hides_itself_has_no_browser_start_a_download() {
        let german = ("Accept-Language", "de,en;q=0.5");
        let passes = |path: &str, headers: &[(&str, &str)]| passes(Method::GET, path, headers);
        for path in ["/books.csv", "/books.xlsx", "/", "/?title=a", "/api/books"] {
            for part in ["image/avif,image/webp,*/*;q=0.8", "text/css,*/*;q=0.1"] {
                assert!(!passes(path, &[("Accept", part)]), "{path} {part}");
            }
        }
        for path in ["/favicon.ico", "/static/style.css"] {
            assert!(passes(path, &[("Accept", "image/*"), german]), "{path}");
        }
        let any = ("Accept", "*/*");
        assert!(!passes("/books.csv?title=a", &[any, german]), "a script's");
        for path in ["/books.csv", "/books.xlsx"] {
            let page = ("Accept", "text/html,*/*;q=0.8");
            for known in [
                ("Referer", "http://exports.example.org/"),
                ("Sec-Fetch-Site", "none"),
            ] {
                assert!(passes(path, &[any, german, known]), "{path} {known:?}");
            }
            assert!(passes(path, &[page, german]), "{path}: shows the page");
        }
        assert!(passes("/exports/1/books.csv", &[any, german]));
    }

    #[test]
    fn programs_start_downloads() {
        let node = [
            ("Accept", "*/*"),
            ("Accept-Language", "*"),
            ("Sec-Fetch-Mode", "cors"),
        ];
        let java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
        for headers in [&[][..], &node[..1], &node, &[("Accept", java)]] {
            assert!(passes(Method::GET, "/books.csv", headers), "{headers:?}");
        }
    }

    #[test]
    fn a_portal_that_is_allowed_may_do_all() {
        for method in [Method::GET, Method::POST] {
            let from = |header| passes(method.clone(), "/api/exports", &[CROSS_SITE, header]);
            assert!(from(("Origin", "https://portal.example.org")));
            assert!(from(("Referer", "https://portal.example.org/start")));
            assert!(!from(("Origin", "http://portal.example.org")));
            assert!(!from(("Origin", "https://portal.example.org:8443")));
            assert!(!from(("Referer", "https://portal.example.org.evil/")));
        }
    }
}
