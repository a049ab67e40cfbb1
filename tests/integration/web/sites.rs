//! What other sites' pages may have a browser do here.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::browser::Browser;
use crate::support::client::{Download, download};
use crate::support::program::program;
use crate::support::{Server, TestDatabase, data};

const CROSS_SITE: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
const OPENED: [(&str, &str); 2] = [
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
];

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Download {
    let host = [("Host", server.address.as_str())];
    Download::request(&server.address, "GET", path, &[&host, headers].concat())
}

/// Follows another site's link, and returns where it leads.
fn follow(server: &Server, path: &str) -> (u16, String) {
    let answer = get(server, path, &[&[CROSS_SITE], &OPENED[..]].concat());
    let location = answer.header("location").unwrap_or_default();
    (answer.status, location.to_owned())
}

#[test]
fn another_sites_page_starts_nothing_and_learns_nothing() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    let image = [
        CROSS_SITE,
        ("Sec-Fetch-Mode", "no-cors"),
        ("Sec-Fetch-Dest", "image"),
    ];
    let paths = [
        "/tasks.csv?strategy=joined&export_id=made",
        "/tasks.xlsx?export_id=made",
        "/?download=true",
        "/?title=a",
        "/api/tasks?title=a",
        "/api/tasks/count?title=a",
        "/api/filters?of=users&q=a",
    ];
    for path in paths {
        for headers in [&image[..], &[("Referer", "http://localhost:3000/a")]] {
            let refused = get(&server, path, headers);
            assert_eq!(refused.status, 403, "{path}");
            let problem = refused.json();
            assert_eq!(problem["type"], "urn:cmms-export:problem:cross-site");
        }
    }
    assert_eq!(get(&server, "/api/exports/made", &[]).status, 404);
}

#[test]
fn a_link_to_a_file_shows_the_page_with_its_choice_and_starts_nothing() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    for (link, page) in [
        (
            "/tasks.csv?done=false&columns=id,title&export_id=made",
            "/?done=false&columns=id%2Ctitle&preset=data",
        ),
        (
            "/assets.xlsx?location_id=1&fresh=true",
            "/assets?location_id=1&format=xlsx",
        ),
        (
            "/?download=true&format=csv&title=a",
            "/?title=a&preset=excel",
        ),
    ] {
        assert_eq!(follow(&server, link), (303, page.to_owned()), "{link}");
        assert_eq!(follow(&server, page).0, 200, "{page}");
    }
    assert_eq!(get(&server, "/api/exports/made", &[]).status, 404);
    assert_eq!(follow(&server, "/tasks.csv?done=x").0, 400);
    assert_eq!(follow(&server, "/api/tasks/count").0, 403);
}

#[test]
fn over_plain_http_a_page_that_hides_itself_starts_nothing() {
    let database = data::hostile();
    let server = Server::start(&database.url);
    // As browsers send it to a name without TLS, for a page with `referrerpolicy=no-referrer`.
    let language = ("Accept-Language", "de,en-US;q=0.7,en;q=0.3");
    let page = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for path in [
        "/tasks.csv?title=a&export_id=made",
        "/tasks.xlsx?title=a&export_id=made",
    ] {
        for part in [
            "image/avif,image/webp,image/png,*/*;q=0.5",
            "text/css,*/*;q=0.1",
            "*/*",
        ] {
            let refused = get(&server, path, &[("Accept", part), language]);
            assert_eq!(refused.status, 403, "{path} {part}");
            let problem = refused.json();
            assert_eq!(problem["type"], "urn:cmms-export:problem:cross-site");
        }
        let shown = get(&server, path, &[page, language]);
        assert_eq!(shown.status, 303, "{path}");
        let leads_to = shown.header("location").expect("required");
        assert!(leads_to.starts_with("/?title=a"), "{leads_to}");
    }
    let shown = get(&server, "/?download=true&title=a", &[page, language]);
    assert_eq!(shown.header("location"), Some("/?title=a&format=xlsx"));
    assert_eq!(get(&server, "/api/exports/made", &[]).status, 404);

    let expected = download(&server.address, "");
    let own = format!("http://{}/", server.address);
    let curl = [("User-Agent", "curl/8"), ("Accept", "*/*")];
    for headers in [&curl[..], &[page, language, ("Referer", &own)]] {
        let (file, _) = get(&server, "/tasks.csv", headers).finish();
        assert!(file == expected, "{headers:?}");
    }
}

