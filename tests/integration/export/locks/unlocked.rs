//! What cannot be locked before the export's snapshot: tables of which a role may read columns alone, and materialized views.

use diesel_export::Strategy;

use super::{EXCHANGE, Moment, REWRITE, change, is_of_one_moment, meets, psql, tasks};
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::contender::{Holder, waiting};
use crate::support::findings::Findings;
use crate::support::in_process::{Choice, client, run};

#[test]
fn what_a_role_may_not_lock_is_exported_with_the_rows_of_one_moment() {
    let findings = Findings::default();
    let database = tasks(3_000);
    let role = format!("columns_{}", database.name());
    change(
        &database,
        &format!(
            "create role {role} login password '{PASSWORD_VERIFIER}'; grant select on locations, assets, users to {role};
             grant select (id, title, description, done, asset_id, created_by_id, updated_by_id) on tasks to {role}"
        ),
    );
    let url = as_role(&database.url, &role);
    let of_columns = client(&url);
    let mut now = psql(&database);
    for strategy in Strategy::all() {
        for sql in [REWRITE, EXCHANGE] {
            // It waits for the lock at its first query, when it may have its snapshot already.
            meets(
                (&database, &of_columns),
                (&findings, &mut now),
                *strategy,
                (Moment::Before, sql),
            );
        }
    }
}

#[test]
fn what_lock_table_passes_over_is_exported_with_the_rows_of_one_moment() {
    let findings = Findings::default();
    let database = tasks(3_000);
    let client = client(&database.url);
    // What REFRESH has written is seen by older snapshots, too, and what else its transaction has changed is not.
    let changed = "update saved set title = id || ' ' || txid_current(); update users set username = id || ' ' || txid_current()";
    for (made, change_of_it) in [
        // Under a view, LOCK TABLE passes a materialized view over without a word.
        (
            "drop table tasks; create materialized view shown as table saved; create view tasks as table shown",
            format!("{changed}; refresh materialized view shown"),
        ),
        // By itself, it cannot be locked.
        (
            "drop view tasks; alter materialized view shown rename to tasks",
            format!("{changed}; refresh materialized view tasks"),
        ),
        // Another one in its place, of which the snapshot knows nothing.
        (
            "select",
            format!("{changed}; drop materialized view tasks; create materialized view tasks as table saved"),
        ),
        // What a function reads is not locked with the view that calls it.
        (
            "drop materialized view tasks;
             create function read() returns setof saved language sql stable as 'select * from saved';
             create view tasks as select * from read()",
            "create table kept as table saved; truncate saved; insert into saved select id, id || ' ' || txid_current(), description, done,
                 asset_id, created_by_id, updated_by_id from kept; drop table kept".to_owned(),
        ),
    ] {
        change(&database, made);
        for strategy in Strategy::all() {
            let before = psql(&database);
            let holder = Holder::of(&database, &change_of_it);
            let outcome = std::thread::scope(|scope| {
                let exporting = scope.spawn(|| run(&client, &Choice::ALL.export(*strategy)));
                waiting(&database, 1);
                holder.release();
                exporting.join().expect("it does not panic")
            });
            let what = format!("{} and {change_of_it}", strategy.name());
            is_of_one_moment(&findings, &outcome, [&before, &psql(&database)], &what);
        }
    }
}
