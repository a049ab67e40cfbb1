//! The `lookup` strategy: what only it can get wrong, and when it leaves the work to `copy`.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmms_export::datasets;
use cmms_export::db::{self, Database};
use cmms_export::export::cancellation::Cancellation;
use cmms_export::export::dataset::{FilterValue, Selection};
use cmms_export::export::{self, Error, Export, Observer, Plan, Sink, Strategy, Summary};
use diesel::connection::SimpleConnection;
use serde_json::Value;

use crate::support::client::{Download, End, download};
use crate::support::{Server, TestDatabase, data, eventually, oracle, program};

/// Enough tasks for several ranges and all connections.
const TASKS: &str = "60000";

/// Keeps the CSV, and does something at the first bytes.
struct Recorder<'a> {
    csv: Vec<u8>,
    plan: &'a RefCell<Option<Plan>>,
    at_first: &'a mut dyn FnMut() -> io::Result<()>,
}

/// Keeps the plan, and does something when it comes.
struct Planned<'a> {
    plan: RefCell<Option<Plan>>,
    at_plan: RefCell<&'a mut dyn FnMut()>,
}

impl Observer for Planned<'_> {
    fn plan(&self, plan: &Plan) {
        assert_eq!(self.plan.replace(Some(plan.clone())), None, "once");
        (self.at_plan.borrow_mut())();
    }
}

impl Sink for Recorder<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        assert!(self.plan.borrow().is_some(), "after the plan");
        // The header may come alone.
        let first = self.csv.len() < 100;
        self.csv.extend_from_slice(&chunk);
        if first && self.csv.len() >= 100 {
            (self.at_first)()?;
        }
        Ok(())
    }
}

fn everything() -> Export {
    Export::of(datasets::default())
}

struct Outcome {
    result: Result<Summary, Error>,
    plan: Option<Plan>,
    csv: Vec<u8>,
}

impl Outcome {
    fn strategy(&self) -> Strategy {
        self.plan.as_ref().expect("begun").strategy
    }
}

fn client(database: &TestDatabase) -> Database {
    Database::new(&database.url, 8, Duration::from_secs(5))
}

fn run(
    database: &Database,
    export: &Export,
    mut at_plan: impl FnMut(),
    mut at_first: impl FnMut() -> io::Result<()>,
    cancellation: &Cancellation,
) -> Outcome {
    let planned = Planned {
        plan: RefCell::default(),
        at_plan: RefCell::new(&mut at_plan),
    };
    let mut sink = Recorder {
        csv: Vec::new(),
        plan: &planned.plan,
        at_first: &mut at_first,
    };
    let result = export::run(export, database, cancellation, &planned, &mut sink);
    let csv = sink.csv;
    let plan = planned.plan.into_inner();
    Outcome { result, plan, csv }
}

fn lookup(database: &Database) -> Outcome {
    run(
        database,
        &everything(),
        || (),
        || Ok(()),
        &Cancellation::default(),
    )
}

/// Exports with the default, which must be whole and right, and returns how it was made.
fn check(database: &TestDatabase) -> Plan {
    let outcome = lookup(&client(database));
    outcome.result.as_ref().expect("whole");
    assert!(
        outcome.csv == oracle::copy(database, "true", ','),
        "other bytes than psql's"
    );
    outcome.plan.expect("begun")
}

fn change(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    connection.batch_execute(sql).expect("the SQL runs");
}

#[test]
fn it_is_the_default_and_takes_several_connections() {
    assert_eq!(Strategy::default(), Strategy::Lookup);
    let plan = check(&TestDatabase::seeded(&["--tasks", TASKS]));
    assert_eq!(plan.strategy, Strategy::Lookup);
    assert!(plan.connections > 1, "{plan:?}");
    assert_eq!(plan.because, None);
}

#[test]
fn one_task_and_none_are_exported_too() {
    for tasks in ["0", "1"] {
        let plan = check(&TestDatabase::seeded(&["--tasks", tasks]));
        assert_eq!((plan.strategy, plan.connections), (Strategy::Lookup, 1));
    }
}

