//! The record of an export: it follows the export, hashes its bytes, and becomes its manifest.

use std::fmt::Display;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::Span;

use crate::db::servers::{ChosenServer, Role};
use crate::manifest::{ErrorClass, Facts, Manifest, State};
use crate::memory::PeakMemory;
use crate::outcome::Outcome;
use crate::units::hexadecimal;
use crate::{Error, Export, Observer, Plan, Sink, Summary};

/// The target of the log's lines about exports' ends, for `--log`.
pub const LOG_TARGET: &str = "diesel_export::exports";

/// An export's manifest while the export runs.
#[derive(Debug)]
pub struct Record {
    id: String,
    export: Export,
    facts: Facts,
    /// The span of its request: the log's lines about the export belong to it.
    span: Span,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    /// When it started, unless it is queued.
    started: Option<Instant>,
    source: Option<Role>,
    /// The address of that server.
    server: Option<String>,
    plan: Option<Plan>,
    summary: Summary,
    sha256: Option<String>,
    /// The time until all was made and handed on: then, at the latest, the database was free.
    loaded: Option<f64>,
    /// `None` once it has ended: the memory is no longer sampled.
    memory: Option<PeakMemory>,
    /// What went wrong, for the log.
    reason: Option<String>,
    /// How, why and when it ended, and the memory it took.
    end: Option<(State, Option<ErrorClass>, f64, u64)>,
}

impl Live {
    fn seconds(&self) -> f64 {
        self.started
            .map_or(0.0, |started| started.elapsed().as_secs_f64())
    }

    fn peak_memory(&self) -> u64 {
        self.memory
            .as_ref()
            .map_or(0, |memory| memory.bytes() as u64)
    }
}

impl Record {
    /// The record of an export that starts now, with the application's facts for its manifest.
    pub fn start(id: String, export: &Export, facts: Facts) -> Self {
        let record = Self::queue(id, export, facts);
        record.begin();
        record
    }

    /// The record of an export that has to wait before it starts.
    pub fn queue(id: String, export: &Export, facts: Facts) -> Self {
        let live = Live {
            started: None,
            source: None,
            server: None,
            plan: None,
            summary: Summary::default(),
            sha256: None,
            loaded: None,
            memory: None,
            reason: None,
            end: None,
        };
        Self {
            id,
            export: export.clone(),
            facts,
            span: Span::current(),
            live: Mutex::new(live),
        }
    }

    /// Records that it starts now, unless it has ended already.
    pub fn begin(&self) {
        let mut live = self.lock();
        if live.end.is_none() {
            live.started = Some(Instant::now());
            live.memory = Some(PeakMemory::start());
        }
    }

    /// Whether it has started.
    pub fn has_begun(&self) -> bool {
        self.lock().started.is_some()
    }

    /// What is exported.
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// The export's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The span of the log's lines about it.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Its plan, once that is known.
    pub fn plan(&self) -> Option<Plan> {
        self.lock().plan.clone()
    }

    /// Its manifest as of now.
    pub fn manifest(&self) -> Manifest {
        let live = self.lock();
        let (state, error, seconds, memory) = live.end.unwrap_or_else(|| {
            let state = if live.started.is_some() {
                State::Running
            } else {
                State::Queued
            };
            (state, None, live.seconds(), live.peak_memory())
        });
        let csv = self.export.format.csv();
        Manifest {
            id: self.id.clone(),
            state,
            source: live.source,
            strategy: live
                .plan
                .as_ref()
                .map_or(self.export.strategy, |plan| plan.strategy),
            connections: live.plan.as_ref().map(|plan| plan.connections),
            because: live
                .plan
                .as_ref()
                .and_then(|plan| plan.because.as_deref().map(str::to_owned)),
            dataset: self.export.dataset().name().to_owned(),
            columns: self.export.columns.names().map(str::to_owned).collect(),
            filter: self.export.filter.to_json(),
            order: (!self.export.order.is_by_key()).then(|| self.export.order.to_string()),
            format: self.export.format.file_type(),
            preset: csv.map(|csv| csv.preset),
            delimiter: csv.map(|csv| csv.delimiter),
            rows: live.summary.rows,
            bytes: live.summary.bytes,
            sha256: live.sha256.clone().filter(|_| state == State::Complete),
            seconds,
            loaded_seconds: live.loaded,
            peak_memory_bytes: memory,
            error,
            queued: None,
            requested_at: None,
            file: None,
            expires_at: None,
            facts: self.facts.clone(),
        }
    }

