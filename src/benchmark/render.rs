//! A benchmark's result as text.

use std::fmt::Write;

use super::result::{Figures, Report, StrategyResult};
use diesel_export::Strategy;
use diesel_export::units::{grouped, readable_bytes};

const HEADER: [&str; 9] = [
    "strategy",
    "seconds",
    "min … max",
    "× fastest",
    "rows/s",
    "first byte",
    "memory + MiB",
    "CPU s",
    "CPU s, PostgreSQL",
];

/// The table, aligned for a terminal, with all that is needed to judge it.
pub fn text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = table(report);
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(String::as_str);
        cells
            .chain([HEADER[column]])
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(HEADER.map(str::to_owned).to_vec()).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let _ = write!(text, "\n{}", notes(report).join("\n"));
    text
}

/// The table in Markdown, with its date, machine and versions.
pub fn markdown(report: &Report) -> String {
    let mut text = format!(
        "| {} |\n|---|{}\n",
        HEADER.join(" | "),
        "---:|".repeat(HEADER.len() - 1)
    );
    for (row, result) in table(report).into_iter().zip(&report.results) {
        let cells = row.get(1..).unwrap_or_default().join(" | ");
        let name = result.strategy.name();
        let mark = mark(result);
        let _ = writeln!(text, "| `{name}`{mark} | {cells} |");
    }
    let _ = write!(text, "\n{}", notes(report).join("\n"));
    text
}

fn table(report: &Report) -> Vec<Vec<String>> {
    report.results.iter().map(row).collect()
}

fn row(result: &StrategyResult) -> Vec<String> {
    let name = format!("{}{}", result.strategy.name(), mark(result));
    let Some(figures) = &result.figures else {
        let mut row = vec![name, "failed".to_owned()];
        row.resize(HEADER.len(), "–".to_owned());
        return row;
    };
    vec![
        name,
        seconds(figures.seconds.median),
        spread(figures),
        ratio(figures),
        grouped(figures.rows_per_second.round() as u64),
        seconds(figures.first_byte_seconds.median),
        mebibytes(figures.memory_increase_bytes.median),
        seconds(figures.cpu_seconds.median),
        figures
            .database_cpu_seconds
            .as_ref()
            .map_or_else(|| "–".to_owned(), |cpu| seconds(cpu.median)),
    ]
}

/// Refers to the note on which strategy was actually used.
pub fn mark(result: &StrategyResult) -> &'static str {
    if result.concessions().is_empty() {
        ""
    } else {
        " †"
    }
}

/// The ratio to the fastest, with the range of the rounds.
pub fn ratio(figures: &Figures) -> String {
    let ratio = format!("{:.2}", figures.ratio_to_fastest);
    match &figures.round_ratios_to_fastest {
        Some(rounds) => format!("{ratio} ({:.2}…{:.2})", rounds.min, rounds.max),
        None => ratio,
    }
}

/// The meaning of the ratios' ranges, and the strategies that they do not distinguish; empty if there are no ranges.
pub fn ratio_notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let has_ranges = |(_, figures): (_, &Figures)| figures.round_ratios_to_fastest.is_some();
    if report.figures().any(has_ranges) {
        notes.push(
            "× fastest is the ratio of the medians; in parentheses the minimum and maximum of the ratios within one round."
                .to_owned(),
        );
    }
    let alike = names(&report.not_told_from_fastest());
    if !alike.is_empty() {
        notes.push(format!(
            "Not distinguishable from the fastest: {alike}. In at least one round it was as fast."
        ));
    }
    notes
}

/// What came out, in a sentence: the fastest strategy beside the slowest, with the range of its runs. `None` if all have failed.
pub fn verdict(report: &Report) -> Option<String> {
    let by_time = |one: &(Strategy, &Figures), other: &(Strategy, &Figures)| {
        one.1.seconds.median.total_cmp(&other.1.seconds.median)
    };
    let (fastest, best) = report.figures().min_by(by_time)?;
    let (slowest, worst) = report.figures().max_by(by_time)?;
    let range = match best.seconds.runs.len() {
        1 => String::new(),
        _ => format!(" ({})", spread(best)),
    };
    let took = format!(
        "{} took {} s{range}",
        fastest.name(),
        seconds(best.seconds.median)
    );
    if fastest == slowest {
        return Some(format!("{took}."));
    }
    let range = worst.round_ratios_to_fastest.as_ref();
    let range = range.map(|rounds| format!(" ({:.1} … {:.1})", rounds.min, rounds.max));
    let memory = |figures: &Figures| figures.memory_increase_bytes.median as f64;
    let share = memory(best) / memory(worst).max(1.0);
    let memory = match share {
        share if share < 0.95 => format!("{:.0} % of its memory", (share * 100.0).max(1.0)),
        share if share < 1.05 => "as much memory".to_owned(),
        share => format!("{share:.1} times its memory"),
    };
    Some(format!(
        "{took}, {:.1} times{} as fast as {}, with {memory}.",
        worst.ratio_to_fastest,
        range.unwrap_or_default(),
        slowest.name()
    ))
}