#[test]
fn what_is_changed_meanwhile_is_not_in_it() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    let client = client(&database);
    let before = oracle::copy(&database, "true", ',');
    let outcome = run(
        &client,
        &everything(),
        || {
            change(
                &database,
                "update locations set name = 'moved'; update users set username = 'renamed'; update assets set name = 'other';
                 update assets set location_id = 1; insert into users values (1000, 'new'); insert into assets values (1000, 'new', '', 1);
                 update tasks set title = 'changed', asset_id = 1000, created_by_id = 1000, updated_by_id = null where id % 3 = 0;
                 delete from tasks where id % 7 = 0;
                 delete from assets where id not in (select asset_id from tasks);
                 insert into tasks select -n, 'new', '', true, 1000, 1000, 1000 from generate_series(1, 1000) n",
            );
        },
        || {
            change(
                &database,
                "delete from tasks; delete from assets; delete from users",
            );
            Ok(())
        },
        &Cancellation::default(),
    );
    outcome.result.as_ref().expect("whole");
    assert_eq!(outcome.strategy(), Strategy::Lookup);
    assert!(outcome.csv == before, "the state before the changes");
    check(&database);
}

#[test]
fn whatever_is_committed_while_it_starts_all_connections_see_one_state() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    let client = client(&database);
    // Each transaction makes a new version of some rows of every table, and moves a task from one end to the other.
    change(
        &database,
        "update tasks set title = 'version 0 ' where id % 500 = 0; update users set username = 'version 0 ' where id = 1;
         update locations set name = 'version 0 ' where id = 1; update assets set name = 'version 0 ', location_id = 1 where id = 1;
         update tasks set asset_id = 1, created_by_id = 1 where id % 500 = 0",
    );
    change(&database, "vacuum analyze");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = database.connect();
            let mut version = 0;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                let sql = format!(
                    "begin; update tasks set title = 'version {version} ' where id % 500 = 0;
                     update users set username = 'version {version} ' where id = 1;
                     update assets set name = 'version {version} ' where id = 1;
                     update locations set name = 'version {version} ' where id = 1;
                     delete from tasks where id in (-1, 70000);
                     insert into tasks values (case when {version} % 2 = 0 then -1 else 70000 end, 'version {version} ', '', true, 1, 1);
                     commit"
                );
                connection.batch_execute(&sql).expect("ours");
            }
        });
        for _ in 0..15 {
            let outcome = lookup(&client);
            outcome.result.as_ref().expect("whole");
            assert_eq!(outcome.strategy(), Strategy::Lookup);
            let csv = String::from_utf8(outcome.csv).expect("UTF-8");
            let mut versions: Vec<&str> = csv
                .split("version ")
                .skip(1)
                .filter_map(|rest| rest.split(' ').next())
                .collect();
            // Title, asset, location and creator of each of the 120 tasks, at the least.
            assert!(versions.len() >= 4 * 120, "{}", versions.len());
            versions.sort_unstable();
            versions.dedup();
            assert_eq!(versions.len(), 1, "{versions:?}");
            let moved = csv.contains("\n-1,") as usize + csv.contains("\n70000,") as usize;
            assert!(moved == 1 || versions == ["0"], "{moved}");
            let lines = csv.lines().count();
            assert_eq!(lines, 60_001 + moved);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn gaps_skew_negative_and_extreme_ids_lose_nothing() {
    let ids = [
        "generate_series(-9223372036854775808, -9223372036854760000) id",
        "generate_series(9223372036854760000, 9223372036854775807) id",
        "generate_series(-20000, 20000) id",
        "(select n * 400000000000000 id from generate_series(100, 20000) n) _",
        "(select n * n * 7::bigint + 1000000 id from generate_series(1::bigint, 20000) n) _",
    ];
    let insert = |database: &TestDatabase, ids: &str| {
        change(
            database,
            &format!(
                "set session_replication_role = replica;
                 insert into tasks select id, 'Task ' || id, '', id % 2 = 0, 1 + abs(id % 300), 1 + abs(id % 100), null from {ids}
                 on conflict do nothing"
            ),
        );
    };
    // Alone, and one after the other on a histogram that knows only of the first ones.
    for first in 0..ids.len() {
        let database = TestDatabase::seeded(&["--tasks=0"]);
        insert(&database, ids[first]);
        change(&database, "vacuum analyze");
        assert_eq!(
            check(&database).strategy,
            Strategy::Lookup,
            "{}",
            ids[first]
        );
        insert(&database, ids[(first + 1) % ids.len()]);
        insert(&database, ids[(first + 2) % ids.len()]);
        check(&database);
        change(&database, "vacuum analyze");
        let plan = check(&database);
        assert_eq!(plan.strategy, Strategy::Lookup);
        assert!(plan.connections > 1);
        change(&database, "delete from tasks where id % 1000 <> 0");
        check(&database);
    }
}

#[test]
fn names_with_gaps_and_extreme_ids_are_found() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    change(
        &database,
        "set session_replication_role = replica;
         update assets set id = id * 30744573456182586 where id > 1; update users set id = -id * 92233720368547758 where id > 1;
         update tasks set asset_id = asset_id * 30744573456182586 where asset_id > 1;
         update tasks set created_by_id = -created_by_id * 92233720368547758 where created_by_id > 1;
         update tasks set updated_by_id = -updated_by_id * 92233720368547758 where updated_by_id > 1",
    );
    change(&database, "vacuum analyze");
    assert_eq!(check(&database).strategy, Strategy::Lookup);
}

