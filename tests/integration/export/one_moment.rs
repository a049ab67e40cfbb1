//! What no snapshot covers: partitions that come and go, tables that are exchanged, settings and functions that change, while an export
//! runs or between two. A file has psql's rows of one moment, or there is an error.

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use diesel_export::db::Database;

use crate::export::any_data::fill;
use crate::support::client::download;
use crate::support::contender::Contender;
use crate::support::findings::Findings;
use crate::support::in_process::{Choice, client, run_with};
use crate::support::{Server, TestDatabase, oracle};

/// So many that `lookup` has not begun all ranges when its first rows are read.
const TASKS: u32 = 70_000;

fn change(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    if let Err(error) = connection.batch_execute(sql) {
        panic!("{error}: {sql}");
    }
}

fn psql(database: &TestDatabase) -> Vec<u8> {
    oracle::copy(database, "true", ',')
}

/// Tasks in a table with this name, without foreign keys.
fn tasks_named(name: &str) -> TestDatabase {
    let database = TestDatabase::with(&fill(TASKS));
    change(
        &database,
        "alter table tasks drop constraint tasks_asset_id_fkey, drop constraint tasks_created_by_id_fkey,
             drop constraint tasks_updated_by_id_fkey",
    );
    if name != "tasks" {
        change(&database, &format!("alter table tasks rename to {name}"));
    }
    database
}

/// Which step of an export others are at their worst at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// When its snapshot is there, if it is `lookup`.
    Planned,
    /// When its first rows have come.
    Reading,
}

/// A database that changes while exports run.
struct Changing<'a> {
    findings: Findings,
    database: &'a TestDatabase,
    client: Database,
    /// What psql has now.
    now: Vec<u8>,
}

impl<'a> Changing<'a> {
    fn new(database: &'a TestDatabase) -> Self {
        Self {
            findings: Findings::default(),
            client: client(&database.url),
            now: psql(database),
            database,
        }
    }

    /// Exports while something changes, and demands the rows of before or of after, or an error.
    fn changes(&mut self, strategy: Strategy, step: Step, sql: &str) {
        let after = self.exports_while(strategy, step, sql);
        self.now = after;
    }

    /// Does so by each strategy that may ask the server again and again, with what brings it about again.
    fn changes_and_back(&mut self, there: &str, back: &str) {
        for (strategy, step) in [
            (Strategy::Lookup, Step::Planned),
            (Strategy::Lookup, Step::Reading),
            (Strategy::Paged, Step::Reading),
        ] {
            for sql in [there, back] {
                self.changes(strategy, step, sql);
            }
        }
    }

    fn exports_while(&self, strategy: Strategy, step: Step, sql: &str) -> Vec<u8> {
        let Self {
            findings,
            database,
            client,
            now: before,
        } = self;
        let what = format!("{} and {sql} {step:?}", strategy.name());
        let mut contender = None;
        let mut strike = |now: bool| {
            if now && contender.is_none() {
                let started = Contender::start(database, &[sql]);
                started.waits(database);
                contender = Some(started);
            }
        };
        let strike = std::cell::RefCell::new(&mut strike);
        let outcome = run_with(
            client,
            &Choice::ALL.export(strategy),
            || (strike.borrow_mut())(step == Step::Planned),
            || (strike.borrow_mut())(step == Step::Reading),
        );
        contender.expect("it was reached").ends(&what);
        assert!(!outcome.never_ends, "{what}: does not end");
        let after = psql(database);
        assert!(*before != after, "{what}: changes nothing");
        if outcome.result.is_ok() && outcome.csv != *before && outcome.csv != after {
            let lines = |csv: &[u8]| csv.iter().filter(|byte| **byte == b'\n').count() - 1;
            let finding = format!(
                "{} rows, where there were {} before and {} after",
                lines(&outcome.csv),
                lines(before),
                lines(&after)
            );
            findings.note(&what, &finding);
        }
        after
    }
}

#[test]
fn partitions_that_are_attached_or_detached_meanwhile_are_exported_whole_or_not_at_all() {
    let database = tasks_named("before");
    change(
        &database,
        "create table tasks (like before including defaults, primary key (id)) partition by hash (id);
         create table one partition of tasks for values with (modulus 2, remainder 0);
         create table two partition of tasks for values with (modulus 2, remainder 1);
         insert into tasks table before; drop table before; alter table tasks detach partition two",
    );
    change(&database, "vacuum analyze");
    // PostgreSQL 13 detaches under an exclusive lock only.
    let version = oracle::psql(&database, "show server_version_num");
    let is_old = String::from_utf8_lossy(&version).trim() < "140000";
    Changing::new(&database).changes_and_back(
        "alter table tasks attach partition two for values with (modulus 2, remainder 1)",
        if is_old {
            "alter table tasks detach partition two"
        } else {
            "alter table tasks detach partition two concurrently"
        },
    );
}

#[test]
fn tables_that_begin_to_inherit_meanwhile_are_exported_whole_or_not_at_all() {
    let database = tasks_named("tasks");
    change(
        &database,
        "create table more (like tasks including all); insert into more select * from tasks where id % 2 = 0;
         delete from tasks where id % 2 = 0",
    );
    change(&database, "vacuum analyze");
    Changing::new(&database).changes_and_back(
        "alter table more inherit tasks",
        "alter table more no inherit tasks",
    );
}

