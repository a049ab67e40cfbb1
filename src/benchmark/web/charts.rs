//! Charts as SVG. They need no library, no script, and nothing that a content security policy would forbid. Their colours are in the style
//! sheet, by the class of the strategy's position among all.

use std::fmt::Write;

use crate::benchmark::result::{Figures, Report, Spread};
use diesel_export::Strategy;

/// Units of the chart: few, so that its text is readable on a phone.
const WIDTH: f64 = 330.0;
/// Where the axis of the dots starts and ends. The names stand before it, the medians behind it.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 272.0;
/// The height of a strategy's dots.
const ROW: f64 = 30.0;
/// Where the curves start and end. Their names stand behind them.
const CURVES_LEFT: f64 = 40.0;
const CURVES_RIGHT: f64 = 244.0;
const CURVES_HEIGHT: f64 = 172.0;
/// The height of a name.
const NAME: f64 = 15.0;

/// The seconds of each strategy: every run a dot, the median a line.
pub(super) fn seconds(report: &Report) -> String {
    let rows = report
        .figures()
        .map(|(strategy, figures)| (strategy, figures.seconds.clone()));
    dots("Time of each strategy", "seconds", rows.collect())
}

/// The memory that each strategy needs: every run a dot, the median a line.
pub(super) fn memory(report: &Report) -> String {
    let rows = report.figures().map(|(strategy, figures)| {
        let increase = &figures.memory_increase_bytes;
        let spread = Spread {
            median: mebibytes(increase.median),
            min: mebibytes(increase.min),
            max: mebibytes(increase.max),
            runs: increase.runs.iter().copied().map(mebibytes).collect(),
        };
        (strategy, spread)
    });
    dots("Memory of each strategy", "MiB", rows.collect())
}

/// The memory over time, of each strategy's median run.
pub(super) fn memory_curves(report: &Report) -> String {
    let lines: Vec<Line> = report
        .figures()
        .map(|(strategy, figures)| Line {
            strategy,
            points: figures
                .memory_curve()
                .iter()
                .map(|sample| (sample.0, mebibytes(sample.1)))
                .collect(),
        })
        .collect();
    curves("Memory over time", ("seconds", "MiB"), &lines, false)
}

/// The memory over the number of tasks, of reports of several sizes; `None` if there is only one size.
pub(super) fn memory_growth(reports: &[Report]) -> Option<String> {
    growth("Memory", "MiB", reports, |figures| {
        mebibytes(figures.memory_increase_bytes.median)
    })
}

/// The time over the number of tasks, of reports of several sizes; `None` if there is only one size.
pub(super) fn time_growth(reports: &[Report]) -> Option<String> {
    growth("Time", "seconds", reports, |figures| figures.seconds.median)
}

