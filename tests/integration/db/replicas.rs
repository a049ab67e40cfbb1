//! Exports on hot standbys: where they run, what they do without one, and what a standby alone can do to them.

use std::process::Command;

use cmms_export::export::Strategy;
use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use crate::support::client::{Download, End, send};
use crate::support::gate::{self, Gate, Gated, ROWS, Waiter};
use crate::support::program::{bare_program, program, stderr};
use crate::support::replicated::{Node, Replicated, roles, states};
use crate::support::{Server, TestDatabase, data, eventually, oracle};

/// An export that must be whole: where it came from, and its CSV.
fn export(server: &Server, query: &str) -> (String, Vec<u8>) {
    let download = Download::start(&server.address, &format!("/tasks.csv?{query}"));
    assert_eq!(download.status, 200, "{query}");
    let source = download.header("x-export-source").map(str::to_owned);
    let (csv, end) = download.finish();
    assert_eq!(end, End::Clean, "{query}");
    (source.expect("it is said"), csv)
}

/// Where an export came from.
fn source(server: &Server) -> String {
    export(server, "location_id=-1").0
}

/// All tasks, as psql has them from the primary.
fn expected(database: &TestDatabase) -> Vec<u8> {
    oracle::copy(database, "true", ',')
}

fn fallbacks(server: &Server, reason: &str) -> f64 {
    server.metric(&format!(
        "cmms_export_replica_fallbacks_total{{reason=\"{reason}\"}}"
    ))
}

fn change(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    connection.batch_execute(sql).expect("the SQL runs");
}

/// Changes a task, and has removed what it was: a standby cannot replay that while somebody may still read it. (The last task
/// is on a page that no export has come to that waits at a gate before it: a page that is being read is another conflict.)
fn remove_what_is_read(database: &TestDatabase) {
    change(
        database,
        "update tasks set title = 'changed ' || txid_current() where id = (select max(id) from tasks)",
    );
    change(database, "vacuum tasks");
}

fn contains(csv: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(csv).contains(text)
}

/// How many of a server's processes run an export of the database.
fn running(replicated: &Replicated, database: &TestDatabase, node: Node) -> i64 {
    gate::running_queries_at(&mut replicated.connect(node, database))
}

/// Starts an export that is larger than all buffers, takes some of it, and then nothing more.
fn stall(server: &Server, query: &str) -> Download {
    let mut download = Download::start(&server.address, &format!("/tasks.csv?{query}"));
    assert_eq!(download.status, 200, "{query}");
    assert_eq!(
        download.header("x-export-source"),
        Some("replica"),
        "{query}"
    );
    download.chunk().expect("a chunk").expect("not the last");
    download
}

/// Demands that an export is recorded as failed.
fn has_failed(server: &Server, id: &str, error: &str) {
    let manifest = server.ended(id);
    let told = ["state", "error", "source", "sha256"].map(|name| &manifest[name]);
    let right = [json!("failed"), json!(error), json!("replica"), Value::Null];
    assert_eq!(told, right.each_ref(), "{manifest}");
}

/// Demands that nothing of an ended export is left, on a server that allows one at a time.
fn nothing_is_left(server: &Server) {
    eventually("the permit is free", || {
        Download::start(&server.address, "/tasks.csv?location_id=-1").status == 200
    });
    eventually("no export is in flight", || {
        server.metric("cmms_export_exports_in_flight ") == 0.0
    });
}

#[test]
fn exports_of_every_strategy_come_from_a_standby_and_equal_psqls_own_copy_from_the_primary() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let expected = expected(&database);
    let server = replicated.serve(&database, &[]);
    for strategy in Strategy::all() {
        let name = strategy.name();
        let (source, csv) = export(&server, &format!("strategy={name}&export_id={name}"));
        assert_eq!(source, "replica", "{name}");
        assert!(csv == expected, "{name}");
        let manifest = server.ended(name);
        assert_eq!(manifest["source"], "replica", "{manifest}");
    }
    assert_eq!(server.metric("cmms_export_replica_fallbacks_total"), 0.0);
}

#[test]
fn previews_and_counts_come_from_a_standby_and_everything_else_from_the_primary() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let server = replicated.serve(&database, &[]);
    let get = |path: &str| Download::start(&server.address, path).json();
    let preview = || get("/api/tasks?title=late");
    assert_eq!(preview()["count"], 0);
    replicated.pause(&Node::STANDBYS);
    change(
        &database,
        "insert into users values (1000, 'late'); insert into tasks values (1000, 'late', '', true, 1, 1000, null)",
    );
    assert_eq!(preview()["count"], 0);
    assert_eq!(preview()["rows"], json!([]));
    let users = get("/api/filters?of=users&q=late").to_string();
    assert!(users.contains("\"late\""), "{users}");
    replicated.resume(&Node::STANDBYS);
    eventually("the standby has it", || preview()["count"] == 1);
    assert_eq!(preview()["rows"][0]["Title"], "late");
}

