//! What a standby alone can do to an export: cancel its query for the sake of the primary's changes, or go away.

use diesel_export::Strategy;
use diesel_export::units::hexadecimal;
use sha2::{Digest, Sha256};

use super::{
    expected, export, fallbacks, has_failed, nothing_is_left, remove_what_is_read, running, source,
    stall,
};
use crate::support::client::{Download, End, send};
use crate::support::eventually;
use crate::support::gate::{Gate, Gated, ROWS, Waiter};
use crate::support::replica_servers::Node;
use crate::support::replicated::{Replicated, roles};
use crate::support::workbook::without_about;

#[test]
fn a_standby_killed_in_the_middle_breaks_the_download_off_and_leaves_nothing_behind() {
    let replicated = Replicated::new();
    let database = replicated.wide();
    let server = replicated.serve(&database, &["--max-exports=1"]);
    for strategy in [Strategy::Copy, Strategy::Lookup] {
        let name = strategy.name();
        let download = stall(&server, &format!("strategy={name}&export_id={name}"));
        // Its connections may be between two statements, and the standby that has just come back need not be the one taken.
        let mut at = None;
        eventually("its query runs on a standby", || {
            let manifest = server.manifest(name);
            assert_eq!(manifest["state"], "running", "{manifest}");
            at = Node::STANDBYS
                .into_iter()
                .position(|node| running(&replicated, &database, node) > 0);
            at.is_some()
        });
        let at = at.expect("just seen");
        let node = Node::STANDBYS[at];
        replicated.kill(node);
        assert_eq!(download.finish().1, End::Broken, "{name}");
        has_failed(&server, name, "database-unavailable");
        nothing_is_left(&server);
        assert_eq!(source(&server), "replica", "{name}");
        replicated.start(node);
        // A standby that was killed is back before it has replayed all that it had: the tasks may be missing from it.
        replicated.catch_up();
        // The primary is the first one.
        eventually("it is known to be back", || {
            roles(&server)[at + 1] == "replica"
        });
    }
    let (source, csv) = export(&server, "");
    assert_eq!(source, "replica");
    assert!(csv == expected(&database));
}

#[test]
fn a_conflict_with_recovery_in_the_middle_breaks_the_download_off() {
    let replicated = Replicated::new();
    let gated = Gated::install(replicated.database());
    Gate::place(&gated, ROWS / 2);
    let server = replicated.serve_gated(&gated, &["--max-exports=1"]);
    for strategy in Strategy::unbuffered() {
        let name = strategy.name();
        let mut gate = Gate::lock(replicated.connect(Node::Standby1, &gated.database));
        let path = format!("/tasks.csv?strategy={name}&export_id={name}");
        let stream = send(&server.address, "GET", &path, &[("Host", &server.address)]);
        gate.reached();
        remove_what_is_read(&gated.database);
        let download = Download::read(stream);
        assert_eq!(download.status, 200, "{name}");
        assert_eq!(download.header("x-export-source"), Some("replica"));
        assert_eq!(download.finish().1, End::Broken, "{name}");
        has_failed(&server, name, "recovery-conflict");
        drop(gate);
        nothing_is_left(&server);
        let (source, csv) = export(&server, &format!("strategy={name}"));
        assert_eq!(source, "replica", "{name}");
        assert!(csv == expected(&gated.database), "{name}");
    }
    assert_eq!(server.metric("cmms_export_replica_fallbacks_total"), 0.0);
}

#[test]
fn a_workbook_is_made_anew_after_a_conflict_in_the_middle_as_nobody_has_got_any_of_it() {
    let replicated = Replicated::new();
    let gated = Gated::install(replicated.database());
    Gate::place(&gated, ROWS / 2);
    let server = replicated.serve_gated(&gated, &["--max-exports=1", "--spool-size=1GiB"]);
    for strategy in Strategy::unbuffered() {
        let name = strategy.name();
        let before = replicated.conflicts(Node::Standby1);
        let mut gate = Gate::lock(replicated.connect(Node::Standby1, &gated.database));
        let path = format!("/tasks.xlsx?strategy={name}&export_id={name}");
        let stream = send(&server.address, "GET", &path, &[("Host", &server.address)]);
        gate.reached();
        remove_what_is_read(&gated.database);
        eventually("the standby has cancelled its query", || {
            replicated.conflicts(Node::Standby1) > before
        });
        drop(gate);
        let workbook = Download::read(stream);
        assert_eq!(workbook.status, 200, "{name}");
        let workbook = workbook.whole();
        let manifest = server.ended(name);
        assert_eq!(manifest["rows"], ROWS, "{manifest}");
        assert_eq!(manifest["bytes"], workbook.len(), "{manifest}");
        let sha256 = hexadecimal(&Sha256::digest(&workbook));
        assert_eq!(manifest["sha256"], sha256, "{manifest}");
        let again = Download::start(&server.address, "/tasks.xlsx?fresh=true");
        assert!(
            without_about(&again.whole()) == without_about(&workbook),
            "{name}"
        );
    }
    eventually("the space is free", || {
        server.metric("cmms_export_spool_used_bytes ") == 0.0
    });
}

