//! A report of a live process that goes on: for errors, panics and snapshots that somebody asks for.
//!
//! The ring comes first, for it tells most and asks nothing of the process. Then the process stands still for a few
//! milliseconds while its registers and stacks are copied; everything slow (names, packages, compression) comes after it
//! has been let go. What MADV_DONTDUMP hides is not read, as in a crash. Where the process may not be looked into, the
//! report still carries the trail, and a problem that says why there is nothing else.

mod freeze;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem, Program};
use foretrace_report::signature::{Cause, signature};
use foretrace_ring::Snapshot;

use crate::assemble::Collected;
use crate::core::{CoreHead, auxv_entries};
use crate::handler::state;
use crate::live::freeze::Frozen;
use crate::maps::{self, Mapping};
use crate::memory::{Dumped, Memory, ProcessMemory};
use crate::minidump::{self, Files, Image};
use crate::module::Modules;
use crate::mounts::Blocking;
use crate::process::{Part, Process, thread_names};
use crate::reported::{self, Reported};
use crate::stack::{self, Stack};
use crate::system::Machine;
use crate::trail::RingRefused;
use crate::{backtrace, package, smaps, trail};

/// Less than of a crash: copying must not hold up a process that goes on.
const STACKS: stack::Limits = stack::Limits { crashed: 1 << 20, other: 128 << 10, total: 16 << 20 };

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// The report's name.
    pub id: ReportId,
    /// Seconds since 1970, and the same moment in the form of reports.
    pub time: (u32, String),
    /// Error, panic or snapshot.
    pub kind: Kind,
    /// The thread that the report is about.
    pub thread: Option<i32>,
    /// The ring, where the caller handed over its descriptor.
    pub ring: Option<File>,
    /// Why, in the words of whoever asks.
    pub reason: Option<String>,
    /// Further variables of the environment that may be kept.
    pub environment_allow: Vec<String>,
}

/// Collects everything about `process`. How long it stood still comes along.
pub fn collect(process: &Process, request: Request) -> (Collected, Duration) {
    let read = |part| process.read(part).unwrap_or_default();
    let maps = maps::parse(&read(Part::Maps)).0;
    let (trails, problems) = match &request.ring {
        None => trail::of_process(process, &maps),
        Some(file) => match handed_over(process, file) {
            Ok(snapshot) => (vec![(trail::source_name(process.pid(), 0), snapshot)], Vec::new()),
            // Its number is another process's by now.
            Err(RingRefused::Owner { found, .. }) if found.pid == process.pid().cast_unsigned() => {
                return (orphan(process.pid(), request), Duration::ZERO);
            }
            Err(why) => (Vec::new(), vec![Problem::new("trail", format!("the ring was not read: {why}"))]),
        },
    };
    let exe = String::from_utf8_lossy(&read(Part::Executable)).into_owned();
    let name = String::from_utf8_lossy(&read(Part::Name)).trim_end_matches('\n').to_owned();
    let program = Program { name, exe: (!exe.is_empty()).then_some(exe), pid: process.pid(), package: None };
    let mut all = begun(&request, program, trails, problems);

    let allowed = allowed_ranges(process, &maps, &mut all.problems);
    let mut stood_still = Duration::ZERO;
    let mut executable = None;
    match Frozen::new(process) {
        Ok(frozen) => {
            let still = Still::take(process, frozen, &allowed, request.thread, &mut all);
            stood_still = still.stood_still;
            still.describe(&request, &mut all);
            executable = still.executable;
        }
        Err(error) => all.problem("threads", format!("no backtraces and no memory: {error}")),
    }
    state_reason(&request, &mut all);
    describe_program(process, &request, executable.as_ref(), &mut all);
    (all, stood_still)
}

/// What is left of a process that has ended: the ring whose descriptor it handed over.
pub fn orphan(pid: i32, request: Request) -> Collected {
    let program = Program { pid, ..Program::default() };
    let ended = "the process ended before it could be looked into: there are no backtraces and no memory";
    let mut all = begun(&request, program, Vec::new(), vec![Problem::new("threads", ended)]);
    if let Some(file) = &request.ring {
        match trail::read_orphan(file, pid.cast_unsigned()) {
            Ok(snapshot) => all.trails.push((trail::source_name(pid, 0), snapshot)),
            Err(why) => all.problem("trail", format!("the ring was not read: {why}")),
        }
    }
    state_reason(&request, &mut all);
    describe_machine(&mut all);
    all
}

fn begun(
    request: &Request,
    program: Program,
    trails: Vec<(String, Snapshot)>,
    problems: Vec<Problem>,
) -> Collected {
    let mut all = Collected::new(request.id, request.kind, request.time.1.clone(), program);
    all.message = request.reason.clone();
    all.trails = trails;
    all.problems = problems;
    all
}

fn handed_over(process: &Process, file: &File) -> Result<Snapshot, RingRefused> {
    match trail::owner_of(process) {
        Some(owner) => trail::read_live(file, owner),
        None => trail::read_orphan(file, process.pid().cast_unsigned()),
    }
}

