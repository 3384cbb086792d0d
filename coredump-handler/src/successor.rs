//! Whether a panic is about to become a crash: then the handler's report is the one, and ours is not needed.
//!
//! A panic hook starts `foretrace-capture` and does not wait. With `panic = "abort"` the process is dying before the
//! hook's child has even begun; with unwinding it may live on for ever. So the report is made at once, the process is
//! watched meanwhile, and the report is held back for a moment.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Report};
use foretrace_store::{Places, ReportDir, Store};

use crate::process::{Part, Process};

/// How long a report waits for its process to crash.
pub const PATIENCE: Duration = Duration::from_secs(1);

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
const HANDLER: &str = "foretrace-coredump";
/// A dump lasts longer than this: the handler starts a program and reads a process.
const LOOK: Duration = Duration::from_millis(2);
/// The handler's report of the same process is not older.
const RECENT: Duration = Duration::from_secs(15);

/// Whether the kernel gives crashes to `foretrace-coredump`.
pub fn is_installed() -> bool {
    std::fs::read_to_string(CORE_PATTERN).is_ok_and(|pattern| names_handler(&pattern))
}

/// Whether the process is writing its core now.
pub fn is_dumping(process: &Process) -> bool {
    process.read(Part::Status).is_ok_and(|status| shows_dump(&status))
}

/// A process that may be about to crash, looked at every other millisecond.
#[derive(Debug)]
pub struct Watch {
    finish: Sender<Instant>,
    looking: JoinHandle<Seen>,
}

/// What a watch has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The process wrote its core.
    Dump,
    /// It ended. On a busy machine that may have been a dump between two looks.
    End,
    /// It lives on.
    Life,
}

impl Watch {
    /// Starts watching a process.
    pub fn new(process: Process) -> Watch {
        let (finish, told) = channel::<Instant>();
        let looking = std::thread::spawn(move || {
            let mut until = None;
            loop {
                match process.read(Part::Status) {
                    Ok(status) if shows_dump(&status) => return Seen::Dump,
                    Ok(_) => {}
                    Err(_) => return Seen::End,
                }
                match told.recv_timeout(LOOK) {
                    Ok(time) => until = Some(time),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
                }
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Seen::Life;
                }
            }
        });
        Watch { finish, looking }
    }

    /// Waits until the process dumps its core, ends, or `patience` is over.
    pub fn end(self, patience: Duration) -> Seen {
        // A watcher that has its answer no longer listens.
        let _ = self.finish.send(Instant::now() + patience);
        self.looking.join().unwrap_or(Seen::Life)
    }
}

/// Waits for a report that the handler made of this process; false when there is none within `patience`.
pub fn has_report(places: &Places, pid: i32, now: jiff::Timestamp, patience: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(50);
    let until = Instant::now() + patience;
    let mut seen: Vec<ReportId> = Vec::new();
    loop {
        if newest(places).iter().any(|directory| {
            let id = directory.id();
            let fresh = !seen.contains(&id);
            seen.push(id);
            fresh && directory.report().is_ok_and(|report| is_successor(&report, pid, now))
        }) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

fn newest(places: &Places) -> Vec<ReportDir> {
    const LOOKED_AT: usize = 16;
    let mut reports = Store::open(places).reports().reports;
    reports.truncate(LOOKED_AT);
    reports
}

fn is_successor(report: &Report, pid: i32, now: jiff::Timestamp) -> bool {
    let crashed =
        report.program.pid == pid && report.signal.as_ref().is_some_and(|s| s.number == libc::SIGABRT);
    let recent = report.time.parse::<jiff::Timestamp>().is_ok_and(|time| {
        Duration::try_from(now.duration_since(time)).is_ok_and(|age| age <= RECENT)
            || time > now && Duration::try_from(time.duration_since(now)).is_ok_and(|ahead| ahead <= RECENT)
    });
    crashed && recent && matches!(report.kind, Kind::Crash | Kind::Panic)
}

fn names_handler(pattern: &str) -> bool {
    if let Some(socket) = pattern.strip_prefix('@') {
        return socket.ends_with("/foretrace/coredump.socket");
    }
    let program = pattern.strip_prefix('|').and_then(|command| command.split_whitespace().next());
    program.and_then(|program| Path::new(program).file_name()).is_some_and(|name| name == HANDLER)
}

/// Whether `status` is that of a process whose core is being written.
pub(crate) fn shows_dump(status: &[u8]) -> bool {
    status.split(|byte| *byte == b'\n').any(|line| line == b"CoreDumping:\t1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handler_is_known_by_its_program_or_socket() {
        assert!(names_handler("@@/run/foretrace/coredump.socket"));
        assert!(!names_handler("@@/run/systemd/coredumpd/kernel"));
        assert!(names_handler("|/usr/libexec/foretrace-coredump %P %u %g"));
        assert!(names_handler("|/opt/a/foretrace-coredump --root /tmp/r %P"));
        for other in
            ["core", "/var/foretrace-coredump", "|/lib/systemd/systemd-coredump foretrace-coredump", "|"]
        {
            assert!(!names_handler(other), "{other}");
        }
    }

    #[test]
    fn a_command_name_cannot_claim_a_dump() {
        assert!(shows_dump(b"Name:\ta\nCoreDumping:\t1\nThreads:\t1\n"));
        assert!(!shows_dump(b"Name:\tCoreDumping:\\t1\nCoreDumping:\t0\n"));
    }

    #[test]
    fn a_process_that_ends_normally_is_not_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let watch = Watch::new(Process::open(child.id() as i32).unwrap());
        child.wait().unwrap();
        let start = Instant::now();
        assert_eq!(watch.end(Duration::from_secs(20)), Seen::End);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
