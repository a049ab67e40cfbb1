//! What the program says of an error: never what is in a row.

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use diesel_export::Strategy;

use crate::support::prepared;
use crate::support::program::{program, stderr};
use crate::support::{Download, Server, TestDatabase};

const SECRET: &str = "geheim-4711";
const LEFT_OUT: &str = "PostgreSQL's own log has it";

#[test]
fn a_row_that_cannot_be_read_is_in_no_error_and_no_log_line() {
    // A view as the program prints it for a table of other types, in which a text is no number.
    let database = TestDatabase::with(&format!(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         create table jobs as select n::text as number, 'Task ' || n as title, '' as description, 'yes' as done, 1::bigint as asset_id
             from generate_series(1, 3000) n;
         update jobs set number = '{SECRET}' where number = '3000';
         drop table tasks;
         create view tasks as select number::bigint as id, title, description, done::boolean as done, asset_id,
             1::bigint as created_by_id, null::bigint as updated_by_id from jobs"
    ));
    // The server's own message quotes it.
    let refused = diesel::sql_query("select max(id) from tasks").execute(&mut database.connect());
    let said = refused.expect_err("a text is no number").to_string();
    assert!(said.contains(SECRET), "{said}");

    let server = Server::start(&database.url);
    for strategy in Strategy::all() {
        let name = strategy.name();
        let output = program(&database.url)
            .args(["export", "--log=debug", "--strategy", name])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = stderr(&output);
        assert!(!said.contains(SECRET), "{name}: {said}");
        let is_told = ["22P02", LEFT_OUT];
        assert!(
            is_told.iter().any(|told| said.contains(told)),
            "{name}: {said}"
        );

        for file in ["csv", "xlsx"] {
            let answer =
                Download::start(&server.address, &format!("/tasks.{file}?strategy={name}"));
            if answer.status == 500 {
                let problem = answer.json().to_string();
                assert!(!problem.contains(SECRET), "{name}: {problem}");
            }
        }
        let id = prepared::order(&server, &prepared::by(name));
        let manifest = server.ended(&id);
        prepared::has_failed(&manifest, "database");
        assert!(!manifest.to_string().contains(SECRET), "{manifest}");
    }
    for path in ["/", "/api/tasks", "/api/tasks/count?title=x"] {
        let answer = Download::start(&server.address, path);
        let text = String::from_utf8_lossy(&answer.whole()).into_owned();
        assert!(!text.contains(SECRET), "{path}: {text}");
    }
    let log = server.into_log();
    assert!(
        log.contains("outcome=\"failed\"") && !log.contains(SECRET),
        "{log}"
    );
}

#[test]
fn what_a_function_of_a_view_raises_is_in_no_error_and_no_log_line() {
    let database = TestDatabase::with(&format!(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks select n, 'Task ' || n, '', true, 1, 1, null from generate_series(1, 300) n;
         update tasks set title = '{SECRET}' where id = 7;
         alter table tasks rename to jobs;
         create function shown(t text) returns text language plpgsql as 'begin return t; end';
         create view tasks as select id, shown(title)::varchar(100) as title, description, done, asset_id,
             created_by_id, updated_by_id from jobs"
    ));
    let server = Server::start(&database.url);
    // The SQLSTATEs are of a function's own error, and of those that PostgreSQL has for errors that quote no row.
    for code in ["P0001", "55000", "42501", "23505"] {
        let raising = format!(
            "create or replace function shown(t text) returns text language plpgsql as $$ begin
                 if t like 'geheim%' then
                     raise exception 'Title % is confidential and has no owner', t using errcode = '{code}';
                 end if;
                 return t;
             end $$"
        );
        let changed = database.connect().batch_execute(&raising);
        changed.expect("the SQL runs");
        for strategy in Strategy::all() {
            let name = strategy.name();
            let output = program(&database.url)
                .args(["export", "--log=debug", "--strategy", name])
                .output()
                .expect("the program runs");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let said = stderr(&output);
            assert!(!said.contains("geheim"), "{name}, {code}: {said}");
            assert!(said.contains(LEFT_OUT), "{name}, {code}: {said}");
            let path = format!("/tasks.csv?strategy={name}&whole=true");
            let answer = Download::start(&server.address, &path);
            assert_eq!(answer.status, 500, "{name}, {code}");
            let text = String::from_utf8_lossy(&answer.whole()).into_owned();
            assert!(!text.contains("geheim"), "{name}, {code}: {text}");
        }
        for path in ["/", "/api/tasks", "/api/tasks/count?title=x"] {
            let answer = Download::start(&server.address, path);
            assert!(path == "/" || answer.status == 500, "{path}, {code}");
            let text = String::from_utf8_lossy(&answer.whole()).into_owned();
            assert!(!text.contains("geheim"), "{path}, {code}: {text}");
        }
    }
    let log = server.into_log();
    assert!(log.contains(LEFT_OUT) && !log.contains("geheim"), "{log}");
}
