//! The result of a benchmark.

mod spread;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AllOf, Object, OneOf, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::environment::Environment;
use diesel_export::{Plan, Strategy};

pub use spread::Spread;

/// Runs scatter if the slowest took this many times as long as the fastest.
pub(crate) const SCATTER: f64 = 1.5;

/// A benchmark: its environment, and the result of each strategy.
// Earlier versions imported results of other machines and marked them with an extra field. They do not count as this machine's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The machine, the database, the program.
    pub environment: Environment,
    /// The dataset of a file; none is the tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The number of tasks that was requested; none is all.
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64)]
    pub rows_limit: Option<u64>,
    /// Runs of each strategy, after one that does not count.
    #[schema(minimum = 1, maximum = 100)]
    pub runs: u32,
    /// The order of each round.
    pub order: Vec<Vec<Strategy>>,
    /// Whether all runs of all strategies wrote the same bytes.
    pub same_bytes: bool,
    /// The strategies, in their usual order.
    pub results: Vec<StrategyResult>,
}

/// The result of a strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyResult {
    /// How the rows were loaded.
    pub strategy: Strategy,
    /// Why it failed; it was not run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The figures, if it did not fail.
    #[serde(flatten)]
    pub figures: Option<Figures>,
}

/// Either the figures or the error, which the derived schema would not express.
impl PartialSchema for StrategyResult {
    fn schema() -> RefOr<Schema> {
        let strategy = Object::builder()
            .property("strategy", Ref::from_schema_name("Strategy"))
            .required("strategy");
        let error = Object::builder()
            .property("error", Object::with_type(Type::String))
            .required("error");
        let outcome = OneOf::builder()
            .item(Ref::from_schema_name("Figures"))
            .item(error);
        AllOf::builder().item(strategy).item(outcome).into()
    }
}

impl ToSchema for StrategyResult {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Strategy".to_owned(), Strategy::schema()));
        schemas.push(("Figures".to_owned(), Figures::schema()));
        Figures::schemas(schemas);
    }
}

/// The figures of a strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// Lines after the header.
    pub rows: u64,
    /// Bytes of CSV.
    pub bytes: u64,
    /// The SHA-256 of the CSV, in hexadecimal.
    pub sha256: String,
    /// The plans of the runs: `lookup` may have been `copy`. If they differ, there are several.
    #[serde(default)]
    pub plans: Vec<Plan>,
    /// From the start to the last byte.
    pub seconds: Spread<f64>,
    /// From the start to the first byte.
    pub first_byte_seconds: Spread<f64>,
    /// The peak resident memory of the process (`VmHWM`).
    pub peak_memory_bytes: Spread<u64>,
    /// The same, above the memory of the process when it was connected and idle.
    pub memory_increase_bytes: Spread<u64>,
    /// Processor time of the process.
    pub cpu_seconds: Spread<f64>,
    /// Processor time of PostgreSQL's backends, in hundredths; `None` if the system does not report it.
    pub database_cpu_seconds: Option<Spread<f64>>,
    /// Rows a second, by the median time.
    pub rows_per_second: f64,
    /// The ratio of the median time to that of the fastest strategy.
    pub ratio_to_fastest: f64,
    /// The same ratio within each round, whose runs were nearest to each other in time: the ratio of the medians lies between its minimum
    /// and maximum. None for the fastest itself, and if there is only one run.
    #[serde(default)]
    pub round_ratios_to_fastest: Option<Spread<f64>>,
    /// The memory over time, of each run.
    #[schema(value_type = Vec<Vec<Vec<f64>>>)]
    pub memory_curves: Vec<Vec<Sample>>,
}

/// The memory at a moment of a run: seconds since its start, and bytes above the idle level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample(pub f64, pub u64);

/// One run of a strategy, as its process reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) plan: Option<Plan>,
    pub(super) seconds: f64,
    pub(super) first_byte_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) database_cpu_seconds: Option<f64>,
    pub(super) peak_memory_bytes: u64,
    pub(super) idle_memory_bytes: u64,
    pub(super) memory_curve: Vec<Sample>,
}

impl StrategyResult {
    /// What its runs did less than was requested, and why.
    pub fn concessions(&self) -> Vec<String> {
        let plans = self.figures.iter().flat_map(|figures| &figures.plans);
        let concession = |plan: &Plan| {
            let because = plan.because.as_ref()?;
            let name = self.strategy.name();
            Some(if plan.strategy == self.strategy {
                format!("{name} had {} connections: {because}", plan.connections)
            } else {
                format!("{name} was {}: {because}", plan.strategy.name())
            })
        };
        plans.filter_map(concession).collect()
    }

