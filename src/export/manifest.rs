//! What is known of an export: while it runs, and as the proof of what it came to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::csv::{Delimiter, Preset};
use super::filter::Filter;
use super::{Export, Plan, Sink, Strategy, Summary};
use crate::db::servers::Role;
use crate::memory::PeakMemory;
use crate::units::hexadecimal;

/// How an export stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is under way.
    Running,
    /// It was handed over whole, to the connection or the file. (Of the last 512 KiB, a client may have taken none yet.)
    Complete,
    /// It broke off: what was handed over is not whole.
    Failed,
    /// Its reader went away, or somebody stopped it.
    Cancelled,
}

impl State {
    /// The name by which logs and metrics know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an export failed. The log says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// The database refused or broke off the query.
    Database,
    /// The database could not be reached, or all connections to it were in use.
    DatabaseUnavailable,
    /// No replica would do, and exports may not run on the primary.
    NoReplica,
    /// A replica has given the query up, because it stood in the way of what the primary had done.
    RecoveryConflict,
    /// The query took longer than the statement timeout.
    StatementTimeout,
    /// There are more rows than a strategy that holds them all may hold.
    TooManyRows,
    /// The reader took nothing for longer than the reader timeout.
    ReaderTimeout,
    /// The output could not be written.
    Output,
    /// The program is at fault.
    Internal,
}

/// An export's manifest: what was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// The export's id.
    pub id: String,
    /// How it stands.
    pub state: State,
    /// Whether it comes from the private database, whose data are made up unless somebody has put in others.
    #[serde(default)]
    pub demonstration: bool,
    /// On what server it runs, once that is known.
    #[serde(default)]
    pub source: Option<Role>,
    /// How the rows are loaded.
    pub strategy: Strategy,
    /// The connections that load them.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Why the strategy or the number of connections is not what it would be.
    #[serde(default)]
    pub because: Option<String>,
    /// Which tasks.
    pub filter: Filter,
    /// For whom the CSV is.
    pub preset: Preset,
    /// What stands between two fields.
    pub delimiter: Delimiter,
    /// Lines after the header, so far.
    pub rows: u64,
    /// Bytes of CSV, so far.
    pub bytes: u64,
    /// The SHA-256 of the CSV, in hexadecimal, once it is complete.
    pub sha256: Option<String>,
    /// Seconds since its start, or that it took.
    pub seconds: f64,
    /// The most memory that the process has held meanwhile, in bytes.
    pub peak_memory_bytes: u64,
    /// Why it failed.
    pub error: Option<ErrorClass>,
}

/// An export's manifest while it comes to be.
#[derive(Debug)]
pub struct Record {
    id: String,
    export: Export,
    is_demonstration: bool,
    started: Instant,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    source: Option<Role>,
    plan: Option<Plan>,
    summary: Summary,
    sha256: Option<String>,
    /// None once it has ended: nothing is followed any more.
    memory: Option<PeakMemory>,
    /// How, why and after how long it ended, with how much memory.
    end: Option<(State, Option<ErrorClass>, f64, u64)>,
}

impl Live {
    fn peak_memory(&self) -> u64 {
        self.memory
            .as_ref()
            .map_or(0, |memory| memory.bytes() as u64)
    }
}

impl Record {
    /// The record of an export that starts now, of the private database or of one's own.
    pub fn start(id: String, export: &Export, is_demonstration: bool) -> Self {
        let live = Live {
            source: None,
            plan: None,
            summary: Summary::default(),
            sha256: None,
            memory: Some(PeakMemory::start()),
            end: None,
        };
        Self {
            id,
            export: export.clone(),
            is_demonstration,
            started: Instant::now(),
            live: Mutex::new(live),
        }
    }

    /// The export's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is known now.
    pub fn manifest(&self) -> Manifest {
        let live = self.lock();
        let (state, error, seconds, memory) = live.end.unwrap_or_else(|| {
            (
                State::Running,
                None,
                self.started.elapsed().as_secs_f64(),
                live.peak_memory(),
            )
        });
        Manifest {
            id: self.id.clone(),
            state,
            demonstration: self.is_demonstration,
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
            filter: self.export.filter.clone(),
            preset: self.export.format.preset,
            delimiter: self.export.format.delimiter,
            rows: live.summary.rows,
            bytes: live.summary.bytes,
            sha256: live.sha256.clone().filter(|_| state == State::Complete),
            seconds,
            peak_memory_bytes: memory,
            error,
        }
    }

    /// Notes how it ended, and logs it. What was noted first stays; gives whether that is this.
    pub fn end(&self, state: State, error: Option<ErrorClass>) -> bool {
        {
            let mut live = self.lock();
            if live.end.is_some() {
                return false;
            }
            let peak_memory = live.peak_memory();
            live.memory = None;
            live.end = Some((
                state,
                error,
                self.started.elapsed().as_secs_f64(),
                peak_memory,
            ));
        }
        let manifest = self.manifest();
        tracing::info!(
            export_id = manifest.id,
            source = manifest.source.map(Role::name),
            strategy = manifest.strategy.name(),
            filter = %serde_json::to_string(&manifest.filter).unwrap_or_default(),
            rows = manifest.rows,
            bytes = manifest.bytes,
            seconds = (manifest.seconds * 1e3).round() / 1e3,
            peak_memory_bytes = manifest.peak_memory_bytes,
            outcome = manifest.state.name(),
            error = manifest.error.and_then(|error| serde_json::to_value(error).ok()?.as_str().map(str::to_owned)),
            "export"
        );
        true
    }

    /// When it started.
    pub fn started(&self) -> Instant {
        self.started
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands everything on to another sink, and keeps a record of it.
pub struct RecordingSink<'a> {
    sink: &'a mut dyn Sink,
    record: &'a Record,
    hasher: Sha256,
}

impl<'a> RecordingSink<'a> {
    /// A sink that hands on to `sink`.
    pub fn new(sink: &'a mut dyn Sink, record: &'a Record) -> Self {
        Self {
            sink,
            record,
            hasher: Sha256::new(),
        }
    }

    /// Notes the hash of the whole.
    pub fn finish(self) {
        self.record.lock().sha256 = Some(hexadecimal(&self.hasher.finalize()));
    }
}

impl Sink for RecordingSink<'_> {
    fn source(&mut self, role: Role) {
        self.record.lock().source = Some(role);
        self.sink.source(role);
    }

    fn begin(&mut self, plan: &Plan) {
        self.record.lock().plan = Some(plan.clone());
        self.sink.begin(plan);
    }

    fn write(&mut self, chunk: Bytes) -> std::io::Result<()> {
        self.hasher.update(&chunk);
        self.sink.write(chunk)
    }

    fn wrote(&mut self, so_far: &Summary) {
        let mut live = self.record.lock();
        // What is made after the end, nobody gets.
        if live.end.is_none() {
            live.summary = *so_far;
        }
    }
}
