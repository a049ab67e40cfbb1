//! The `lookup` strategy: what only it can get wrong, and when it becomes `copy`.

mod few;
mod losses;
mod rows;
mod ways;

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use cmms_export::datasets;
use diesel::connection::SimpleConnection;
use diesel_export::cancellation::Cancellation;
use diesel_export::db::Database;
use diesel_export::{self as export, Error, Export, Observer, Plan, Sink, Strategy, Summary};

use crate::support::{TestDatabase, oracle};

/// Enough tasks for several ranges and all connections.
const TASKS: &str = "60000";

/// Keeps the CSV, and does something at the first bytes.
struct Recorder<'a> {
    csv: Vec<u8>,
    plan: &'a RefCell<Option<Plan>>,
    at_first: &'a mut dyn FnMut() -> io::Result<()>,
}

/// Keeps the plan, and does something when it comes.
struct Planned<'a> {
    plan: RefCell<Option<Plan>>,
    at_plan: RefCell<&'a mut dyn FnMut()>,
}

impl Observer for Planned<'_> {
    fn plan(&self, plan: &Plan) {
        assert_eq!(self.plan.replace(Some(plan.clone())), None, "once");
        (self.at_plan.borrow_mut())();
    }
}

impl Sink for Recorder<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        assert!(self.plan.borrow().is_some(), "after the plan");
        // The header may come alone.
        let first = self.csv.len() < 100;
        self.csv.extend_from_slice(&chunk);
        if first && self.csv.len() >= 100 {
            (self.at_first)()?;
        }
        Ok(())
    }
}

fn everything() -> Export {
    Export::of(datasets::catalog().default())
}

struct Outcome {
    result: Result<Summary, Error>,
    plan: Option<Plan>,
    csv: Vec<u8>,
}

impl Outcome {
    fn strategy(&self) -> Strategy {
        self.plan.as_ref().expect("begun").strategy
    }
}

fn client(database: &TestDatabase) -> Database {
    Database::new(&database.url, 8, Duration::from_secs(5))
}

fn run(
    database: &Database,
    export: &Export,
    mut at_plan: impl FnMut(),
    mut at_first: impl FnMut() -> io::Result<()>,
    cancellation: &Cancellation,
) -> Outcome {
    let planned = Planned {
        plan: RefCell::default(),
        at_plan: RefCell::new(&mut at_plan),
    };
    let mut sink = Recorder {
        csv: Vec::new(),
        plan: &planned.plan,
        at_first: &mut at_first,
    };
    let result = export::run(export, database, cancellation, &planned, &mut sink);
    let csv = sink.csv;
    let plan = planned.plan.into_inner();
    Outcome { result, plan, csv }
}

fn lookup(database: &Database) -> Outcome {
    run(
        database,
        &everything(),
        || (),
        || Ok(()),
        &Cancellation::default(),
    )
}

/// Exports with the default, which must be complete and right, and returns how it was made.
fn check(database: &TestDatabase) -> Plan {
    let outcome = lookup(&client(database));
    outcome.result.as_ref().expect("whole");
    assert!(
        outcome.csv == oracle::copy(database, "true", ','),
        "other bytes than psql's"
    );
    outcome.plan.expect("begun")
}

fn change(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect();
    connection.batch_execute(sql).expect("the SQL runs");
}
