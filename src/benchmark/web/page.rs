//! `GET /benchmark`: the benchmark's results for people.

mod comparison;
mod row;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::benchmark::SECTION;
use crate::benchmark::problems::NO_BENCHMARK;
use crate::benchmark::result::{Report, StrategyResult};
use crate::benchmark::store::{Benchmarks, Status};
use crate::benchmark::web::charts;
use crate::benchmark::web::explanation::{self, Explanation};
use crate::benchmark::{Progress, render};
use diesel_export::manifest::State;
use diesel_export::units::{grouped, readable_bytes};
use diesel_export::{Export, Strategy};
use diesel_export_actix::pages::html;
use diesel_export_actix::pages::layout::Layout;
use diesel_export_actix::problem::{Kind, Problem, ProblemBody};
use diesel_export_actix::{App, blocking};

use comparison::Comparison;
use row::{Row, RowFigures};

/// What the page shows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The benchmark; without it, the last result
    id: Option<String>,
    /// Another one to compare it with
    with: Option<String>,
}

#[derive(Template)]
#[template(path = "benchmark.html")]
struct Page {
    layout: Layout,
    running: Option<Running>,
    /// The end of a benchmark that has no result.
    ended: Option<Ended>,
    result: Option<ResultView>,
    comparison: Option<Comparison>,
    /// All results that are kept.
    growth: Vec<Chart>,
    results: Vec<Kept>,
    allowed: bool,
    /// The strategies, with the classes of their colours.
    explained: Vec<(Strategy, String, Explanation)>,
    query: String,
}

/// The end of a benchmark that has no result.
struct Ended {
    text: String,
    /// It was cancelled: nothing is wrong.
    is_cancelled: bool,
}

struct Running {
    id: String,
    done: u32,
    total: u32,
    /// Its progress, in words.
    text: String,
}

/// A result that is kept.
struct Kept {
    id: String,
    date: String,
    tasks: String,
    runs: String,
}

impl Kept {
    fn of((id, report): &(String, Report)) -> Self {
        Self {
            id: id.clone(),
            date: render::moment(&report.environment.date),
            tasks: grouped(report.first().map_or(0, |first| first.rows)),
            runs: render::runs(report.runs),
        }
    }
}

struct ResultView {
    id: String,
    date: String,
    tasks: String,
    size: String,
    runs: String,
    /// The strategies that did not fail.
    measured: String,
    /// Those of the machine.
    memory: String,
    report: Report,
    /// What came out, in a sentence.
    verdict: Option<String>,
    rows: Vec<Row>,
    /// The meaning of the ratios' ranges.
    ratio_notes: Vec<String>,
    /// The strategies that did less than was requested.
    concessions: Vec<String>,
    charts: Vec<Chart>,
    scattered: String,
    command: String,
}

struct Chart {
    title: &'static str,
    caption: &'static str,
    svg: String,
}

/// The benchmark page.
#[utoipa::path(
    method(get, head),
    path = "/benchmark",
    params(PageQuery),
    responses(
        (status = 200, content_type = "text/html", body = String),
        (status = 404, description = "No such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn page(
    query: Result<web::Query<PageQuery>, actix_web::Error>,
    app: web::Data<App>,
    benchmarks: web::Data<Benchmarks>,
) -> Result<HttpResponse, Problem> {
    let shown = query
        .map_err(|error| Problem::with_detail(Kind::InvalidParameter, error.to_string()))?
        .into_inner();
    let page = blocking(move || Page::new(shown, &app, &benchmarks)).await??;
    html::respond(StatusCode::OK, &page)
}

impl Page {
    fn new(shown: PageQuery, app: &App, benchmarks: &Benchmarks) -> Result<Self, Problem> {
        let current = benchmarks.status();
        let results = benchmarks.results();
        let find = |id: &str| results.iter().position(|(known, _)| known == id);
        let is_current = |id: &str| current.as_ref().is_some_and(|current| current.id == id);
        let chosen = match &shown.id {
            // A benchmark that runs or has failed has no result; the last one with a result is shown below it.
            Some(id) if find(id).is_none() && is_current(id) => None,
            Some(id) => {
                Some(find(id).ok_or_else(|| Problem::new(Kind::Application(&NO_BENCHMARK)))?)
            }
            None => None,
        };
        let result = results.get(chosen.unwrap_or(0));
        let with = match shown.with.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Some(
                &results[find(id).ok_or_else(|| Problem::new(Kind::Application(&NO_BENCHMARK)))?],
            ),
            None => None,
        };
        let reports: Vec<Report> = results.iter().map(|(_, report)| report.clone()).collect();
        Ok(Self {
            layout: app.layout(SECTION),
            running: current.as_ref().and_then(running),
            ended: current.as_ref().and_then(ended),
            comparison: result
                .zip(with)
                .map(|(first, second)| Comparison::of(first, second)),
            result: result.map(|(id, report)| ResultView::of(id, report)),
            growth: growth(&reports),
            results: results.iter().map(Kept::of).collect(),
            allowed: benchmarks.are_allowed(app),
            explained: Strategy::all()
                .iter()
                .map(|strategy| {
                    let class = charts::class(*strategy);
                    (*strategy, class, explanation::of(*strategy))
                })
                .collect(),
            query: Export::of(app.catalog().default()).sql()?,
        })
    }
}

