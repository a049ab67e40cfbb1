//! What a role's, a database's or a column's own settings do to an export: nothing.

use std::io::Read;
use std::process::Stdio;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_export::Strategy;

use crate::support::program::export;
use crate::support::{Server, TestDatabase, eventually, oracle, program};

fn run(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    connection.batch_execute(sql).expect("the SQL runs");
}

fn is_so(database: &TestDatabase, condition: &str) -> bool {
    diesel::select(diesel::dsl::sql::<Bool>(condition))
        .get_result(&mut database.connect())
        .expect("an answer")
}

/// Sets it for all sessions of the database from now on.
fn set_default(database: &TestDatabase, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        let database_name = database.name();
        run(
            database,
            &format!("alter database {database_name} set {name} = '{value}'"),
        );
    }
}

fn flags(strategy: Strategy, flags: &[&str]) -> Vec<String> {
    let strategy = format!("--strategy={}", strategy.name());
    let flags = flags.iter().map(|flag| flag.to_string());
    flags.chain([strategy]).collect()
}

/// Whether PostgreSQL was built with ICU, which nondeterministic collations need.
fn has_icu(database: &TestDatabase) -> bool {
    is_so(
        database,
        "exists (select from pg_collation where collprovider = 'i')",
    )
}

#[test]
fn a_reader_may_be_slower_than_the_roles_idle_timeout() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         set session_replication_role = replica;
         insert into tasks select n, 'Task ' || n, '', true, 1, 1, null from generate_series(1, 60000) n",
    );
    run(&database, "vacuum analyze tasks");
    let expected = oracle::copy(&database, "true", ',');
    set_default(
        &database,
        &[("idle_in_transaction_session_timeout", "200ms")],
    );
    // Nobody works, but for those that wait for the reader; and whoever is idle in a transaction was so for twice the timeout. (Or the
    // timeout has struck, and nobody is there.) A parallel query's other processes wait for the one that waits for the reader.
    let is_left_alone = "not exists (
        select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and backend_type = 'client backend' and (state = 'active' and wait_event is distinct from 'ClientWrite'
            or state = 'idle in transaction' and state_change > clock_timestamp() - interval '400 ms'))";
    for strategy in [Strategy::Lookup, Strategy::Paged, Strategy::Streamed] {
        let mut child = program(&database.url)
            .arg("export")
            .args(flags(strategy, &[]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut stdout = child.stdout.take().expect("piped");
        let mut csv = Vec::new();
        for bytes in [1, 300_000] {
            let mut read = stdout.by_ref().take(bytes);
            read.read_to_end(&mut csv).expect("bytes");
            eventually("the export waits for its reader", || {
                is_so(&database, is_left_alone)
            });
        }
        stdout.read_to_end(&mut csv).expect("bytes");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{strategy:?}: {output:?}");
        assert!(csv == expected, "{strategy:?}");
    }
    // A workbook is made at its own speed, which is slow beside the shortest timeout.
    let directory = tempfile::tempdir().expect("a directory");
    for strategy in [Strategy::Lookup, Strategy::Paged] {
        let file = directory.path().join(format!("{}.xlsx", strategy.name()));
        let output = format!("--output={}", file.display());
        export(&database.url, &flags(strategy, &["--format=xlsx", &output]));
    }
}

#[test]
fn a_view_that_makes_texts_of_dates_and_numbers_says_the_same_whatever_the_roles_defaults() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks select n, 'Task', '', true, 1, 1, null from generate_series(1, 300) n;
         alter table tasks rename to kept_tasks;
         create view tasks as select id, concat_ws(' ', date '2026-02-01' + id::int, timestamptz '2026-02-03 04:05:06+00',
                 interval '1 day 2 hours' * id, '\\x00ff'::bytea, 0.1::float8 + 0.2::float8)::varchar(100) as title,
             description, done, asset_id, created_by_id, updated_by_id from kept_tasks",
    );
    const DEFAULTS: [(&str, &str); 5] = [
        ("datestyle", "German"),
        ("intervalstyle", "iso_8601"),
        ("timezone", "Asia/Tokyo"),
        ("bytea_output", "escape"),
        ("extra_float_digits", "-5"),
    ];
    let copy = "copy (select id as \"ID\", title as \"Title\" from tasks order by id) to stdout with (format csv, header)";
    set_default(&database, &DEFAULTS);
    let unpinned = oracle::psql(&database, copy);
    let pinned = format!(
        "set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC';
         set bytea_output = 'hex'; set extra_float_digits = 1; {copy}"
    );
    let expected = oracle::psql(&database, &pinned);
    let first = "ID,Title\n1,2026-02-02 2026-02-03 04:05:06+00 1 day 02:00:00 \\x00ff 0.30000000000000004\n";
    assert!(expected.starts_with(first.as_bytes()));
    assert_ne!(expected, unpinned);
    for &strategy in Strategy::all() {
        let csv = export(&database.url, &flags(strategy, &["--columns=id,title"]));
        assert!(csv == expected, "{strategy:?}");
    }
}