// What the program said is the reason, and where it said so the signature.
fn state_reason(request: &Request, all: &mut Collected) {
    if let Some(reported) = said(&all.trails, request) {
        all.signature = stated_signature(request.kind, &reported);
        all.message.get_or_insert_with(|| reported.sentence());
    }
}

// The error or panic that this report is about, as the program recorded it.
fn said(trails: &[(String, Snapshot)], request: &Request) -> Option<Reported> {
    if !matches!(request.kind, Kind::Error | Kind::Panic) {
        return None;
    }
    let thread = request.thread.map(i32::cast_unsigned);
    trails.iter().filter_map(|(_, snapshot)| reported::last(snapshot, thread)).max_by_key(|said| said.time)
}

// The thread went on while this program started: where it reported says more than where it is now.
fn stated_signature(kind: Kind, reported: &Reported) -> String {
    const LENGTH: usize = 255;
    let place = if reported.location.is_empty() { &reported.message } else { &reported.location };
    format!("{} | {place}", kind.name()).chars().take(LENGTH).collect()
}

// What a core of this process would hold: without MADV_DONTDUMP, devices, and files whose reading may block.
fn allowed_ranges(process: &Process, maps: &[Mapping], problems: &mut Vec<Problem>) -> Vec<(u64, u64)> {
    let details = match process.mapping_details() {
        Ok(details) => details,
        Err(error) => {
            problems
                .push(Problem::new("memory", format!("the process's mappings could not be read: {error}")));
            return Vec::new();
        }
    };
    let blocking = Blocking::parse(&process.read(Part::MountInfo).unwrap_or_default());
    blocking.without(smaps::dumped_ranges(&details), maps)
}

// What was copied while the process stood still.
struct Still {
    head: CoreHead,
    maps: Vec<Mapping>,
    maps_text: Vec<u8>,
    status: Option<Vec<u8>>,
    cpuinfo: Option<Vec<u8>>,
    names: Vec<(i32, String)>,
    modules: Modules,
    executable: Option<File>,
    stacks: Vec<Stack>,
    memory: Option<ProcessMemory>,
    allowed: Vec<(u64, u64)>,
    stood_still: Duration,
}

impl Still {
    fn take(
        process: &Process,
        mut frozen: Frozen,
        allowed: &[(u64, u64)],
        about: Option<i32>,
        all: &mut Collected,
    ) -> Still {
        all.problems.append(&mut frozen.problems);
        let mut threads = std::mem::take(&mut frozen.threads);
        // The thread that the report is about comes first, else the main thread, which has the lowest number.
        threads.sort_by_key(|thread| (Some(thread.tid) != about, thread.tid != process.pid(), thread.tid));
        let maps_text = process.read(Part::Maps).unwrap_or_default();
        let (maps, problems) = maps::parse(&maps_text);
        all.problems.extend(problems);
        let allowed = unchanged(allowed, &maps);
        let auxv_raw = process.read(Part::Auxv).unwrap_or_default();
        let head = CoreHead {
            machine: if cfg!(target_arch = "x86_64") {
                crate::core::EM_X86_64
            } else {
                crate::core::EM_AARCH64
            },
            pid: process.pid(),
            uid: 0,
            name: all.program.name.clone(),
            arguments: String::new(),
            threads,
            signal: None,
            auxv: auxv_entries(&auxv_raw),
            auxv_raw,
            segments: Vec::new(),
            files: Vec::new(),
            problems: Vec::new(),
        };
        let memory = process.memory().map(ProcessMemory);
        let (stacks, (modules, executable)) = match &memory {
            Ok(memory) => {
                let dumped = Dumped::within(memory, allowed.clone());
                let (stacks, problems) = stack::copy(&head, &maps, &dumped, &STACKS);
                all.problems.extend(problems);
                (stacks, open_modules(process, &maps, &dumped, all))
            }
            Err(error) => {
                all.problem("memory", format!("the process's memory could not be opened: {error}"));
                (Vec::new(), open_modules(process, &maps, &NoMemory, all))
            }
        };
        let stood_still = frozen.thaw();
        let names = thread_names(&process.read(Part::Threads).unwrap_or_default());
        Still {
            head,
            maps,
            maps_text,
            status: process.read(Part::Status).ok(),
            cpuinfo: process.read(Part::Processors).ok(),
            names,
            modules,
            executable,
            stacks,
            memory: memory.ok(),
            allowed,
            stood_still,
        }
    }

    fn describe(&self, request: &Request, all: &mut Collected) {
        let about =
            request.thread.is_some() && self.head.crashed().map(|thread| thread.tid) == request.thread;
        let (threads, problems) =
            backtrace::threads(&self.head, &self.names, &self.modules, &self.stacks, about);
        all.threads = threads;
        all.problems.extend(problems);
        let frames = all.threads.first().map(|thread| thread.frames.as_slice()).unwrap_or_default();
        all.signature = signature(&Cause { kind: request.kind, signal: None, stack_overflow: false }, frames);
        self.write_minidump(request, all);
    }