    /// Its manifest if it ends now, and is complete.
    pub fn whole(&self) -> Manifest {
        let sha256 = self.lock().sha256.clone();
        Manifest {
            state: State::Complete,
            sha256,
            ..self.manifest()
        }
    }

    /// Records an error for the log's line about its end. Only the first call counts.
    pub fn breaks_off(&self, reason: &dyn Display) {
        self.lock().reason.get_or_insert_with(|| reason.to_string());
    }

    /// Records how it ended, and logs it. Only the first call counts; returns whether this was it.
    pub fn end(&self, state: State, error: Option<ErrorClass>) -> bool {
        {
            let mut live = self.lock();
            if live.end.is_some() {
                return false;
            }
            let peak_memory = live.peak_memory();
            live.memory = None;
            live.end = Some((state, error, live.seconds(), peak_memory));
        }
        self.span
            .in_scope(|| self.log_end(Outcome::of(state, error)));
        true
    }

    /// Logs its end in one line.
    fn log_end(&self, outcome: Outcome) {
        let manifest = self.manifest();
        let (server, reason) = {
            let live = self.lock();
            (live.server.clone(), live.reason.clone())
        };
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    target: LOG_TARGET,
                    export_id = manifest.id,
                    dataset = manifest.dataset,
                    columns = manifest.columns.join(","),
                    filter = %serde_json::to_string(&manifest.filter).unwrap_or_default(),
                    order = manifest.order.as_deref(),
                    format = manifest.format.extension(),
                    source = manifest.source.map(Role::name),
                    server,
                    strategy = manifest.strategy.name(),
                    rows = manifest.rows,
                    bytes = manifest.bytes,
                    seconds = (manifest.seconds * 1e3).round() / 1e3,
                    peak_memory_bytes = manifest.peak_memory_bytes,
                    outcome = outcome.name(),
                    error = manifest.error.map(ErrorClass::name),
                    reason,
                    "export"
                )
            };
        }
        // A client that disconnects, or asks for something impossible, is nothing to investigate.
        if outcome == Outcome::Failed {
            log!(error);
        } else {
            log!(info);
        }
    }

    /// Seconds since it started, or that it took.
    pub fn seconds(&self) -> f64 {
        let live = self.lock();
        live.end
            .map_or_else(|| live.seconds(), |(_, _, seconds, _)| seconds)
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Record {
    fn server(&self, server: &ChosenServer) {
        let mut live = self.lock();
        live.source = Some(server.role);
        live.server = Some(server.address.clone());
    }

    fn plan(&self, plan: &Plan) {
        self.lock().plan = Some(plan.clone());
    }

    fn progress(&self, so_far: &Summary) {
        let mut live = self.lock();
        // What is written after the end reaches no reader.
        if live.end.is_none() {
            live.summary = *so_far;
        }
    }
}

impl Record {
    /// Lets `run` export to a sink that hands all bytes on to `sink`, and records when the database was free, and the hash of all bytes if
    /// it gets that far.
    pub fn of<T>(
        &self,
        sink: &mut dyn Sink,
        run: impl FnOnce(&mut dyn Sink) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let hasher = Sha256::new();
        let mut hashing = HashingSink { sink, hasher };
        let outcome = run(&mut hashing);
        {
            let mut live = self.lock();
            live.loaded = Some(live.seconds());
        }
        let value = outcome?;
        self.lock().sha256 = Some(hexadecimal(&hashing.hasher.finalize()));
        Ok(value)
    }
}

struct HashingSink<'a> {
    sink: &'a mut dyn Sink,
    hasher: Sha256,
}

impl Sink for HashingSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.hasher.update(&chunk);
        self.sink.write(chunk)
    }

    fn start_over(&mut self) -> bool {
        self.hasher.reset();
        self.sink.start_over()
    }
}