/// Why the manifest says that rows are read from the table.
const FROM_TABLE: &str = "the rows are read from the table itself: no index has all of their columns, or the table has changed much since its last VACUUM";

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
        export.columns = Selection::parse(datasets::default(), &columns).expect("there are such");
        if condition == "done" {
            let field = export.dataset().filters().iter();
            let done = { field }
                .find(|field| field.name() == "done")
                .expect("there");
            export.filter.set(done, FilterValue::Boolean(true));
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
    let export = Export::of(datasets::find("assets").expect("declared"));
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
            "no index has the rows in the order of their key",
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
fn fewer_free_connections_are_fewer_connections() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    let expected = oracle::copy(&database, "true", ',');
    let client = Database::new(&database.url, 2, Duration::from_secs(5));
    let mut second = None;
    let first = run(
        &client,
        &everything(),
        || (),
        || {
            let started = Instant::now();
            second = Some(lookup(&client));
            assert!(
                started.elapsed() < Duration::from_secs(4),
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
fn a_task_that_refers_to_nothing_is_a_failure_and_no_blank() {
    for row in ["1000, 1, null", "1, 1000, null", "1, 1, 1000", "1, 1, -1"] {
        let database = TestDatabase::seeded(&["--tasks", TASKS]);
        change(
            &database,
            &format!(
                "set session_replication_role = replica; insert into tasks values (70000, 'dangling', '', true, {row})"
            ),
        );
        let outcome = lookup(&client(&database));
        assert!(
            matches!(
                outcome.result,
                Err(Error::Database(db::Error::Inconsistent(_)))
            ),
            "{row}: {:?}",
            outcome.result
        );
    }
}

/// The exports' server processes.
const BACKENDS: &str = "from pg_stat_activity where datname = current_database() and query like 'copy (SELECT%' and pid <> pg_backend_pid()";

/// Those that read, and those that wait for a range to read.
const IN_TRANSACTION: &str =
    "from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
    and state <> 'idle' and pid <> pg_backend_pid()";

/// Exports with a reader that waits for all but `active` connections to have read what they may read ahead, and terminates those
/// that `which` is true of; `place` counts the connections from the first one, which has the snapshot exported, from 1.
fn with_terminated(database: &TestDatabase, active: u32, which: &str) -> Outcome {
    let count = |condition: &str| {
        let sql = format!("select count(*) {IN_TRANSACTION} and {condition}");
        String::from_utf8(oracle::psql(database, &sql)).expect("a number")
    };
    let idle = "state = 'idle in transaction'";
    let outcome = run(
        &client(database),
        &everything(),
        || (),
        || {
            eventually("the others wait for ranges", || {
                count(idle) == format!("{}\n", 4 - active)
            });
            let before = count("true");
            change(
                database,
                &format!(
                    "select pg_terminate_backend(pid)
                     from (select pid, state, row_number() over (order by xact_start) as place {IN_TRANSACTION}) _ where {which}"
                ),
            );
            eventually("they are gone", || count("true") < before);
            Ok(())
        },
        &Cancellation::default(),
    );
    assert_eq!(outcome.plan.as_ref().expect("begun").connections, 4);
    outcome
}

#[test]
fn connections_that_are_lost_between_ranges_are_replaced_in_the_same_snapshot() {
    let database = data::wide(300_000);
    let expected = oracle::copy(&database, "true", ',');
    for which in ["place = 2", "place = 3", "place > 1"] {
        let outcome = with_terminated(&database, 0, which);
        outcome.result.as_ref().expect("whole");
        assert!(outcome.csv == expected, "{which}: other bytes than psql's");
    }
}

#[test]
fn without_the_connection_that_has_the_snapshot_the_export_breaks() {
    let database = data::wide(300_000);
    for which in ["place = 1", "true"] {
        let outcome = with_terminated(&database, 0, which);
        assert!(
            matches!(outcome.result, Err(Error::Database(_))),
            "{which}: {:?}",
            outcome.result
        );
        let next = lookup(&client(&database));
        assert_eq!(next.result.expect("whole").rows, 300_000);
    }
}

#[test]
fn a_connection_that_is_lost_within_a_range_breaks_the_export() {
    let database = data::wide(300_000);
    // The first range has more than its connection may read ahead: between its ids there are many that the histogram has not seen.
    for sql in [
        "alter table tasks set (autovacuum_enabled = false)",
        "set session_replication_role = replica; update tasks set id = -id * 1000; update tasks set id = -id",
        "vacuum full analyze tasks",
        "set session_replication_role = replica;
         insert into tasks select n, lpad(n::text, 100, 'title '), '', true, 1, 1, null from generate_series(1, 60000) n where n % 1000 > 0",
    ] {
        change(&database, sql);
    }
    let outcome = with_terminated(&database, 1, "state = 'active'");
    assert!(
        matches!(outcome.result, Err(Error::Database(_))),
        "{:?}",
        outcome.result
    );
}

#[test]
fn a_sink_that_fails_and_a_cancellation_end_all_queries() {
    let database = data::wide(300_000);
    let client = client(&database);
    let nothing_runs = || {
        let sql = format!("select count(*) {BACKENDS} and state <> 'idle'");
        oracle::psql(&database, &sql) == b"0\n"
    };
    for cancelled in [false, true] {
        let cancellation = Cancellation::default();
        let mut cancelling = None;
        let started = Instant::now();
        let outcome = run(
            &client,
            &everything(),
            || (),
            || {
                if cancelled {
                    let canceller = cancellation.clone();
                    cancelling = Some(std::thread::spawn(move || canceller.cancel()));
                    eventually("it is cancelled", || cancellation.is_cancelled());
                    return Ok(());
                }
                Err(io::ErrorKind::StorageFull.into())
            },
            &cancellation,
        );
        match outcome.result {
            Err(Error::Cancelled) => assert!(cancelled),
            Err(Error::Sink(_)) => assert!(!cancelled),
            other => panic!("{other:?}"),
        }
        if let Some(cancelling) = cancelling {
            cancelling.join().expect("returns");
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        eventually("no query is left", nothing_runs);
        let next = lookup(&client);
        assert_eq!(next.result.expect("whole").rows, 300_000);
    }
}

#[test]
fn a_panic_on_any_connection_breaks_the_download_off() {
    let database = TestDatabase::seeded(&["--tasks", TASKS]);
    // In the first range, in one that is read ahead of its turn, and in the last.
    for task in ["5000", "25000", "60000"] {
        let server = Server::spawn(
            program(&database.url)
                .args(["serve", "--max-exports=1"])
                .env("CMMS_PANIC_AT_ID", task),
        );
        let download = Download::start(&server.address, "/tasks.csv?export_id=panicked");
        assert_eq!(download.header("x-export-strategy"), Some("lookup"));
        let (csv, end) = download.finish();
        assert_eq!(end, End::Broken, "{task}");
        assert!(!String::from_utf8_lossy(&csv).contains(&format!("\n{task},")));
        let manifest = server.ended("panicked");
        assert_eq!(manifest["state"], "failed", "{task}: {manifest}");
        assert_eq!(manifest["error"], "internal", "{task}: {manifest}");
        assert_eq!(manifest["sha256"], Value::Null, "{task}: {manifest}");
        eventually("the permit is free", || {
            Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
        });
        eventually("no query is left", || {
            oracle::psql(&database, &format!("select count(*) {IN_TRANSACTION}")) == b"0\n"
        });
    }
}
