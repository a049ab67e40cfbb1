//! Views as people have them: over optional foreign keys, of what is not deleted, and those whose rows no two queries agree on.

use std::collections::HashSet;

use diesel_export::Strategy;

use super::{COLUMNS, Fixture, MANY_TASKS, MARK, TASKS, Way, check};
use crate::support::TestDatabase;
use crate::support::findings::Findings;
use crate::support::in_process::{Choice, client, run};
use crate::support::oracle::psql;

/// The tables of a Django project with optional foreign keys, integer ids and inactive users.
pub(super) fn of_django(tasks: u32, key: &str) -> TestDatabase {
    TestDatabase::with(&format!(
        "drop table tasks, assets, users, locations, __diesel_schema_migrations;
         create table cmms_location (id bigint primary key, name varchar(100) not null);
         create table cmms_asset (id bigint primary key, name varchar(100) not null, description text not null,
             location_id bigint references cmms_location);
         create table auth_user (id int primary key, username varchar(150) not null, is_active boolean not null);
         create table cmms_task (id {key} primary key, title varchar(100) not null, description text not null, done boolean,
             asset_id bigint references cmms_asset, created_by_id int references auth_user, updated_by_id int references auth_user);
         insert into cmms_location values (1, '{MARK}Hall');
         insert into cmms_asset values (1, '{MARK}Pump', '', 1), (2, '{MARK}Drill', '', null);
         insert into auth_user values (1, '{MARK}ann', true), (2, '{MARK}bob', false);
         insert into cmms_task select g, '{MARK}t' || g, '', g % 2 = 0, case when g % 3 > 0 then 1 + g % 2 end,
             case when g % 5 > 0 then 1 + g % 2 end, case when g % 7 = 0 then 2 end from generate_series(1, {tasks}) g"
    ))
}

#[test]
fn views_over_optional_foreign_keys_and_of_active_users_lose_no_task() {
    let database = of_django(MANY_TASKS, "int");
    let views = "
        create view locations as select id, name from cmms_location;
        create view assets as select id, name, description, location_id from cmms_asset;
        create view users as select id::bigint as id, username from auth_user where is_active;
        create view tasks as select id::bigint as id, title, description, done, asset_id, created_by_id::bigint as created_by_id,
            updated_by_id::bigint as updated_by_id from cmms_task";
    let findings = Findings::default();
    let sql = |sql| {
        let mut connection = database.connect();
        diesel::connection::SimpleConnection::batch_execute(&mut connection, sql).expect("ours");
    };
    sql(views);
    check(
        &findings,
        (&database, &database.url),
        Way::Either,
        "before ANALYZE",
    );
    sql("analyze");
    check(
        &findings,
        (&database, &database.url),
        Way::Either,
        "after ANALYZE",
    );
}

#[test]
fn the_printed_django_views_lose_no_task_and_stay_with_lookup() {
    let database = of_django(MANY_TASKS, "bigint");
    // As docs/django.md has them.
    let documented = include_str!("../../../../docs/django.md");
    let views: Vec<&str> = documented
        .lines()
        .filter(|line| {
            line.starts_with("create view ") && line.ends_with(';') && !line.contains('…')
        })
        .collect();
    assert_eq!(views.len(), 4, "{views:?}");
    let mut connection = database.connect();
    let mut sql = format!("{} analyze", views.join("\n"));
    let version = psql(&database, "show server_version_num");
    if String::from_utf8_lossy(&version).trim() < "150000" {
        // It has no such option, and there the program prints the views without.
        sql = sql.replace("with (security_invoker = true) ", "");
    }
    diesel::connection::SimpleConnection::batch_execute(&mut connection, &sql).expect("ours");
    let findings = Findings::default();
    check(
        &findings,
        (&database, &database.url),
        Way::Lookup,
        "the printed views",
    );
}

