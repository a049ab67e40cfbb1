//! The progress of a long task, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{
    HumanCount, HumanDuration, ProgressBar, ProgressFinish, ProgressState, ProgressStyle,
};

use diesel_export::{Observer, Summary};

const BAR: &str = "{msg} {wide_bar} {human_pos}/{human_len}  {rate}/s  {eta} left";
const SPINNER: &str = "{spinner} {msg}  {elapsed}";
/// Interval between two frames of the spinner, which moves even if no rows arrive.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// The progress of one task.
pub struct Progress {
    label: &'static str,
    unit: &'static str,
    total: u64,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Shows that nothing of `total` is done.
    pub fn start(label: &'static str, unit: &'static str, total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(BAR)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .with_key(
                    "rate",
                    |state: &ProgressState, text: &mut dyn fmt::Write| {
                        // Its own key for this has four digits after the point.
                        let _ = write!(text, "{}", HumanCount(state.per_sec() as u64));
                    },
                );
            ProgressBar::new(total)
                .with_style(style)
                .with_message(label)
        });
        let now = Instant::now();
        let progress = Self {
            label,
            unit,
            total,
            started: now,
            bar,
            last_line: now,
        };
        if progress.bar.is_none() {
            eprintln!("{label}: {} {unit}", HumanCount(total));
        }
        progress
    }

    /// Shows that `done` of the total is done.
    pub fn update(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_INTERVAL && done < self.total {
            self.last_line = Instant::now();
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            let left = Duration::from_secs_f64((self.total - done) as f64 / rate.max(1.0));
            eprintln!(
                "{}: {} of {} {} ({:.0} %), {} a second, {} left",
                self.label,
                HumanCount(done),
                HumanCount(self.total),
                self.unit,
                100.0 * done as f64 / self.total as f64,
                HumanCount(rate as u64),
                HumanDuration(left)
            );
        }
    }

    /// Shows that all is done.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{}: {} {} in {:.1} s",
            self.label,
            HumanCount(self.total),
            self.unit,
            self.started.elapsed().as_secs_f64()
        );
    }
}

/// The progress of an export, on a terminal only. The number of rows is not known before.
pub struct ExportProgress {
    spinner: ProgressBar,
}

impl ExportProgress {
    /// Shows how far it is, if that is to be `shown`.
    pub fn start(shown: bool) -> Self {
        if !shown {
            let spinner = ProgressBar::hidden();
            return Self { spinner };
        }
        let style = ProgressStyle::with_template(SPINNER)
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let spinner = ProgressBar::new_spinner()
            .with_style(style)
            .with_message("Exporting")
            // An error's line takes the spinner's place.
            .with_finish(ProgressFinish::AndClear);
        spinner.enable_steady_tick(SPINNER_INTERVAL);
        Self { spinner }
    }
}

/// The line about a finished file.
pub fn summary(path: &Path, rows: u64, bytes: u64, seconds: f64) -> String {
    format!(
        "{}: {} rows, {} bytes in {seconds:.1} s",
        path.display(),
        HumanCount(rows),
        HumanCount(bytes)
    )
}

impl Observer for ExportProgress {
    fn progress(&self, so_far: &Summary) {
        if !self.spinner.is_hidden() {
            self.spinner.set_message(format!(
                "Exporting: {} rows, {} bytes",
                HumanCount(so_far.rows),
                HumanCount(so_far.bytes)
            ));
        }
    }
}
