//! How far sending has come, where somebody watches: one line on the terminal, for all reports together.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foretrace_report::ReportId;
use foretrace_report::receipt::CHUNK;

use crate::sentence::size;

/// Columns of the bar.
const BAR: u64 = 24;

/// The line, shared by all workers.
#[derive(Clone, Debug)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    watched: bool,
    reports: usize,
    expected: AtomicU64,
    handed: AtomicU64,
    shown: AtomicU64,
    visible: AtomicBool,
}

/// One report's share of it.
#[derive(Clone, Debug)]
pub struct Meter {
    shared: Arc<Shared>,
    id: ReportId,
    handed: Arc<AtomicU64>,
}

impl Progress {
    /// Of a run over so many reports; shows nothing where nobody watches.
    pub fn new(reports: usize) -> Progress {
        Progress {
            shared: Arc::new(Shared {
                watched: io::stderr().is_terminal(),
                reports,
                expected: AtomicU64::new(0),
                handed: AtomicU64::new(0),
                shown: AtomicU64::new(u64::MAX),
                visible: AtomicBool::new(false),
            }),
        }
    }

    /// A report of this length is on its way.
    pub fn meter(&self, id: ReportId, length: u64) -> Meter {
        self.shared.expected.fetch_add(length, Ordering::Relaxed);
        Meter { shared: Arc::clone(&self.shared), id, handed: Arc::new(AtomicU64::new(0)) }
    }

    /// Takes the line away, so that another can be written.
    pub fn clear(&self) {
        if self.shared.visible.swap(false, Ordering::Relaxed) {
            self.shared.shown.store(u64::MAX, Ordering::Relaxed);
            // A line that cannot be taken away is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Meter {
    /// So many bytes of the report have been handed over.
    pub fn show(&self, handed: u64) {
        let shared = &self.shared;
        let before = self.handed.swap(handed, Ordering::Relaxed);
        let all = match handed.checked_sub(before) {
            Some(more) => shared.handed.fetch_add(more, Ordering::Relaxed) + more,
            // What got lost on the way is sent again.
            None => shared.handed.fetch_sub(before - handed, Ordering::Relaxed),
        };
        let expected = shared.expected.load(Ordering::Relaxed).max(1);
        let percent = (all.saturating_mul(100) / expected).min(100);
        if !shared.watched
            || expected <= CHUNK as u64
            || shared.shown.swap(percent, Ordering::Relaxed) == percent
        {
            return;
        }
        shared.visible.store(true, Ordering::Relaxed);
        let what = match shared.reports {
            1 => self.id.short(),
            many => format!("{many} reports"),
        };
        let full = usize::try_from(percent * BAR / 100).unwrap_or(0);
        let bar = format!("{:<1$}", "#".repeat(full), usize::try_from(BAR).unwrap_or(0));
        let _ = write!(io::stderr(), "\r\x1b[K  {what} [{bar}] {percent:3} % of {}", size(expected));
    }
}