#[test]
fn points_in_time_are_in_the_time_zone_that_is_asked_for_in_files_and_previews() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         insert into tasks select n, 'Task', '', true, 1, 1, null from generate_series(1, 30000) n;
         alter table tasks rename to kept_tasks;
         create view tasks as select id, (timestamptz '2026-03-28 22:30+00' + id * interval '1 hour')::text::varchar(100) as title,
             description, done, asset_id, created_by_id, updated_by_id from kept_tasks",
    );
    let zone = "Europe/Berlin";
    let copy = format!(
        "set timezone = '{zone}'; copy (select id as \"ID\", title as \"Title\" from tasks order by id) to stdout with (format csv, header)"
    );
    let expected = oracle::psql(&database, &copy);
    let start =
        "ID,Title\n1,2026-03-29 00:30:00+01\n2,2026-03-29 01:30:00+01\n3,2026-03-29 03:30:00+02\n";
    assert!(expected.starts_with(start.as_bytes()));
    let set = format!("--time-zone={zone}");
    for &strategy in Strategy::all() {
        let csv = export(
            &database.url,
            &flags(strategy, &["--columns=id,title", &set]),
        );
        assert!(csv == expected, "{strategy:?}");
    }
    let server = Server::spawn(program(&database.url).args(["serve", "--time-zone", zone]));
    let preview = ureq::get(server.url("/api/tasks?count=false")).call();
    let preview: serde_json::Value = preview.expect("200").body_mut().read_json().expect("JSON");
    assert_eq!(preview["rows"][2]["Title"], "2026-03-29 03:30:00+02");
    let csv = ureq::get(server.url("/tasks.csv?columns=id,title")).call();
    let csv = csv
        .expect("200")
        .body_mut()
        .with_config()
        .limit(1 << 24)
        .read_to_vec();
    assert!(csv.expect("whole") == expected);
    // PostgreSQL itself would take the last one for a zone that is five hours behind.
    for unknown in ["Europe/Berlim", "+5", "XYZ5"] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("tasks.csv");
        let output = program(&database.url)
            .args(["export", "--time-zone", unknown, "--output"])
            .arg(&file)
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(unknown) && said.contains("no time zone"),
            "{said}"
        );
        assert_eq!(directory.path().read_dir().expect("there").count(), 0);
    }
}

