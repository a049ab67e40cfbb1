//! Two results of the benchmark, side by side.

use crate::benchmark::render;
use crate::benchmark::result::Report;
use crate::benchmark::web::page::Kept;
use diesel_export::Strategy;

pub(crate) struct Comparison {
    pub(crate) first: Kept,
    pub(crate) second: Kept,
    /// The differences of their environments.
    pub(crate) differences: String,
    pub(crate) rows: Vec<ComparedRow>,
}

pub(crate) struct ComparedRow {
    pub(crate) strategy: &'static str,
    pub(crate) seconds: [String; 2],
    pub(crate) seconds_change: String,
    pub(crate) memory: [String; 2],
}

impl Comparison {
    pub(crate) fn of(first: &(String, Report), second: &(String, Report)) -> Self {
        let rows = Strategy::all().iter().filter_map(|strategy| {
            let of = |report: &Report| {
                report
                    .figures()
                    .find(|(known, _)| known == strategy)
                    .map(|(_, figures)| figures.clone())
            };
            let both = [of(&first.1)?, of(&second.1)?];
            let medians = both.each_ref().map(|figures| figures.seconds.median);
            Some(ComparedRow {
                strategy: strategy.name(),
                seconds: medians.map(render::seconds),
                seconds_change: format!("{:+.0} %", 100.0 * (medians[1] / medians[0] - 1.0)),
                memory: both
                    .each_ref()
                    .map(|figures| render::mebibytes(figures.memory_increase_bytes.median)),
            })
        });
        Self {
            rows: rows.collect(),
            differences: differences(&first.1, &second.1),
            first: Kept::of(first),
            second: Kept::of(second),
        }
    }
}

/// Returns the differences of the environments; empty if there are none.
pub(crate) fn differences(a: &Report, b: &Report) -> String {
    let of = |report: &Report| {
        let data = report.first().map(|first| first.sha256.clone());
        let environment = report.environment.clone();
        let machine = (
            environment.processor,
            environment.cores,
            environment.memory_bytes,
            environment.kernel,
        );
        let postgresql = (environment.postgresql, environment.settings);
        let program = (
            environment.version,
            environment.commit,
            environment.compiler,
            environment.profile,
        );
        (data, machine, postgresql, program)
    };
    let (a, b) = (of(a), of(b));
    let differences = [
        ("their tasks", a.0 != b.0),
        ("the machine", a.1 != b.1),
        ("PostgreSQL or its settings", a.2 != b.2),
        ("the program", a.3 != b.3),
    ];
    let names = differences
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(", ")
}
