//! `report.json`: one schema, documented and versioned, which `foretrace info --json` prints as it is.
//!
//! Owns field names, units and what may be missing. Every reader accepts unknown fields, so that a newer handler's
//! report stays readable; a changed meaning is a new [`SCHEMA`]. Times are RFC 3339 in UTC, addresses hex strings
//! with `0x`, frames innermost first.

use serde::{Deserialize, Serialize};

mod surroundings;

use crate::{Class, ReportId};

pub use surroundings::{Container, Pressure, Surroundings};

/// The schema's version, written into every report.
pub const SCHEMA: u32 = 1;

/// Everything that is known about one crash, error, panic, hang, killed process or snapshot. Whoever writes one may make its
/// threads as they are written (`T`): thousands of them are tens of megabytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report<T = Vec<Thread>> {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// The report's name.
    pub id: ReportId,
    /// What happened.
    pub kind: Kind,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// To which program.
    pub program: Program,
    /// The signal that ended it, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// What the program itself said: an error's or a panic's message, a snapshot's reason. Class `trail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the person wrote about it who agreed to send it, as they wrote it; never in `bundle.zip`. Class `summary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The machine's operating system.
    #[serde(default)]
    pub system: System,
    /// What surrounded the program: service, container, pressure. Class `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
    /// All threads; the crashed one first. Class `stack`.
    #[serde(default)]
    pub threads: T,
    /// The crash's group: Socorro's rules over the crashed thread's frames.
    #[serde(default)]
    pub signature: String,
    /// What the program noted about itself with `annotate`. Class `trail`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// The trail's counts over all rings: recorded = readable + overwritten.
    #[serde(default)]
    pub losses: Losses,
    /// What recording cost the program, over all rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<Recorder>,
    /// The other entries of the bundle.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// What could not be had, and why.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// What happened to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A signal ended it.
    Crash,
    /// It reported an error and went on.
    Error,
    /// A Rust panic.
    Panic,
    /// It no longer answered.
    Hang,
    /// It was killed from outside.
    Killed,
    /// Somebody asked for its state.
    Snapshot,
}

impl Kind {
    /// The word used in JSON and lists.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Crash => "crash",
            Kind::Error => "error",
            Kind::Panic => "panic",
            Kind::Hang => "hang",
            Kind::Killed => "killed",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// The program that the report is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The command name (`comm`), at most 15 bytes, control characters possible.
    pub name: String,
    /// The executable's path, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its process ID on the host.
    pub pid: i32,
    /// The package that the executable came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
}

/// A distribution's package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, in the packaging system's own form.
    pub version: String,
}

/// The machine that the program ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `PRETTY_NAME` of os-release.
    #[serde(default)]
    pub os: String,
    /// The kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// The machine's architecture, as `uname -m` says it.
    #[serde(default)]
    pub arch: String,
}

/// A fatal signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// Its name, as in `SIGSEGV`.
    pub name: String,
    /// `si_code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The fault's address where the signal carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// One thread and its frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its ID on the host.
    pub tid: i32,
    /// Its ID in its own PID namespace, where that is another one: what it calls itself in the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_tid: Option<i32>,
    /// Its name, where it could be read.
    #[serde(default)]
    pub name: String,
    /// Whether the signal was delivered to it.
    pub crashed: bool,
    /// Innermost first.
    pub frames: Vec<Frame>,
}

impl Thread {
    /// The number that its events in the trail bear.
    pub fn trail_tid(&self) -> Option<u32> {
        u32::try_from(self.inner_tid.unwrap_or(self.tid)).ok()
    }
}

/// One frame of a backtrace. An inlined call has a frame of its own, before the one it was inlined into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The instruction pointer.
    pub ip: String,
    /// The path of the mapped file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The file's build-id in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// The instruction pointer's distance from the module's start, a hex string: the same in every process, and what
    /// names a function later, when its debug information can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
    /// The demangled function; null for a signal trampoline and where no symbol was found.
    pub function: Option<String>,
    /// The source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Whether this is an inlined call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inline: bool,
    /// How the frame was found.
    pub trust: Trust,
}

/// One of the calls that an address stands for: where the compiler inlined, there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The demangled function.
    pub function: Option<String>,
    /// The source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// How a frame was found, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// The registers themselves.
    Context,
    /// Call frame information.
    Cfi,
    /// A signal trampoline; its function is null.
    Signal,
    /// The frame-pointer chain.
    FramePointer,
    /// A word on the stack that looks like a return address: a guess.
    Scan,
    /// The program's own word: it noted the frame when it panicked, and has left it since.
    Stated,
}

/// A note that a program keeps about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The key, unique in a process.
    pub key: String,
    /// The newest value.
    pub value: String,
    /// Whose business the value is.
    pub privacy: Privacy,
}

/// Whose business a field or annotation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privacy {
    /// Leaves as it is.
    #[default]
    Public,
    /// Leaves as a pseudonym that is the same within one report only.
    Personal,
    /// Was never recorded.
    Secret,
}

/// The trail's counts. `recorded = readable + overwritten`; `discarded` events were never recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Events that the application recorded.
    pub recorded: u64,
    /// Of these, events that newer ones replaced.
    pub overwritten: u64,
    /// Events that could not be recorded.
    pub discarded: u64,
}

/// What recording cost the program until the report was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorder {
    /// Events that it recorded.
    pub events: u64,
    /// Bytes written for them: those of the readable events, extrapolated to all.
    pub bytes: u64,
    /// Processor time in nanoseconds: events times 1.2 readings of the clock, which the recorder measured when it
    /// started. 0 where it could not be measured.
    pub nanoseconds: u64,
}

/// An entry of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the bundle, as in `trace/1234/stream-0.ctf`.
    pub name: String,
    /// Its data class.
    pub class: Class,
    /// Its size before compression.
    pub bytes: u64,
    /// The sha256 of its uncompressed bytes, in hex.
    pub sha256: String,
}

/// Something that could not be had. A problem is never a lost report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which part it concerns: `trail`, `memory`, `threads`, `package`, …
    pub part: String,
    /// A sentence: what happened, and where it helps what to do.
    pub what: String,
}

impl Problem {
    /// A problem with `part`.
    pub fn new(part: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { part: part.into(), what: what.into() }
    }
}

/// The name of a Linux signal (x86-64 and aarch64 numbers), or `SIG<number>`.
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 32] = [
        "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
        "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(number).ok().and_then(|n| NAMES.get(n)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_report_with_unknown_fields_is_still_read() {
        let json = r#"{"schema":1,"id":"00017f80ff6162636465666768696a6b","kind":"crash","time":"2026-01-01T00:00:00Z",
            "program":{"name":"a","pid":1,"novel":true},"threads":[{"tid":1,"crashed":true,"frames":
            [{"ip":"0x0","function":null,"trust":"signal"}]}],"another":[1,2]}"#;
        let report: Report = serde_json::from_str(json).unwrap();
        assert_eq!(report.threads[0].frames[0].trust, Trust::Signal);
        assert_eq!(report.losses, Losses::default());
    }

    #[test]
    fn signals_have_the_kernels_names() {
        assert_eq!(
            (signal_name(11), signal_name(6), signal_name(31), signal_name(64)),
            ("SIGSEGV".into(), "SIGABRT".into(), "SIGSYS".into(), "SIG64".into())
        );
    }
}
