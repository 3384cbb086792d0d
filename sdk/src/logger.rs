//! A `log` logger that records into the ring.
//!
//! A record becomes an event `log` of the same level, with its target as provider and its message as a public field:
//! `log` has no privacy classes; what is personal belongs into [`event!`](crate::event!). Each call site is an event
//! type of its own, until there are too many: targets can be made at run time.

use core::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

use foretrace_ring::layout::AT_CUT;
use foretrace_ring::metadata::{EventDecl, FieldDecl, FieldKind};
use foretrace_ring::trail::{Level, Privacy};
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::known::{Key, Known};
use crate::ring::{self, Ring};
use crate::{record, site, switches};

/// Bytes of a message; more are cut.
const CAPACITY: usize = 2048;

/// Call sites and targets.
static TYPES: Known<1024> = Known::new();
/// Targets and levels, and whether their records are recorded.
static WANTED: Known<1024> = Known::new();
/// One type for each level, of the records that find no room among the types.
static OTHERS: Known<16> = Known::new();

/// The logger.
///
/// ```
/// foretrace::Logger::new().install()?;
/// log::info!("{} requests done", 200);
/// # assert!(foretrace::descriptor().is_some());
/// # Ok::<(), log::SetLoggerError>(())
/// ```
///
/// # Signal safety
/// As `log`'s: not for signal handlers.
#[derive(Default)]
pub struct Logger {
    next: Option<Box<dyn Log>>,
}

impl Logger {
    /// A logger that records everything it is given; what that is, [`log::set_max_level`] and `FORETRACE` say.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub const fn new() -> Logger {
        Logger { next: None }
    }

    /// A logger that records, and then hands everything to the one that the program had.
    ///
    /// # Signal safety
    /// May be called from a signal handler; the box was allocated elsewhere.
    pub fn before(next: Box<dyn Log>) -> Logger {
        Logger { next: Some(next) }
    }

    /// Makes this the program's logger, of all levels.
    ///
    /// # Errors
    /// The program has a logger already.
    ///
    /// # Signal safety
    /// Not for signal handlers: it allocates.
    pub fn install(self) -> Result<(), SetLoggerError> {
        log::set_boxed_logger(Box::new(self))?;
        log::set_max_level(LevelFilter::Trace);
        Ok(())
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("has_next", &self.next.is_some()).finish()
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_wanted(metadata) || self.next.as_ref().is_some_and(|next| next.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if is_wanted(record.metadata()) {
            keep(record);
        }
        if let Some(next) = self.next.as_ref().filter(|next| next.enabled(record.metadata())) {
            next.log(record);
        }
    }

    fn flush(&self) {
        if let Some(next) = &self.next {
            next.flush();
        }
    }
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let level = level(metadata.level());
    let pass = || switches::pass(metadata.target(), level);
    !switches::are_set()
        || WANTED
            .number([hash(metadata.target()), level as u64], || pass().then_some(0))
            .map_or_else(pass, |wanted| wanted.is_some())
}

fn keep(entry: &Record<'_>) {
    let Some(ring) = ring::live() else { return };
    let mut made = Message { bytes: [0; CAPACITY], length: 0, cut: false };
    let message = match entry.args().as_str() {
        Some(message) => message,
        None => {
            // What a value's own formatting fails to say is missing; the rest is kept.
            let _ = made.write_fmt(*entry.args());
            made.text()
        }
    };
    if let Some(Some(id)) = TYPES.number(key(entry), || declare(ring, entry, entry.target(), false)) {
        record::record_as(ring, id, &(message, ()));
    } else {
        let any = [level(entry.level()) as u64, 0];
        if let Some(Some(id)) = OTHERS.number(any, || declare(ring, entry, "log", true)) {
            record::record_as(ring, id, &(message, (entry.target(), ())));
        }
    }
    if made.cut {
        ring.count(AT_CUT);
    }
}

fn key(entry: &Record<'_>) -> Key {
    [hash(entry.target()), hash((entry.file(), entry.line(), entry.level()))]
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Declares a call site; with the target as a field, all call sites of a level.
fn declare(ring: Ring, entry: &Record<'_>, provider: &str, any: bool) -> Option<u16> {
    let text = |name| FieldDecl { name, kind: FieldKind::Text, privacy: Privacy::Public };
    let fields = [text("message"), text("target")];
    site::declare(
        ring,
        &EventDecl {
            id: 0,
            provider,
            name: "log",
            level: level(entry.level()),
            file: entry.file().filter(|_| !any).unwrap_or(""),
            line: entry.line().unwrap_or(0),
            fields: &fields[..if any { 2 } else { 1 }],
        },
    )
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

/// A message that has to be formatted.
struct Message {
    bytes: [u8; CAPACITY],
    length: usize,
    cut: bool,
}

impl Message {
    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = crate::field::cut(text, CAPACITY - self.length);
        self.bytes[self.length..self.length + kept].copy_from_slice(&text.as_bytes()[..kept]);
        self.length += kept;
        self.cut |= kept < text.len();
        Ok(())
    }
}