fn growth(
    what: &str,
    unit: &str,
    reports: &[Report],
    figure: fn(&Figures) -> f64,
) -> Option<String> {
    let mut lines: Vec<Line> = Vec::new();
    for strategy in Strategy::all() {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for report in reports {
            let mut figures = report.figures();
            // If another strategy was actually used, the figures say nothing about this one.
            let figures = figures.find(|(known, figures)| {
                known == strategy && figures.plans.iter().all(|plan| plan.strategy == *known)
            });
            if let Some((_, figures)) = figures {
                let point = (figures.rows as f64, figure(figures));
                // The reports are the latest first: of a size, the latest counts.
                if points.iter().all(|known| known.0 != point.0) {
                    points.push(point);
                }
            }
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if points.len() > 1 {
            lines.push(Line {
                strategy: *strategy,
                points,
            });
        }
    }
    let title = format!("{what} over the number of tasks");
    (!lines.is_empty()).then(|| curves(&title, ("tasks", unit), &lines, true))
}

/// Returns the class of a strategy's colour in the style sheet.
pub(super) fn class(strategy: Strategy) -> String {
    let place = Strategy::all().iter().position(|known| *known == strategy);
    format!("s{}", place.unwrap_or_default())
}

struct Line {
    strategy: Strategy,
    points: Vec<(f64, f64)>,
}

fn dots(title: &str, unit: &str, rows: Vec<(Strategy, Spread<f64>)>) -> String {
    let most = rows
        .iter()
        .map(|(_, spread)| spread.max)
        .fold(0.0, f64::max);
    let axis = Axis::up_to(most);
    let bottom = ROW * rows.len() as f64 + 8.0;
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / axis.end;
    let said: Vec<String> = rows
        .iter()
        .map(|(strategy, spread)| format!("{} {}", strategy.name(), short(spread.median)))
        .collect();
    let description = format!("Medians in {unit}: {}.", said.join(", "));
    let mut svg = open(title, &description, bottom + 20.0);
    axis.ticks().for_each(|tick| {
        let at = x(tick);
        line(&mut svg, "grid", (at, 4.0), (at, bottom));
        text(
            &mut svg,
            "tick",
            "middle",
            (at, bottom + 14.0),
            &axis.label(tick),
        );
    });
    for (index, (strategy, spread)) in rows.iter().enumerate() {
        let middle = ROW * (index as f64 + 0.5) + 8.0;
        let class = class(*strategy);
        text(
            &mut svg,
            "name",
            "end",
            (LEFT - 8.0, middle + 4.0),
            strategy.name(),
        );
        line(
            &mut svg,
            "range",
            (x(spread.min), middle),
            (x(spread.max), middle),
        );
        for run in &spread.runs {
            let _ = write!(
                svg,
                r#"<circle class="dot {class}" cx="{:.1}" cy="{middle:.1}" r="4.5"><title>{}: {} {unit}</title></circle>"#,
                x(*run),
                strategy.name(),
                short(*run)
            );
        }
        let median = x(spread.median);
        line(
            &mut svg,
            &format!("median {class}"),
            (median, middle - 11.0),
            (median, middle + 11.0),
        );
        text(
            &mut svg,
            "value",
            "end",
            (WIDTH - 4.0, middle + 4.0),
            &short(spread.median),
        );
    }
    svg + "</svg>"
}

fn curves(title: &str, (x_unit, y_unit): (&str, &str), lines: &[Line], marked: bool) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_axis = Axis::up_to(points().map(|point| point.0).fold(0.0, f64::max));
    let y_axis = Axis::up_to(points().map(|point| point.1).fold(0.0, f64::max));
    let (top, bottom) = (14.0, CURVES_HEIGHT);
    let x = |value: f64| CURVES_LEFT + (CURVES_RIGHT - CURVES_LEFT) * value / x_axis.end;
    let y = |value: f64| bottom - (bottom - top) * value / y_axis.end;
    let said: Vec<String> = lines
        .iter()
        .map(|line| {
            let most = line.points.iter().map(|point| point.1).fold(0.0, f64::max);
            format!("{} up to {}", line.strategy.name(), short(most))
        })
        .collect();
    let description = format!("In {y_unit}: {}.", said.join(", "));
    let mut svg = open(title, &description, bottom + 20.0);
    y_axis.ticks().for_each(|tick| {
        let at = y(tick);
        line(&mut svg, "grid", (CURVES_LEFT, at), (CURVES_RIGHT, at));
        text(
            &mut svg,
            "tick",
            "end",
            (CURVES_LEFT - 6.0, at + 4.0),
            &y_axis.label(tick),
        );
    });
    x_axis.ticks().for_each(|tick| {
        text(
            &mut svg,
            "tick",
            "middle",
            (x(tick), bottom + 15.0),
            &x_axis.label(tick),
        );
    });
    text(&mut svg, "tick", "start", (4.0, 9.0), y_unit);
    let unit_at = (CURVES_RIGHT + 14.0, bottom + 15.0);
    text(&mut svg, "tick", "start", unit_at, x_unit);
    for line in lines {
        let class = class(line.strategy);
        let points: Vec<String> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let _ = write!(
            svg,
            r#"<polyline class="curve {class}" points="{}"><title>{}</title></polyline>"#,
            points.join(" "),
            line.strategy.name()
        );
        for point in line.points.iter().filter(|_| marked) {
            let _ = write!(
                svg,
                r#"<circle class="point {class}" cx="{:.1}" cy="{:.1}" r="3.5"><title>{}: {} {x_unit}, {} {y_unit}</title></circle>"#,
                x(point.0),
                y(point.1),
                line.strategy.name(),
                short(point.0),
                short(point.1)
            );
        }
    }
    let ends = lines
        .iter()
        .map(|line| y(line.points.last().map_or(0.0, |end| end.1)));
    // Clear of the axis's unit.
    for (line, at) in lines.iter().zip(apart(ends.collect(), bottom - 6.0)) {
        let class = class(line.strategy);
        let _ = write!(
            svg,
            r#"<circle class="key {class}" cx="{:.1}" cy="{at:.1}" r="4"/>"#,
            CURVES_RIGHT + 14.0
        );
        let name_at = (CURVES_RIGHT + 23.0, at + 4.5);
        text(&mut svg, "", "start", name_at, line.strategy.name());
    }
    svg + "</svg>"
}

