//! The process's memory over time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Interval between two samples. A shorter peak is missed.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// Returns the process's resident memory now, in bytes; 0 if the system does not tell.
pub fn resident_bytes() -> usize {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem)
}

/// The most memory that the process ever had resident, in bytes; `None` if the system does not tell. No peak is missed, but earlier
/// work counts too: only a process that was started for one run tells that run's own peak.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes << 10)
}

/// Samples the process's resident memory until it is dropped.
#[derive(Debug)]
pub struct PeakMemory {
    peak: Arc<AtomicUsize>,
}

impl PeakMemory {
    /// Starts sampling.
    pub fn start() -> Self {
        static SAMPLER: LazyLock<Sampler> = LazyLock::new(Sampler::start);
        let peak = Arc::new(AtomicUsize::new(resident_bytes()));
        SAMPLER.watch(&peak);
        Self { peak }
    }

    /// The most that the process has held so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.peak.fetch_max(resident_bytes(), Ordering::Relaxed);
        self.peak.load(Ordering::Relaxed)
    }
}

/// One thread samples for all of them, and sleeps while there are none.
struct Sampler {
    watched: Arc<(Mutex<Vec<Weak<AtomicUsize>>>, Condvar)>,
}

impl Sampler {
    fn start() -> Self {
        let watched = Arc::new((Mutex::new(Vec::<Weak<AtomicUsize>>::new()), Condvar::new()));
        let shared = Arc::clone(&watched);
        let thread = std::thread::Builder::new()
            .name("memory-sampler".into())
            .spawn(move || {
                let (peaks, changed) = &*shared;
                loop {
                    let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
                    peaks.retain(|peak| peak.strong_count() > 0);
                    let peaks = changed.wait_while(peaks, |peaks| peaks.is_empty());
                    let peaks = peaks.unwrap_or_else(PoisonError::into_inner);
                    let now = resident_bytes();
                    for peak in peaks.iter().filter_map(Weak::upgrade) {
                        peak.fetch_max(now, Ordering::Relaxed);
                    }
                    drop(peaks);
                    std::thread::sleep(INTERVAL);
                }
            });
        if let Err(error) = thread {
            tracing::warn!(%error, "no thread to sample the memory: peaks are those of a request's start and end");
        }
        Self { watched }
    }

    fn watch(&self, peak: &Arc<AtomicUsize>) {
        let (peaks, changed) = &*self.watched;
        peaks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(peak));
        changed.notify_one();
    }
}
