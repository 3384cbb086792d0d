//! The report that takes nobody's help: what the kernel's arguments say, and what the broker left in the locker.
//!
//! Used when no worker came to an end, and when the supervisor itself did not. Parses nothing.

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem, Program, Signal, signal_name};

use super::arguments::Crash;
use super::locker::LockerReader;
use crate::assemble::Collected;
use crate::process::{Part, Process};

/// What of the locker goes into it as it is.
const PLAIN: [(&str, Part); 4] =
    [("status", Part::Status), ("maps", Part::Maps), ("limits", Part::Limits), ("cgroup", Part::Cgroup)];

/// The program: its name and path are the kernel's own words, and reading them cannot block.
pub fn program(crash: &Crash, locker: &LockerReader, process: Option<&Process>) -> Program {
    let text = |part: Part| {
        let bytes = locker.find(part as u32).or_else(|| process?.read(part).ok())?;
        Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    Program {
        name: text(Part::Name).unwrap_or_default(),
        exe: text(Part::Executable),
        pid: crash.pid,
        package: None,
    }
}

/// All that there is, with the `problems` that led here.
pub fn collect(
    crash: &Crash,
    id: ReportId,
    program: Program,
    locker: &LockerReader,
    problems: Vec<Problem>,
) -> Collected {
    let mut collected = told(crash, id, program);
    collected.problems = problems;
    collected.problem("handler", "only what the kernel itself said could be written");
    for (name, part) in PLAIN {
        if let Some(content) = locker.find(part as u32) {
            collected.parts.push((format!("process/{name}"), content));
        }
    }
    collected
}

/// What the kernel itself said.
pub fn told(crash: &Crash, id: ReportId, program: Program) -> Collected {
    let mut collected = Collected::new(id, Kind::Crash, super::moment(crash), program);
    collected.signal =
        Some(Signal { number: crash.signal, name: signal_name(crash.signal), code: None, address: None });
    collected
}