/// Places names beside the curves' `ends`: in their order, and far enough apart to be readable.
fn apart(ends: Vec<f64>, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by(|a, b| ends[*b].total_cmp(&ends[*a]));
    let mut heights = ends;
    let mut lowest = bottom;
    for index in order {
        heights[index] = heights[index].min(lowest);
        lowest = heights[index] - NAME;
    }
    heights
}

/// An axis from 0, with ticks at round figures.
struct Axis {
    end: f64,
    step: f64,
}

impl Axis {
    fn up_to(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / 4.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|round| round * power)
            .into_iter()
            .find(|step| most / step <= 4.5)
            .unwrap_or(10.0 * power);
        Self {
            end: (most * 1.04).max(step),
            step,
        }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..10)
            .map(|index| f64::from(index) * self.step)
            .take_while(|tick| *tick <= self.end)
    }

    fn label(&self, tick: f64) -> String {
        if tick == 0.0 {
            return "0".to_owned();
        }
        if self.step >= 1_000.0 {
            return format!("{}k", tick / 1_000.0);
        }
        let places = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{tick:.places$}")
    }
}

fn open(title: &str, description: &str, height: f64) -> String {
    // The names are the program's own: none has a character that must be escaped.
    let id = title.to_lowercase().replace(' ', "-");
    format!(
        r#"<svg class="chart" role="img" aria-labelledby="{id} {id}-text" viewBox="0 0 {WIDTH} {height}"><title id="{id}">{title}</title><desc id="{id}-text">{description}</desc>"#
    )
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = write!(
        svg,
        r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
    );
}

fn text(svg: &mut String, class: &str, anchor: &str, at: (f64, f64), text: &str) {
    let (x, y) = at;
    let _ = write!(
        svg,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
    );
}

/// Writes a value with about three digits.
fn short(value: f64) -> String {
    match value {
        100.0.. => diesel_export::units::grouped(value.round() as u64),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_and_round_ticks() {
        for (most, ticks) in [
            (0.0, vec![0.0, 0.5, 1.0]),
            (0.9, vec![0.0, 0.2, 0.4, 0.6, 0.8]),
            (237.0, vec![0.0, 100.0, 200.0]),
            (1_000_000.0, vec![0.0, 500_000.0, 1_000_000.0]),
        ] {
            let axis = Axis::up_to(most);
            let found: Vec<f64> = axis.ticks().collect();
            assert_eq!(found.len(), ticks.len(), "{most}: {found:?}");
            assert!(axis.end >= most);
        }
    }

    #[test]
    fn names_of_neighbours_are_apart_and_in_their_order() {
        let heights = apart(vec![190.0, 20.0, 189.0, 190.0], 190.0);
        assert_eq!(heights, [190.0, 20.0, 190.0 - 2.0 * NAME, 190.0 - NAME]);
    }
}
