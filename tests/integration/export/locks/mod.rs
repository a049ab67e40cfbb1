//! Locks of others on the tables, queued or committed before, between and after what an export does: it ends, with the rows of one
//! moment. (On a standby: `db/replicas/locks.rs`.)

mod unlocked;

use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use diesel_export::db::Database;

use crate::export::any_data::fill;
use crate::support::contender::{Contender, Holder, waiting};
use crate::support::findings::Findings;
use crate::support::in_process::{BOUND, Choice, Outcome, client, run, run_with};
use crate::support::{TestDatabase, data, eventually, oracle};

/// So many that `lookup` takes a second connection.
const TASKS: u32 = 12_000;
/// So many that its connections have more to read when all that is begun at once is done.
const MANY_TASKS: u32 = 66_000;

/// A statement that rewrites the table: whoever has an older snapshot finds it empty.
const REWRITE: &str = "alter table tasks alter title type varchar(201) using title || ''";
/// A transaction that exchanges all rows. No moment has none.
const EXCHANGE: &str = "truncate tasks; insert into tasks select id, title || txid_current(), description, done, asset_id, created_by_id, updated_by_id
    from saved";

/// What others do to the tables.
const CHANGES: [&str; 7] = [
    "alter table tasks alter description set default ''",
    REWRITE,
    EXCHANGE,
    "reindex index tasks_export_idx",
    "reindex table tasks",
    "vacuum full tasks",
    "alter table users alter username type varchar(201) using username || ''",
];

/// Tasks without foreign keys, which would make each change slow.
fn tasks(count: u32) -> TestDatabase {
    let database = TestDatabase::with(&fill(count));
    change(
        &database,
        "alter table tasks drop constraint tasks_asset_id_fkey, drop constraint tasks_created_by_id_fkey,
             drop constraint tasks_updated_by_id_fkey; create table saved as table tasks",
    );
    change(&database, "vacuum analyze");
    database
}

fn change(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    connection.batch_execute(sql).expect("the SQL runs");
}

fn psql(database: &TestDatabase) -> Vec<u8> {
    oracle::copy(database, "true", ',')
}

/// Demands the rows of before or of after.
fn is_of_one_moment(
    findings: &Findings,
    outcome: &Outcome,
    [before, after]: [&[u8]; 2],
    what: &str,
) {
    assert!(!outcome.never_ends, "{what}: does not end");
    match &outcome.result {
        Err(error) => findings.note(what, &error.to_string()),
        Ok(summary) if outcome.csv != before && outcome.csv != after => {
            let lines = |csv: &[u8]| csv.iter().filter(|byte| **byte == b'\n').count() - 1;
            let finding = format!(
                "{} rows, where there were {} before and {} after",
                summary.rows,
                lines(before),
                lines(after)
            );
            findings.note(what, &finding);
        }
        Ok(_) => (),
    }
}

/// When a change is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the export asks for its locks, so it is done when the export gets them.
    Before,
    /// While the export waits for the lock on this table.
    While(&'static str),
    /// While it reads names, and its further connections begin.
    Names,
    /// When it has its snapshot, all its connections and the names.
    Planned,
    /// When its first rows have come, from a reader that takes no more of them for now.
    Reading,
}

/// Exports while a change is queued at a moment, and demands that both end.
fn meets(
    (database, client): (&TestDatabase, &Database),
    (findings, now): (&Findings, &mut Vec<u8>),
    strategy: Strategy,
    (moment, sql): (Moment, &str),
) {
    let what = format!("{} and {sql} {moment:?}", strategy.name());
    let export = Choice::ALL.export(strategy);
    let mut contender = None;
    let queue = || {
        let contender = Contender::start(database, &[sql]);
        contender.waits(database);
        contender
    };
    let outcome = match moment {
        Moment::Planned => {
            let mut at_plan = || {
                contender.get_or_insert_with(queue);
            };
            run_with(client, &export, &mut at_plan, || ())
        }
        Moment::Reading => run_with(client, &export, || (), || contender = Some(queue())),
        Moment::Before | Moment::While(_) | Moment::Names => std::thread::scope(|scope| {
            let held = match moment {
                Moment::While(table) => format!("lock table {table} in access exclusive mode"),
                Moment::Names => "select pg_advisory_xact_lock(77)".to_owned(),
                _ => "lock table tasks in access exclusive mode".to_owned(),
            };
            let holder = Holder::of(database, &held);
            let exporting = |waiters| {
                let exporting = scope.spawn(|| run(client, &export));
                waiting(database, waiters);
                exporting
            };
            let exporting = if moment == Moment::Before {
                let queued = contender.insert(queue());
                exporting(1 + i64::from(queued.waits(database)))
            } else {
                let exporting = exporting(1);
                contender = Some(queue());
                exporting
            };
            holder.release();
            exporting.join().expect("it does not panic")
        }),
    };
    contender.expect("it was queued").ends(&what);
    let before = std::mem::replace(now, psql(database));
    is_of_one_moment(findings, &outcome, [&before, now], &what);
}

#[test]
fn lookup_meets_every_change_at_every_moment_and_has_the_rows_of_one() {
    let findings = Findings::default();
    let database = tasks(TASKS);
    let client = client(&database.url);
    takes_several_connections(&client);
    let mut now = psql(&database);
    for sql in CHANGES {
        for moment in [
            Moment::Before,
            Moment::While("tasks"),
            Moment::While("users"),
            Moment::Planned,
            Moment::Reading,
        ] {
            meets(
                (&database, &client),
                (&findings, &mut now),
                Strategy::Lookup,
                (moment, sql),
            );
        }
    }
}

