//! A line of the result's table.

use crate::bench::render;
use crate::bench::result::Figures;
use diesel_export::units::grouped;

/// A line of the table, as text.
pub(super) struct Row {
    pub(super) strategy: &'static str,
    pub(super) class: String,
    /// What it does, in a line.
    pub(super) line: &'static str,
    /// Refers to the note on which strategy was actually used.
    pub(super) mark: &'static str,
    pub(super) article: Option<&'static str>,
    pub(super) error: Option<String>,
    pub(super) figures: Option<RowFigures>,
}

pub(super) struct RowFigures {
    pub(super) rows: String,
    pub(super) seconds: String,
    pub(super) range: String,
    pub(super) scatters: bool,
    pub(super) ratio: String,
    pub(super) first_byte: String,
    pub(super) memory: String,
    pub(super) peak: String,
    pub(super) cpu: String,
    pub(super) database_cpu: String,
    pub(super) rate: String,
    pub(super) runs: String,
    pub(super) memory_runs: String,
}

impl RowFigures {
    pub(super) fn of(figures: &Figures) -> Self {
        use render::{mebibytes, seconds};
        let list = |values: Vec<String>| values.join(" · ");
        Self {
            rows: grouped(figures.rows),
            seconds: seconds(figures.seconds.median),
            range: format!(
                "{} … {}",
                seconds(figures.seconds.min),
                seconds(figures.seconds.max)
            ),
            scatters: figures.scatters(),
            ratio: render::ratio(figures),
            first_byte: seconds(figures.first_byte_seconds.median),
            memory: mebibytes(figures.memory_increase_bytes.median),
            peak: mebibytes(figures.peak_memory_bytes.median),
            cpu: seconds(figures.cpu_seconds.median),
            database_cpu: figures
                .database_cpu_seconds
                .as_ref()
                .map_or_else(|| "–".to_owned(), |cpu| seconds(cpu.median)),
            rate: grouped(figures.rows_per_second.round() as u64),
            runs: list(
                figures
                    .seconds
                    .runs
                    .iter()
                    .map(|run| seconds(*run))
                    .collect(),
            ),
            memory_runs: list(
                figures
                    .memory_increase_bytes
                    .runs
                    .iter()
                    .map(|run| mebibytes(*run))
                    .collect(),
            ),
        }
    }
}
