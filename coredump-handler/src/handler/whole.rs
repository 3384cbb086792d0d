//! Who gets the whole core when the report is complete: the report's directory, the handler that was there before, the
//! program's current directory. Each only where the administrator asked for it.
//!
//! Nobody here costs a report anything: it is published already. What goes wrong is said in the kernel's log.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use foretrace_store::settings::CoreStorage;
use foretrace_store::{CoreSeat, Owner, Places, Recipient, Settings, StoreError, cores};

use super::arguments::Crash;
use super::forward::{Receiver, Who, forward};
use super::wishes::{Crashed, Wishes};
use super::{chain, child, keep, plain};
use crate::install;
use crate::journal;
use crate::owner::{Credentials, is_plain};
use crate::process::{Part, Process, innermost_pid};

/// How long a process is held for its core, beyond the time that its report takes.
const LONGEST: Duration = Duration::from_secs(300);

/// What is to be done with a crash besides, or instead of, its report.
#[derive(Debug, Default)]
pub struct Plan {
    /// No report is to be made.
    pub ignore: bool,
    keep: bool,
    plain_core: bool,
    previous: Option<String>,
}

/// A report's place for its core.
pub struct Seat {
    /// The place.
    pub place: CoreSeat,
    /// Whose the report is.
    pub owner: Owner,
    /// The key that the report was encrypted to, where it was: then the core is too.
    pub sealed: Option<Recipient>,
}

/// A process that is still held, and what was taken of its core.
pub struct Held<'a> {
    /// The kernel's arguments.
    pub crash: &'a Crash,
    /// The process.
    pub process: Option<&'a Process>,
    /// The core's beginning, and how long it is.
    pub head: (&'a File, u64),
    /// Where the rest comes from, without blocking.
    pub rest: &'a File,
    /// Whom to compress as: user and group.
    pub user: (u32, u32),
}

impl Plan {
    /// What the settings say of this crash.
    pub fn of(
        crash: &Crash,
        places: &Places,
        settings: &Settings,
        process: Option<&Process>,
        credentials: Option<Credentials>,
    ) -> Plan {
        let (capture, storage) = (&settings.capture, &settings.storage);
        let keep = storage.core == CoreStorage::Keep;
        let named = !capture.ignore.is_empty() || !capture.plain_core.is_empty();
        let read = |part| process.filter(|_| named).and_then(|process| process.read(part).ok());
        let executable = read(Part::Executable).unwrap_or_default();
        let cgroup = read(Part::Cgroup).unwrap_or_default();
        let wishes = Wishes::of(Crashed { executable: &executable, cgroup: &cgroup }, capture);
        Plan {
            ignore: wishes.ignore,
            keep: keep && !wishes.ignore,
            plain_core: wishes.plain_core
                && crash.core_limit > 0
                && is_plain(crash.uid, crash.gid, crash.dumpable, credentials),
            previous: install::previous(places, capture.chain),
        }
    }

    /// Whether a report's core is to be kept.
    pub fn keeps(&self) -> bool {
        self.keep
    }

    /// Whether anybody wants the whole core.
    pub fn wants_core(&self) -> bool {
        self.keep || self.plain_core || self.previous.is_some()
    }

    /// Whether another program gets it.
    pub fn starts_another(&self) -> bool {
        self.previous.is_some()
    }

    /// Gives the core to all who want it, and waits until they have it.
    pub fn carry_out(&self, held: &Held<'_>, places: &Places, settings: &Settings, seat: Option<Seat>) {
        let until = Instant::now() + LONGEST;
        let quota = cores::quota(places, &settings.storage).unwrap_or_default();
        let mut receivers = Vec::new();
        let mut starting = |who: Who, started: io::Result<Receiver>| match started {
            Ok(receiver) => receivers.push(receiver),
            Err(error) => say(held.crash, who, &error.to_string()),
        };
        // A crash that was only counted has no place for a core.
        if let Some(seat) = &seat {
            let file = seat.place.file().map_err(io::Error::other);
            starting(
                Who::Kept,
                file.and_then(|file| keep::start(&file, quota, seat.sealed.as_ref(), held.user)),
            );
        }
        if let Some(pattern) = &self.previous {
            starting(Who::Previous, start_previous(pattern, held));
        }
        if let Some(process) = held.process.filter(|_| self.plain_core) {
            starting(Who::Plain, plain::start(held.crash, process, inner_pid(process, held.crash)));
        }
        let outcomes = forward(held.head, held.rest, receivers, until);
        let kept = outcomes.iter().any(|(who, problem)| *who == Who::Kept && problem.is_none());
        for (who, problem) in outcomes {
            problem.iter().for_each(|problem| say(held.crash, who, problem));
        }
        if let Some(Err(error)) = seat.filter(|_| kept).map(|seat| take_place(places, quota, seat)) {
            say(held.crash, Who::Kept, &error.to_string());
        }
    }
}

fn start_previous(pattern: &str, held: &Held<'_>) -> io::Result<Receiver> {
    let read = |part| held.process.and_then(|process| process.read(part).ok()).unwrap_or_default();
    let mut name = read(Part::Name);
    name.truncate(name.strip_suffix(b"\n").map_or(name.len(), <[u8]>::len));
    let names = chain::Names {
        inner_pid: held.process.map(|process| inner_pid(process, held.crash)),
        name,
        executable: read(Part::Executable),
    };
    let words = chain::words(pattern, held.crash, &names)
        .ok_or_else(|| io::Error::other(format!("'{pattern}' is no program")))?;
    let pidfd = child::pidfd_open(held.crash.pid).ok();
    let pidfd = pidfd.filter(|pidfd| held.process.is_some_and(|process| process.is(pidfd.as_fd())));
    chain::start(&words, pidfd.as_ref().map(AsFd::as_fd))
}

fn inner_pid(process: &Process, crash: &Crash) -> u32 {
    let status = process.read(Part::Status).unwrap_or_default();
    innermost_pid(&status).unwrap_or(crash.pid.unsigned_abs())
}

fn take_place(places: &Places, quota: u64, seat: Seat) -> Result<(), StoreError> {
    let bytes = seat.place.bytes_on_disk()?;
    cores::make_room(places, bytes, quota)?;
    seat.place.take(seat.owner, seat.sealed.is_some())
}

fn say(crash: &Crash, who: Who, problem: &str) {
    journal::log(&format!("process {}: {} is missing or cut short: {problem}", crash.pid, who.describe()));
}