#[test]
fn tables_that_are_exchanged_by_their_names_are_never_mixed() {
    let database = tasks_named("tasks");
    change(
        &database,
        "create table new_tasks (like tasks including all); insert into new_tasks select * from tasks;
         update new_tasks set title = 'new'; create table new_users (like users including all);
         insert into new_users select id, 'new' from users",
    );
    change(&database, "vacuum analyze");
    let exchange = "begin; alter table tasks rename to old_tasks; alter table new_tasks rename to tasks;
        alter table old_tasks rename to new_tasks; alter table users rename to old_users; alter table new_users rename to users;
        alter table old_users rename to new_users; commit";
    Changing::new(&database).changes_and_back(exchange, exchange);

    let server = Server::start(&database.url);
    for strategy in ["lookup", "paged", "lookup"] {
        let csv = download(&server.address, &format!("strategy={strategy}"));
        assert!(
            csv == psql(&database),
            "{strategy}: other bytes than psql's"
        );
        change(&database, exchange);
    }
}

#[test]
fn a_table_that_comes_before_another_in_the_search_path_is_never_mixed_with_it() {
    let database = tasks_named("tasks");
    change(
        &database,
        &format!(
            "create schema first; create table first.waiting (like tasks including all); insert into first.waiting select * from tasks;
             update first.waiting set title = 'first'; alter database {} set search_path = first, public",
            database.name()
        ),
    );
    change(&database, "vacuum analyze");
    Changing::new(&database).changes_and_back(
        "alter table first.waiting rename to tasks",
        "alter table first.tasks rename to waiting",
    );
}

/// Exports from one server before and after a setting has changed for new connections, and demands one of two files each time.
fn follows_a_setting(findings: &Findings, database: &TestDatabase, old: &str, new: &str) {
    let set = |setting: &str| {
        change(
            database,
            &format!("alter database {} set {setting}", database.name()),
        );
        psql(database)
    };
    let allowed = [set(new), set(old)];
    assert!(allowed[0] != allowed[1]);
    let server = Server::start(&database.url);
    // Opens a connection in each pool, but none for helpers.
    for strategy in ["streamed", "copy"] {
        assert!(download(&server.address, &format!("strategy={strategy}")) == allowed[1]);
    }
    set(new);
    // The second one has all connections from the first.
    for strategy in ["lookup", "paged", "lookup"] {
        let query = format!("strategy={strategy}");
        let csv = download(&server.address, &query);
        if !allowed.contains(&csv) {
            findings.note(
                &format!("{new} after {old}"),
                &format!("{query}: neither of the two"),
            );
        }
    }
}

#[test]
fn a_search_path_that_changes_between_two_exports_of_one_service_makes_no_mixture() {
    let database = tasks_named("tasks");
    change(
        &database,
        "create schema first; create table first.tasks (like tasks including all);
         insert into first.tasks select * from public.tasks; update first.tasks set title = 'first'",
    );
    change(&database, "vacuum analyze");
    follows_a_setting(
        &Findings::default(),
        &database,
        "search_path = public",
        "search_path = first, public",
    );
}

#[test]
fn a_setting_that_a_view_reads_and_that_changes_between_two_exports_makes_no_mixture() {
    let database = tasks_named("all_tasks");
    change(
        &database,
        "create view tasks as select id, title, description, done, asset_id, created_by_id, updated_by_id from all_tasks
             where id % 2 = current_setting('app.tenant')::bigint",
    );
    change(&database, "vacuum analyze");
    follows_a_setting(
        &Findings::default(),
        &database,
        "app.tenant = '0'",
        "app.tenant = '1'",
    );
}

#[test]
fn a_setting_by_which_texts_are_written_and_that_changes_between_two_exports_makes_no_mixture() {
    let findings = Findings::default();
    let database = tasks_named("all_tasks");
    for (title, old, new) in [
        (
            "(date '2026-01-01' + (id % 28)::int)::text",
            "datestyle = 'ISO'",
            "datestyle = 'German'",
        ),
        (
            "(id / 3::float8)::text",
            "extra_float_digits = 1",
            "extra_float_digits = -5",
        ),
        (
            "(id * interval '1 day 1 second')::text",
            "intervalstyle = 'postgres'",
            "intervalstyle = 'iso_8601'",
        ),
        (
            "(to_timestamp(id)::date - date '1970-01-01')::text",
            "timezone = 'UTC'",
            "timezone = 'Pacific/Apia'",
        ),
    ] {
        change(
            &database,
            &format!(
                "drop view if exists tasks; create view tasks as select id, {title} as title, description, done, asset_id, created_by_id,
                     updated_by_id from all_tasks"
            ),
        );
        follows_a_setting(&findings, &database, old, new);
        change(
            &database,
            &format!("alter database {} reset all", database.name()),
        );
    }
}

#[test]
fn a_function_or_an_enum_that_changes_meanwhile_makes_no_mixture_by_pages() {
    let database = tasks_named("all_tasks");
    change(
        &database,
        "create function shown(title text) returns text language sql immutable as 'select title || ''!''';
         create type state as enum ('open', 'closed'); alter table all_tasks add state state not null default 'open';
         create view tasks as select id, shown(title::text) || state::text as title, description, done, asset_id, created_by_id, updated_by_id
             from all_tasks",
    );
    change(&database, "vacuum analyze");
    let mut changing = Changing::new(&database);
    for strategy in [Strategy::Paged, Strategy::Copy] {
        for (there, back) in [
            (
                "create or replace function shown(title text) returns text language sql immutable as 'select title || ''?'''",
                "create or replace function shown(title text) returns text language sql immutable as 'select title || ''!'''",
            ),
            (
                "alter type state rename value 'open' to 'new'",
                "alter type state rename value 'new' to 'open'",
            ),
        ] {
            for sql in [there, back] {
                changing.changes(strategy, Step::Reading, sql);
            }
        }
    }
}