#[test]
fn excel_gets_the_same_bytes_of_padded_texts_and_under_collations_that_ignore_punctuation() {
    let database = TestDatabase::new();
    let mut sql = "insert into locations values (1, 'Here'); insert into users values (1, '');
         insert into assets values (1, '', '', 1), (2, '-x', '', 1), (3, 'Abc', '', 1);
         alter table tasks alter title type char(20);
         insert into tasks values (1, '=f', '', true, 1, 1, null), (2, '', '', true, 2, 1, null), (3, 'plain', '', true, 3, 1, null);"
        .to_owned();
    if has_icu(&database) {
        // Punctuation counts for nothing here, so an empty text equals `-` and `@`.
        sql.push_str(
            "create collation letters (provider = icu, locale = 'und-u-ka-shifted-ks-level1', deterministic = false);
             alter table assets alter name type varchar(100) collate letters;
             alter table users alter username type varchar(150) collate letters;",
        );
    }
    run(&database, &sql);
    let expected = "\u{feff}Title,Asset,Created By\r\n\
        '=f                  ,\"\",\"\"\r\n                    ,'-x,\"\"\r\nplain               ,Abc,\"\"\r\n";
    for &strategy in Strategy::all() {
        let excel = [
            "--preset=excel",
            "--delimiter=,",
            "--columns=title,asset,created_by",
        ];
        let csv = export(&database.url, &flags(strategy, &excel));
        let csv = String::from_utf8(csv).expect("UTF-8");
        assert_eq!(csv, expected, "{strategy:?}");
    }
}

#[test]
fn a_text_is_found_in_a_column_with_a_nondeterministic_collation() {
    let database = TestDatabase::new();
    if !has_icu(&database) {
        return;
    }
    run(
        &database,
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1);
         create collation loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
         alter table tasks alter title type varchar(100) collate loose;
         insert into tasks select n, case when n % 3 = 0 then 'Über ' else 'Uber ' end || n, '', true, 1, 1, null from generate_series(1, 300) n",
    );
    let condition = "position('über 1' in lower(t.title collate \"default\")) > 0";
    let expected = oracle::copy(&database, condition, ',');
    assert!(expected.iter().filter(|byte| **byte == b'\n').count() > 30);
    for &strategy in Strategy::all() {
        let csv = export(&database.url, &flags(strategy, &["--title=über 1"]));
        assert!(csv == expected, "{strategy:?}");
    }
    let expected = oracle::copy(&database, "t.title = 'Über 3'", ',');
    let exactly = flags(Strategy::Copy, &["--filter=title_is=Über 3"]);
    assert!(export(&database.url, &exactly) == expected);
}

#[test]
fn a_text_with_a_letter_that_the_databases_encoding_lacks_is_found_nowhere() {
    lacks("LATIN1", Strategy::all());
    lacks("LATIN9", &[Strategy::Copy]);
}

fn lacks(encoding: &str, strategies: &[Strategy]) {
    let database = TestDatabase::new();
    let name = format!("{}_{}", database.name(), encoding.to_lowercase());
    let settings = format!("template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'");
    run(&database, &format!("create database {name} {settings}"));
    let url = database
        .url
        .replacen(&format!("/{}", database.name()), &format!("/{name}"), 1);
    let migrated = program(&url)
        .arg("migrate")
        .output()
        .expect("the program runs");
    assert!(migrated.status.success(), "{migrated:?}");
    PgConnection::establish(&url)
        .expect("the database is there")
        .batch_execute(
            "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
             insert into assets values (1, 'Thing', '', 1);
             insert into tasks select n, case when n % 3 = 0 then 'süß ' else 'sweet ' end || n, '', true, 1, 1, null from generate_series(1, 30) n",
        )
        .expect("the SQL runs");
    let server = Server::start(&url);
    for (title, rows) in [("süß", 10), ("łódź", 0), ("€", 0)] {
        for &strategy in strategies {
            let csv = export(&url, &flags(strategy, &[&format!("--title={title}")]));
            let lines = csv.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines, 1 + rows, "{encoding} {title}: {strategy:?}");
        }
        let title =
            percent_encoding::utf8_percent_encode(title, percent_encoding::NON_ALPHANUMERIC);
        let preview = ureq::get(server.url(&format!("/api/tasks?title={title}"))).call();
        let preview: serde_json::Value =
            preview.expect("200").body_mut().read_json().expect("JSON");
        assert_eq!(preview["count"], rows, "{encoding} {title}");
    }
    drop(server);
    run(&database, &format!("drop database {name} with (force)"));
}
