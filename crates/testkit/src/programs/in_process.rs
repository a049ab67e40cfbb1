//! Exports in the test's own process. The test can act once the plan is known and at the first rows.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use cmms_export::datasets;
use diesel_export::cancellation::Cancellation;
use diesel_export::dataset::Selection;
use diesel_export::db::Database;
use diesel_export::{self as export, Error, Export, Observer, Plan, Sink, Strategy, Summary};

/// How long an export may take before it counts as hanging. Each takes well below a second.
pub const BOUND: Duration = Duration::from_secs(45);

/// What to export: which columns and rows of which dataset.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// The dataset.
    pub dataset: &'static str,
    /// The columns' names, or the default.
    pub columns: Option<&'static str>,
    /// A filter: its name, its value, and its condition in the oracle's SQL.
    pub filter: Option<[&'static str; 3]>,
}

impl Choice {
    /// All tasks, with the default columns.
    pub const ALL: Self = Self {
        dataset: "tasks",
        columns: None,
        filter: None,
    };

    /// An export of this choice by a strategy.
    pub fn export(&self, strategy: Strategy) -> Export {
        let catalog = datasets::catalog();
        let dataset = catalog.find(self.dataset).expect("declared");
        let mut export = Export::of(dataset);
        export.strategy = strategy;
        if let Some(columns) = self.columns {
            export.columns = Selection::parse(dataset, columns).expect("there are such");
        }
        if let Some([name, value, _]) = self.filter {
            let mut fields = dataset.filters().iter();
            let field = fields.find(|field| field.name() == name).expect("there");
            let value = field.parse(value).expect("one of its values");
            export.filter.set(field, value).expect("its filter");
        }
        export
    }

    /// The filter in the oracle's SQL.
    pub fn condition(&self) -> &'static str {
        self.filter.map_or("true", |[_, _, sql]| sql)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self
            .filter
            .map_or(String::new(), |[name, value, _]| format!("&{name}={value}"));
        write!(
            f,
            "{}?{}{filter}",
            self.dataset,
            self.columns.unwrap_or_default()
        )
    }
}

/// The result of an export.
pub struct Outcome {
    /// How it ended.
    pub result: Result<Summary, Error>,
    /// Its plan, if it came that far.
    pub plan: Option<Plan>,
    /// What it wrote.
    pub csv: Vec<u8>,
    /// Whether it had to be stopped.
    pub never_ends: bool,
}

impl Outcome {
    /// Returns the CSV of an export that must be complete.
    pub fn whole(&self, what: &str) -> &[u8] {
        assert!(!self.never_ends, "{what}: does not end");
        if let Err(error) = &self.result {
            panic!("{what}: {error}");
        }
        &self.csv
    }
}

/// A database for exports, with connections of its own.
pub fn client(url: &str) -> Database {
    Database::new(url, 8, Duration::from_secs(5))
}

/// Runs an export to its end.
pub fn run(database: &Database, export: &Export) -> Outcome {
    run_with(database, export, || (), || ())
}

/// Runs an export, and stops at the plan and at the first rows until the test has acted. At the plan, `lookup` has all of its connections,
/// and has read names but no rows.
pub fn run_with(
    database: &Database,
    export: &Export,
    mut at_plan: impl FnMut(),
    mut at_first: impl FnMut(),
) -> Outcome {
    let cancellation = Cancellation::default();
    let planned = Planned {
        plan: RefCell::default(),
        at_plan: RefCell::new(&mut at_plan),
    };
    let mut sink = Recorder {
        csv: Vec::new(),
        at_first: &mut at_first,
    };
    let (result, never_ends) = std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let cancellation = &cancellation;
        let watchdog = scope.spawn(move || {
            let never_ends = end.recv_timeout(BOUND) == Err(RecvTimeoutError::Timeout);
            if never_ends {
                cancellation.cancel();
            }
            never_ends
        });
        let result = export::run(export, database, cancellation, &planned, &mut sink);
        drop(ended);
        (result, watchdog.join().expect("it does not panic"))
    });
    Outcome {
        result,
        csv: sink.csv,
        plan: planned.plan.into_inner(),
        never_ends,
    }
}

struct Recorder<'a> {
    csv: Vec<u8>,
    at_first: &'a mut dyn FnMut(),
}

impl Sink for Recorder<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        // The header may come alone.
        let first = self.csv.len() < 100;
        self.csv.extend_from_slice(&chunk);
        if first && self.csv.len() >= 100 {
            (self.at_first)();
        }
        Ok(())
    }
}

struct Planned<'a> {
    plan: RefCell<Option<Plan>>,
    at_plan: RefCell<&'a mut dyn FnMut()>,
}

impl Observer for Planned<'_> {
    fn plan(&self, plan: &Plan) {
        self.plan.replace(Some(plan.clone()));
        (self.at_plan.borrow_mut())();
    }
}
