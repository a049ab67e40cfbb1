//! The seed: the article's data, the same for the same seed, all or nothing.

use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::support::TestDatabase;
use crate::support::oracle::psql;
use crate::support::program::{program, stderr};
use crate::support::terminal::with_terminal;

fn ask(database: &TestDatabase, sql: &str) -> String {
    String::from_utf8(psql(database, sql))
        .expect("UTF-8")
        .trim_end()
        .to_owned()
}

/// A hash of all rows of all tables.
fn fingerprint(database: &TestDatabase) -> String {
    let tables = ["locations", "users", "assets", "tasks"];
    tables
        .map(|table| {
            ask(
                database,
                &format!("select md5(string_agg(t::text, chr(10) order by id)) from {table} t"),
            )
        })
        .join(" ")
}

#[test]
fn the_defaults_are_the_articles_data() {
    let database = TestDatabase::seeded(&[]);
    assert_eq!(
        ask(
            &database,
            "select (select count(*) from locations), (select count(*) from users), (select count(*) from assets), (select count(*) from tasks)"
        ),
        "50|100|300|100000"
    );
    assert_eq!(
        ask(
            &database,
            "select min(title), (select min(name) from locations), (select min(username) from users), (select min(name) from assets) from tasks"
        ),
        "Task 1|Location 1|user_1|Asset 1"
    );
    assert_eq!(
        ask(
            &database,
            "select round(avg(done::int), 2), round(avg((updated_by_id is null)::int), 2) from tasks"
        ),
        "0.70|0.40"
    );
    assert_eq!(
        ask(
            &database,
            "select distinct array_length(string_to_array(description, ' '), 1) from tasks"
        ),
        "100"
    );
    assert_eq!(
        ask(
            &database,
            "select count(distinct asset_id), count(distinct created_by_id), count(distinct updated_by_id) from tasks"
        ),
        "300|100|100"
    );
    assert_eq!(
        ask(
            &database,
            "insert into tasks (title, description, asset_id, created_by_id) values ('', '', 1, 1) returning id"
        ),
        "100001"
    );
}

#[test]
fn statistics_and_visibility_map_are_fresh_and_no_constraint_is_lost() {
    // Before PostgreSQL 15, each connection that is being authenticated, to whichever database, keeps VACUUM from marking the pages that were
    // filled since it began. Here, no other test connects.
    let database = TestDatabase::alone();
    let definitions = "select string_agg(line, chr(10) order by line) from (
        select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'tasks'::regclass
        union all select conname || pg_get_constraintdef(oid) || convalidated from pg_constraint where conrelid = 'tasks'::regclass) _ (line)";
    let before = ask(&database, definitions);
    let output = program(&database.url)
        .args(["seed", "--tasks", "10000"])
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ask(&database, definitions), before);
    assert_eq!(
        ask(
            &database,
            "select reltuples from pg_class where oid = 'tasks'::regclass"
        ),
        "10000"
    );
    // Not all pages: PostgreSQL 16 and newer make more than they fill.
    let plan = ask(
        &database,
        "set enable_seqscan = off; explain (analyze) select id from tasks order by id",
    );
    assert!(plan.contains("Heap Fetches: 0"), "{plan}");
    assert_eq!(
        ask(
            &database,
            "select count(*) from pg_stats where tablename = 'tasks'"
        ),
        "7"
    );
}

#[test]
fn the_same_seed_gives_the_same_data_and_another_one_other_data() {
    let sizes = ["--locations=3", "--users=4", "--assets=5", "--tasks=6001"];
    let seeded = |rng_seed: &str| {
        // Not `seeded`, which seeds the same data once.
        let database = TestDatabase::new();
        database.seed(&[&sizes[..], &["--rng-seed", rng_seed]].concat());
        fingerprint(&database)
    };
    assert_eq!(seeded("7"), seeded("7"));
    assert_ne!(seeded("7"), seeded("8"));
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_reset() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let before = fingerprint(&database);
    let refused = program(&database.url)
        .args(["seed", "--tasks=20"])
        .output()
        .expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--reset"), "{refused:?}");
    assert_eq!(fingerprint(&database), before);

    let reset = program(&database.url)
        .args(["seed", "--tasks=20", "--reset"])
        .output()
        .expect("the program runs");
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(ask(&database, "select count(*) from tasks"), "20");
}

#[test]
fn a_seed_that_fails_leaves_everything_as_it_was() {
    let database = TestDatabase::seeded(&["--tasks=10"]);
    let before = fingerprint(&database);
    diesel::sql_query("alter table tasks add check (id < 7000) not valid")
        .execute(&mut database.connect())
        .expect("ours");
    let failed = program(&database.url)
        .args(["seed", "--tasks=20000", "--reset"])
        .output()
        .expect("the program runs");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert_eq!(fingerprint(&database), before);
    let keys: Vec<Definition> = diesel::sql_query("select conname::text as name from pg_constraint where conrelid = 'tasks'::regclass and contype = 'f'")
        .load(&mut database.connect())
        .expect("readable");
    assert_eq!(
        keys.iter()
            .map(|key| key.name.as_str())
            .collect::<Vec<_>>()
            .len(),
        3
    );
}

#[derive(QueryableByName)]
struct Definition {
    #[diesel(sql_type = Text)]
    name: String,
}

#[test]
fn nothing_can_be_seeded_too() {
    let database = TestDatabase::seeded(&["--tasks=0", "--assets=0", "--users=0", "--locations=0"]);
    assert_eq!(ask(&database, "select count(*) from tasks"), "0");
}

#[test]
fn progress_is_plain_lines_where_there_is_no_terminal() {
    let database = TestDatabase::new();
    let output = program(&database.url)
        .args(["seed", "--tasks=5000"])
        .output()
        .expect("the program runs");
    let said = stderr(&output);
    assert!(said.starts_with("Seeding: 5,000 tasks\n"), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains('\r'), "{said}");
}

#[test]
fn the_rate_on_a_terminal_is_a_whole_number() {
    let database = TestDatabase::new();
    let (status, said) = with_terminal(program(&database.url).args(["seed", "--tasks=20000"]));
    assert!(status.success(), "{said}");
    let rates: Vec<&str> = said
        .split("/s  ")
        .filter_map(|before| before.rsplit_once("  ").map(|(_, rate)| rate))
        .collect();
    assert!(said.contains("/s  "), "{said:?}");
    assert!(
        rates
            .iter()
            .take(said.matches("/s  ").count())
            .all(|rate| rate
                .chars()
                .all(|digit| digit.is_ascii_digit() || digit == ',')),
        "{rates:?}"
    );
}
