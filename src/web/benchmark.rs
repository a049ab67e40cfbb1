//! `/api/benchmarks`: the benchmark, one at a time, in processes of its own: it takes none of the exports' places.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use utoipa::ToSchema;

use super::App;
use super::download::is_id;
use super::problem::{Kind, Problem, ProblemBody};
use crate::bench::result::Report;
use crate::bench::{self, Options, Progress, Stop};
use crate::export::manifest::State;

/// Where the results are, in the data directory.
const DIRECTORY: &str = "benchmarks";
/// Bytes of a request to run one.
const MAX_REQUEST: usize = 16 * 1024;
/// Time after which a silent stream of events says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How a benchmark stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Status {
    /// Its id.
    pub(super) id: String,
    /// How it stands.
    pub(super) state: State,
    /// How far it is, once it has begun.
    pub(super) progress: Option<Progress>,
    /// Why it failed.
    pub(super) error: Option<String>,
}

/// A benchmark.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Benchmark {
    #[serde(flatten)]
    pub(super) status: Status,
    /// What it came to, once it is complete.
    pub(super) result: Option<Report>,
}

/// A benchmark in the list of all.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Entry {
    /// Its id.
    pub(super) id: String,
    /// When it ran.
    pub(super) date: String,
    /// The rows of each export.
    pub(super) rows: u64,
    /// Runs of each strategy.
    pub(super) runs: u32,
}

/// All benchmarks: the one that runs or has run last, and the results that are kept.
pub(super) struct Benchmarks {
    /// Where results are kept; none where there is no such place.
    directory: Option<PathBuf>,
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    status: Arc<watch::Sender<Status>>,
    result: Arc<Mutex<Option<Report>>>,
    stop: Stop,
}

