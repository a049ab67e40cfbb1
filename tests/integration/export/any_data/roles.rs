//! Roles that see a part of the rows, that may read columns only, and tables of another server.

use super::{COLUMNS, Fixture, MANY_TASKS, TASKS, Way};
use crate::support::cluster::PASSWORD;
use crate::support::oracle::psql;

const SEEN: &str = "id % 3 > 0";

#[test]
fn a_role_that_sees_some_rows_of_a_table_gets_every_task_that_it_sees() {
    let fixture = Fixture::new(TASKS);
    fixture.set("");
    let reader = fixture.role("reader");
    let url = fixture.url_of(&reader);
    // The tables themselves, under the names of the export.
    for (table, _) in COLUMNS {
        fixture.run(&format!(
            "drop view {table}; alter table all_{table} rename to {table}; grant select on {table} to {reader};
             create policy seen on {table} for select using ({SEEN})"
        ));
    }
    fixture.check_as(&url, Way::Lookup, "a reader of all");
    for (table, _) in COLUMNS {
        fixture.run(&format!("alter table {table} enable row level security"));
        fixture.check_as(&url, Way::Copy, &format!("the policy on {table}"));
        fixture.run(&format!("alter table {table} disable row level security"));
    }
    for (table, _) in COLUMNS {
        fixture.run(&format!("alter table {table} enable row level security"));
    }
    fixture.check_as(&url, Way::Copy, "all four policies");
    // Whoever sees all rows is not in the policies' way, nor they in theirs.
    fixture.check_as(&fixture.database.url, Way::Either, "the owner");
    fixture.run(
        "drop policy seen on tasks; create policy later on tasks for select using (now() > '2020-01-01' and created_by_id > 2)",
    );
    fixture.check_as(&url, Way::Copy, "a policy with now()");
}

#[test]
fn a_view_of_an_owner_who_sees_some_rows_has_every_task_that_the_owner_sees() {
    let fixture = Fixture::new(TASKS);
    let (owner, reader) = (fixture.role("owner"), fixture.role("reader"));
    let url = fixture.url_of(&reader);
    fixture.set("");
    for (table, columns) in COLUMNS {
        fixture.run(&format!(
            "grant create, usage on schema public to {owner}; alter view {table} owner to {owner}; grant select on {table} to {reader};
             alter table all_{table} owner to {owner}; create policy seen on all_{table} using ({SEEN}); select '{columns}'"
        ));
    }
    fixture.check_as(&url, Way::Lookup, "views of an owner of all");
    for (table, _) in COLUMNS {
        // The owner is held to the policy, too; a reader's rights do not count.
        fixture.run(&format!(
            "alter table all_{table} enable row level security, force row level security"
        ));
        fixture.check_as(&url, Way::Copy, &format!("the owner's view of {table}"));
    }
}

#[test]
fn a_view_with_the_readers_rights_has_every_task_that_the_reader_sees() {
    let fixture = Fixture::new(TASKS);
    let version = psql(&fixture.database, "show server_version_num");
    if String::from_utf8_lossy(&version).trim() < "150000" {
        return;
    }
    let reader = fixture.role("reader");
    let url = fixture.url_of(&reader);
    let views = COLUMNS.map(|(table, columns)| {
        format!(
            "create view {table} with (security_invoker = true) as select {columns} from all_{table};
             grant select on {table}, all_{table} to {reader}; create policy seen on all_{table} for select using ({SEEN})"
        )
    });
    fixture.set(&views.join("; "));
    fixture.check_as(&url, Way::Either, "a reader of all");
    for (table, _) in COLUMNS {
        fixture.run(&format!(
            "alter table all_{table} enable row level security"
        ));
        fixture.check_as(&url, Way::Copy, &format!("the reader's view of {table}"));
    }
}

#[test]
fn a_role_with_rights_to_columns_alone_is_not_refused_and_gets_one_connection() {
    let fixture = Fixture::new(MANY_TASKS);
    let reader = fixture.role("reader");
    let url = fixture.url_of(&reader);
    for restricted in ["tasks", "users"] {
        fixture.set("");
        for (table, columns) in COLUMNS {
            let right = if table == restricted {
                format!("select ({columns})")
            } else {
                "select".to_owned()
            };
            fixture.run(&format!("grant {right} on {table} to {reader}"));
        }
        fixture.check_as(&url, Way::Alone, &format!("columns of {restricted}"));
    }
}

#[test]
fn a_table_of_another_server_is_exported_on_one_connection() {
    let fixture = Fixture::new(TASKS);
    let extension = psql(
        &fixture.database,
        "select count(*) from pg_available_extensions where name = 'postgres_fdw'",
    );
    if extension != b"1\n" {
        eprintln!("NOT TESTED: foreign tables, which need postgres_fdw");
        return;
    }
    fixture.run(&format!(
        "create extension postgres_fdw;
         do $$ begin
             execute format('create server elsewhere foreign data wrapper postgres_fdw options (host %L, port %L, dbname %L)',
                 split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database());
             execute format('create user mapping for current_user server elsewhere options (user %L, password %L)', current_user, '{PASSWORD}');
         end $$",
    ));
    for (table, _) in [COLUMNS[2], COLUMNS[3]] {
        let columns = match table {
            "tasks" => {
                "id bigint, title text, description text, done boolean, asset_id bigint, created_by_id bigint, updated_by_id bigint"
            }
            _ => "id bigint, username text",
        };
        fixture.check(
            &format!("create foreign table {table} ({columns}) server elsewhere options (table_name 'all_{table}')"),
            Way::Alone,
        );
    }
}
