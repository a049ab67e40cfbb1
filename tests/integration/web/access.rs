//! Who may ask for what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diesel_export::Strategy;

use crate::support::client::{Download, download};
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::program::{program, stderr};
use crate::support::{Server, TestDatabase, data, eventually};

const TOKEN: &str = "correct horse battery staple";

fn with_token(database: &TestDatabase) -> Server {
    Server::spawn(
        program(&database.url)
            .arg("serve")
            .env("CMMS_AUTH_TOKEN", TOKEN),
    )
}

fn status(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let with_host = [&[("Host", server.address.as_str())], headers].concat();
    Download::request(&server.address, method, path, &with_host).status
}

#[test]
fn on_loopback_only_loopback_names_are_answered_to() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    let ask = |host: &str| Download::request(&server.address, "GET", "/", &[("Host", host)]).status;
    for host in [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.1.2.3",
        "[::1]",
        "[::1]:80",
    ] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "10.0.0.1",
        "[::2]",
        "user@localhost.x",
    ] {
        assert_eq!(ask(host), 421, "{host}");
    }
}

#[test]
fn on_loopback_the_name_of_a_proxy_is_answered_to_if_it_is_allowed() {
    let database = TestDatabase::new();
    let server = Server::spawn(
        program(&database.url)
            .args(["serve", "--allowed-host", "exports.example.org"])
            .args(["--allowed-host", "exports"]),
    );
    let ask = |host: &str| Download::request(&server.address, "GET", "/", &[("Host", host)]).status;
    for host in [
        "exports.example.org",
        "Exports.Example.ORG:8443",
        "exports",
        "localhost",
    ] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in ["example.org", "exports.example.org.x", "a.exports", "*"] {
        assert_eq!(ask(host), 421, "{host}");
    }
    let delete = |headers: &[(&str, &str)]| {
        Download::request(&server.address, "DELETE", "/api/exports/none", headers).status
    };
    let host = ("Host", "exports.example.org");
    assert_eq!(
        delete(&[host, ("Origin", "https://exports.example.org")]),
        404
    );
    assert_eq!(delete(&[host, ("Origin", "https://example.org")]), 403);

    for name in [
        "exports.example.org:443",
        "https://exports",
        "*.example.org",
        "10.1.2.3:8080",
        "[2001:db8::1",
        "[2001:db8::1]:8080",
        "2001:db8::1",
    ] {
        let output = program(&database.url)
            .args(["serve", "--bind=127.0.0.1:0", "--allowed-host", name])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
}

#[test]
fn beyond_loopback_too_only_allowed_names_are_answered_to() {
    let database = TestDatabase::new();
    let mut command = program(&database.url);
    let everywhere = ["serve", "--bind", "0.0.0.0:0", "--allow-unauthenticated"];
    let allowed = ["--allowed-host", "exports,10.1.2.3,[2001:db8::1]"];
    let server = Server::spawn_as_bound(command.args(everywhere).args(allowed));
    let ask = |path: &str, host: &str| {
        Download::request(&server.address, "GET", path, &[("Host", host)]).status
    };
    for host in [
        "exports",
        "exports:8080",
        "10.1.2.3:8080",
        "[2001:DB8:0::1]:8080",
        "localhost",
    ] {
        assert_eq!(ask("/", host), 200, "{host}");
    }
    for host in ["evil.example", "10.1.2.4", "[2001:db8::2]", ""] {
        assert_eq!(ask("/", host), 421, "{host}");
        assert_eq!(ask("/livez", host), 200, "{host}");
    }
}

#[test]
fn another_sites_page_may_not_change_anything() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    download(&server.address, "export_id=there");
    let delete =
        |headers: &[(&str, &str)]| status(&server, "DELETE", "/api/exports/there", headers);
    let own = format!("http://{}", server.address);
    assert_eq!(delete(&[]), 204, "no browser");
    assert_eq!(delete(&[("Origin", &own)]), 204);
    assert_eq!(
        delete(&[("Sec-Fetch-Site", "same-origin"), ("Origin", &own)]),
        204
    );
    assert_eq!(delete(&[("Origin", "http://example.com")]), 403);
    assert_eq!(delete(&[("Origin", "null")]), 403);
    assert_eq!(delete(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(delete(&[("Sec-Fetch-Site", "same-site")]), 403);
    assert_eq!(
        status(
            &server,
            "GET",
            "/api/exports/there",
            &[("Origin", "http://example.com")]
        ),
        403
    );
}

#[test]
fn elsewhere_than_on_loopback_nobody_is_let_in_by_mistake() {
    let database = TestDatabase::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = program(&database.url)
            .args(["serve", "--bind", address])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("CMMS_AUTH_TOKEN"), "{output:?}");
        assert!(
            stderr(&output).contains("--allow-unauthenticated"),
            "{output:?}"
        );
    }
    let empty = program(&database.url)
        .args(["serve", "--bind", "0.0.0.0:0"])
        .env("CMMS_AUTH_TOKEN", "")
        .output();
    assert_eq!(empty.expect("the program runs").status.code(), Some(2));
}