impl Current {
    fn benchmark(&self) -> Benchmark {
        Benchmark {
            status: self.status.borrow().clone(),
            result: self
                .result
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Benchmarks {
    pub(super) fn new(data_dir: Option<&Path>) -> Self {
        Self {
            directory: data_dir.map(|directory| directory.join(DIRECTORY)),
            current: Mutex::default(),
        }
    }

    /// The benchmark that runs, or has run last.
    pub(super) fn current(&self) -> Option<Benchmark> {
        self.known().map(|current| current.benchmark())
    }

    /// Stops the benchmark that runs, if there is one.
    pub(super) fn stop(&self) {
        if let Some(current) = self.known() {
            current.stop.stop();
        }
    }

    /// The benchmark of this id.
    pub(super) fn get(&self, id: &str) -> Option<Benchmark> {
        let current = self.current().filter(|current| current.status.id == id);
        current.or_else(|| {
            let directory = self.directory.as_ref().filter(|_| is_id(id))?;
            let report = read(&directory.join(id).with_extension("json"))?;
            Some(Benchmark {
                status: Status {
                    id: id.to_owned(),
                    state: State::Complete,
                    progress: None,
                    error: None,
                },
                result: Some(report),
            })
        })
    }

    /// All results, the latest first, with their ids.
    pub(super) fn results(&self) -> Vec<(String, Report)> {
        let files = self
            .directory
            .as_ref()
            .and_then(|path| fs::read_dir(path).ok());
        let mut results: Vec<(String, Report)> = files
            .into_iter()
            .flatten()
            .filter_map(|file| {
                let path = file.ok()?.path();
                let id = path.file_stem()?.to_str().filter(|id| is_id(id))?;
                Some((id.to_owned(), read(&path)?))
            })
            .collect();
        if let Some(Benchmark {
            status,
            result: Some(report),
        }) = self.current()
            && results.iter().all(|(id, _)| *id != status.id)
        {
            results.push((status.id, report));
        }
        results.sort_by(|(_, a), (_, b)| b.environment.date.cmp(&a.environment.date));
        results
    }

    fn known(&self) -> Option<Current> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts a benchmark, unless one runs.
    fn start(&self, options: Options, app: &Arc<App>) -> Result<String, Problem> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = current
            .as_ref()
            .map(|current| current.status.borrow().clone())
            && running.state == State::Running
        {
            let location = format!("/api/benchmarks/{}", running.id);
            return Err(Problem::new(Kind::BenchmarkRuns).at(location));
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let status = Status {
            id: id.clone(),
            state: State::Running,
            progress: None,
            error: None,
        };
        let started = Current {
            status: Arc::new(watch::Sender::new(status)),
            result: Arc::default(),
            stop: Stop::default(),
        };
        let (thread, app) = (started.clone(), Arc::clone(app));
        std::thread::Builder::new()
            .name("benchmark".into())
            .spawn(move || run(&options, &thread, &app))
            .map_err(|error| {
                tracing::error!(%error, "no thread for a benchmark");
                Problem::new(Kind::Internal)
            })?;
        *current = Some(started);
        Ok(id)
    }

    fn keep(&self, id: &str, report: &Report) -> std::io::Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&report.to_json()?)?;
        file.as_file().sync_all()?;
        // Under its name only when it is whole.
        file.persist(directory.join(id).with_extension("json"))?;
        Ok(())
    }
}

fn read(path: &Path) -> Option<Report> {
    if path.extension()? != "json" {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?)
        .inspect_err(|error| tracing::warn!(?path, %error, "no benchmark's result"))
        .ok()
}

fn run(options: &Options, current: &Current, app: &App) {
    let settings = &app.settings;
    let outcome = bench::run(
        options,
        settings.limits,
        &app.database,
        &settings.database_url,
        &current.stop,
        |progress| {
            current
                .status
                .send_modify(|status| status.progress = Some(progress));
        },
    );
    let (state, error) = match outcome {
        Ok(report) => {
            let id = current.status.borrow().id.clone();
            if let Err(error) = app.benchmarks.keep(&id, &report) {
                tracing::error!(%error, "a benchmark's result cannot be kept");
            }
            *current
                .result
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(report);
            (State::Complete, None)
        }
        Err(bench::Error::Cancelled) => (State::Cancelled, None),
        Err(error) => {
            tracing::error!(%error, "the benchmark failed");
            let text = match error {
                bench::Error::NoTasks => "there are no tasks to measure",
                _ => "something went wrong; the log says what",
            };
            (State::Failed, Some(text.to_owned()))
        }
    };
    current.status.send_modify(|status| {
        status.state = state;
        status.error = error;
    });
}

/// Runs the benchmark; one at a time. A form is answered by a redirection to the page.
#[utoipa::path(
    post,
    path = "/api/benchmarks",
    request_body(content((Options = "application/json"), (Options = "application/x-www-form-urlencoded"))),
    responses(
        (status = 201, description = "It has begun", body = Status, headers(("Location", description = "Where it can be followed"))),
        (status = 303, description = "It has begun: the page shows it"),
        (status = 403, description = "Bound beyond loopback without --allow-benchmarks, or another site's page asks",
         content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 409, description = "Another one runs; `location` says where", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn post(
    request: HttpRequest,
    body: Bytes,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    if !app.benchmarks_allowed() {
        return Err(Problem::new(Kind::BenchmarksOff));
    }
    let invalid = |detail: String| Problem::with_detail(Kind::InvalidParameter, detail);
    if body.len() > MAX_REQUEST {
        return Err(invalid("the request is too long".to_owned()));
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let is_form = kind.is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let options = if is_form {
        Options::from_pairs(form_urlencoded::parse(&body))
    } else if body.is_empty() {
        Options::default().checked()
    } else {
        let options: Options =
            serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
        options.checked()
    };
    let options = options.map_err(|error| invalid(error.to_string()))?;
    let app = app.into_inner();
    let id = app.benchmarks.start(options, &app)?;
    if is_form {
        return Ok(HttpResponse::SeeOther()
            .insert_header((LOCATION, format!("/benchmark?id={id}")))
            .finish());
    }
    let status = app.benchmarks.current().map(|current| current.status);
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/benchmarks/{id}")))
        .json(status))
}

/// The results that are kept, the latest first.
#[utoipa::path(get, path = "/api/benchmarks", responses((status = 200, body = Vec<Entry>)))]
pub(super) async fn list(app: web::Data<App>) -> Result<web::Json<Vec<Entry>>, Problem> {
    let results = blocking(move || app.benchmarks.results()).await?;
    Ok(web::Json(
        results
            .iter()
            .map(|(id, report)| entry(id, report))
            .collect(),
    ))
}

fn entry(id: &str, report: &Report) -> Entry {
    Entry {
        id: id.to_owned(),
        date: report.environment.date.clone(),
        rows: report.first().map_or(0, |first| first.rows),
        runs: report.runs,
    }
}

/// A benchmark: how it stands, and its result.
#[utoipa::path(
    get,
    path = "/api/benchmarks/{id}",
    params(("id" = String, Path, description = "The benchmark's id")),
    responses((status = 200, body = Benchmark), (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>))
)]
pub(super) async fn get(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<web::Json<Benchmark>, Problem> {
    let benchmark = blocking(move || app.benchmarks.get(&id)).await?;
    benchmark
        .map(web::Json)
        .ok_or_else(|| Problem::new(Kind::NotFound))
}

/// Stops the benchmark, down to the query of its run. One that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/api/benchmarks/{id}",
    params(("id" = String, Path, description = "The benchmark's id")),
    responses(
        (status = 204, description = "It has ended, or is about to"),
        (status = 403, description = "Another site's page may not do this", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn delete(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let current = app.benchmarks.known();
    match current.filter(|current| current.status.borrow().id == *id) {
        Some(current) => current.stop.stop(),
        None => {
            let known = blocking(move || app.benchmarks.get(&id)).await?;
            known.ok_or_else(|| Problem::new(Kind::NotFound))?;
        }
    }
    Ok(HttpResponse::NoContent().finish())
}

/// How the benchmark stands, as server-sent events, until it has ended.
#[utoipa::path(
    get,
    path = "/api/benchmarks/{id}/events",
    params(("id" = String, Path, description = "The benchmark's id")),
    responses(
        (status = 200, description = "Each event's data is a status, as JSON", content_type = "text/event-stream", body = String),
        (status = 404, description = "There is no such benchmark", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn events(
    id: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let current = app.benchmarks.known();
    let mut receiver = match current.filter(|current| current.status.borrow().id == *id) {
        Some(current) => current.status.subscribe(),
        None => {
            let known = blocking(move || app.benchmarks.get(&id)).await?;
            let ended = known.ok_or_else(|| Problem::new(Kind::NotFound))?;
            watch::Sender::new(ended.status).subscribe()
        }
    };
    let (sender, events) = mpsc::channel(1);
    rt::spawn(async move {
        receiver.mark_changed();
        loop {
            let event = match rt::time::timeout(HEARTBEAT, receiver.changed()).await {
                Err(_elapsed) => ": alive\n\n".to_owned(),
                // The last status was seen.
                Ok(Err(_)) => return,
                Ok(Ok(())) => {
                    let status = receiver.borrow_and_update().clone();
                    format!(
                        "data: {}\n\n",
                        serde_json::to_string(&status).unwrap_or_default()
                    )
                }
            };
            let ended = receiver.borrow().state != State::Running;
            if sender.send(event.into()).await.is_err() || ended {
                return;
            }
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(Events(events)))
}

/// Events on their way to a client.
struct Events(mpsc::Receiver<Bytes>);

impl Stream for Events {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut()
            .0
            .poll_recv(context)
            .map(|event| event.map(Ok))
    }
}

/// Does work that reads files.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    web::block(work)
        .await
        .map_err(|_| Problem::new(Kind::Internal))
}
