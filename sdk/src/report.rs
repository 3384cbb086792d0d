//! Errors and panics: an event that says what went wrong, and a program that makes the report.
//!
//! Owns how many reports one process may start. The application goes on: it writes one event and starts
//! `foretrace-capture` with the ring, and waits for neither the report nor the program's end.

use core::fmt::{self, Arguments, Write};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::panic::PanicHookInfo;

use foretrace_ring::layout::{AT_REFUSED_REPORTS, AT_REPORTS, REPORT_ERROR, REPORT_ID, REPORT_PANIC};

use crate::backtrace::Backtrace;
use crate::{clock, record, ring, spawn};

/// Reports that one process may start in a minute.
const MOST: u64 = 5;
/// The minute that `MOST` speaks of, in seconds.
const WINDOW: u64 = 60;
/// When the window began (seconds of CLOCK_MONOTONIC), and in the lowest byte the reports since.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Why there is to be a report.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Error = REPORT_ERROR,
    Panic = REPORT_PANIC,
}

impl Kind {
    /// Its name on foretrace-capture's command line.
    pub fn name(self) -> &'static core::ffi::CStr {
        match self {
            Kind::Error => c"error",
            Kind::Panic => c"panic",
        }
    }
}

/// Reports an error that the program survives: records it, and has a report made of this moment, with a backtrace of
/// every thread and the events that led here. True if a report was started.
///
/// Takes less than 2 milliseconds and does not wait for the report. A process may start five reports a minute.
///
/// # Errors
/// False, and counted in the ring: there were five in this minute, or `foretrace-capture` could not be run. The event
/// is recorded nevertheless.
///
/// # Signal safety
/// May be called from a signal handler.
#[track_caller]
pub fn report_error(message: &str) -> bool {
    let caller = Location::caller();
    report_error_at(message, caller.file(), caller.line())
}

/// [`report_error`](fn@crate::report_error) with the arguments of `format!`.
///
/// ```no_run
/// # let path = "a";
/// foretrace::report_error!("{path} is damaged");
/// ```
///
/// # Signal safety
/// Not for signal handlers: formatting may allocate.
#[macro_export]
macro_rules! report_error {
    ($($arguments:tt)+) => {
        $crate::__report_error(::core::format_args!($($arguments)+))
    };
}

/// What the macro expands to.
#[doc(hidden)]
#[track_caller]
pub fn report_formatted(message: Arguments<'_>) -> bool {
    let caller = Location::caller();
    let report = |message: &str| report_error_at(message, caller.file(), caller.line());
    match message.as_str() {
        Some(message) => report(message),
        None => report(&message.to_string()),
    }
}

/// Has a report made of every panic from now on, before the hooks that were there. A second call does nothing.
///
/// The report has the backtrace of the panic, of up to 64 frames, also where the thread catches it and goes on. A panic
/// that ends in an abort becomes one report, not two.
///
/// # Signal safety
/// Not for signal handlers: it allocates.
pub fn panic_hook() {
    static SET: AtomicBool = AtomicBool::new(false);
    if SET.swap(true, Ordering::Relaxed) {
        return;
    }
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report_panic(panic);
        earlier(panic);
    }));
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (None, Some(message)) => message.as_str(),
        (None, None) => "(not a text)",
    };
    let place = panic.location().unwrap_or(Location::caller());
    report(Kind::Panic, message, (place.file(), place.line()), &Backtrace::here());
}

/// Reports an error from a place in any language's source.
pub(crate) fn report_error_at(message: &str, file: &str, line: u32) -> bool {
    report(Kind::Error, message, (file, line), &Backtrace::none())
}

fn report(kind: Kind, message: &str, (file, line): (&str, u32), backtrace: &Backtrace) -> bool {
    let Some(ring) = ring::live() else { return false };
    let kind_number = kind as u8;
    let place = Place::of(file, line);
    record::record_as(ring, REPORT_ID, &(&kind_number, (message, (place.text(), (backtrace.bytes(), ())))));
    let started =
        may_start() && ring::descriptor().is_some_and(|descriptor| spawn::capture(kind, descriptor));
    ring.count(if started { AT_REPORTS } else { AT_REFUSED_REPORTS });
    started
}

/// Whether this process may start one more report now.
fn may_start() -> bool {
    let now = clock::monotonic() / 1_000_000_000;
    let next = |word: u64| {
        let (since, count) = (word >> 8, word & 0xff);
        if count == 0 || now.saturating_sub(since) >= WINDOW {
            Some(now << 8 | 1)
        } else {
            (count < MOST).then_some(word + 1)
        }
    };
    STARTED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

/// A place in the source as text, made without an allocation.
struct Place {
    bytes: [u8; 200],
    length: usize,
}

impl Place {
    fn of(file: &str, line: u32) -> Place {
        let mut place = Place { bytes: [0; 200], length: 0 };
        // The end of a long path says more than its beginning.
        let start = file.len().saturating_sub(180);
        let file = (start..=file.len()).find_map(|start| file.get(start..)).unwrap_or("");
        // What does not fit is left out: there is nothing better to do.
        let _ = write!(place, "{file}:{line}");
        place
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl Write for Place {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
