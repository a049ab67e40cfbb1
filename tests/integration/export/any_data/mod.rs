//! A row of the dataset's own table is a row of the file, whatever the tables are and whatever is in them: by every strategy, as psql
//! has the LEFT JOIN.

mod keys;
mod random;
mod references;
mod roles;
mod surfaces;
mod views;

use diesel::connection::SimpleConnection;
use diesel_export::db::Database;
use diesel_export::manifest::ErrorClass;
use diesel_export::{Plan, Strategy, queries};

use crate::support::TestDatabase;
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::expected_rows::ExpectedRows;
use crate::support::findings::Findings;
use crate::support::in_process::{Choice, client, run};

/// Rows of a test: more than two of the pages that `paged` reads, the last one not full.
const TASKS: u32 = 4_500;
/// So many that `lookup` divides them into ranges.
const MANY_TASKS: u32 = 12_000;

/// Every text in the tables begins with it. Nothing that the program says about an export may.
const MARK: &str = "≈";

/// All columns of each table, in their order.
const COLUMNS: [(&str, &str); 4] = [
    ("locations", "id, name"),
    ("assets", "id, name, description, location_id"),
    ("users", "id, username"),
    (
        "tasks",
        "id, title, description, done, asset_id, created_by_id, updated_by_id",
    ),
];

/// All tasks; a selection that shows nothing of what they refer to; one that shows some of it, of some tasks.
const CHOICES: [Choice; 3] = [
    Choice::ALL,
    Choice {
        columns: Some("id,title"),
        ..Choice::ALL
    },
    Choice {
        columns: Some("created_by,done,asset_location_id"),
        filter: Some(["done", "false", "not t.done"]),
        ..Choice::ALL
    },
];

/// How `lookup` has to read all tasks, with the default columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Lookup,
    /// What it relies on cannot be proven.
    Copy,
    /// On one connection, in whichever way: the relations cannot be locked.
    Alone,
    Either,
}

/// A database whose data are in tables named `all_tasks` and so on, which have all constraints and indexes, and what stands in for them
/// in the export.
struct Fixture {
    database: TestDatabase,
    findings: Findings,
}

impl Fixture {
    fn new(tasks: u32) -> Self {
        let database = TestDatabase::with(&fill(tasks));
        let mut connection = database.connect();
        connection.batch_execute("vacuum analyze").expect("ours");
        for (table, _) in COLUMNS {
            let rename = format!("alter table {table} rename to all_{table}");
            connection.batch_execute(&rename).expect("ours");
        }
        Self {
            database,
            findings: Findings::default(),
        }
    }

    fn run(&self, sql: &str) {
        let mut connection = self.database.connect();
        if let Err(error) = connection.batch_execute(sql) {
            panic!("{error}: {sql}");
        }
    }

    /// Lets the SQL make some of the four relations, and a view of all columns stand in for each of the others.
    fn set(&self, sql: &str) {
        let others = COLUMNS.map(|(table, columns)| {
            format!("execute 'create view {table} as select {columns} from all_{table}';")
        });
        let others: Vec<String> = COLUMNS
            .iter()
            .zip(others)
            .map(|((table, _), view)| {
                format!("if to_regclass('{table}') is null then {view} end if;")
            })
            .collect();
        self.run(&format!(
            "do $$ declare old record; begin
                 for old in select relname, relkind from pg_class where relnamespace = 'public'::regnamespace
                     and relname in ('locations', 'assets', 'users', 'tasks')
                 loop
                     execute format('drop %s %I cascade', case old.relkind when 'v' then 'view' when 'm' then 'materialized view'
                         when 'f' then 'foreign table' else 'table' end, old.relname);
                 end loop;
             end $$; {sql}; do $$ begin {} end $$",
            others.join(" ")
        ));
    }

    /// The URL for a role.
    fn url_of(&self, role: &str) -> String {
        as_role(&self.database.url, role)
    }

    /// Makes a role with a name of its own, which may log in.
    fn role(&self, name: &str) -> String {
        let role = format!("{name}_{}", self.database.name());
        self.run(&format!(
            "create role {role} login password '{PASSWORD_VERIFIER}'"
        ));
        role
    }

    /// Lets the SQL make relations, and holds all strategies against psql.
    fn check(&self, sql: &str, way: Way) {
        self.set(sql);
        self.check_as(&self.database.url, way, sql);
    }

    /// The same for one of many relations, with the `nth` part of the pairs of strategies and choices, and all those of `lookup`.
    fn check_in_part(&self, nth: usize, sql: &str, way: Way) {
        self.set(sql);
        let client = client(&self.database.url);
        for (place, choice) in CHOICES.iter().enumerate() {
            let strategies = Strategy::all().iter().copied().enumerate();
            let strategies = strategies.filter(|&(number, strategy)| {
                strategy == Strategy::Lookup || (number + nth) % CHOICES.len() == place
            });
            let strategies: Vec<_> = strategies.map(|(_, strategy)| strategy).collect();
            let at = (&self.database, self.database.url.as_str());
            let plan = check_strategies(&self.findings, at, &client, (choice, &strategies), sql);
            if let (Some(plan), None) = (plan, choice.columns) {
                check_way(&self.findings, &plan, way, sql);
            }
        }
    }