#[test]
fn with_a_token_only_the_health_is_open() {
    let database = data::hostile();
    let server = with_token(&database);
    let basic =
        |password: &str| format!("Basic {}", STANDARD.encode(format!("anybody:{password}")));
    let paths = [
        "/",
        "/tasks.csv",
        "/metrics",
        "/openapi.json",
        "/api/exports/none",
        "/nothing",
    ];
    for path in paths {
        assert_eq!(status(&server, "GET", path, &[]), 401, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(status(&server, "GET", path, &[]), 200, "{path}");
    }
    for authorization in [
        format!("Bearer {TOKEN}"),
        format!("bearer {TOKEN}"),
        basic(TOKEN),
    ] {
        assert_eq!(
            status(
                &server,
                "GET",
                "/tasks.csv",
                &[("Authorization", &authorization)]
            ),
            200,
            "{authorization}"
        );
    }
    for authorization in [
        "Bearer wrong",
        "Bearer",
        "Basic !",
        "Basic Zm9v",
        &basic("wrong"),
        TOKEN,
    ] {
        assert_eq!(
            status(
                &server,
                "GET",
                "/tasks.csv",
                &[("Authorization", authorization)]
            ),
            401,
            "{authorization}"
        );
    }
    let challenge = Download::start(&server.address, "/");
    let schemes: Vec<&str> = challenge
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(schemes.len(), 2, "{schemes:?}");
    assert!(!server.into_log().contains(TOKEN));
}

#[test]
fn wrong_tokens_are_limited_and_the_right_one_passes_all_the_same() {
    let database = TestDatabase::new();
    let server = with_token(&database);
    let guess = ("Authorization", "Bearer guess");
    for _ in 0..10 {
        assert_eq!(status(&server, "GET", "/", &[guess]), 401);
    }
    let refused = Download::request(
        &server.address,
        "GET",
        "/",
        &[("Host", &server.address), guess],
    );
    assert_eq!(refused.status, 429);
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|seconds| (1..=60).contains(&seconds.parse().unwrap_or(0)))
    );
    let right = format!("Bearer {TOKEN}");
    assert_eq!(
        status(&server, "GET", "/", &[("Authorization", &right)]),
        200
    );
    // Nobody is believed to be another client than the connection's.
    let elsewhere = ("X-Forwarded-For", "192.0.2.7");
    assert_eq!(status(&server, "GET", "/", &[guess, elsewhere]), 429);
}

#[test]
fn wrong_tokens_are_counted_by_the_client_that_a_trusted_proxy_names() {
    let database = TestDatabase::new();
    let mut command = program(&database.url);
    command.args(["serve", "--trusted-proxy", "::1,127.0.0.0/8"]);
    let server = Server::spawn(command.env("CMMS_AUTH_TOKEN", TOKEN));
    let guess = |client: &str| {
        let headers = [
            ("Authorization", "Bearer guess"),
            ("X-Forwarded-For", client),
        ];
        status(&server, "GET", "/", &headers)
    };
    for number in 0..10 {
        assert_eq!(guess(&format!("198.51.100.{number}, 192.0.2.7")), 401);
    }
    assert_eq!(guess("192.0.2.7"), 429);
    assert_eq!(guess("192.0.2.8"), 401);

    for _ in 0..2 {
        let both = [
            ("Forwarded", "for=192.0.2.8"),
            ("X-Forwarded-For", "192.0.2.9"),
        ];
        status(&server, "GET", "/livez", &both);
    }
    let log = server.into_log();
    let warnings = log.matches("Forwarded and X-Forwarded-For contradict");
    assert_eq!(warnings.count(), 1, "{log}");
}

