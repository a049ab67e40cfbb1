//! The page as HTML.

use crate::support::client::Download;
use crate::support::program::program;
use crate::support::{Server, TestDatabase, eventually};

use super::{get, page};

/// The value of an attribute: from the first `start` to the next quotation mark.
fn attribute<'a>(html: &'a str, start: &str) -> &'a str {
    let (_, rest) = html
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in {html}"));
    rest.split_once('"').expect("it ends").0
}

#[test]
fn the_page_shows_the_choice_in_its_address_without_a_script() {
    let database =
        TestDatabase::seeded(&["--tasks=3000", "--locations=2", "--assets=10", "--users=3"]);
    let server = Server::start(&database.url);
    eventually("the page has counted in time", || {
        page(&server, "/")
            .1
            .contains("<strong>3,000</strong> tasks match")
    });
    let (status, html) = page(&server, "/");
    assert_eq!(status, 200);
    assert_eq!(html.matches("<tr><td").count(), 20);
    assert!(html.contains("value=\"xlsx\" checked"), "it is for people");
    assert!(html.contains("Download 3,000 tasks as Excel"), "{html}");

    let choice = "location_id=1&done=true&updated_by_id=none&title=1&preset=data&delimiter=tab&strategy=paged";
    let (_, preview) = get(
        &server,
        "/api/tasks?location_id=1&done=true&updated_by_id=none&title=1",
    );
    let counted = format!("<strong>{}</strong> tasks match", preview["count"]);
    eventually("the page has counted in time", || {
        page(&server, &format!("/?{choice}")).1.contains(&counted)
    });
    let (status, html) = page(&server, &format!("/?{choice}"));
    assert_eq!(status, 200);
    for shown in [
        "<option value=\"1\" selected>Location 1</option>",
        "value=\"true\" checked",
        "<option value=\"none\" selected>",
        "id=\"filter-title\" name=\"title\" type=\"search\" maxlength=\"200\" value=\"1\"",
        "value=\"data\" checked",
        "<option value=\"tab\" selected>",
        "<option selected>paged</option>",
        "value=\"csv\" checked",
    ] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    // Only the assets of the location are offered.
    let assets = html
        .split("id=\"filter-asset_id\"")
        .nth(1)
        .expect("a select");
    let assets = assets.split("</select>").next().expect("not empty");
    let (_, filters) = get(&server, "/api/filters?of=assets&location_id=1");
    assert_eq!(
        assets.matches("<option").count(),
        1 + filters["choices"].as_array().expect("an array").len()
    );

    let curl = attribute(&html, "id=\"curl\" readonly value=\"");
    let path = curl
        .strip_prefix(&format!("curl -fOJ &#39;{}", server.url("")))
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or_else(|| panic!("{curl}"))
        .replace("&#38;", "&");
    assert_eq!(
        Download::start(&server.address, &path).finish(),
        Download::start(&server.address, &format!("/tasks.csv?{choice}")).finish()
    );
    // The button without a script: the page leads to the file of the format that is chosen.
    for (form, file) in [
        (format!("{choice}&format=csv"), format!("{path}&fresh=true")),
        (
            "location_id=&done=true&format=xlsx&preset=excel&delimiter=%3B&strategy=lookup"
                .to_owned(),
            "/tasks.xlsx?done=true&fresh=true".to_owned(),
        ),
    ] {
        let led = Download::start(&server.address, &format!("/?{form}&download=true"));
        assert_eq!(
            (led.status, led.header("location")),
            (303, Some(file.as_str()))
        );
        assert_eq!(Download::start(&server.address, &file).status, 200);
    }
    assert_eq!(page(&server, "/?format=word").0, 400);
}

