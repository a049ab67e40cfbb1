//! How `lookup` reads the rows: by the index, from the table, or as `copy`, and on how many connections.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmms_export::datasets;
use diesel_export::cancellation::Cancellation;
use diesel_export::dataset::{FilterValue, Selection, Value};
use diesel_export::db::Database;
use diesel_export::{Export, Plan, Strategy};

use super::few::filtered;
use super::{TASKS, change, check, client, everything, lookup, run};
use crate::support::client::{Download, download};
use crate::support::program::peak_memory;
use crate::support::{Server, TestDatabase, data, oracle, program};

/// Why the manifest says that rows are read from the table.
const FROM_TABLE: &str = "the rows are read from the table, not from an index alone: no index has all of their columns, the table has changed since its last VACUUM, or PostgreSQL expects the table to cost less";

/// Demands that an export is of ranges read from the table, on several connections.
fn is_from_table(plan: &Plan) {
    assert_eq!(plan.strategy, Strategy::Lookup, "{plan:?}");
    assert!(plan.connections > 1, "{plan:?}");
    assert_eq!(plan.because.as_deref(), Some(FROM_TABLE));
}

#[test]
fn without_the_index_ranges_of_the_primary_key_are_read_from_the_table() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "update pg_index set indisvalid = false where indexrelid = 'tasks_export_idx'::regclass",
    );
    is_from_table(&check(&database));
    change(&database, "drop index tasks_export_idx");
    is_from_table(&check(&database));
}

#[test]
fn without_any_index_by_the_key_it_is_copy() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "drop index tasks_export_idx; alter table tasks drop constraint tasks_pkey",
    );
    let plan = check(&database);
    assert_eq!((plan.strategy, plan.connections), (Strategy::Copy, 1));
    assert_eq!(
        plan.because.as_deref(),
        Some("no index has the rows in the order of their key")
    );
}

#[test]
fn without_a_visibility_map_the_rows_are_read_from_the_table() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "alter table tasks set (autovacuum_enabled = false); update tasks set done = not done; analyze tasks",
    );
    let plan = check(&database);
    assert_eq!(plan.strategy, Strategy::Lookup, "{plan:?}");
    assert!(plan.connections > 1, "{plan:?}");
    change(&database, "vacuum tasks");
    let plan = check(&database);
    assert_eq!((plan.strategy, plan.because), (Strategy::Lookup, None));
}

#[test]
fn a_table_that_nobody_has_analyzed_is_read_by_ranges_too() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "drop index tasks_export_idx; alter table tasks rename to before;
         create table tasks (like before including all) with (autovacuum_enabled = false); insert into tasks table before",
    );
    let plan = check(&database);
    assert_eq!(plan.strategy, Strategy::Lookup, "{plan:?}");
    assert!(plan.connections > 1, "{plan:?}");
}

#[test]
fn descriptions_are_read_from_the_table_however_long_they_are() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    // Of which the planner's width knows nothing: they are kept outside of the row.
    change(
        &database,
        "alter table tasks alter description set storage external;
         update tasks set description = repeat(id || ' long ', 10000) where id <= 1000; analyze tasks",
    );
    let columns = ["id", "description", "asset"].join(",");
    for condition in ["true", "done"] {
        let mut export = everything();
        export.columns =
            Selection::parse(datasets::catalog().default(), &columns).expect("there are such");
        if condition == "done" {
            let tasks = Arc::clone(export.filter.dataset());
            let mut fields = tasks.filters().iter();
            let done = fields.find(|field| field.name() == "done");
            let done = done.expect("there");
            let set = export
                .filter
                .set(done, FilterValue::of(Value::Boolean(true)));
            set.expect("its filter");
        }
        let client = client(&database);
        let outcome = run(&client, &export, || (), || Ok(()), &Cancellation::default());
        outcome.result.as_ref().expect("whole");
        is_from_table(outcome.plan.as_ref().expect("begun"));
        let expected = oracle::psql(
            &database,
            &format!(
                r#"copy (select t.id as "ID", t.description as "Description", a.name as "Asset" from tasks t join assets a
                   on a.id = asset_id where {condition} order by t.id) to stdout with (format csv, header)"#
            ),
        );
        assert!(
            outcome.csv == expected,
            "{condition}: other bytes than psql's"
        );
    }
}

