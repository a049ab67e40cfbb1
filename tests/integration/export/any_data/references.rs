//! References that lead to nothing, to a row that is not what it should be, or to two rows.

use super::{Fixture, MARK, TASKS, Way};

/// A table of the tasks with the key, but without other constraints, in which some references are replaced.
fn tasks_with(replaced: &str) -> String {
    let columns = [
        "id",
        "title",
        "description",
        "done",
        "asset_id",
        "created_by_id",
        "updated_by_id",
    ];
    let select = columns.map(|column| {
        let value = replaced.split("; ").find_map(|one| {
            let (name, value) = one.split_once(" = ").expect("as it is written");
            (name == column).then_some(value)
        });
        format!("{} as {column}", value.unwrap_or(column))
    });
    format!(
        "create table tasks as select {} from all_tasks; alter table tasks add primary key (id)",
        select.join(", ")
    )
}

#[test]
fn a_reference_that_is_null_is_empty_and_not_a_missing_row() {
    let fixture = Fixture::new(TASKS);
    for replaced in [
        "asset_id = nullif(asset_id, 3)",
        "created_by_id = nullif(created_by_id, 3)",
        "asset_id = null::bigint; created_by_id = null::bigint; updated_by_id = null::bigint",
    ] {
        fixture.check(&tasks_with(replaced), Way::Either);
    }
    let assets = "create table assets as select id, name, description, nullif(location_id, 2) as location_id from all_assets;
                  alter table assets add primary key (id)";
    fixture.check(assets, Way::Either);
}

#[test]
fn a_done_that_is_null_is_empty() {
    let fixture = Fixture::new(TASKS);
    fixture.check(
        &tasks_with("done = case id % 3 when 1 then true when 2 then false end"),
        Way::Either,
    );
    fixture.check(&tasks_with("done = null::boolean"), Way::Either);
}

#[test]
fn a_reference_to_a_row_that_is_gone_is_empty_and_not_a_missing_row() {
    let fixture = Fixture::new(TASKS);
    // The last two are the creators, of all tasks, and all that is referred to.
    for gone in [
        "delete from all_users where id = 6",
        "delete from all_locations where id = 1",
        "delete from all_assets where id in (2, 11)",
        "delete from all_users",
        "delete from all_assets; delete from all_locations",
    ] {
        fixture.run(&format!("set session_replication_role = replica; {gone}"));
        fixture.set("");
        fixture.check_as(&fixture.database.url, Way::Lookup, gone);
    }
}

#[test]
fn a_name_that_is_null_is_empty() {
    let fixture = Fixture::new(TASKS);
    for sql in [
        "create table users as select id, nullif(username, '≈user 3') as username from all_users",
        "create table locations as select id, nullif(name, '≈hall 3') as name from all_locations",
        "create table assets as select id, nullif(name, '≈asset 3') as name, description, location_id from all_assets",
        "create table assets as select id, name, null::text as description, location_id from all_assets",
        // Nothing refers to these.
        "create table users as select id, username from all_users union all select null, '≈nobody' union all select null, null",
    ] {
        fixture.check(sql, Way::Either);
    }
}

#[test]
fn a_reference_to_two_rows_of_one_id_is_two_rows_by_every_strategy() {
    let fixture = Fixture::new(TASKS);
    let twice = |table: &str, columns: &str| {
        format!(
            "create table {table} as select {columns} from all_{table} union all select {columns} from all_{table} where id = 3"
        )
    };
    for sql in [
        twice("users", "id, username"),
        twice("locations", "id, name"),
        twice("assets", "id, name, description, location_id"),
        // Twice the very same row, far from one another.
        format!(
            "create table users as select id, username from all_users where id > 1
             union all select 100 + n, '{MARK}idle ' || n from generate_series(1, 3000) n union all select 3, '{MARK}again'"
        ),
    ] {
        // Which of the two would `lookup` take?
        fixture.check(&sql, Way::Copy);
    }
}