#[test]
fn a_replica_that_lags_too_far_is_not_used_until_it_has_caught_up() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let lag = "--max-replica-lag=0.5";
    let server = replicated.serve(&database, &[lag]);
    let only = replicated.serve(&database, &[lag, "--replica-only"]);
    let lags = |server: &Server, standby: usize| {
        let states = states(server);
        let state = states.get(standby);
        state.is_some_and(|state| state["lag_seconds"].as_f64().is_some_and(|lag| lag > 0.5))
    };

    replicated.pause(&[Node::Standby1]);
    change(&database, "update tasks set title = 'first' where id = 0");
    replicated.follow(Node::Primary, &[Node::Standby2]);
    for server in [&server, &only] {
        eventually("the first standby lags", || lags(server, 1));
        let (source, csv) = export(server, "");
        assert_eq!(source, "replica");
        assert!(contains(&csv, "\n0,first,"), "not from the other standby");
    }

    replicated.pause(&[Node::Standby2]);
    change(&database, "update tasks set title = 'second' where id = 0");
    eventually("both lag", || lags(&server, 1) && lags(&server, 2));
    let (source, csv) = export(&server, "export_id=lag");
    assert_eq!(source, "primary");
    assert!(contains(&csv, "\n0,second,"));
    assert_eq!(server.ended("lag")["source"], "primary");
    assert_eq!(fallbacks(&server, "lag"), 1.0);

    let any = "/tasks.csv?location_id=-1";
    eventually("no replica will do", || {
        Download::start(&only.address, any).status == 503
    });
    let refused = Download::start(&only.address, any);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["type"], "urn:cmms-export:problem:no-replica");
    assert_eq!(Download::start(&only.address, "/readyz").status, 503);

    replicated.resume(&Node::STANDBYS);
    for server in [&server, &only] {
        eventually("a standby is used again", || {
            let answer = Download::start(&server.address, any);
            answer.header("x-export-source") == Some("replica")
        });
    }
    let log = server.into_log();
    assert!(log.contains("lag"), "{log}");
}

#[test]
fn a_killed_standby_is_passed_over_and_used_again_when_it_is_back() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let expected = expected(&database);
    let server = replicated.serve(&database, &[]);
    // It has a connection to the first one by now.
    assert_eq!(export(&server, ""), ("replica".into(), expected.clone()));

    replicated.kill(Node::Standby1);
    // At once: the program cannot know of it yet.
    assert_eq!(export(&server, ""), ("replica".into(), expected.clone()));
    assert_eq!(fallbacks(&server, "unreachable"), 0.0);

    replicated.kill(Node::Standby2);
    assert_eq!(export(&server, ""), ("primary".into(), expected.clone()));
    assert_eq!(fallbacks(&server, "unreachable"), 1.0);
    eventually("both are known to be gone", || {
        roles(&server) == ["primary", "", ""]
    });
    assert_eq!(export(&server, ""), ("primary".into(), expected.clone()));

    for standby in Node::STANDBYS {
        replicated.start(standby);
    }
    eventually("both are known to be back", || {
        roles(&server) == ["primary", "replica", "replica"]
    });
    assert_eq!(export(&server, ""), ("replica".into(), expected));
}