#[test]
fn assets_are_read_by_ranges_too() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "insert into assets select id, 'Asset ' || id, 'Of ' || id, 1 from generate_series(1000, 60000) id",
    );
    change(&database, "vacuum analyze assets");
    let export = Export::of(datasets::catalog().find("assets").expect("declared"));
    let client = client(&database);
    let outcome = run(&client, &export, || (), || Ok(()), &Cancellation::default());
    outcome.result.as_ref().expect("whole");
    is_from_table(outcome.plan.as_ref().expect("begun"));
    let expected = oracle::psql(
        &database,
        r#"copy (select a.id as "ID", a.name as "Name", l.name as "Location" from assets a
           join locations l on l.id = location_id order by a.id) to stdout with (format csv, header)"#,
    );
    assert!(outcome.csv == expected, "other bytes than psql's");
}

#[test]
fn partitioned_tables_are_read_by_ranges() {
    for (by, partitions) in [
        (
            "range (id)",
            "create table one partition of tasks for values from (minvalue) to (1000);
             create table two partition of tasks for values from (1000) to (50000);
             create table rest partition of tasks for values from (50000) to (maxvalue)",
        ),
        (
            "hash (id)",
            "create table one partition of tasks for values with (modulus 2, remainder 0);
             create table two partition of tasks for values with (modulus 2, remainder 1)",
        ),
    ] {
        let database = TestDatabase::seeded(&["--tasks", TASKS]);
        change(
            &database,
            &format!(
                "drop index tasks_export_idx; alter table tasks rename to before;
                 create table tasks (like before including all) partition by {by}; {partitions};
                 insert into tasks table before; drop table before"
            ),
        );
        change(&database, "vacuum analyze");
        is_from_table(&check(&database));
        change(
            &database,
            "create index on tasks (id) include (title, done, asset_id, created_by_id, updated_by_id)",
        );
        let plan = check(&database);
        assert_eq!(
            (plan.strategy, plan.because),
            (Strategy::Lookup, None),
            "{by}"
        );
        assert!(plan.connections > 1, "{by}");
    }
}

#[test]
fn a_table_in_another_schema_of_the_search_path_is_read_by_ranges() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        &format!(
            r#"drop index tasks_export_idx; create schema "Other one"; alter table tasks set schema "Other one";
               alter database {} set search_path = "Other one", public"#,
            database.name()
        ),
    );
    is_from_table(&check(&database));
    // Of two tables of that name it is the first one, whatever is known of the other.
    change(&database, "create table public.tasks (id bigint)");
    is_from_table(&check(&database));
}

#[test]
fn a_view_of_one_table_is_read_by_ranges_of_that_and_any_other_is_left_to_copy() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "drop index tasks_export_idx; alter table tasks rename to cmms_task; alter table cmms_task rename id to number;
         create view tasks as select number as id, title, description, done, asset_id, created_by_id::bigint as created_by_id,
            updated_by_id from cmms_task",
    );
    is_from_table(&check(&database));
    for (view, because) in [
        (
            "number + 0 as id, title, description, done, asset_id, created_by_id, updated_by_id from cmms_task",
            "no index has the rows in the order of their key",
        ),
        (
            "distinct on (title, number) number as id, title, description, done, asset_id, created_by_id, updated_by_id
             from cmms_task",
            "the view tasks computes its rows",
        ),
    ] {
        change(
            &database,
            &format!("drop view tasks; create view tasks as select {view}"),
        );
        let plan = check(&database);
        assert_eq!(plan.strategy, Strategy::Copy, "{view}");
        assert_eq!(plan.because.as_deref(), Some(because), "{view}");
    }
}