#[test]
fn a_token_that_can_be_guessed_is_refused_where_others_could_try() {
    let database = TestDatabase::new();
    let start = |token: &str, address: &str| {
        let mut command = program(&database.url);
        command.args(["serve", "--bind", address]);
        command.env("CMMS_AUTH_TOKEN", token);
        command
    };
    for (address, proxy) in [
        ("0.0.0.0:0", "--max-exports=8"),
        ("127.0.0.1:0", "--allowed-host=exports.example.org"),
        ("127.0.0.1:0", "--trusted-proxy=127.0.0.1"),
    ] {
        let refused = start("15 bytes, wrong", address).arg(proxy).output();
        let refused = refused.expect("the program runs");
        assert_eq!(refused.status.code(), Some(2), "{address} {proxy}");
        assert!(stderr(&refused).contains("fewer than 16 bytes"));
    }
    drop(Server::spawn_as_bound(&mut start(
        "16 bytes, enough",
        "0.0.0.0:0",
    )));
    let warned = Server::spawn_as_bound(&mut start("15 bytes, wrong", "127.0.0.1:0"));
    assert!(warned.into_log().contains("short enough to be guessed"));
}

#[test]
fn every_answer_tells_browsers_to_be_careful() {
    let database = TestDatabase::new();
    let server = Server::start(&database.url);
    for path in [
        "/",
        "/tasks.csv",
        "/tasks.csv?done=x",
        "/api/tasks",
        "/nothing",
        "/livez",
    ] {
        tells_to_be_careful(&Download::start(&server.address, path), path);
    }
    let host = ("Host", &*server.address);
    let too_large = [host, ("Content-Length", "65537")];
    let refused = Download::request(&server.address, "POST", "/api/exports", &too_large);
    assert_eq!(refused.status, 413);
    tells_to_be_careful(&refused, "a body that is too large");
    let counted = "cmms_export_http_responses_total{status=\"413\"}";
    assert_eq!(server.metric(counted), 1.0);
    drop(refused);
    eventually("it is logged", || server.has_logged("status=413"));
}

/// Demands the headers that tell browsers to be careful.
pub(super) fn tells_to_be_careful(answer: &Download, what: &str) {
    let policy = answer.header("content-security-policy").expect("required");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{what}: {policy}"
    );
    assert!(!policy.contains("unsafe"), "{what}: {policy}");
    let others = ["x-content-type-options", "referrer-policy"].map(|name| answer.header(name));
    assert_eq!(others, [Some("nosniff"), Some("same-origin")], "{what}");
    let cache = answer.header("cache-control");
    assert!(cache.is_some_and(|it| it.contains("no-store")), "{what}");
}

#[test]
fn a_role_that_can_only_select_is_enough() {
    let database = data::hostile();
    let role = format!("reader_{}", database.name());
    diesel::connection::SimpleConnection::batch_execute(
        &mut database.connect(),
        &format!(
            "create role {role} login password '{PASSWORD_VERIFIER}'; grant select on locations, assets, users, tasks to {role}"
        ),
    )
    .expect("ours");
    let url = as_role(&database.url, &role);
    let server = Server::start(&url);
    for strategy in Strategy::all() {
        let query = format!("strategy={}", strategy.name());
        let all = Server::start(&database.url);
        assert_eq!(
            download(&server.address, &query),
            download(&all.address, &query)
        );
    }
    assert_eq!(status(&server, "GET", "/readyz", &[]), 200);
    drop(server);
    diesel::connection::SimpleConnection::batch_execute(
        &mut database.connect(),
        &format!("drop owned by {role}; drop role {role}"),
    )
    .expect("ours");
}
