//! `GET /benchmark`: the benchmark's results for people.

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::App;
use super::benchmark::blocking;
use super::benchmark_store::Status;
use super::problem::{Kind, Problem, ProblemBody};
use crate::bench::explanation::{self, ARTICLE, Explanation};
use crate::bench::result::{Figures, Report};
use crate::bench::{charts, render};
use crate::export::manifest::State;
use crate::export::{self, Strategy};

/// What the page is to show.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Shown {
    /// The benchmark; the last result, where it is not given
    id: Option<String>,
    /// Another one to compare it with
    with: Option<String>,
}

#[derive(Template)]
#[template(path = "benchmark.html")]
struct Page {
    running: Option<Running>,
    /// What has become of a benchmark that has no result.
    ended: Option<String>,
    result: Option<ResultView>,
    comparison: Option<Comparison>,
    results: Vec<Kept>,
    allowed: bool,
    /// The strategies, with the classes of their colours.
    explained: Vec<(Strategy, String, Explanation)>,
    query: String,
}

struct Running {
    id: String,
    done: u32,
    total: u32,
    strategy: &'static str,
}

/// A result that is kept.
struct Kept {
    id: String,
    date: String,
    tasks: String,
    runs: u32,
}

impl Kept {
    fn of((id, report): &(String, Report)) -> Self {
        Self {
            id: id.clone(),
            date: report.environment.date.clone(),
            tasks: render::grouped(report.first().map_or(0, |first| first.rows)),
            runs: report.runs,
        }
    }
}

struct ResultView {
    id: String,
    tasks: String,
    size: String,
    /// The machine's.
    memory: String,
    report: Report,
    rows: Vec<Row>,
    charts: Vec<Chart>,
    growth: String,
    scattered: String,
    command: String,
}

struct Chart {
    title: &'static str,
    svg: String,
    caption: &'static str,
}

/// A line of the table, as text.
struct Row {
    strategy: &'static str,
    class: String,
    article: Option<&'static str>,
    error: Option<String>,
    figures: Option<RowFigures>,
}

struct RowFigures {
    rows: String,
    seconds: String,
    range: String,
    scatters: bool,
    ratio: String,
    first_byte: String,
    memory: String,
    peak: String,
    cpu: String,
    database_cpu: String,
    rate: String,
    runs: String,
    memory_runs: String,
}

struct Comparison {
    first: Kept,
    second: Kept,
    rows: Vec<ComparedRow>,
}

struct ComparedRow {
    strategy: &'static str,
    seconds: [String; 2],
    seconds_change: String,
    memory: [String; 2],
}

/// The benchmark page.
#[utoipa::path(
    get,
    path = "/benchmark",
    params(Shown),
    responses(
        (status = 200, content_type = "text/html", body = String),
        (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn page(
    query: Result<web::Query<Shown>, actix_web::Error>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let shown = query
        .map_err(|error| Problem::with_detail(Kind::InvalidParameter, error.to_string()))?
        .into_inner();
    let page = blocking(move || Page::new(shown, &app)).await??;
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Problem::new(Kind::Internal)
    })?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::html())
        .body(html))
}

impl Page {
    fn new(shown: Shown, app: &App) -> Result<Self, Problem> {
        let current = app.benchmarks.status();
        let results = app.benchmarks.results();
        let find = |id: &str| results.iter().position(|(known, _)| known == id);
        let is_current = |id: &str| current.as_ref().is_some_and(|current| current.id == id);
        let chosen = match &shown.id {
            // The one that runs, or has come to nothing, has no result; the last one that has is shown below it.
            Some(id) if find(id).is_none() && is_current(id) => None,
            Some(id) => Some(find(id).ok_or_else(|| Problem::new(Kind::NotFound))?),
            None => None,
        };
        let result = results.get(chosen.unwrap_or(0));
        let with = match shown.with.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Some(&results[find(id).ok_or_else(|| Problem::new(Kind::NotFound))?]),
            None => None,
        };
        let reports: Vec<Report> = results.iter().map(|(_, report)| report.clone()).collect();
        Ok(Self {
            running: current.as_ref().and_then(running),
            ended: current.as_ref().and_then(ended),
            comparison: result
                .zip(with)
                .map(|(first, second)| Comparison::of(first, second)),
            result: result.map(|(id, report)| ResultView::of(id, report, charts::growth(&reports))),
            results: results.iter().map(Kept::of).collect(),
            allowed: app.benchmarks_allowed(),
            explained: Strategy::all()
                .iter()
                .map(|strategy| {
                    let class = charts::class(*strategy);
                    (*strategy, class, explanation::of(*strategy))
                })
                .collect(),
            query: export::query_text()?,
        })
    }
}