#[test]
fn a_million_users_are_left_to_copy_and_the_manifest_says_so() {
    let database = TestDatabase::seeded(&["--tasks=20000"]);
    change(
        &database,
        "insert into users select n, 'user_' || n from generate_series(101, 1000000) n; analyze users",
    );
    assert_eq!(check(&database).strategy, Strategy::Copy);
    let server = Server::start(&database.url);
    download(&server.address, "export_id=many-users");
    let manifest = ureq::get(server.url("/api/exports/many-users")).call();
    let manifest = manifest.expect("known").body_mut().read_to_string();
    let manifest = manifest.expect("JSON");
    assert!(manifest.contains(r#""strategy":"copy""#), "{manifest}");
}

#[test]
fn names_that_do_not_fit_are_left_to_copy() {
    let database = TestDatabase::seeded(&["--tasks", TASKS, "--users=5000"]);
    // Statistics that are wrong: the names are longer than they were when they were last looked at.
    change(
        &database,
        "alter table users set (autovacuum_enabled = false); update users set username = lpad(username, 100, 'x')",
    );
    let expected = oracle::copy(&database, "true", ',');
    let client = client(&database);
    let strategies = (10..=26).map(|exponent| {
        let mut export = everything();
        export.limits.lookup_memory = 1 << exponent;
        let outcome = run(&client, &export, || (), || Ok(()), &Cancellation::default());
        outcome.result.as_ref().expect("whole");
        assert!(outcome.csv == expected, "2^{exponent}");
        outcome.strategy()
    });
    let mut strategies: Vec<Strategy> = strategies.collect();
    strategies.dedup();
    assert_eq!(strategies, [Strategy::Copy, Strategy::Lookup]);
}

#[test]
fn if_the_server_refuses_the_question_for_ids_it_is_copy() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "alter table assets rename to all_assets; update all_assets set location_id = 3; analyze all_assets;
         create function is_seen(id bigint) returns boolean language plpgsql immutable as $$ begin
             if current_query() not like '%tasks%' then raise insufficient_privilege; end if;
             return true;
         end $$;
         create view assets as select * from all_assets where is_seen(id)",
    );
    let outcome = filtered(&client(&database), "tasks", ("location_id", "3"));
    assert_eq!(outcome.result.as_ref().expect("whole").rows, 60_000);
    let plan = outcome.plan.as_ref().expect("begun");
    let because = plan.because.as_deref();
    let refused = Some("the server refused the preparations");
    assert_eq!((plan.strategy, because), (Strategy::Copy, refused));
    let expected = oracle::copy(&database, "true", ',');
    assert!(outcome.csv == expected, "other bytes than psql's");
}

#[test]
fn fewer_free_connections_are_fewer_connections() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    let expected = oracle::copy(&database, "true", ',');
    let client = Database::new(&database.url, 2, Duration::from_secs(120));
    let mut second = None;
    let first = run(
        &client,
        &everything(),
        || (),
        || {
            let started = Instant::now();
            second = Some(lookup(&client));
            assert!(
                started.elapsed() < Duration::from_secs(100),
                "it waits for none"
            );
            Ok(())
        },
        &Cancellation::default(),
    );
    let connections = [Some(first), second].map(|outcome| {
        let outcome = outcome.expect("run");
        outcome.result.as_ref().expect("whole");
        assert!(outcome.csv == expected);
        let plan = outcome.plan.expect("begun");
        assert_eq!(plan.strategy, Strategy::Lookup);
        assert_eq!(
            plan.because.as_deref(),
            Some("no more connections were free")
        );
        plan.connections
    });
    assert_eq!(connections, [3, 1]);
}

#[test]
fn rows_that_a_filter_finds_are_read_by_it_however_many_they_are() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1), (2, 'Other', '', 1);
         set session_replication_role = replica;
         insert into tasks select n, 'Task ' || n, '', true, case when n > 208000 then 2 else 1 end, 1, null
             from generate_series(1, 220000) n;
         -- To read by the key, the server would have to look at each row of the table.
         drop index tasks_export_idx",
    );
    change(&database, "vacuum analyze");
    let server = Server::start(&database.url);
    let path = "/tasks.csv?strategy=lookup&asset_id=2&export_id=filtered";
    let (csv, _) = Download::start(&server.address, path).finish();
    assert!(
        csv == oracle::copy(&database, "a.id = 2", ','),
        "other bytes than psql's"
    );
    let manifest = server.ended("filtered");
    assert_eq!(manifest["rows"], 12_000, "{manifest}");
    assert_eq!(manifest["strategy"], "lookup", "{manifest}");
    assert_eq!(manifest["connections"], 1, "{manifest}");
    let because = manifest["because"].as_str().expect("it is said");
    assert!(because.contains("found by the filter"), "{because}");
}

