//! An export with what its run needs: a thread, permits, a record, a stall detector and a way to cancel it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::cancellation::Cancellation;
use crate::db::servers::Servers;
use crate::record::Record;
use crate::spool::{SpoolFile, SpoolSink, free_elsewhere};
use crate::stall_detector::StallDetector;
use crate::{Error, Sink, routing};

/// An export that is queued, runs, or has ended.
pub struct ExportRun {
    /// What is known of it.
    pub record: Record,
    /// Stops it.
    pub cancellation: Cancellation,
    /// Detects that it stalls.
    pub flow: Arc<StallDetector>,
    /// Whether it must have all that the primary has.
    fresh: bool,
    /// The permits that it holds, for which others wait.
    permits: Mutex<Option<Box<dyn Send>>>,
    /// The file that it fills, if it fills one.
    file: OnceLock<Weak<SpoolFile>>,
}

impl ExportRun {
    /// The run of a recorded export; `fresh` if it must have all that the primary has.
    pub fn new(record: Record, fresh: bool) -> Arc<Self> {
        Arc::new(Self {
            record,
            cancellation: Cancellation::default(),
            flow: Arc::default(),
            fresh,
            permits: Mutex::default(),
            file: OnceLock::new(),
        })
    }

    /// Does `work` in a thread of its own. The permits are dropped at its end, if not before.
    pub fn spawn(
        self: &Arc<Self>,
        permits: impl Send + 'static,
        work: impl FnOnce(&Self) + Send + 'static,
    ) {
        self.hold(Some(Box::new(permits)));
        // Dropped also if the work panics, or no thread can be started.
        let end = ReleaseAtEnd(Arc::clone(self));
        let thread = std::thread::Builder::new().name("export".into());
        let spawned = thread.spawn(move || {
            let end = end;
            let run = &end.0;
            run.record.span().in_scope(|| work(run));
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for an export");
        }
    }

    /// Exports to `sink`, on one of the servers. The export is complete if, and only if, this returns `Ok`.
    pub fn write(&self, servers: &Servers, sink: &mut dyn Sink) -> Result<(), Error> {
        let observer = (&self.record, &*self.flow);
        let (export, cancellation) = (self.record.export(), &self.cancellation);
        self.record.of(sink, |sink| {
            routing::run(export, servers, self.fresh, cancellation, &observer, sink)
        })?;
        Ok(())
    }

    /// The same to a file of the spool; returns the file and its length.
    pub fn fill(&self, servers: &Servers, file: SpoolFile) -> Result<(Arc<SpoolFile>, u64), Error> {
        let file = Arc::new(file);
        let _ = self.file.set(Arc::downgrade(&file));
        let mut sink = SpoolSink::new(file);
        self.write(servers, &mut sink)?;
        Ok(sink.into_file())
    }

    /// Whether it still holds its permits.
    pub fn is_holding(&self) -> bool {
        let held = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        held.is_some()
    }

    /// Drops the permits: the run no longer needs the database.
    pub fn release(&self) {
        self.hold(None);
    }

    /// Gives up all that it holds: its thread waits for its server, maybe for ever, and cannot be woken.
    pub fn abandon(&self) {
        self.release();
        if let Some(file) = self.file.get().and_then(Weak::upgrade) {
            free_elsewhere(move || {
                if let Err(error) = file.give_up() {
                    tracing::error!(%error, "a file that nobody wants cannot be emptied");
                }
            });
        }
    }

    fn hold(&self, permits: Option<Box<dyn Send>>) {
        let mut held = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        *held = permits;
    }
}

/// Releases what a run holds when its thread ends.
struct ReleaseAtEnd(Arc<ExportRun>);

impl Drop for ReleaseAtEnd {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, channel};

    use super::*;
    use crate::manifest::Facts;
    use crate::{Export, example};

    #[test]
    fn its_permits_are_free_when_it_is_abandoned_and_when_its_thread_ends_even_by_a_panic() {
        for (panics, is_abandoned) in [(false, false), (true, false), (false, true)] {
            let record = Record::queue(String::new(), &Export::of(&example::books()), Facts::new());
            let run = ExportRun::new(record, false);
            let (permit, is_held) = channel::<()>();
            let (go_on, told) = channel::<()>();
            run.spawn(permit, move |_run| {
                let _ = told.recv();
                assert!(!panics, "a panic that is meant");
            });
            assert_eq!(is_held.try_recv(), Err(TryRecvError::Empty));
            assert!(run.is_holding());
            if is_abandoned {
                run.abandon();
                assert!(is_held.recv().is_err());
            }
            drop(go_on);
            assert!(is_held.recv().is_err());
            assert!(!run.is_holding());
        }
    }
}
