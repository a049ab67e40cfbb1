//! A line of the result's table.

use crate::benchmark::render;
use crate::benchmark::result::Figures;
use diesel_export::units::grouped;

/// A line of the table, as text.
pub(crate) struct Row {
    pub(crate) strategy: &'static str,
    pub(crate) class: String,
    /// What it does, in a line.
    pub(crate) line: String,
    /// Refers to the note on which strategy was actually used.
    pub(crate) mark: &'static str,
    pub(crate) error: Option<String>,
    pub(crate) figures: Option<RowFigures>,
}

pub(crate) struct RowFigures {
    pub(crate) rows: String,
    pub(crate) seconds: String,
    pub(crate) range: String,
    pub(crate) scatters: bool,
    pub(crate) ratio: String,
    pub(crate) first_byte: String,
    pub(crate) memory: String,
    pub(crate) peak: String,
    pub(crate) cpu: String,
    pub(crate) database_cpu: String,
    pub(crate) rate: String,
    pub(crate) runs: String,
    pub(crate) memory_runs: String,
}

impl RowFigures {
    pub(crate) fn of(figures: &Figures) -> Self {
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
