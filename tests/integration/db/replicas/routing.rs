//! Where exports run: on a standby, on another one, on the primary.

use diesel_export::Strategy;
use serde_json::json;

use super::{change, contains, expected, export, fallbacks, running, stall};
use crate::support::client::{Download, End};
use crate::support::prepared::{get, post};
use crate::support::replica_servers::Node;
use crate::support::replicated::{Replicated, roles, states};
use crate::support::{Server, data, eventually};

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
    replicated.catch_up();
    eventually("both are known to be back", || {
        roles(&server) == ["primary", "replica", "replica"]
    });
    assert_eq!(export(&server, ""), ("replica".into(), expected));
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
    // Nobody can say whether that is all that it had.
    let refused = Download::start(&server.address, "/tasks.csv?fresh=true");
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.json()["type"],
        "urn:cmms-export:problem:database-unavailable"
    );
    let button = Download::start(&server.address, "/?download=true");
    let location = button.header("location").expect("it leads to the file");
    assert!(!location.contains("fresh"), "{location}");

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
    let server = replicated.serve(&database, &["--spool-size=1MiB"]);
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

    // So do the page's buttons.
    let answer = Download::start(&server.address, "/?download=true");
    let location = answer.header("location").expect("it leads to the file");
    assert!(location.contains("fresh=true"), "{location}");
    let form = "application/x-www-form-urlencoded";
    let accept = [("Accept", "text/html")];
    assert_eq!(post(&server, form, "dataset=tasks", &accept).status, 303);
    let id = get(&server, "/api/exports", &[]).json()[0]["id"].take();
    let manifest = server.ended(id.as_str().expect("a text"));
    assert_eq!(manifest["source"], "primary", "{manifest}");
    replicated.resume(&Node::STANDBYS);
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