#[test]
fn connections_that_begin_behind_a_change_do_not_wait_for_it() {
    let findings = Findings::default();
    let database = tasks(MANY_TASKS);
    // Nothing of it changes while an export runs: so it may say that it is immutable, and `lookup` stays.
    change(
        &database,
        "create function passes(id bigint) returns boolean language plpgsql immutable as
             'begin perform pg_advisory_xact_lock_shared(77); return true; end';
         alter table locations rename to all_locations; create view locations as select id, name from all_locations where passes(id)",
    );
    let client = client(&database.url);
    takes_several_connections(&client);
    let mut now = psql(&database);
    for sql in [CHANGES[0], REWRITE, CHANGES[3]] {
        for moment in [Moment::Names, Moment::Planned] {
            meets(
                (&database, &client),
                (&findings, &mut now),
                Strategy::Lookup,
                (moment, sql),
            );
        }
    }
}

fn takes_several_connections(client: &Database) {
    let plan = run(client, &Choice::ALL.export(Strategy::Lookup)).plan;
    assert!(
        plan.is_some_and(|plan| plan.connections > 1),
        "this is about several"
    );
}

#[test]
fn every_strategy_that_meets_a_rewrite_has_the_rows_of_one_moment() {
    let findings = Findings::default();
    let database = tasks(3_000);
    let client = client(&database.url);
    let mut now = psql(&database);
    for strategy in Strategy::all() {
        for sql in [REWRITE, EXCHANGE] {
            for moment in [Moment::Before, Moment::While("assets"), Moment::Reading] {
                meets(
                    (&database, &client),
                    (&findings, &mut now),
                    *strategy,
                    (moment, sql),
                );
            }
        }
    }
}

#[test]
fn changes_of_a_partition_alone_are_met_too() {
    let findings = Findings::default();
    let database = tasks(TASKS);
    change(
        &database,
        "alter table tasks rename to before; create table tasks (like before including defaults, primary key (id)) partition by hash (id);
         create table one partition of tasks for values with (modulus 2, remainder 0);
         create table two partition of tasks for values with (modulus 2, remainder 1); insert into tasks table before",
    );
    change(&database, "vacuum analyze");
    let client = client(&database.url);
    let mut now = psql(&database);
    let exchange = "create table kept as table two; truncate two; insert into two select id, title || '+', description, done, asset_id,
         created_by_id, updated_by_id from kept; drop table kept";
    for sql in [
        exchange,
        "alter table two drop constraint if exists low; alter table two add constraint low check (id < 1000000)",
        "reindex index two_pkey",
        "vacuum full two",
    ] {
        for moment in [
            Moment::While("one"),
            Moment::While("users"),
            Moment::Planned,
            Moment::Reading,
        ] {
            meets(
                (&database, &client),
                (&findings, &mut now),
                Strategy::Lookup,
                (moment, sql),
            );
        }
        if sql == exchange {
            for strategy in Strategy::all() {
                meets(
                    (&database, &client),
                    (&findings, &mut now),
                    *strategy,
                    (Moment::While("one"), sql),
                );
            }
        }
    }
}

#[test]
fn exports_end_beside_somebody_who_locks_the_tasks_again_and_again() {
    let database = tasks(MANY_TASKS);
    let client = client(&database.url);
    let expected = psql(&database);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let locking = scope.spawn(|| {
            let mut connection = database.connect();
            let limit = BOUND.as_millis() - 5_000;
            connection.batch_execute(&format!("set lock_timeout = {limit}"))?;
            while !stop.load(Ordering::Relaxed) {
                connection
                    .batch_execute("begin; lock table tasks in access exclusive mode; rollback")?;
            }
            Ok::<_, diesel::result::Error>(())
        });
        let exporting = scope.spawn(|| {
            for _ in 0..8 {
                let outcome = run(&client, &Choice::ALL.export(Strategy::Lookup));
                assert!(
                    outcome.whole("beside locks") == expected,
                    "other bytes than psql's"
                );
            }
        });
        let exported = exporting.join();
        stop.store(true, Ordering::Relaxed);
        let locked = locking.join().expect("it does not panic");
        assert!(locked.is_ok(), "somebody waits for ever: {locked:?}");
        if let Err(panicked) = exported {
            std::panic::resume_unwind(panicked);
        }
    });
}

#[test]
fn a_connection_that_replaces_a_lost_one_waits_for_nobody() {
    let database = data::wide(100_000);
    let client = client(&database.url);
    let expected = psql(&database);
    let in_transaction = "from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    let count = || {
        let count = oracle::psql(&database, &format!("select count(*) {in_transaction}"));
        String::from_utf8(count)
            .expect("a number")
            .trim()
            .parse::<u32>()
    };
    let mut contender = None;
    let outcome = run_with(
        &client,
        &Choice::ALL.export(Strategy::Lookup),
        || (),
        || {
            eventually("all have read what they may read ahead", || {
                count() == Ok(4)
            });
            let queued = Contender::start(
                &database,
                &["begin; lock table tasks in access exclusive mode; commit"],
            );
            assert!(queued.waits(&database), "the export holds its locks");
            contender = Some(queued);
            // The first one has exported the snapshot.
            change(
                &database,
                &format!(
                    "select pg_terminate_backend(pid) from (select pid, row_number() over (order by xact_start) as place {in_transaction}) _
                     where place > 1"
                ),
            );
            eventually("they are gone", || count() == Ok(1));
        },
    );
    contender.expect("it was queued").ends("the lock");
    assert!(!outcome.never_ends, "it does not end");
    // What the connections had in hand may be lost with them, but then nothing looks complete.
    if outcome.result.is_ok() {
        assert!(outcome.csv == expected, "other bytes than psql's");
    }
}