#[test]
fn each_state_says_what_it_is() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let (status, html) = page(&server, "/");
    assert_eq!(status, 200);
    assert!(html.contains("There are no tasks yet"), "{html}");

    diesel::connection::SimpleConnection::batch_execute(
        &mut database.connect(),
        "insert into locations values (1, '<b>Here</b>'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1); insert into tasks values (1, '<script>alert(1)</script>', '', true, 1, 1, null)",
    )
    .expect("ours");
    let (_, html) = page(&server, "/");
    assert!(html.contains("<strong>1</strong> task matches"), "{html}");
    assert!(
        !html.contains("<script>alert") && !html.contains("<b>Here"),
        "{html}"
    );
    let (status, html) = page(&server, "/?done=false");
    assert_eq!(status, 200);
    assert!(html.contains("<strong>0</strong> tasks match"), "{html}");
    assert!(
        html.contains("<p id=\"none\">No task is like that"),
        "{html}"
    );

    let (status, html) = page(&server, "/?done=perhaps");
    assert_eq!(status, 400);
    assert!(
        html.contains("This address is not understood") && html.contains("`done`"),
        "{html}"
    );
    let (status, html) = page(&server, "/?location_id=77");
    assert_eq!(status, 200);
    assert!(html.contains("selected>unknown (77)</option>"), "{html}");

    drop(database);
    let (status, html) = page(&server, "/?done=true");
    assert_eq!(status, 503);
    assert!(
        html.contains("The database cannot be reached") && html.contains("href=\"/?done=true\""),
        "{html}"
    );
    let problem = Download::start(&server.address, "/api/tasks");
    assert_eq!(problem.status, 503);
    assert!(problem.header("retry-after").is_some());
}

#[test]
fn a_person_gets_a_page_for_every_error_and_a_program_the_problem() {
    let database = TestDatabase::new();
    let mut command = program(&database.url);
    command.args(["serve", "--base-path=/exports-app"]);
    let server = Server::spawn(command.env("CMMS_AUTH_TOKEN", "a-token-of-32-characters-or-more!"));
    let address = server.address.split('/').next().expect("a host");
    let token = "Bearer a-token-of-32-characters-or-more!";
    for (path, token, status, said) in [
        ("/nothing", token, 404, "There is nothing at this address"),
        (
            "/exports/00/tasks.csv",
            token,
            404,
            "There is nothing at this address",
        ),
        (
            "/tasks.csv?colums=id",
            token,
            400,
            "This address is not understood",
        ),
        ("/tasks.xlsx?preset=data", token, 400, "is of CSV alone"),
        (
            "/benchmark?id=none",
            token,
            404,
            "There is no such benchmark",
        ),
        ("/", "Bearer wrong", 401, "The token is missing or wrong"),
    ] {
        let path = format!("/exports-app{path}");
        let ask = |accept| {
            let headers = [
                ("Host", address),
                ("Authorization", token),
                ("Accept", accept),
            ];
            Download::request(address, "GET", &path, &headers)
        };
        let answer = ask("text/html,application/xhtml+xml,*/*;q=0.8");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        let html = String::from_utf8(answer.whole()).expect("UTF-8");
        assert!(html.contains(said), "{path}: {html}");
        let goes_on = html
            .split("class=\"button\" href=\"")
            .nth(1)
            .expect("a link");
        assert!(goes_on.starts_with("/exports-app/"), "{path}: {goes_on}");

        let answer = ask("*/*");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
}

#[test]
fn the_pages_are_small_and_their_parts_are_kept_for_ever() {
    let database = TestDatabase::seeded(&[]);
    let server = Server::start(&database.url);
    for path in ["/", "/benchmark"] {
        let (_, html) = page(&server, path);
        let mut total = html.len();
        let assets: Vec<&str> = html
            .split('"')
            .filter(|text| text.starts_with("/static/"))
            .collect();
        assert_eq!(assets.len(), if path == "/" { 10 } else { 4 }, "{assets:?}");
        for path in assets {
            let mut answer = ureq::get(server.url(path)).call().expect("200");
            let kind = match path.rsplit('.').next() {
                Some("css") => "text/css; charset=utf-8",
                Some("svg") => "image/svg+xml",
                _ => "text/javascript; charset=utf-8",
            };
            assert_eq!(answer.headers()["content-type"], kind);
            assert_eq!(
                answer.headers()["cache-control"],
                "public, max-age=31536000, immutable"
            );
            total += answer.body_mut().read_to_vec().expect("readable").len();
        }
        println!("{path}: {total} bytes in all");
        assert!(total < 100_000, "{path}: {total} bytes");
        assert!(
            !html.contains("style=\"") && !html.contains("<script>"),
            "the policy forbids it"
        );
    }
    assert_eq!(
        Download::start(&server.address, "/static/export-0000000000000000.js").status,
        404
    );
}
