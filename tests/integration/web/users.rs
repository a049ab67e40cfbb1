//! Users whom a proxy names: what each may see, and whose the prepared exports are.

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use serde_json::json;

use crate::support::client::{Download, End};
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::program::{program, stderr};
use crate::support::{Server, TestDatabase, oracle};

const TOKEN: &str = "correct horse battery staple";

/// Asks as a proxy does for this user of these groups.
fn ask(server: &Server, path: &str, user: &str, groups: &str) -> Download {
    let token = format!("Bearer {TOKEN}");
    let headers = [
        ("Host", server.address.as_str()),
        ("Authorization", &token),
        ("X-Forwarded-User", user),
        ("X-Forwarded-Groups", groups),
    ];
    Download::request(&server.address, "GET", path, &headers)
}

fn csv(server: &Server, path: &str, user: &str, groups: &str) -> String {
    let answer = ask(server, path, user, groups);
    assert_eq!(answer.status, 200, "{path} for {user}");
    let (body, end) = answer.finish();
    assert_eq!(end, End::Clean);
    String::from_utf8(body).expect("UTF-8")
}

#[test]
fn each_user_sees_what_the_access_file_and_postgresqls_policies_say_by_every_strategy() {
    let database =
        TestDatabase::seeded(&["--tasks=20000", "--assets=20", "--locations=5", "--users=9"]);
    let role = format!("reader_{}", database.name());
    let mut connection = database.connect();
    connection
        .batch_execute(&format!(
            "create role {role}; create role manager_of_{role}; create role login_of_{role} noinherit login password '{PASSWORD_VERIFIER}';
             grant {role}, manager_of_{role} to login_of_{role};
             grant select on tasks, assets, locations, users to {role}, manager_of_{role};
             create policy \"all\" on tasks to manager_of_{role} using (true);
             alter table tasks enable row level security;
             create policy own on tasks to {role} using (created_by_id = (
                 select id from users where username = current_setting('request.user', true)))"
        ))
        .expect("a superuser may");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.toml");
    let rules = format!(
        "[[allow]]\ngroup = \"managers\"\nrole = \"manager_of_{role}\"\n[[allow]]\ngroup = \"staff\"\nrole = \"{role}\"\ndatasets = [\"tasks\"]\nhide = [\"tasks.description\"]\n"
    );
    std::fs::write(&file, rules).expect("written");
    // The role that logs in may read nothing by itself.
    let url = as_role(&database.url, &format!("login_of_{role}"));
    let serve = || {
        let mut command = program(&url);
        command.args([
            "serve",
            "--user-header=X-Forwarded-User",
            "--groups-header=X-Forwarded-Groups",
        ]);
        command
            .arg("--access-file")
            .arg(&file)
            .env("CMMS_AUTH_TOKEN", TOKEN);
        command
    };
    let server = Server::spawn(&mut serve());
    let rows_of = |user: &str| {
        let sql = format!(
            "copy (select t.id as \"ID\", t.title as \"Title\" from tasks t join users u on u.id = t.created_by_id
                 where '{user}' in ('', u.username) order by t.id) to stdout with (format csv, header)"
        );
        String::from_utf8(oracle::psql(&database, &sql)).expect("UTF-8")
    };
    for strategy in Strategy::all() {
        let path = format!("/tasks.csv?columns=id,title&strategy={strategy}");
        for (user, groups, rows) in [
            ("user_3", "staff", "user_3"),
            ("boss", "other, managers, staff", ""),
            // On the same pooled connections.
            ("user_7", "staff", "user_7"),
            ("o'no\\'--", "staff", "o''no\\''--"),
        ] {
            assert!(
                csv(&server, &path, user, groups) == rows_of(rows),
                "{user} by {strategy}"
            );
        }
    }
    let counted = rows_of("user_3").lines().count() - 1;
    let count = ask(&server, "/api/tasks/count", "user_3", "staff").json();
    assert_eq!(count["count"], counted);
    for (path, user, groups, status) in [
        ("/tasks.csv?columns=description", "user_3", "staff", 400),
        ("/tasks.csv?columns=description", "boss", "managers", 200),
        ("/users.csv", "user_3", "staff", 404),
        ("/users.csv", "boss", "managers", 200),
        ("/tasks.csv", "user_3", "strangers", 403),
        ("/tasks.csv", "", "staff", 401),
        ("/metrics", "user_3", "staff", 404),
    ] {
        assert_eq!(
            ask(&server, path, user, groups).status,
            status,
            "{path} for {user}"
        );
    }

    // What one has prepared is nobody else's.
    let token = format!("Bearer {TOKEN}");
    let headers = |user: &'static str| {
        [
            ("Host", server.address.as_str()),
            ("Authorization", &*token),
            ("X-Forwarded-User", user),
            ("X-Forwarded-Groups", "staff"),
        ]
    };
    let order = Download::request(&server.address, "POST", "/api/exports", &headers("user_3"));
    assert_eq!(order.status, 202);
    let id = order.json()["id"].as_str().expect("an id").to_owned();
    let manifest = format!("/api/exports/{id}");
    assert_eq!(ask(&server, &manifest, "user_3", "staff").status, 200);
    assert_eq!(ask(&server, &manifest, "user_7", "staff").status, 404);
    assert_eq!(
        ask(&server, "/api/exports", "user_7", "staff").json(),
        json!([])
    );

    let see = |arguments: &[&str]| {
        let mut command = program(&database.url);
        command
            .args(["access", "check", "--access-file"])
            .arg(&file);
        command.args(arguments).output().expect("it runs")
    };
    let seen = see(&["--user=user_3", "--group=others", "--group=staff"]);
    let seen = String::from_utf8(seen.stdout).expect("UTF-8");
    let (first, datasets) = seen.split_once('\n').expect("lines");
    assert_eq!(first, format!("user_3 reads as the role {role}:"));
    assert!(
        datasets.starts_with("tasks: id, title,") && datasets.lines().count() == 1,
        "{seen}"
    );
    assert!(!datasets.contains("description"), "{seen}");
    let refused = see(&["--user=user_3"]);
    assert!(!refused.status.success() && stderr(&refused).contains("no rule is for user_3"));

    // Its role is gone: an error, and no row of anybody.
    drop(server);
    connection
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .expect("a superuser may");
    let output = serve().output().expect("it runs");
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains(&role) && said.contains("access.toml"),
        "{said}"
    );
}

