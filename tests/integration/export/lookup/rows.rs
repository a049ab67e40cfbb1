//! Which rows `lookup` exports, whatever their ids are and whatever changes meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use diesel_export::cancellation::Cancellation;

use super::{TASKS, change, check, client, everything, lookup, run};
use crate::support::{TestDatabase, oracle};

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