    /// Summarizes the runs of a strategy, or the failure of one of them; the ratio is still to be set.
    pub(super) fn of(strategy: Strategy, runs: Result<Vec<Run>, String>) -> Self {
        let figures = runs.and_then(|runs| {
            if runs.iter().any(|run| run.sha256 != runs[0].sha256) {
                return Err("its bytes differ from run to run: the tasks changed meanwhile".into());
            }
            Figures::of(&runs).ok_or_else(|| "it was not run".to_owned())
        });
        Self {
            strategy,
            error: figures.as_ref().err().cloned(),
            figures: figures.ok(),
        }
    }
}

impl Figures {
    fn of(runs: &[Run]) -> Option<Self> {
        let first = runs.first()?;
        let seconds =
            |of: fn(&Run) -> f64| Spread::of(runs.iter().map(of).collect(), f64::midpoint);
        let bytes = |of: fn(&Run) -> u64| Spread::of(runs.iter().map(of).collect(), u64::midpoint);
        let total = seconds(|run| run.seconds)?;
        let database_cpu: Option<Vec<f64>> =
            runs.iter().map(|run| run.database_cpu_seconds).collect();
        let mut plans: Vec<Plan> = Vec::new();
        for plan in runs.iter().filter_map(|run| run.plan.as_ref()) {
            if !plans.contains(plan) {
                plans.push(plan.clone());
            }
        }
        Some(Self {
            rows: first.rows,
            bytes: first.bytes,
            sha256: first.sha256.clone(),
            plans,
            rows_per_second: first.rows as f64 / total.median,
            seconds: total,
            first_byte_seconds: seconds(|run| run.first_byte_seconds)?,
            peak_memory_bytes: bytes(|run| run.peak_memory_bytes)?,
            memory_increase_bytes: bytes(|run| {
                run.peak_memory_bytes.saturating_sub(run.idle_memory_bytes)
            })?,
            cpu_seconds: seconds(|run| run.cpu_seconds)?,
            database_cpu_seconds: database_cpu.and_then(|runs| Spread::of(runs, f64::midpoint)),
            ratio_to_fastest: 1.0,
            round_ratios_to_fastest: None,
            memory_curves: runs.iter().map(|run| run.memory_curve.clone()).collect(),
        })
    }

    /// Whether the runs differ so much that their median says little.
    pub fn scatters(&self) -> bool {
        self.seconds.max > SCATTER * self.seconds.min
    }

    /// Whether the fastest strategy was faster in every round. True also of what has no ratios: the fastest itself, single runs.
    pub fn is_told_from_fastest(&self) -> bool {
        self.round_ratios_to_fastest
            .as_ref()
            .is_none_or(|ratios| ratios.min > 1.0)
    }

    /// The memory over time in the run of the median time.
    pub fn memory_curve(&self) -> &[Sample] {
        self.memory_curves
            .get(self.seconds.median_run())
            .map_or(&[], Vec::as_slice)
    }
}

impl Report {
    pub(super) fn new(
        environment: Environment,
        rows_limit: Option<u64>,
        runs: u32,
        order: Vec<Vec<Strategy>>,
        results: Vec<StrategyResult>,
    ) -> Self {
        let report = Self {
            environment,
            dataset: None,
            rows_limit,
            runs,
            order,
            same_bytes: false,
            results,
        };
        report.compared()
    }

    /// The same, with all that follows from a comparison of the strategies computed again: a report that another version of the program has
    /// written may lack it.
    pub fn compared(mut self) -> Self {
        let first = self.first().map(|first| first.sha256.as_str());
        let is_first = |(_, figures): (_, &Figures)| Some(figures.sha256.as_str()) == first;
        let same_bytes = self.figures().all(is_first);
        self.same_bytes = same_bytes;
        let medians = self
            .figures()
            .map(|(strategy, figures)| (strategy, figures.seconds.clone()));
        let fastest = medians.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        for result in &mut self.results {
            let (Some((first, fastest)), Some(figures)) = (&fastest, &mut result.figures) else {
                continue;
            };
            figures.ratio_to_fastest = figures.seconds.median / fastest.median;
            let pairs = figures.seconds.runs.iter().zip(&fastest.runs);
            let ratios: Vec<f64> = pairs.map(|(run, fastest)| run / fastest).collect();
            figures.round_ratios_to_fastest = if ratios.len() > 1 && result.strategy != *first {
                Spread::of(ratios, f64::midpoint)
            } else {
                None
            };
        }
        self
    }

