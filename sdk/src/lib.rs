//! Record what your program does; when it dies, the trail is in the report.
//!
//! ```
//! use foretrace::event;
//!
//! let user = String::from("ada");
//! let token = "hunter2";
//! event!(info, "request done", status = 200_u32, user: personal = user, token: secret = token);
//! # assert!(foretrace::descriptor().is_some());
//! ```
//!
//! The first event makes a ring: sealed shared memory of which the newest events are kept. Nothing is written to disk
//! and nothing leaves the process. When it crashes, the crash handler reads the ring; for errors and panics
//! [`report_error!`] and [`panic_hook`] start a program that does.
//!
//! Recording never blocks, allocates, locks, or fails the program. An event costs about as much as reading the clock.
//!
//! # Switching it off
//! `FORETRACE` in the environment says which events are recorded; without it, all are.
//!
//! | `FORETRACE=` | |
//! |---|---|
//! | `off` | none: there is no ring |
//! | `info` | none that is less important than `info` |
//! | `app::db=debug,net*=off` | of `app::db` and all below it those from `debug` on, none of `net`, `network`, `net::http`, and all others |
//! | `off,app=trace` | those of `app` only |
//!
//! The last rule that speaks of an event decides. The variable is read once, before `main`; a program that got
//! privileges by being executed ignores it. What is wrong with it is said on standard error, and otherwise ignored.
//!
//! # How much is kept
//! The newest 4 MiB of events. A program chooses otherwise by [`start_with`], and who runs it by `FORETRACE_SIZE=64M`
//! (from `256K` to `64M`). A thread whose history must survive noisy neighbours asks for a part of that by [`own_ring`].
//!
//! Every thread that records holds at least 1 KiB of the pool until it ends: 4 MiB have room for some 2,800 threads that
//! live at the same time. What more of them record is discarded and counted, and the report says how many events; a
//! program with so many threads asks for a larger pool. At most 4,096 threads record at once, whatever the pool.

mod annotation;
mod atomic;
mod attachment;
mod backtrace;
mod batch;
mod clock;
mod entry;
mod event;
mod field;
#[doc(hidden)]
pub mod foreign;
mod given;
mod host;
#[cfg(any(feature = "log", feature = "tracing"))]
mod known;
#[cfg(feature = "tracing")]
mod layer;
#[cfg(feature = "log")]
mod logger;
mod own;
mod pool;
mod record;
mod report;
mod ring;
mod site;
mod size;
mod slot;
mod span;
mod spawn;
mod storage;
mod switches;
mod thread;
mod words;
mod writer;

pub use annotation::annotate;
pub use attachment::{Attachment, attach_address, attach_file, attach_memory};
pub use batch::{Batch, Coarse, batch, coarse};
pub use foretrace_ring::reader::AttachmentClass;
pub use foretrace_ring::trail::{Level, Privacy};
pub use given::{At, Time, at};
#[cfg(feature = "tracing")]
pub use layer::Layer;
#[cfg(feature = "log")]
pub use logger::Logger;
pub use own::own_ring;
pub use report::{panic_hook, report_error};

#[doc(hidden)]
pub use field::{Field, Fields, Secret};
#[doc(hidden)]
pub use record::record;
#[doc(hidden)]
pub use report::report_formatted as __report_error;
#[doc(hidden)]
pub use site::{Declaration, Site};
#[doc(hidden)]
pub use span::Phase;
pub use span::Span;

/// Makes the ring now instead of at the first event. False: recording is off, by `FORETRACE=off` or for want of memory.
///
/// # Signal safety
/// May be called from a signal handler. Takes some 100 µs the first time.
pub fn start() -> bool {
    ring::live().is_some()
}

/// Makes the ring now, with a pool of `pool` bytes: from 256 KiB to 64 MiB, in steps of 16 KiB, instead of 4 MiB. Less
/// where a limit of the process or its cgroup is near; what `FORETRACE_SIZE` says comes first.
///
/// False: there is no ring (see [`start`]), `pool` is out of bounds, or there was a ring already, whose size stays. Call
/// it before the first event.
///
/// ```
/// assert!(foretrace::start_with(16 << 20));
/// ```
///
/// # Signal safety
/// May be called from a signal handler. Takes some 100 µs.
pub fn start_with(pool: u64) -> bool {
    !ring::is_live() && size::ask(pool) && start()
}

/// The descriptor of the ring's memory, for whoever is to hold it beyond this process's death. `None`: there is no
/// ring, or the program closed its descriptor.
///
/// It remains this library's: duplicate it, do not close it.
///
/// # Signal safety
/// May be called from a signal handler.
pub fn descriptor() -> Option<std::os::fd::RawFd> {
    ring::descriptor()
}
