//! How many connections the command line's export opens: each takes as long as thousands of rows.

use diesel::prelude::*;

use crate::support::program::{export, program};
use crate::support::{Download, Server, TestDatabase, eventually};

#[derive(QueryableByName)]
struct Sessions {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    begun: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    open: i64,
}

/// How many connections to the database an export opens.
fn connections_of(database: &TestDatabase, arguments: &[&str]) -> i64 {
    let mut connection = database.connect();
    let mut sessions = || -> Sessions {
        diesel::sql_query(
            "select sessions as begun, (select count(*) from pg_stat_activity
                 where datname = d.datname and backend_type = 'client backend' and pid <> pg_backend_pid()) as open
             from pg_stat_database d where datname = current_database()",
        )
        .get_result(&mut connection)
        .expect("readable")
    };
    let mut before = 0;
    eventually("the others have gone", || {
        let now = sessions();
        before = now.begun;
        now.open == 0
    });
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| (*argument).into())
        .collect();
    export(&database.url, &arguments);
    let mut after = 0;
    eventually("the export's have gone, and are counted", || {
        let now = sessions();
        after = now.begun;
        now.open == 0 && after > before
    });
    after - before
}

#[test]
fn an_export_looks_at_the_tables_on_the_connection_that_it_exports_on() {
    let database = TestDatabase::seeded(&["--tasks", "60000"]);
    assert_eq!(connections_of(&database, &["--asset-id", "1"]), 1);
    assert_eq!(connections_of(&database, &["--strategy", "copy"]), 1);
    assert_eq!(connections_of(&database, &[]), 2);
}

#[test]
fn every_connection_says_whose_it_is() {
    let database = TestDatabase::new();
    let names = |expected: &str| {
        let mut connection = database.connect();
        let others = diesel::sql_query(
            "select count(*) as begun, count(*) filter (where application_name not like $1) as open from pg_stat_activity
             where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()",
        );
        let others = others.bind::<diesel::sql_types::Text, _>(format!("{expected}%"));
        let found: Sessions = others.get_result(&mut connection).expect("readable");
        (found.begun, found.open)
    };
    for (variable, name) in [(None, "cmms-export"), (Some("reports"), "reports")] {
        let mut command = program(&database.url);
        command
            .arg("serve")
            .envs(variable.map(|name| ("PGAPPNAME", name)));
        let server = Server::spawn(&mut command);
        for path in [
            "/",
            "/readyz",
            "/tasks.csv?strategy=copy",
            "/tasks.csv?strategy=streamed",
        ] {
            assert_eq!(Download::start(&server.address, path).status, 200);
        }
        let (connections, others) = names(name);
        assert!(connections > 3, "{connections}");
        assert_eq!(others, 0);
        drop(server);
        eventually("its connections have gone", || names(name).0 == 0);
    }
}