    fn write_minidump(&self, request: &Request, all: &mut Collected) {
        let nothing = NoMemory;
        let dumped;
        let memory: &dyn Memory = match &self.memory {
            Some(memory) => {
                dumped = Dumped::within(memory, self.allowed.clone());
                &dumped
            }
            None => &nothing,
        };
        let images: Vec<Image<'_>> = self.modules.iter().map(Image::from).collect();
        let machine = Machine::here();
        let note = all.trails.first().map(|(source, _)| format!("trace/{source}"));
        let input = minidump::Input {
            time: request.time.0,
            head: &self.head,
            maps: &self.maps,
            memory,
            stacks: &self.stacks,
            images: &images,
            thread_names: &self.names,
            system: &machine.kernel,
            files: Files {
                maps: Some(&self.maps_text),
                os_release: machine.os_release.as_deref(),
                cpuinfo: self.cpuinfo.as_deref(),
                status: self.status.as_deref(),
                limits: None,
            },
            annotations: &[],
            trail_note: note.as_deref(),
        };
        match minidump::write(&input) {
            Ok((bytes, problems)) => {
                all.minidump = Some(bytes);
                all.problems.extend(problems);
            }
            Err(error) => all.problem("minidump", error.to_string()),
        }
    }
}

// The executable's file comes along.
fn open_modules(
    process: &Process,
    maps: &[Mapping],
    memory: &dyn Memory,
    all: &mut Collected,
) -> (Modules, Option<File>) {
    let mut executable = None;
    let mut open = |mapping: &Mapping| {
        let file = process.mapping(mapping.start, mapping.end).ok()?;
        if executable.is_none() && Some(&mapping.path) == all.program.exe.as_ref() {
            executable = file.try_clone().ok();
        }
        Some(file)
    };
    let (modules, problems) = Modules::new(maps, memory, &mut open);
    all.problems.extend(problems);
    (modules, executable)
}

// The flags were looked up before the stop, for that may take long. A mapping that is new since then is not known to be
// allowed; but stack and heap may have grown.
fn unchanged(allowed: &[(u64, u64)], now: &[Mapping]) -> Vec<(u64, u64)> {
    let grows = |mapping: &Mapping| matches!(mapping.path.as_str(), "[stack]" | "[heap]");
    let known = |mapping: &&Mapping| {
        allowed.iter().any(|range| {
            *range == (mapping.start, mapping.end)
                || grows(mapping) && mapping.start < range.1 && range.0 < mapping.end
        })
    };
    now.iter().filter(known).map(|mapping| (mapping.start, mapping.end)).collect()
}

// The process's state in `/proc`, this machine, and the package: after the process has been let go.
fn describe_program(process: &Process, request: &Request, executable: Option<&File>, all: &mut Collected) {
    let reduced: [(&str, Part, &dyn Fn(&[u8]) -> Vec<u8>); 9] = [
        ("status", Part::Status, &<[u8]>::to_vec),
        ("maps", Part::Maps, &<[u8]>::to_vec),
        ("limits", Part::Limits, &<[u8]>::to_vec),
        ("cgroup", Part::Cgroup, &<[u8]>::to_vec),
        ("mountinfo", Part::MountInfo, &<[u8]>::to_vec),
        ("auxv", Part::Auxv, &state::auxiliary_vector),
        ("fds", Part::Descriptors, &state::descriptors),
        ("environ", Part::Environ, &|bytes| state::environment(bytes, &request.environment_allow)),
        ("cmdline", Part::CommandLine, &state::command_line),
    ];
    for (name, part, reduce) in reduced {
        match process.read(part) {
            Ok(bytes) => all.parts.push((format!("process/{name}"), reduce(&bytes))),
            Err(error) => all.problem("process", format!("{name} could not be read: {error}")),
        }
    }
    if let Ok(processors) = process.read(Part::Processors) {
        all.parts.push(("system/cpuinfo".into(), state::processor(&processors).to_vec()));
    }
    describe_machine(all);
    // A name in another root directory says nothing about this system's packages.
    let own_root = process.read(Part::Root).is_ok_and(|same| same == [1]);
    if let Some(exe) = all.program.exe.as_deref() {
        all.program.package = match own_root {
            true => package::find(Path::new("/"), exe, executable),
            false => executable.and_then(package::noted),
        };
    }
}

fn describe_machine(all: &mut Collected) {
    let machine = Machine::here();
    all.parts.push(("system/kernel".into(), format!("{}\n", machine.kernel).into_bytes()));
    if let Some(text) = machine.os_release {
        all.parts.push(("system/os-release".into(), text));
    }
    all.system = machine.system;
}

struct NoMemory;

impl Memory for NoMemory {
    fn read(&self, _address: u64, _into: &mut [u8]) -> usize {
        0
    }
}