fn running(status: &Status) -> Option<Running> {
    let (done, total) = status
        .progress
        .map_or((0, 1), |progress| (progress.done, progress.total));
    let text = match status.progress {
        None => "It starts.".to_owned(),
        Some(Progress {
            strategy, round, ..
        }) => {
            let now = strategy.map_or_else(String::new, |strategy| {
                let warm_up = if round == 0 { " (warm-up)" } else { "" };
                format!(", now {}{warm_up}", strategy.name())
            });
            format!("{done} of {total} runs{now}")
        }
    };
    (status.state == State::Running).then(|| Running {
        id: status.id.clone(),
        done,
        total,
        text,
    })
}

fn growth(reports: &[Report]) -> Vec<Chart> {
    let chart = |title, caption, svg: Option<String>| {
        svg.map(|svg| Chart {
            title,
            caption,
            svg,
        })
    };
    let charts = [
        chart(
            "Time",
            "Median time to the last byte.",
            charts::time_growth(reports),
        ),
        chart(
            "Memory",
            "Median peak memory above the idle process.",
            charts::memory_growth(reports),
        ),
    ];
    charts.into_iter().flatten().collect()
}

fn ended(status: &Status) -> Option<Ended> {
    let text = match status.state {
        State::Queued | State::Running | State::Complete => return None,
        State::Cancelled => "The last benchmark was cancelled.".to_owned(),
        State::Failed => format!(
            "The last benchmark failed: {}.",
            status.error.as_deref().unwrap_or("the log says why")
        ),
    };
    Some(Ended {
        text,
        is_cancelled: status.state == State::Cancelled,
    })
}

impl ResultView {
    fn of(id: &str, report: &Report) -> Self {
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
        let chart = |title, caption, svg| Chart {
            title,
            caption,
            svg,
        };
        Self {
            id: id.to_owned(),
            date: render::moment(&report.environment.date),
            runs: render::runs(report.runs),
            measured: match report.figures().count() {
                1 => "every run".to_owned(),
                count if count == names.len() => format!("all {count} strategies"),
                count => format!("the {count} strategies that did not fail"),
            },
            concessions: report
                .results
                .iter()
                .flat_map(StrategyResult::concessions)
                .collect(),
            tasks: grouped(report.first().map_or(0, |first| first.rows)),
            size: readable_bytes(report.first().map_or(0, |first| first.bytes)),
            memory: report
                .environment
                .memory_bytes
                .map_or_else(|| "unknown".to_owned(), readable_bytes),
            verdict: render::verdict(report),
            rows: report
                .results
                .iter()
                .map(|result| Row {
                    strategy: result.strategy.name(),
                    class: charts::class(result.strategy),
                    line: explanation::of(result.strategy).line,
                    mark: render::mark(result),
                    error: result.error.clone(),
                    figures: result.figures.as_ref().map(RowFigures::of),
                })
                .collect(),
            charts: vec![
                chart(
                    "Time",
                    "To the last byte, in seconds. A dot is a run, the line their median.",
                    charts::seconds(report),
                ),
                chart(
                    "Memory",
                    "Its peak above the idle process, in MiB. A dot is a run, the line their median.",
                    charts::memory(report),
                ),
                chart(
                    "Memory over time",
                    "Above the idle process, in MiB, while the run of the median time lasts, in seconds.",
                    charts::memory_curves(report),
                ),
            ],
            scattered: render::names(&report.scattered()),
            ratio_notes: render::ratio_notes(report),
            command,
            report: report.clone(),
        }
    }
}
