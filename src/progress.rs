//! How far a long piece of work is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};

const BAR: &str = "{msg} {wide_bar} {human_pos}/{human_len}  {rate} a second  {eta} left";
/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// The progress of one piece of work.
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
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            // Indicatif's own rate has four decimals.
            let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
                let _ = write!(text, "{}", HumanCount(state.per_sec() as u64));
            });
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