#[test]
fn a_reader_that_stalls_meets_a_conflict_with_recovery_where_the_primary_hears_nothing_of_it() {
    let replicated = Replicated::new();
    let database = replicated.wide();
    let server = replicated.serve(&database, &["--max-exports=1"]);
    for strategy in [Strategy::Copy, Strategy::Lookup] {
        let name = strategy.name();
        let before = replicated.conflicts(Node::Standby1);
        let download = stall(&server, &format!("strategy={name}&export_id={name}"));
        remove_what_is_read(&database);
        // Its process hears of it only when it can write again.
        eventually("the standby cannot go on", || {
            replicated.conflicts(Node::Standby1) > before
        });
        assert_eq!(download.finish().1, End::Broken, "{name}");
        has_failed(&server, name, "recovery-conflict");
        nothing_is_left(&server);
    }
}

#[test]
fn with_feedback_the_same_load_leaves_the_export_whole() {
    let replicated = Replicated::new();
    let database = replicated.wide();
    replicated.set_feedback(true);
    let server = replicated.serve(&database, &["--max-exports=1"]);
    for strategy in [Strategy::Copy, Strategy::Lookup] {
        let name = strategy.name();
        let before = (expected(&database), replicated.conflicts(Node::Standby1));
        let mut download = Download::start(
            &server.address,
            &format!("/tasks.csv?strategy={name}&export_id={name}"),
        );
        assert_eq!(download.header("x-export-source"), Some("replica"));
        let mut csv = download.chunk().expect("a chunk").expect("not the last");
        eventually("its query runs on the standby", || {
            running(&replicated, &database, Node::Standby1) > 0
        });
        remove_what_is_read(&database);
        replicated.catch_up();
        let (rest, end) = download.finish();
        assert_eq!(end, End::Clean, "{name}");
        csv.extend(rest);
        assert!(csv == before.0, "{name}: the state before the changes");
        assert_eq!(replicated.conflicts(Node::Standby1), before.1, "{name}");
        assert_eq!(server.ended(name)["state"], "complete", "{name}");
        assert!(expected(&database) != before.0);
    }
    replicated.set_feedback(false);
}

/// The next one to wait at one of the gates, after that one.
fn next_waiter(gates: &mut [Gate], after: Option<&Waiter>) -> Waiter {
    let mut next = None;
    eventually("an export reaches a gate", || {
        next = gates.iter_mut().find_map(Gate::waiter);
        next.is_some() && next.as_ref() != after
    });
    next.expect("just seen")
}

#[test]
fn a_conflict_before_the_first_byte_is_retried_and_a_second_one_leads_to_the_primary() {
    let replicated = Replicated::new();
    let gated = Gated::install(replicated.database());
    Gate::place(&gated, 1);
    let server = replicated.serve_gated(&gated, &["--max-exports=1"]);
    let mut led_to_the_primary = 0.0;
    for strategy in Strategy::all() {
        let name = strategy.name();
        for conflicts in [1, 2] {
            // The primary's is open.
            let mut gates = Node::STANDBYS
                .map(|standby| Gate::lock(replicated.connect(standby, &gated.database)));
            let path = format!("/tasks.csv?strategy={name}&export_id={name}-{conflicts}");
            let stream = send(&server.address, "GET", &path, &[("Host", &server.address)]);
            let first = next_waiter(&mut gates, None);
            remove_what_is_read(&gated.database);
            let _second = next_waiter(&mut gates, Some(&first));
            if conflicts == 2 {
                remove_what_is_read(&gated.database);
                led_to_the_primary += 1.0;
            } else {
                drop(gates);
            }
            let right = ["replica", "primary"][conflicts - 1];
            let download = Download::read(stream);
            assert_eq!(download.status, 200, "{name} {conflicts}");
            assert_eq!(
                download.header("x-export-source"),
                Some(right),
                "{name} {conflicts}"
            );
            let (csv, end) = download.finish();
            assert_eq!(end, End::Clean, "{name} {conflicts}");
            assert!(csv == expected(&gated.database), "{name} {conflicts}");
            assert_eq!(fallbacks(&server, "conflict"), led_to_the_primary);
            let manifest = server.ended(&format!("{name}-{conflicts}"));
            assert_eq!(manifest["state"], "complete", "{manifest}");
            assert_eq!(manifest["source"], right, "{manifest}");
            assert_eq!(manifest["rows"], ROWS, "{manifest}");
        }
    }
}