    /// Holds all strategies against psql, for whoever the URL names.
    fn check_as(&self, url: &str, way: Way, what: &str) {
        check(&self.findings, (&self.database, url), way, what);
    }
}

/// The SQL that fills the four tables.
pub(super) fn fill(tasks: u32) -> String {
    format!(
        "insert into locations select n, '{MARK}hall ' || n from generate_series(1, 5) n;
         insert into users select n, '{MARK}user ' || n from generate_series(1, 7) n;
         insert into assets select n, '{MARK}asset ' || n, '{MARK}', 1 + n % 5 from generate_series(1, 11) n;
         set session_replication_role = replica;
         insert into tasks select n, '{MARK}task ' || n, '{MARK}', n % 3 = 0, 1 + n % 11, 1 + n % 7, case when n % 4 > 0 then 1 + n % 6 end
             from generate_series(1, {tasks}) n;
         reset session_replication_role"
    )
}

/// Holds every strategy against psql, for whoever the URL names.
fn check(findings: &Findings, (database, url): (&TestDatabase, &str), way: Way, what: &str) {
    let client = client(url);
    for choice in &CHOICES {
        let plan = check_choice(findings, (database, url), &client, choice, what);
        if let (Some(plan), None) = (plan, choice.columns) {
            check_way(findings, &plan, way, what);
        }
    }
}

fn check_way(findings: &Findings, plan: &Plan, way: Way, what: &str) {
    let is_right = match way {
        Way::Lookup => plan.strategy == Strategy::Lookup,
        Way::Copy => plan.strategy == Strategy::Copy,
        Way::Alone => plan.connections == 1,
        Way::Either => true,
    };
    if !is_right {
        findings.note(what, &format!("{way:?} is right, not {plan:?}"));
    }
}

/// Holds every strategy against psql for one choice, and returns how `lookup` has read the rows, if it has.
fn check_choice(
    findings: &Findings,
    at: (&TestDatabase, &str),
    client: &Database,
    choice: &Choice,
    what: &str,
) -> Option<Plan> {
    check_strategies(findings, at, client, (choice, Strategy::all()), what)
}

/// The same of some strategies.
fn check_strategies(
    findings: &Findings,
    (database, url): (&TestDatabase, &str),
    client: &Database,
    (choice, strategies): (&Choice, &[Strategy]),
    what: &str,
) -> Option<Plan> {
    let expected = ExpectedRows::of(database, url, choice);
    let mut lookup = None;
    for strategy in strategies {
        let note = |finding: &str| {
            let finding = format!("{} of {choice}: {finding}", strategy.name());
            findings.note(what, &finding);
        };
        let outcome = run(client, &choice.export(*strategy));
        assert!(
            !outcome.never_ends,
            "{strategy:?} of {choice} does not end in {what}"
        );
        match &outcome.result {
            Ok(summary) => {
                if let Some(difference) = expected.difference(&outcome.csv) {
                    note(&difference);
                } else if summary.rows != expected.count() as u64 {
                    note("the summary counts other rows than the file has");
                }
            }
            Err(error) => {
                let is_right = *strategy == Strategy::Joined
                    && error.class().map(ErrorClass::name) == Some("unexpected-null")
                    && says_unexpected_null(&error.to_string(), (database, url), choice);
                if !is_right {
                    note(&format!("{error}"));
                }
                if format!("{error} {error:?}").contains(MARK) {
                    note("a row's text is in the error");
                }
            }
        }
        if *strategy == Strategy::Lookup && outcome.result.is_ok() {
            lookup = outcome.plan;
        }
    }
    let mut connection = client.control_connection().expect("it connects");
    let count = queries::count(&mut connection, &choice.export(Strategy::Copy).filter);
    let count = count.expect("it counts");
    if count != expected.count() as i64 {
        let finding = format!("the count of {choice} is {count}, not {}", expected.count());
        findings.note(what, &finding);
    }
    if let Some(plan) = &lookup
        && plan.strategy == Strategy::Copy
        && plan.because.is_none()
    {
        findings.note(
            what,
            &format!("lookup of {choice} is copy without a reason"),
        );
    }
    lookup
}

/// Whether a message names a table and a column of it that is NULL in some row and must not be.
fn says_unexpected_null(
    message: &str,
    (database, url): (&TestDatabase, &str),
    choice: &Choice,
) -> bool {
    let nulls = ExpectedRows::unexpected_nulls(database, url, choice);
    nulls.iter().any(|null| {
        let (table, column) = null.split_once('.').expect("as it is written");
        message.contains(table) && message.contains(column)
    })
}
