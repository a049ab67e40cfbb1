//! The receiver of an export's bytes, and the observer of its progress.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cancellation::Cancellation;
use crate::db::servers::ChosenServer;
use crate::{Export, Strategy};

/// Takes an export's bytes.
pub trait Sink {
    /// Takes the next bytes. It may block: an export never runs ahead of its sink.
    fn write(&mut self, chunk: Bytes) -> io::Result<()>;

    /// Discards all bytes, for an export that starts over on another server. False if it cannot: a reader may have received some of them.
    fn start_over(&mut self) -> bool {
        false
    }
}

/// Observes an export.
pub trait Observer {
    /// Called with the server on which it runs: before anything else, and again if it starts over on another server.
    fn server(&self, _server: &ChosenServer) {}

    /// Called with its plan: before the first byte, and again if it starts over; never if it fails before that.
    fn plan(&self, _plan: &Plan) {}

    /// Called with the totals that the sink has taken so far.
    fn progress(&self, _so_far: &Summary) {}

    /// Called when all rows have arrived and the database is no longer needed. A workbook is far from complete then.
    fn loaded(&self) {}
}

/// Observes nothing.
impl Observer for () {}

/// Passes each call to both.
impl<One: Observer + ?Sized, Other: Observer + ?Sized> Observer for (&One, &Other) {
    fn server(&self, server: &ChosenServer) {
        self.0.server(server);
        self.1.server(server);
    }

    fn plan(&self, plan: &Plan) {
        self.0.plan(plan);
        self.1.plan(plan);
    }

    fn progress(&self, so_far: &Summary) {
        self.0.progress(so_far);
        self.1.progress(so_far);
    }

    fn loaded(&self) {
        self.0.loaded();
        self.1.loaded();
    }
}

/// How an export is actually made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Plan {
    /// The strategy actually used: the one that was asked for, or `copy` instead of `lookup`, or `tuples` instead of `joined`.
    pub strategy: Strategy,
    /// The connections that it has.
    pub connections: usize,
    /// Why that is less than was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Cow<'static, str>>,
}

impl Plan {
    /// The plan for an export, before its database is asked.
    pub(crate) fn of_export(export: &Export) -> Self {
        let has_models = export.strategy != Strategy::Joined || export.dataset().has_models();
        Self {
            strategy: if has_models {
                export.strategy
            } else {
                Strategy::Tuples
            },
            connections: 1,
            because: (!has_models).then(|| "the dataset has no models".into()),
        }
    }
}

/// The totals of a complete export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines after the header.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Refuses bytes once the export is cancelled: a strategy that has all of its rows has no query to cancel.
pub(crate) struct CancellableSink<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) cancellation: &'a Cancellation,
}

impl Sink for CancellableSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        if self.cancellation.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.sink.write(chunk)
    }
}
