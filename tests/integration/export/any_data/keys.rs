//! Keys that are NULL, that several rows have, or that no constraint speaks for.

use super::{CHOICES, Fixture, MANY_TASKS, MARK, TASKS, Way, check_choice};
use crate::support::in_process::{Choice, client};

/// A table without constraints with the rows of a query for a key `k` and a number `n`.
fn tasks_of(rows: &str) -> String {
    format!(
        "create table tasks as select k::bigint as id, '{MARK}task ' || n as title, '{MARK}'::text as description, n % 3 = 0 as done,
             1::bigint + n % 11 as asset_id, 1::bigint + n % 7 as created_by_id, case when n % 4 > 0 then 1::bigint + n % 6 end as updated_by_id
         from ({rows}) rows"
    )
}

#[test]
fn rows_without_a_key_are_rows_and_come_last() {
    let fixture = Fixture::new(0);
    for rows in [
        "select n as k, n from generate_series(1, 100) n union all select null, 101",
        "select null::bigint as k, n from generate_series(1, 3) n",
        // A full page ends on the first of them, on the last of them, and within.
        "select case when n < 2000 then n end as k, n from generate_series(1, 2100) n",
        "select case when n <= 1990 then n end as k, n from generate_series(1, 2000) n",
        "select case when n <= 1500 then n end as k, n from generate_series(1, 6500) n",
        "select case when n <= 4000 then n end as k, n from generate_series(1, 4001) n",
    ] {
        fixture.check(&tasks_of(rows), Way::Either);
    }
    // With an index by the key, which takes NULL as often as it comes, and so many rows that they are divided.
    for index in ["index", "unique index"] {
        let rows = format!(
            "select case when n % 1000 > 0 then n end as k, n from generate_series(1, {MANY_TASKS}) n"
        );
        let sql = format!(
            "{}; create {index} on tasks (id) include (title, done, asset_id, created_by_id, updated_by_id); analyze tasks",
            tasks_of(&rows)
        );
        fixture.check(&sql, Way::Either);
    }
}

#[test]
fn rows_of_equal_keys_are_all_in_the_file() {
    let fixture = Fixture::new(0);
    for rows in [
        // Two of them are the last row of a page and the first one of the next.
        "select n - (n > 2000)::int as k, n from generate_series(1, 4500) n",
        "select n - 2 * (n > 1999)::int as k, n from generate_series(1, 4500) n",
        "select n / 3 as k, n from generate_series(1, 4500) n",
        "select 1 as k, n from generate_series(1, 4500) n",
        "select 7 as k, n from generate_series(1, 2) n",
    ] {
        for index in ["", "; create index on tasks (id)"] {
            fixture.check(
                &format!("{}{index}; analyze tasks", tasks_of(rows)),
                Way::Either,
            );
        }
    }
}

#[test]
fn a_view_that_has_a_row_twice_is_exported_with_both() {
    let fixture = Fixture::new(TASKS);
    fixture.run("create table tags (task_id bigint, tag text); insert into tags values (2000, 'a'), (2000, 'b'), (4000, 'a'), (4000, 'c')");
    for from in [
        "(select * from all_tasks union all select * from all_tasks where id in (2000, 4000)) t",
        "all_tasks t left join tags on task_id = id",
        "all_tasks t cross join generate_series(1, 2)",
    ] {
        let view = format!(
            "create view tasks as select id, title, description, done, asset_id, created_by_id, updated_by_id from {from}"
        );
        fixture.check(&view, Way::Either);
    }
    // A key that is computed is no longer the key.
    for key in ["id / 2", "nullif(id, 3)", "1::bigint", "-id"] {
        let view = format!(
            "create view tasks as select {key} as id, title, description, done, asset_id, created_by_id, updated_by_id from all_tasks"
        );
        fixture.check(&view, Way::Either);
    }
}

#[test]
fn partitions_are_exported_whether_or_not_they_share_keys() {
    let fixture = Fixture::new(MANY_TASKS);
    let columns = "id bigint not null, title text not null, description text not null, done boolean not null, asset_id bigint not null,
         created_by_id bigint not null, updated_by_id bigint";
    fixture.check(
        &format!(
            "create table tasks ({columns}, primary key (id)) partition by range (id);
             create table below partition of tasks for values from (minvalue) to (2000);
             create table above partition of tasks for values from (2000) to (9000);
             create table rest partition of tasks default; insert into tasks select * from all_tasks; analyze tasks"
        ),
        Way::Lookup,
    );
    // Each partition has its own index, and the same keys as the other.
    fixture.check(
        &format!(
            "create table tasks ({columns}) partition by list (done);
             create table is_done partition of tasks (primary key (id)) for values in (true);
             create table is_not partition of tasks (primary key (id)) for values in (false);
             insert into tasks select id / 2, title, description, id % 2 = 0, asset_id, created_by_id, updated_by_id from all_tasks; analyze tasks"
        ),
        Way::Either,
    );
}

#[test]
fn tables_that_inherit_are_exported_whether_or_not_they_share_keys() {
    let fixture = Fixture::new(MANY_TASKS);
    let parent = "create table tasks (like all_tasks including all); insert into tasks select * from all_tasks where id <= 11000";
    for first in [11_001, 10_001] {
        fixture.check(
            &format!(
                "{parent}; create table more (primary key (id)) inherits (tasks); insert into more select * from all_tasks where id >= {first};
                 analyze tasks; analyze more"
            ),
            Way::Copy,
        );
    }
    // What inherits from a table of names has a row for an id, too.
    fixture.check(
        "create table users (like all_users including all); insert into users select * from all_users;
         create table former () inherits (users); insert into former values (3, '≈former')",
        Way::Copy,
    );
}

#[test]
fn the_other_datasets_have_all_rows_too() {
    let fixture = Fixture::new(10);
    fixture.set(
        "create table locations as select * from all_locations union all select null, '≈nowhere' union all select 3, '≈again';
         create table users as select case when n % 10 > 0 then n / 2 end as id, '≈user ' || n as username from generate_series(1::bigint, 5000) n;
         create table assets as select case when n % 10 > 0 then n / 2 end as id, '≈asset ' || n as name, '≈'::text as description,
             nullif(n % 7, 1) as location_id from generate_series(1::bigint, 5000) n",
    );
    let client = client(&fixture.database.url);
    for (dataset, columns, filter) in [
        (
            "locations",
            "name",
            ["name", "hall", "position('hall' in name) > 0"],
        ),
        (
            "users",
            "username",
            ["username", "user 4", "position('user 4' in username) > 0"],
        ),
        (
            "assets",
            "location,name",
            ["location_id", "3", "a.location_id = 3"],
        ),
    ] {
        for choice in CHOICES {
            let choice = Choice {
                dataset,
                columns: choice.columns.map(|_| columns),
                filter: choice.filter.map(|_| filter),
            };
            check_choice(
                &fixture.findings,
                (&fixture.database, &fixture.database.url),
                &client,
                &choice,
                dataset,
            );
        }
    }
}
