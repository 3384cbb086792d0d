//! What becomes of a crash whose supervisor has itself died.
//!
//! Behind the kernel's pipe nobody would notice: so a process stands by that does nothing but wait for the supervisor's end,
//! and writes what the kernel said where that end leaves no report. (Behind the socket the acceptor notices.) Parses
//! nothing, reads nothing of the crashed process once it waits, and holds no end of the pipe.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use foretrace_report::ReportId;
use foretrace_report::schema::Program;
use foretrace_store::{Incoming, Owner, Places, StoreKind, is_published};

use super::arguments::Crash;
use super::child::Child;
use super::{least, privileges, sandbox, supervisor};
use crate::assemble::Extent;
use crate::container;
use crate::journal;
use crate::process::{Part, Process};

/// A process that writes a report should this one die. Dropped, it ends without one.
pub struct Witness(UnixStream);

const DISMISSED: &[u8] = b".";

impl Witness {
    /// Posts one for the report `id` of a crash. `None` where there can be none: the crash is handled all the same.
    pub fn post(crash: &Crash, id: ReportId) -> Option<Witness> {
        let program = program_of(crash);
        let (ours, mut theirs) = UnixStream::pair().ok()?;
        let watch = || {
            if sandbox::keep_only(&[theirs.as_raw_fd()]).is_err() {
                return 1;
            }
            // It starts nobody, and writes one report.
            let _ = privileges::reduce_supervisor(false);
            match theirs.read(&mut [0]) {
                Ok(0) => bury(crash, id, program, "died"),
                _ => 0,
            }
        };
        Child::spawn(None, watch).ok()?;
        Some(Witness(ours))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Should it be gone, nothing is left to be told.
        let _ = self.0.write_all(DISMISSED);
    }
}

/// What the kernel calls the program that has crashed: reading that cannot block.
pub fn program_of(crash: &Crash) -> Program {
    let process = Process::open(crash.pid).ok();
    let text = |part| {
        let bytes = process.as_ref().and_then(|process| process.read(part).ok())?;
        Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    let name = text(Part::Name).unwrap_or_default();
    Program { name, exe: text(Part::Executable), pid: crash.pid, package: None }
}

/// Writes the report of a crash whose supervisor `how`, unless that had published it. It is root's: nobody is left to say
/// whose it could be. Returns a process's exit code.
pub fn bury(crash: &Crash, id: ReportId, program: Program, how: &str) -> i32 {
    let write = || {
        supervisor::guard()?;
        let places = Places::system(&crash.root);
        if is_published(&places, id)? {
            return Ok(());
        }
        let incoming = Incoming::begin(&places, StoreKind::System)?;
        let mut collected = least::told(crash, id, program);
        let what =
            format!("the handler itself {how} at this crash; only what the kernel said could be written");
        collected.problem("handler", what);
        let bundle = incoming.bundle()?;
        container::write_what_fits(&collected, &collected.threads, &bundle, &mut Extent::Whole)?;
        incoming.publish(id, Owner::ROOT)?;
        anyhow::Ok(())
    };
    match write() {
        Ok(()) => 0,
        Err(error) => {
            journal::lose(&Places::system(&crash.root), crash, &format!("{error:#}"));
            1
        }
    }
}
