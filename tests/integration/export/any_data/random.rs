//! Random schemas: each of the four relations a table, a view or something else, with or without constraints, with NULL, equal and
//! dangling keys, and rows that are not seen.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use proptest::prelude::{Just, ProptestConfig, any, prop_oneof, proptest};
use proptest::strategy::Strategy;

use super::{CHOICES, COLUMNS, MARK, check_choice};
use crate::support::TestDatabase;
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::findings::Findings;
use crate::support::in_process::{Choice, client};
use crate::support::oracle::psql;

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A table with a primary key, if the keys allow for one.
    Constrained,
    Bare,
    Indexed,
    View,
    InvokersView,
    FilteredView,
    UnionView,
    Materialized,
    /// By hash of the key, if the keys allow for that.
    Partitioned,
}

/// One of the four relations.
#[derive(Debug, Clone)]
struct Relation {
    form: Form,
    /// Each key of so many is NULL, or that of the row before; 0: none.
    null_every: u32,
    equal_every: u32,
    /// Whether a policy hides some of the rows of its table.
    is_hidden: bool,
    /// So many of what it refers to are missing, or NULL.
    dangling: u32,
}

fn relation() -> impl Strategy<Value = Relation> {
    let form = prop_oneof![
        3 => Just(Form::Constrained),
        2 => Just(Form::Bare),
        1 => Just(Form::Indexed),
        2 => Just(Form::View),
        1 => Just(Form::InvokersView),
        1 => Just(Form::FilteredView),
        1 => Just(Form::UnionView),
        1 => Just(Form::Materialized),
        1 => Just(Form::Partitioned),
    ];
    let every = || prop_oneof![3 => Just(0_u32), 1 => 1_u32..4, 1 => Just(7), 1 => Just(1000)];
    (
        form,
        every(),
        every(),
        proptest::bool::weighted(0.2),
        0_u32..4,
    )
        .prop_map(
            |(form, null_every, equal_every, is_hidden, dangling)| Relation {
                form,
                null_every,
                equal_every,
                is_hidden,
                dangling,
            },
        )
}

/// How many rows the tasks, and each of the others, have.
fn counts() -> impl Strategy<Value = (u32, u32)> {
    let tasks = prop_oneof![
        1 => Just(0_u32),
        4 => 1_u32..60,
        3 => 1_998_u32..2_003,
        3 => 5_000_u32..5_400,
        1 => Just(12_000),
    ];
    (tasks, prop_oneof![4 => 0_u32..9, 1 => Just(2_500)])
}