#[test]
fn a_user_is_believed_beside_the_token_alone() {
    let database = TestDatabase::new();
    let output = program(&database.url)
        .args(["serve", "--user-header=X-Forwarded-User"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("CMMS_AUTH_TOKEN"), "{output:?}");

    let mut command = program(&database.url);
    command.args(["serve", "--user-header=X-Forwarded-User"]);
    let server = Server::spawn(command.env("CMMS_AUTH_TOKEN", TOKEN));
    let status = |token: &str, user: &[(&str, &str)]| {
        let token = format!("Bearer {token}");
        let headers = [
            &[("Host", server.address.as_str()), ("Authorization", &token)],
            user,
        ]
        .concat();
        Download::request(&server.address, "GET", "/tasks.csv", &headers).status
    };
    assert_eq!(status(TOKEN, &[("X-Forwarded-User", "ann")]), 200);
    assert_eq!(status("guess", &[("X-Forwarded-User", "ann")]), 401);
    assert_eq!(status(TOKEN, &[]), 401);
    assert_eq!(
        status(
            TOKEN,
            &[("X-Forwarded-User", "ann"), ("X-Forwarded-User", "boss")]
        ),
        401
    );
    assert_eq!(
        status(
            TOKEN,
            &[("X-Forwarded-User", "ann"), ("X_Forwarded_User", "boss")]
        ),
        400
    );
}