/// The strategies' names.
pub fn names(strategies: &[Strategy]) -> String {
    let names: Vec<_> = strategies.iter().map(|strategy| strategy.name()).collect();
    names.join(", ")
}

fn spread(figures: &Figures) -> String {
    let scatter = if figures.scatters() { " !" } else { "" };
    format!(
        "{} … {}{scatter}",
        seconds(figures.seconds.min),
        seconds(figures.seconds.max)
    )
}

/// The notes on the figures.
fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(first) = report.first() {
        notes.push(format!(
            "{} {}, {} bytes of CSV; medians of {}, each in a fresh process, memory above the idle process's.",
            grouped(first.rows),
            report.dataset.as_deref().unwrap_or("tasks"),
            grouped(first.bytes),
            runs(report.runs)
        ));
        notes.push(if report.same_bytes {
            format!(
                "All strategies gave the same bytes: SHA-256 {}.",
                first.sha256
            )
        } else {
            "The strategies did NOT give the same bytes.".to_owned()
        });
    }
    for result in &report.results {
        let concessions = result.concessions().into_iter();
        notes.extend(concessions.map(|concession| format!("† {concession}.")));
        if let Some(error) = &result.error {
            notes.push(format!("{} failed: {error}.", result.strategy.name()));
        }
    }
    notes.extend(ratio_notes(report));
    let scattered = names(&report.scattered());
    if !scattered.is_empty() {
        notes.push(format!(
            "The runs of {scattered} scatter (!): was the machine busy with something else?"
        ));
    }
    let environment = &report.environment;
    if environment.profile != "release" {
        notes.push(
            "This is a debug build: build with --release before you compare times.".to_owned(),
        );
    }
    notes.push(format!("{}.", machine(report)));
    notes
}

/// Date, machine and versions, in a line.
pub fn machine(report: &Report) -> String {
    let environment = &report.environment;
    let mut parts = vec![
        environment.date.clone(),
        format!("cmms-export {}", environment.version),
        format!("PostgreSQL {}", environment.postgresql),
        environment.kernel.clone(),
        format!(
            "{} cores of {}",
            environment.cores,
            environment
                .processor
                .as_deref()
                .unwrap_or("an unknown processor")
        ),
    ];
    if let Some(commit) = &environment.commit {
        parts.insert(2, format!("commit {commit}"));
    }
    if let Some(bytes) = environment.memory_bytes {
        parts.push(readable_bytes(bytes));
    }
    parts.join(", ")
}

/// Seconds with the significant digits.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        10.0.. => format!("{seconds:.1}"),
        1.0.. => format!("{seconds:.2}"),
        _ => format!("{seconds:.3}"),
    }
}

/// A moment in UTC, for people: `2026-11-22 14:16:26 UTC`.
pub fn moment(date: &str) -> String {
    date.replace('T', " ").replace('Z', " UTC")
}

/// Runs, counted.
pub fn runs(count: u32) -> String {
    format!("{count} {}", if count == 1 { "run" } else { "runs" })
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::super::result;
    use super::*;

    #[test]
    fn a_ratio_is_shown_with_its_range_as_text_and_in_markdown() {
        let report = result::report(&[
            (Strategy::Paged, &[4.0, 12.0, 10.0]),
            (Strategy::Copy, &[1.0, 3.0, 2.0]),
            (Strategy::Lookup, &[0.9, 5.0, 3.0]),
        ]);
        for (text, alike) in [
            (text(&report), "lookup "),
            (markdown(&report), "| `lookup` "),
        ] {
            assert!(text.contains(" 5.00 (4.00…5.00) "), "{text}");
            assert!(
                text.contains(" 1.50 (0.90…1.67) ") && text.contains(alike),
                "{text}"
            );
            assert!(
                text.contains("Not distinguishable from the fastest: lookup."),
                "{text}"
            );
        }
        assert_eq!(
            verdict(&report).as_deref(),
            Some(
                "copy took 2.00 s (1.00 … 3.00 !), 5.0 times (4.0 … 5.0) as fast as paged, with as much memory."
            )
        );
        let single = result::report(&[(Strategy::Paged, &[4.0]), (Strategy::Copy, &[1.0])]);
        assert_eq!(
            verdict(&single).as_deref(),
            Some("copy took 1.00 s, 4.0 times as fast as paged, with as much memory.")
        );
        let single = text(&single);
        assert!(
            single.contains(" 4.00 ") && !single.contains("× fastest is"),
            "{single}"
        );
    }
}