impl Relation {
    /// The SQL that makes it, with so many rows.
    fn sql(&self, table: &str, columns: &str, rows: u32, reader: &str) -> String {
        let null = match self.null_every {
            0 => "false".to_owned(),
            every => format!("n % {every} = 0"),
        };
        let before = match self.equal_every {
            0 => "0".to_owned(),
            every => format!("(n % {every} = 0)::int"),
        };
        let key = format!("case when {null} then null else n - {before} end");
        let reference = |step: u32| {
            format!(
                "nullif(1 + n * {step} % {}, {})",
                rows.min(8) + self.dangling,
                self.dangling
            )
        };
        let others = match table {
            "tasks" => format!(
                "'{MARK}' as description, nullif(n % 3, {}) = 0 as done, {} as asset_id, {} as created_by_id, {} as updated_by_id",
                self.dangling,
                reference(1),
                reference(3),
                reference(5)
            ),
            "assets" => format!("'{MARK}' as description, {} as location_id", reference(1)),
            _ => String::new(),
        };
        let name = match table {
            "tasks" => "title",
            "users" => "username",
            _ => "name",
        };
        let others = if others.is_empty() {
            others
        } else {
            format!(", {others}")
        };
        // A column's type is that of the program's.
        let select = format!(
            "select {columns} from (select {key} as id, '{MARK}{table} ' || n as {name}{others} from generate_series(1::bigint, {rows}) n) made"
        );
        let has_key = self.null_every == 0 && self.equal_every == 0;
        let base = format!("base_{table}");
        let (made, index) = match self.form {
            Form::Constrained | Form::Bare | Form::Indexed | Form::Partitioned => (table, ""),
            _ => (base.as_str(), ""),
        };
        let index = match self.form {
            Form::Bare => index.to_owned(),
            Form::Indexed => format!("create index on {made} (id);"),
            _ if has_key => format!("alter table {made} add primary key (id);"),
            _ => format!("create index on {made} (id);"),
        };
        let create = if self.form == Form::Partitioned && has_key {
            format!(
                "create table shape as {select} limit 0; create table {made} (like shape) partition by hash (id); drop table shape;
                 create table {made}_0 partition of {made} for values with (modulus 2, remainder 0);
                 create table {made}_1 partition of {made} for values with (modulus 2, remainder 1);
                 insert into {made} {select};"
            )
        } else {
            format!("create table {made} as {select};")
        };
        let view = match self.form {
            Form::View => format!("create view {table} as select {columns} from {base};"),
            Form::InvokersView => format!(
                "create view {table} with (security_invoker = true) as select {columns} from {base};"
            ),
            Form::FilteredView => format!(
                "create view {table} as select {columns} from {base} where coalesce(id, 1) % 5 > 0;"
            ),
            Form::UnionView => format!(
                "create view {table} as select {columns} from {base} where id < 4 union all select {columns} from {base} where id > 2;"
            ),
            Form::Materialized => {
                format!("create materialized view {table} as select {columns} from {base};")
            }
            _ => String::new(),
        };
        let policy = if self.is_hidden {
            format!(
                "alter table {made} enable row level security; create policy seen on {made} for select using (coalesce(id, 1) % 4 > 0);"
            )
        } else {
            String::new()
        };
        format!("{create} {index} {view} {policy} grant select on {table}, {made} to {reader};")
    }
}

#[test]
fn random_schemas_are_exported_as_psql_has_them() {
    /// Then no further case is begun, and no smaller one is looked for.
    const BUDGET: Duration = Duration::from_secs(20);
    let database = TestDatabase::new();
    let reader = format!("random_{}", database.name());
    let url = as_role(&database.url, &reader);
    let mut connection = database.connect();
    let create = format!("create role {reader} login password '{PASSWORD_VERIFIER}'");
    connection.batch_execute(&create).expect("ours");
    let version = psql(&database, "show server_version_num");
    let has_invokers = String::from_utf8_lossy(&version).trim() >= "150000";
    let connection = std::cell::RefCell::new(connection);
    let started = Instant::now();
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        max_shrink_time: 10_000,
        ..ProptestConfig::default()
    };
    let relations = (relation(), relation(), relation(), relation());
    let choices = (
        0..CHOICES.len(),
        prop_oneof![4 => Just("tasks"), 1 => Just("assets")],
    );
    proptest!(config, |(relations in relations, (tasks, others) in counts(), (choice, dataset) in choices, analyzed in any::<bool>())| {
        if started.elapsed() > BUDGET {
            return Ok(());
        }
        let mut sql = format!("drop schema public cascade; create schema public; grant usage on schema public to {reader};");
        for (relation, (table, columns)) in [relations.0, relations.1, relations.2, relations.3].iter_mut().zip(COLUMNS) {
            if !has_invokers && relation.form == Form::InvokersView {
                relation.form = Form::View;
            }
            let rows = if table == "tasks" { tasks } else { others };
            sql += &relation.sql(table, columns, rows, &reader);
        }
        connection.borrow_mut().batch_execute(&sql).expect("the SQL runs");
        if analyzed {
            connection.borrow_mut().batch_execute("vacuum analyze").expect("ours");
        }
        let choice = match dataset {
            "tasks" => CHOICES[choice],
            _ => Choice { dataset, ..Choice::ALL },
        };
        check_choice(&Findings::default(), (&database, &url), &client(&url), &choice, &sql);
    });
}