#[test]
fn views_of_what_is_not_deleted_lose_no_task() {
    let fixture = Fixture::new(TASKS);
    for (table, columns) in COLUMNS {
        fixture.run(&format!("alter table all_{table} add deleted_at timestamptz; update all_{table} set deleted_at = now() where id % 4 = 1"));
        fixture.check(
            &format!(
                "create view {table} as select {columns} from all_{table} where deleted_at is null"
            ),
            Way::Either,
        );
    }
    let all = COLUMNS.map(|(table, columns)| {
        format!("create view {table} as select {columns} from all_{table} where deleted_at is null")
    });
    fixture.check(&all.join("; "), Way::Either);
    // By what refers to it, and by a view of a view.
    fixture.check(
        "create view users as select id, username from all_users where id in (select created_by_id from all_tasks where done) and id < 5",
        Way::Either,
    );
    fixture.check(
        "create view active as select * from all_users where deleted_at is null; create view users as select id, username from active",
        Way::Either,
    );
    fixture.run("drop view users; drop view active");
}

#[test]
fn a_view_on_whose_rows_two_queries_need_not_agree_is_read_by_one() {
    let fixture = Fixture::new(MANY_TASKS);
    let of_tasks = |rest: &str| {
        let (_, columns) = COLUMNS[3];
        format!("create view tasks as select {columns} from {rest}")
    };
    fixture.run(
        "create function counted_tasks() returns setof all_tasks language sql volatile as 'select * from all_tasks order by id limit 11000'",
    );
    let views = [
        of_tasks("all_tasks where now() > '2020-01-01'"),
        of_tasks("all_tasks where current_timestamp > '2020-01-01'"),
        of_tasks("all_tasks where random() >= 0"),
        // What tells the time without a function that says so.
        of_tasks("all_tasks where timestamptz '2020-01-01' <@ ('(,now)'::text)::tstzrange"),
        of_tasks("all_tasks where timestamptz '2020-01-01' < any (('{now}'::text)::timestamptz[])"),
        of_tasks("all_tasks where timestamptz_in('now', 0, -1) > '2020-01-01'"),
        of_tasks("all_tasks where clock_timestamp() > '2020-01-01'"),
        of_tasks("(select * from all_tasks limit 11000) part"),
        of_tasks("(select * from all_tasks order by id offset 10) part"),
        of_tasks("(select distinct on (id) * from all_tasks) part"),
        of_tasks("all_tasks tablesample bernoulli (50) repeatable (7)"),
        of_tasks("all_tasks tablesample bernoulli (100)"),
        of_tasks("counted_tasks()"),
        "create view tasks as select row_number() over (order by title) as id, title, description, done, asset_id, created_by_id,
             updated_by_id from all_tasks"
            .to_owned(),
        "create view tasks as select id, max(title) as title, max(description) as description, bool_or(done) as done,
             max(asset_id) as asset_id, max(created_by_id) as created_by_id, max(updated_by_id) as updated_by_id from all_tasks group by id"
            .to_owned(),
        "create view users as select id, username from all_users where now() > '2020-01-01'".to_owned(),
        "create view users as select id, username from all_users where random() >= 0".to_owned(),
    ];
    for (nth, view) in views.iter().enumerate() {
        fixture.check_in_part(nth, view, Way::Copy);
    }
}

#[test]
fn a_file_has_one_now() {
    let fixture = Fixture::new(MANY_TASKS);
    fixture.set(
        "create view tasks as select id, to_char(now(), 'HH24:MI:SS.US') as title, description, done, asset_id, created_by_id, updated_by_id
             from all_tasks;
         create view users as select id, to_char(now(), 'HH24:MI:SS.US') as username from all_users",
    );
    let client = client(&fixture.database.url);
    let choice = Choice {
        columns: Some("title,created_by"),
        ..Choice::ALL
    };
    for strategy in Strategy::all() {
        let outcome = run(&client, &choice.export(*strategy));
        let csv = String::from_utf8_lossy(outcome.whole(strategy.name()));
        let times: HashSet<&str> = csv
            .lines()
            .skip(1)
            .flat_map(|line| line.split(','))
            .collect();
        if times.len() != 1 {
            let finding = format!("{}: {times:?}", strategy.name());
            fixture.findings.note("to_char(now())", &finding);
        }
    }
}

#[test]
fn a_materialized_view_is_exported_on_one_connection() {
    let fixture = Fixture::new(MANY_TASKS);
    for index in ["", "; create unique index on tasks (id)"] {
        fixture.check(
            &format!(
                "create materialized view tasks as select * from all_tasks{index}; analyze tasks"
            ),
            Way::Alone,
        );
    }
    fixture.check(
        "create materialized view users as select id, username from all_users where id <> 3; analyze users",
        Way::Alone,
    );
}
