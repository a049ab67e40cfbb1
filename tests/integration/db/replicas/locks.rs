//! A standby whose replay waits for its queries: it goes on after an export, whatever the primary locks meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;

use super::{change, expected};
use crate::support::eventually;
use crate::support::in_process::{Choice, Outcome, client, run, run_with};
use crate::support::replica_servers::Node;
use crate::support::replicated::Replicated;

#[test]
fn on_a_standby_that_waits_for_its_queries_replay_goes_on_after_an_export() {
    let replicated = Replicated::patient();
    let database = replicated.wide();
    replicated.catch_up();
    let url = replicated.url(Node::Standby1, database.name());
    let client = client(&url);
    let right = expected(&database);
    let alter = "alter table tasks alter description set default ''";
    let replay_waits = || {
        let mut standby = replicated.connect(Node::Standby1, &database);
        let waits = "do $$ begin perform from pg_locks where not granted; if not found then raise 'nobody waits'; end if; end $$";
        standby.batch_execute(waits).is_ok()
    };
    for at_plan in [true, false] {
        let mut altered = false;
        let mut change = |now| {
            if now && !std::mem::replace(&mut altered, true) {
                change(&database, alter);
                eventually("replay waits for the export", replay_waits);
            }
        };
        let change = std::cell::RefCell::new(&mut change);
        let outcome = run_with(
            &client,
            &Choice::ALL.export(Strategy::Lookup),
            || (change.borrow_mut())(at_plan),
            || (change.borrow_mut())(!at_plan),
        );
        assert!(
            outcome.whole("on the standby") == right,
            "other bytes than psql's"
        );
        replicated.catch_up();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let altering = scope.spawn(|| {
            let mut primary = database.connect();
            while !stop.load(Ordering::Relaxed) {
                primary.batch_execute(alter)?;
            }
            Ok::<_, diesel::result::Error>(())
        });
        let outcomes: Vec<Outcome> = (0..4)
            .map(|_| run(&client, &Choice::ALL.export(Strategy::Lookup)))
            .collect();
        stop.store(true, Ordering::Relaxed);
        altering
            .join()
            .expect("it does not panic")
            .expect("nobody is in its way");
        for outcome in outcomes {
            assert!(
                outcome.whole("beside replay") == right,
                "other bytes than psql's"
            );
        }
    });
    replicated.catch_up();
}