    /// All of it, for people and programs.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = serde_json::to_vec(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// What was measured, strategy by strategy, of those that did not fail.
    pub fn figures(&self) -> impl Iterator<Item = (Strategy, &Figures)> {
        self.results
            .iter()
            .filter_map(|result| Some((result.strategy, result.figures.as_ref()?)))
    }

    /// The first strategy's figures; its CSV is every strategy's if all wrote the same bytes.
    pub fn first(&self) -> Option<&Figures> {
        results_first(&self.results)
    }

    /// The strategies that these runs do not show to be slower than another one, though their medians are.
    pub fn not_told_from_fastest(&self) -> Vec<Strategy> {
        self.figures()
            .filter(|(_, figures)| !figures.is_told_from_fastest())
            .map(|(strategy, _)| strategy)
            .collect()
    }

    /// The strategies whose runs differ so much that their medians say little.
    pub fn scattered(&self) -> Vec<Strategy> {
        self.figures()
            .filter(|(_, figures)| figures.scatters())
            .map(|(strategy, _)| strategy)
            .collect()
    }
}

fn results_first(results: &[StrategyResult]) -> Option<&Figures> {
    results.iter().find_map(|result| result.figures.as_ref())
}

/// A report of strategies that took this many seconds, run by run.
#[cfg(test)]
pub(super) fn report(seconds: &[(Strategy, &[f64])]) -> Report {
    let run = |seconds: &f64| Run {
        rows: 2,
        bytes: 3,
        sha256: "ab".repeat(32),
        plan: None,
        seconds: *seconds,
        first_byte_seconds: seconds / 2.0,
        cpu_seconds: 0.0,
        database_cpu_seconds: None,
        peak_memory_bytes: 5,
        idle_memory_bytes: 4,
        memory_curve: vec![Sample(0.0, 1)],
    };
    let runs = seconds.first().map_or(0, |(_, runs)| runs.len());
    let results = seconds
        .iter()
        .map(|(strategy, runs)| StrategyResult::of(*strategy, Ok(runs.iter().map(run).collect())))
        .collect();
    Report::new(Environment::default(), None, runs as u32, vec![], results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let spread = |runs: &[f64]| Spread::of(runs.to_vec(), f64::midpoint);
        assert_eq!(spread(&[]), None);
        let odd = spread(&[3.0, 1.0, 2.0]);
        assert_eq!(
            odd.as_ref().map(|odd| (odd.median, odd.min, odd.max)),
            Some((2.0, 1.0, 3.0))
        );
        assert_eq!(odd.map(|odd| odd.median_run()), Some(2));
        let even = spread(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!(even.as_ref().map(|even| even.median), Some(2.5));
        assert_eq!(even.map(|even| even.median_run()), Some(3));
    }

    #[test]
    fn a_ratio_has_the_range_of_the_rounds_of_which_it_is() {
        let ratios = |seconds: &[(Strategy, &[f64])]| {
            let report = report(seconds);
            let of = |(_, figures): (_, &Figures)| {
                let rounds = figures.round_ratios_to_fastest.as_ref();
                (
                    figures.ratio_to_fastest,
                    rounds.map(|ratios| (ratios.min, ratios.max)),
                    figures.is_told_from_fastest(),
                )
            };
            report.figures().map(of).collect::<Vec<_>>()
        };
        // The machine was slow in the second round: the times scatter, the ratios do not.
        let (copy, paged): (&[f64], &[f64]) = (&[1.0, 3.0, 2.0], &[4.0, 12.0, 10.0]);
        assert_eq!(
            ratios(&[(Strategy::Copy, copy), (Strategy::Paged, paged)]),
            [(1.0, None, true), (5.0, Some((4.0, 5.0)), true)]
        );
        // By the medians 2.5 times as slow, but not in each round.
        let paged: &[f64] = &[0.5, 6.0, 5.0];
        assert_eq!(
            ratios(&[(Strategy::Copy, copy), (Strategy::Paged, paged)]),
            [(1.0, None, true), (2.5, Some((0.5, 2.5)), false)]
        );
        // A single run says nothing of how certain it is.
        assert_eq!(
            ratios(&[(Strategy::Copy, &[1.0]), (Strategy::Paged, &[2.0])]),
            [(1.0, None, true), (2.0, None, true)]
        );
        assert_eq!(ratios(&[]), []);
    }
}