#[test]
fn an_allowed_portal_and_typed_addresses_start_downloads() {
    let database = data::hostile();
    let portal = "HTTPS://Portal.example.org:443";
    let mut command = program(&database.url);
    let server = Server::spawn(command.args(["serve", "--allowed-origin", portal]));
    let expected = download(&server.address, "");
    let referer = ("Referer", "https://portal.example.org/");
    for headers in [&[CROSS_SITE, referer][..], &[("Sec-Fetch-Site", "none")]] {
        let (file, _) = get(&server, "/tasks.csv", headers).finish();
        assert!(file == expected);
    }
    for wrong in [
        "portal.example.org",
        "https://",
        "https://a/b",
        "ftp://a",
        "null",
    ] {
        let mut command = program(&database.url);
        let output = command.args(["serve", "--allowed-origin", wrong]).output();
        let code = output.expect("the program runs").status.code();
        assert_eq!(code, Some(2), "{wrong}");
    }
}

/// Serves a page at an address of another site's, as long as the test runs.
fn other_site(html: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
            let length = html.len();
            let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{html}");
        }
    });
    format!("http://cmms.test:{port}/")
}

#[test]
fn in_a_browser_another_sites_image_is_refused_and_its_link_leads_to_the_page() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let server = Server::start(&database.url);
    let file = server.url("/tasks.csv?title=Task+1");
    let site = other_site(format!(
        "<img src='{file}&export_id=image'><a href='{file}'>the tasks</a>"
    ));
    let browser = Browser::start();
    browser.open(&site);
    let refused = "cmms_export_http_responses_total{status=\"403\"}";
    browser.eventually("the image is refused", || server.metric(refused) >= 1.0);
    assert_eq!(get(&server, "/api/exports/image", &[]).status, 404);
    browser.click("a");
    browser.sees("#count", "2 tasks match");
    assert!(browser.address().ends_with("/?title=Task+1&preset=data"));
    browser.click("#download");
    browser.sees("#downloads", "complete");
}

#[test]
fn in_a_browser_over_plain_http_a_hidden_page_starts_nothing_and_our_own_downloads() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let mut command = program(&database.url);
    let server = Server::spawn(command.args(["serve", "--allowed-host=cmms.test"]));
    let named = server.address.replace("127.0.0.1", "cmms.test");
    let file = format!("http://{named}/tasks.csv?title=Task+1");
    let site = other_site(format!(
        "<meta name=referrer content=no-referrer><link rel=stylesheet href='{file}&export_id=style'>
         <script src='{file}&export_id=script'></script><img src='{file}&export_id=image'><a href='{file}'>the tasks</a>"
    ));
    let browser = Browser::start();
    browser.open(&site);
    let refused = "cmms_export_http_responses_total{status=\"403\"}";
    browser.eventually("all are refused", || server.metric(refused) >= 3.0);
    for id in ["style", "script", "image"] {
        let path = format!("/api/exports/{id}");
        assert_eq!(get(&server, &path, &[]).status, 404, "{id}");
    }
    browser.click("a");
    browser.sees("#count", "2 tasks match");
    assert!(browser.address().ends_with("/?title=Task+1&preset=data"));
    browser.click("#download");
    browser.sees("#downloads", "complete");
    assert_eq!(server.metric(refused), 3.0, "nothing of our own page");
}