#[test]
fn a_standby_killed_in_the_middle_breaks_the_download_off_and_leaves_nothing_behind() {
    let replicated = Replicated::new();
    let database = replicated.wide();
    let server = replicated.serve(&database, &["--max-exports=1"]);
    for strategy in [Strategy::Copy, Strategy::Lookup] {
        let name = strategy.name();
        let download = stall(&server, &format!("strategy={name}&export_id={name}"));
        assert!(
            running(&replicated, &database, Node::Standby1) > 0,
            "{name}"
        );
        replicated.kill(Node::Standby1);
        assert_eq!(download.finish().1, End::Broken, "{name}");
        has_failed(&server, name, "database-unavailable");
        nothing_is_left(&server);
        assert_eq!(source(&server), "replica", "{name}");
        replicated.start(Node::Standby1);
        eventually("it is known to be back", || roles(&server)[1] == "replica");
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
        assert!(
            running(&replicated, &database, Node::Standby1) > 0,
            "{name}"
        );
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

#[test]
fn a_promoted_standby_and_a_lost_primary_are_survived_without_a_restart() {
    let mut replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let expected = expected(&database);
    let server = replicated.serve(&database, &[]);

    replicated.kill(Node::Primary);
    assert_eq!(export(&server, ""), ("replica".into(), expected.clone()));
    eventually("the primary is known to be gone", || {
        server.metric("cmms_export_server_up{server=\"database\"") == 0.0
    });
    assert_eq!(roles(&server), ["", "replica", "replica"]);
    assert_eq!(export(&server, ""), ("replica".into(), expected));

    replicated.promote(Node::Standby1);
    eventually("the new primary is known", || {
        roles(&server) == ["primary", "primary", "replica"]
    });
    // The other standby is preferred now, and follows the new primary.
    change(&database, "update tasks set title = 'later' where id = 0");
    replicated.follow(Node::Standby1, &[Node::Standby2]);
    let (source, csv) = export(&server, "fresh=true");
    assert_eq!(source, "replica");
    assert!(contains(&csv, "\n0,later,"));
    let users = Download::start(&server.address, "/api/filters?of=users");
    assert_eq!(users.status, 200);

    replicated.stop(Node::Standby2);
    let (source, csv) = export(&server, "");
    assert_eq!(source, "primary");
    assert!(contains(&csv, "\n0,later,"));
    eventually("its loss is known", || {
        roles(&server) == ["primary", "primary", ""]
    });
}

#[test]
fn who_has_just_changed_a_task_sees_it_in_a_fresh_export() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let server = replicated.serve(&database, &[]);
    for number in 0..10 {
        let title = format!("title {number}");
        change(
            &database,
            &format!("update tasks set title = '{title}' where id = 0"),
        );
        let (source, csv) = export(&server, "fresh=true");
        assert_eq!(source, "replica");
        assert!(contains(&csv, &format!("\n0,{title},")), "{title}");
    }

    replicated.pause(&Node::STANDBYS);
    change(&database, "update tasks set title = 'new' where id = 0");
    for query in ["", "fresh=false"] {
        let (source, csv) = export(&server, query);
        assert_eq!(source, "replica", "{query}");
        assert!(contains(&csv, "\n0,title 9,"), "{query}");
    }
    let (source, csv) = export(&server, "fresh=true");
    assert_eq!(source, "primary");
    assert!(contains(&csv, "\n0,new,"));
    assert_eq!(fallbacks(&server, "stale"), 1.0);
    replicated.resume(&Node::STANDBYS);

    let page = ureq::get(server.url("/")).call().expect("200");
    let page = page.into_body().read_to_string().expect("text");
    assert!(page.contains("fresh"), "{page}");
}

/// An export by the command line, which must be whole: where it came from, and its CSV.
fn export_by_command(
    database: &TestDatabase,
    export_url: &str,
    flags: &[&str],
) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("manifest.json");
    let output = program(&database.url)
        .args(["export", "--export-database-url", export_url])
        .args(flags)
        .arg("--manifest")
        .arg(&manifest)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let manifest = std::fs::read_to_string(manifest).expect("written");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let source = manifest["source"].as_str().expect("it is known");
    (source.to_owned(), output.stdout)
}

const NOWHERE: &str = "postgresql://cmms@/cmms?host=/nowhere,/neither";

#[test]
fn the_command_lines_export_comes_from_a_standby_too() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    replicated.catch_up();
    let standbys = replicated.export_url(database.name());
    let before = expected(&database);
    let export = |url: &str| export_by_command(&database, url, &[]);
    assert_eq!(export(&standbys), ("replica".into(), before.clone()));

    replicated.pause(&Node::STANDBYS);
    change(&database, "update tasks set title = 'new' where id = 0");
    assert_eq!(export(&standbys), ("replica".into(), before));
    assert_eq!(export(NOWHERE), ("primary".into(), expected(&database)));
    replicated.resume(&Node::STANDBYS);

    let refused = program(&database.url)
        .args(["export", "--replica-only"])
        .env("EXPORT_DATABASE_URL", NOWHERE)
        .output()
        .expect("the program runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(refused.stdout, b"");
    assert!(stderr(&refused).contains("replica"), "{refused:?}");
}

#[test]
fn a_server_is_taken_only_if_it_is_what_libpqs_attribute_asks_for() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    replicated.catch_up();
    let primary = replicated.url(Node::Primary, database.name());
    let (_, primary) = primary.split_once("host=").expect("one host");
    let (primary, _) = primary.split_once('&').expect("a port");
    let both = replicated.url(Node::Standby1, database.name());
    let both = both.replacen("host=", &format!("host={primary},"), 1);
    for (attribute, right) in [
        ("read-write", "primary"),
        ("primary", "primary"),
        ("read-only", "replica"),
        ("standby", "replica"),
        ("prefer-standby", "replica"),
    ] {
        let url = format!("{both}&target_session_attrs={attribute}");
        let (source, csv) = export_by_command(&database, &url, &[]);
        assert_eq!(source, right, "{attribute}");
        assert!(csv == expected(&database), "{attribute}");
    }
    let (_, csv) = export_by_command(&database, &both, &[]);
    assert!(csv == expected(&database));
}