fn running(status: &Status) -> Option<Running> {
    let progress = status.progress;
    (status.state == State::Running).then(|| Running {
        id: status.id.clone(),
        done: progress.map_or(0, |progress| progress.done),
        total: progress.map_or(1, |progress| progress.total),
        strategy: progress
            .and_then(|progress| progress.strategy)
            .map_or("", Strategy::name),
    })
}

fn ended(status: &Status) -> Option<String> {
    match status.state {
        State::Running | State::Complete => None,
        State::Cancelled => Some("The last benchmark was cancelled.".to_owned()),
        State::Failed => Some(format!(
            "The last benchmark failed: {}.",
            status.error.as_deref().unwrap_or("the log says why")
        )),
    }
}

impl ResultView {
    fn of(id: &str, report: &Report, growth: String) -> Self {
        let names: Vec<&str> = report
            .results
            .iter()
            .map(|result| result.strategy.name())
            .collect();
        let mut command = format!("cmms-export bench --runs {}", report.runs);
        if names.len() < Strategy::all().len() {
            command += &format!(" --strategies {}", names.join(","));
        }
        if let Some(rows) = report.rows_limit {
            command += &format!(" --rows {rows}");
        }
        let chart = |title, svg, caption| Chart {
            title,
            svg,
            caption,
        };
        Self {
            id: id.to_owned(),
            tasks: render::grouped(report.first().map_or(0, |first| first.rows)),
            size: render::size(report.first().map_or(0, |first| first.bytes)),
            memory: report
                .environment
                .memory_bytes
                .map_or_else(|| "unknown".to_owned(), render::size),
            rows: report
                .results
                .iter()
                .map(|result| Row {
                    strategy: result.strategy.name(),
                    class: charts::class(result.strategy),
                    article: explanation::of(result.strategy).article,
                    error: result.error.clone(),
                    figures: result.figures.as_ref().map(RowFigures::of),
                })
                .collect(),
            charts: vec![
                chart(
                    "Time",
                    charts::seconds(report),
                    "Time to the last byte. A dot is a run, the line their median.",
                ),
                chart(
                    "Memory",
                    charts::memory(report),
                    "Peak memory above the idle process. A dot is a run, the line their median.",
                ),
                chart(
                    "Memory over time",
                    charts::memory_curves(report),
                    "Memory while the median run lasts, above the idle process.",
                ),
            ],
            growth,
            scattered: report
                .scattered()
                .iter()
                .map(|strategy| strategy.name())
                .collect::<Vec<_>>()
                .join(", "),
            command,
            report: report.clone(),
        }
    }
}

impl RowFigures {
    fn of(figures: &Figures) -> Self {
        use render::{grouped, mebibytes, seconds};
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
            ratio: format!("{:.2}", figures.ratio_to_fastest),
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

impl Comparison {
    fn of(first: &(String, Report), second: &(String, Report)) -> Self {
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
            first: Kept::of(first),
            second: Kept::of(second),
        }
    }
}

/// `GET /benchmark.css`
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .body(include_str!("../../templates/benchmark.css"))
}

/// `GET /benchmark.js`
pub(super) async fn script() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .body(include_str!("../../templates/benchmark.js"))
}