#[test]
fn descriptions_of_100_kilobytes_take_no_memory() {
    const TASKS: u32 = 1_500;
    const LENGTH: usize = 100_000;
    let database = data::wide(TASKS);
    let server = Server::start(&database.url);
    let download = |query: &str| {
        let path = format!("/tasks.csv?columns=id,description&strategy=lookup{query}");
        let mut download = Download::start(&server.address, &path);
        let mut bytes = 0;
        while let Some(chunk) = download.chunk().expect("whole") {
            bytes += chunk.len();
        }
        bytes
    };
    download("");
    let idle = server.peak_memory();
    // As they are, and as the server packs them by itself: then it takes little space, and nobody can tell how long they are.
    for storage in ["external", "extended"] {
        let sql = format!(
            "alter table tasks alter description set storage {storage};
             update tasks set description = rpad(id || ' ', {LENGTH}, 'long '); analyze tasks"
        );
        change(&database, &sql);
        let bytes = download(&format!("&export_id={storage}"));
        assert!(bytes > TASKS as usize * LENGTH, "{bytes}");
        let manifest = server.ended(storage);
        assert_eq!(manifest["strategy"], "lookup", "{manifest}");
        // The system counts pages a little behind: a peak that has not grown may seem to have shrunk.
        let grown = server.peak_memory().saturating_sub(idle);
        println!("{storage}: the server has grown by {grown} bytes for {bytes}");
        assert!(grown < 48 << 20, "{storage}: by {grown} bytes for {bytes}");
    }
}

#[test]
fn descriptions_of_5_mebibytes_and_a_slow_reader_take_little_memory() {
    const LENGTH: usize = 5 << 20;
    let database = data::wide(60_000);
    let memory = |arguments: &[&str]| {
        let mut child = program(&database.url)
            .args(["export", "--columns=id,description", "--strategy=lookup"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut output = child.stdout.take().expect("piped");
        let mut buffer = vec![0; 128 << 10];
        let (mut bytes, mut peak) = (0, 0);
        loop {
            // As long as it has output, it has not ended.
            peak = peak_memory(child.id()).max(peak);
            let taken = output.read(&mut buffer).expect("it writes");
            if taken == 0 {
                break;
            }
            bytes += taken;
            // The pipe is always full, and every range that may be begun is ahead.
            if bytes < 32 << 20 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert!(child.wait().expect("ours").success());
        (bytes, peak)
    };
    let (_, idle) = memory(&["--title=none is like this"]);
    // Several in each of the first ranges, and packed, so that nobody can tell how long they are.
    change(
        &database,
        &format!(
            "update tasks set description = rpad('', {LENGTH}, 'long ') where id = 200;
             update tasks set description = long.description from tasks long where long.id = 200 and tasks.id % 200 = 0
                 and tasks.id <= 20000"
        ),
    );
    change(&database, "vacuum analyze tasks");
    let manifest = tempfile::NamedTempFile::new().expect("a file");
    let path = manifest.path().to_str().expect("UTF-8");
    let (bytes, peak) = memory(&["--manifest", path]);
    assert!(bytes > 100 * LENGTH, "{bytes}");
    let manifest = std::fs::read(path).expect("written");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["strategy"], "lookup", "{manifest}");
    assert!(manifest["connections"].as_u64() > Some(1), "{manifest}");
    let grown = peak.saturating_sub(idle);
    println!("the program has grown by {grown} bytes for {bytes}");
    // Each of four connections may have a row in libpq's buffer, which has 8 MiB then, in libpq's copy of it, and in a piece of the file.
    assert!(grown < 4 * (24 << 20), "by {grown} bytes for {bytes}");
}