#[test]
fn migrate_and_seed_never_go_to_a_replica() {
    let replicated = Replicated::new();
    let database = replicated.database();
    let standby = replicated.url(Node::Standby1, database.name());
    for export_url in [standby.as_str(), NOWHERE, "no URL at all"] {
        change(
            &database,
            "drop schema public cascade; create schema public",
        );
        for arguments in [&["migrate"][..], &["seed", "--tasks=10"]] {
            let output = program(&database.url)
                .args(arguments)
                .env("EXPORT_DATABASE_URL", export_url)
                .output()
                .expect("the program runs");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            let refused = program(&database.url)
                .args(arguments)
                .args(["--export-database-url", export_url])
                .output()
                .expect("the program runs");
            assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {refused:?}");
        }
        assert_eq!(
            oracle::psql(&database, "select count(*) from tasks"),
            b"10\n"
        );
    }
}

#[test]
fn a_lookups_connections_are_all_on_one_server_and_the_least_busy_one_is_taken() {
    let replicated = Replicated::new();
    let database = replicated.wide();
    let server = replicated.serve(&database, &[]);
    let running = || {
        [Node::Primary, Node::Standby1, Node::Standby2]
            .map(|node| running(&replicated, &database, node))
    };
    let first = stall(&server, "strategy=lookup&export_id=first");
    let [primary, busy, idle] = running();
    assert!(
        primary == 0 && busy > 1 && idle == 0,
        "{primary} {busy} {idle}"
    );
    let second = stall(&server, "strategy=lookup");
    let [primary, before, new] = running();
    assert!(
        primary == 0 && before == busy && new > 1,
        "{primary} {before} {new}"
    );
    drop(first);
    eventually("the first one's queries are gone", || running()[1] == 0);
    let third = stall(&server, "strategy=copy");
    assert_eq!(running(), [0, 1, new]);
    for download in [second, third] {
        let (csv, end) = download.finish();
        assert_eq!(end, End::Clean);
        assert_eq!(csv.last(), Some(&b'\n'));
    }
    eventually("all queries are gone", || running() == [0, 0, 0]);
}

#[test]
fn an_export_database_url_that_is_none_is_a_usage_error() {
    for url in [
        "nonsense",
        "postgresql://cmms:secret@/cmms?nonsense=1",
        "postgresql://cmms:secret@host:port/cmms",
        "postgresql://cmms:secret@/cmms?host=/a,/b&target_session_attrs=sideways",
    ] {
        for command in ["serve", "export"] {
            let mut by_flag = bare_program();
            by_flag.args([command, "--export-database-url", url]);
            let mut by_environment = bare_program();
            by_environment.arg(command).env("EXPORT_DATABASE_URL", url);
            for mut program in [by_flag, by_environment] {
                program.env("DATABASE_URL", NOWHERE);
                let output = Command::output(&mut program).expect("the program runs");
                assert_eq!(output.status.code(), Some(2), "{url}: {output:?}");
                assert!(!stderr(&output).contains("secret"), "{output:?}");
            }
        }
    }
}

#[test]
fn the_readiness_and_the_metrics_tell_each_servers_role_and_lag() {
    let replicated = Replicated::new();
    let database = replicated.database();
    data::fill_hostile(&database);
    let server = replicated.serve(&database, &[]);
    let names = ["database", "export-1", "export-2"];
    let figure = |what: &str, name: &str| {
        server.metric(&format!("cmms_export_server_{what}{{server=\"{name}\","))
    };
    let up = |name: &str| figure("up", name);
    let states_now = states(&server);
    for (state, name) in states_now.iter().zip(names) {
        let is_replica = name != "database";
        assert_eq!(state["name"], name);
        assert_eq!(state["reachable"], true);
        assert_eq!(
            state["role"],
            if is_replica { "replica" } else { "primary" }
        );
        assert_eq!(up(name), 1.0);
        assert_eq!(figure("in_recovery", name), f64::from(is_replica));
    }

    replicated.pause(&[Node::Standby1]);
    change(&database, "update tasks set title = 'new' where id = 0");
    replicated.kill(Node::Standby2);
    eventually("one lags, one is gone", || {
        let states = states(&server);
        states[1]["lag_seconds"]
            .as_f64()
            .is_some_and(|lag| lag > 0.0)
            && states[2]
                == json!({"name": "export-2", "role": null, "lag_seconds": null, "reachable": false})
    });
    assert!(figure("replay_lag_seconds", "export-1") > 0.0);
    assert_eq!(up("export-2"), 0.0);
    let ready = ureq::get(server.url("/readyz")).call().expect("200");
    assert_eq!(ready.headers()["content-type"], "application/json");
    replicated.resume(&[Node::Standby1]);
    replicated.start(Node::Standby2);
}
