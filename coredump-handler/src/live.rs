//! A report of a live process that goes on: for errors, panics and snapshots that somebody asks for.
//!
//! The ring comes first, for it tells most and asks nothing of the process. Then the process stands still for a few
//! milliseconds while its registers and stacks are copied; everything slow (names, packages, compression) comes after it
//! has been let go. What MADV_DONTDUMP hides is not read, as in a crash. Where the process may not be looked into, the
//! report still carries the trail, and a problem that says why there is nothing else.

mod freeze;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem, Program, Surroundings, Thread};
use foretrace_report::signature::{Cause, signature};
use foretrace_ring::Snapshot;
use foretrace_ring::layout::REPORT_FRAMES;

use crate::assemble::Collected;
use crate::core::{CoreHead, EM_X86_64, ThreadState, auxv_entries};
use crate::elf::Class;
use crate::handler::{sockets, state};
use crate::live::freeze::Frozen;
use crate::maps::{self, Mapping};
use crate::memory::{Dumped, Memory, Nothing, ProcessMemory};
use crate::minidump::{self, Files, Image};
use crate::module::Modules;
use crate::mounts::Blocking;
use crate::numbers::{self, Numbers};
use crate::package::Claim;
use crate::process::{Part, Process, thread_names};
use crate::reported::{self, Reported};
use crate::stack::{self, Stack};
use crate::surroundings;
use crate::symbol::Detail;
use crate::system::Machine;
use crate::trail::{Expected, RingRefused};
use crate::{attachment, backtrace, package, smaps, trail};

/// Less than of a crash: copying must not hold up a process that goes on.
const STACKS: stack::Limits = stack::Limits { crashed: 1 << 20, other: 128 << 10, total: 16 << 20 };

/// If mappings have changed by the time that the process stands still, they are looked at again, unless that takes longer.
const SECOND_LOOK: Duration = Duration::from_millis(20);

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
    /// The machine that this is.
    pub machine: Machine,
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
    let root = read(Part::Root);
    let status = read(Part::Status);
    let numbers = match numbers::differ(&status) {
        true => Numbers::parse(&read(Part::Numbers)),
        false => Numbers::default(),
    };

    let mut blocking = Blocking::parse(&read(Part::MountInfo));
    blocking.add(&read(Part::Mounts));
    let start = Instant::now();
    let ranges = allowed_ranges(process, &maps, &blocking, &mut all.problems);
    let allowed = Allowed { ranges, cost: start.elapsed() };
    let mut stood_still = Duration::ZERO;
    let mut executable = None;
    match Frozen::new(process) {
        Ok(mut frozen) => {
            let mut still = Still::take(process, &mut frozen, (allowed, &blocking), &request, &mut all);
            stood_still = frozen.thaw();
            let open = &mut |path: &[u8]| process.file(path).map_err(|error| error.to_string());
            let had = attachment::files(&all.trails, open);
            all.parts.extend(had.parts);
            all.problems.extend(had.problems);
            still.find_names(&request, &mut all);
            numbers.note(&mut all.threads);
            state_reason(&request, &numbers, &still.modules, &mut all);
            executable = still.executable.take();
        }
        Err(error) => {
            all.problem("threads", format!("no backtraces and no memory: {error}"));
            read_state(process, &request, Class::Bits64, &mut all);
            read_surroundings(process, &mut all);
            state_reason(&request, &numbers, &Modules::default(), &mut all);
        }
    }
    describe_machine(&request.machine, &mut all);
    find_package(process, &root, executable.as_ref(), &mut all);
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
    state_reason(&request, &Numbers::default(), &Modules::default(), &mut all);
    describe_machine(&request.machine, &mut all);
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
    match Expected::of(process) {
        Some(owner) => trail::read_live(file, &owner),
        None => trail::read_orphan(file, process.pid().cast_unsigned()),
    }
}

// What the program said is the reason, and where it said so the signature.
fn state_reason(request: &Request, numbers: &Numbers, modules: &Modules, all: &mut Collected) {
    let Some(reported) = said(&all.trails, request, numbers) else { return };
    all.signature = stated_signature(request.kind, &reported);
    all.message.get_or_insert_with(|| reported.sentence());
    if !reported.frames.is_empty() {
        state_frames(request, &reported, modules, all);
    }
}

// A thread that caught its panic has gone on or ended: what it noted then says more than where it is now.
fn state_frames(request: &Request, reported: &Reported, modules: &Modules, all: &mut Collected) {
    let (frames, named) = backtrace::stated(&reported.frames, modules);
    if named {
        all.signature =
            signature(&Cause { kind: request.kind, signal: None, stack_overflow: false }, &frames);
    }
    let tid = request.thread.unwrap_or_default();
    if reported.frames.len() == REPORT_FRAMES {
        all.problem("threads", format!("thread {tid}: only its {REPORT_FRAMES} innermost frames were noted"));
    }
    match all.threads.iter_mut().find(|thread| thread.tid == tid) {
        Some(thread) => (thread.frames, thread.crashed) = (frames, true),
        None => {
            let ended = Thread { tid, inner_tid: None, name: String::new(), crashed: true, frames };
            all.threads.insert(0, ended);
        }
    }
}

// The error or panic that this report is about, as the program recorded it.
fn said(trails: &[(String, Snapshot)], request: &Request, numbers: &Numbers) -> Option<Reported> {
    if !matches!(request.kind, Kind::Error | Kind::Panic) {
        return None;
    }
    let thread = request.thread.map(|thread| numbers.inner(thread).cast_unsigned());
    trails.iter().filter_map(|(_, snapshot)| reported::last(snapshot, thread)).max_by_key(|said| said.time)
}

// The thread went on while this program started: where it reported says more than where it is now.
fn stated_signature(kind: Kind, reported: &Reported) -> String {
    const LENGTH: usize = 255;
    let place = if reported.location.is_empty() { &reported.message } else { &reported.location };
    format!("{} | {place}", kind.name()).chars().take(LENGTH).collect()
}

// What a core of this process would hold: without MADV_DONTDUMP, devices, and files whose reading may block.
fn allowed_ranges(
    process: &Process,
    maps: &[Mapping],
    blocking: &Blocking,
    problems: &mut Vec<Problem>,
) -> Vec<(u64, u64)> {
    match process.mapping_details() {
        Ok(details) => blocking.without(smaps::dumped_ranges(&details), maps),
        Err(error) => {
            problems
                .push(Problem::new("memory", format!("the process's mappings could not be read: {error}")));
            Vec::new()
        }
    }
}

// What may be read, and how long it took to find out.
struct Allowed {
    ranges: Vec<(u64, u64)>,
    cost: Duration,
}

// What was taken while the process stood still.
struct Still {
    head: CoreHead,
    names: Vec<(i32, String)>,
    modules: Modules,
    executable: Option<File>,
    stacks: Vec<Stack>,
}

impl Still {
    fn take(
        process: &Process,
        frozen: &mut Frozen,
        (allowed, blocking): (Allowed, &Blocking),
        request: &Request,
        all: &mut Collected,
    ) -> Still {
        all.problems.append(&mut frozen.problems);
        let mut threads = std::mem::take(&mut frozen.threads);
        // The thread that the report is about comes first, else the main thread, which has the lowest number.
        let about = request.thread;
        threads.sort_by_key(|thread| (Some(thread.tid) != about, thread.tid != process.pid(), thread.tid));
        let head = head(process, threads);
        let maps_text = process.read(Part::Maps).unwrap_or_default();
        let (maps, problems) = maps::parse_around(&maps_text, &head.stack_pointers());
        all.problems.extend(problems);
        let memory = match process.memory() {
            Ok(file) => Some(ProcessMemory(file)),
            Err(error) => {
                all.problem("memory", format!("the process's memory could not be opened: {error}"));
                None
            }
        };
        let mut ranges = unchanged(&allowed.ranges, &maps);
        if ranges != allowed.ranges && allowed.cost <= SECOND_LOOK {
            ranges = allowed_ranges(process, &maps, blocking, &mut all.problems);
        }
        let readable = memory.as_ref().map(|memory| Dumped::within(memory, ranges));
        let memory: &dyn Memory = readable.as_ref().map_or(&NoMemory, |readable| readable);
        let (stacks, problems) = stack::copy(&head, &maps, memory, &STACKS);
        all.problems.extend(problems);
        let (modules, executable) = open_modules(process, &maps, memory, blocking, all);
        let names = thread_names(&process.read(Part::Threads).unwrap_or_default());
        let still = Still { head, names, modules, executable, stacks };
        still.write_minidump(process, request, (&maps, &maps_text), memory, all);
        let had = attachment::memory(&all.trails, memory);
        all.parts.extend(had.parts);
        all.problems.extend(had.problems);
        read_state(process, request, Class::of_machine(still.head.machine), all);
        read_surroundings(process, all);
        still
    }

    // Backtraces and the signature: after the process has been let go.
    fn find_names(&self, request: &Request, all: &mut Collected) {
        let about =
            request.thread.is_some() && self.head.crashed().map(|thread| thread.tid) == request.thread;
        let walks = backtrace::walks(&self.head, &self.modules, &self.stacks, &Nothing);
        let (head, names, modules) = (&self.head, &self.names, &self.modules);
        let threads = backtrace::Threads::new(head, names, modules, &walks, about, Detail::Lines);
        all.threads = threads.iter().collect();
        all.problems.extend(threads.problems());
        let frames = all.threads.first().map(|thread| thread.frames.as_slice()).unwrap_or_default();
        all.signature = signature(&Cause { kind: request.kind, signal: None, stack_overflow: false }, frames);
    }

    fn write_minidump(
        &self,
        process: &Process,
        request: &Request,
        (maps, maps_text): (&[Mapping], &[u8]),
        memory: &dyn Memory,
        all: &mut Collected,
    ) {
        let images: Vec<Image<'_>> = self.modules.iter().map(Image::from).collect();
        let note = all.trails.first().map(|(source, _)| format!("trace/{source}"));
        let read = |part| process.read(part).ok();
        let (cpuinfo, status, limits) = (read(Part::Processors), read(Part::Status), read(Part::Limits));
        let descriptors = read(Part::Descriptors);
        let input = minidump::Input {
            time: request.time.0,
            head: &self.head,
            maps,
            memory,
            stacks: &self.stacks,
            images: &images,
            thread_names: &self.names,
            system: &request.machine.kernel,
            files: Files {
                maps: Some(maps_text),
                os_release: request.machine.os_release.as_deref(),
                cpuinfo: cpuinfo.as_deref(),
                status: status.as_deref(),
                limits: limits.as_deref(),
                descriptors: descriptors.as_deref(),
            },
            annotations: &reported::public_annotations(&all.trails),
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

// In the form of a core's head, as far as a live process has one.
fn head(process: &Process, threads: Vec<ThreadState>) -> CoreHead {
    let auxv_raw = process.read(Part::Auxv).unwrap_or_default();
    let machine = threads.first().map_or(EM_X86_64, |thread| thread.registers.machine());
    CoreHead {
        machine,
        pid: process.pid(),
        uid: 0,
        name: String::new(),
        arguments: String::new(),
        threads,
        signal: None,
        auxv: auxv_entries(&auxv_raw, Class::of_machine(machine)),
        auxv_raw,
        segments: Vec::new(),
        files: Vec::new(),
        problems: Vec::new(),
    }
}

// The executable's file comes along.
fn open_modules(
    process: &Process,
    maps: &[Mapping],
    memory: &dyn Memory,
    blocking: &Blocking,
    all: &mut Collected,
) -> (Modules, Option<File>) {
    let mut executable = None;
    let mut open = |mapping: &Mapping| {
        // The file's server may be the process that stands still.
        if blocking.holds(mapping) || blocking.is_unknown(mapping) && !trail::is_memory(mapping) {
            return None;
        }
        let file = process.mapped_file(mapping).ok()?;
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
    let overlaps =
        |mapping: &Mapping| allowed.iter().any(|range| mapping.start < range.1 && range.0 < mapping.end);
    let known = |mapping: &&Mapping| {
        allowed.binary_search(&(mapping.start, mapping.end)).is_ok() || grows(mapping) && overlaps(mapping)
    };
    now.iter().filter(known).map(|mapping| (mapping.start, mapping.end)).collect()
}

// The process's state in `/proc`, reduced to what a report may keep.
fn read_state(process: &Process, request: &Request, class: Class, all: &mut Collected) {
    type Reduce<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let reduced: [(&str, Part, Reduce<'_>); 13] = [
        ("process/status", Part::Status, &<[u8]>::to_vec),
        ("process/maps", Part::Maps, &<[u8]>::to_vec),
        ("process/limits", Part::Limits, &<[u8]>::to_vec),
        ("process/cgroup", Part::Cgroup, &<[u8]>::to_vec),
        ("process/mountinfo", Part::MountInfo, &<[u8]>::to_vec),
        ("process/auxv", Part::Auxv, &|vector| state::auxiliary_vector(vector, class)),
        ("process/fds", Part::Descriptors, &state::descriptors),
        ("process/namespaces", Part::Namespaces, &<[u8]>::to_vec),
        ("process/pressure", Part::Pressure, &state::records),
        ("process/cwd", Part::Directory, &state::command_line),
        ("process/environ", Part::Environ, &|bytes| state::environment(bytes, &request.environment_allow)),
        ("process/cmdline", Part::CommandLine, &state::command_line),
        ("system/cpuinfo", Part::Processors, &|bytes| state::processor(bytes).to_vec()),
    ];
    for (name, part, reduce) in reduced {
        match process.read(part) {
            Ok(bytes) => all.parts.push((name.to_owned(), reduce(&bytes))),
            Err(error) => all.problem("process", format!("{name} could not be read: {error}")),
        }
    }
    let read = |part| process.read(part).unwrap_or_default();
    let descriptors = read(Part::Descriptors);
    if sockets::has_any(&descriptors) {
        let listing = sockets::sockets(&descriptors, &read(Part::Sockets));
        all.parts.push(("process/sockets".into(), listing));
    }
}

fn read_surroundings(process: &Process, all: &mut Collected) {
    // What cannot be read is a problem already.
    let read = |part| process.read(part).unwrap_or_default();
    let cgroup = read(Part::Cgroup);
    let seen = surroundings::seen(
        &String::from_utf8_lossy(&cgroup),
        &read(Part::Namespaces),
        &read(Part::Status),
        process.pid(),
    );
    let pressure = surroundings::pressure(&read(Part::Pressure));
    all.surroundings = Surroundings { pressure: Some(pressure), ..seen };
}

fn describe_machine(machine: &Machine, all: &mut Collected) {
    all.parts.push(("system/kernel".into(), format!("{}\n", machine.kernel).into_bytes()));
    if let Some(text) = &machine.os_release {
        all.parts.push(("system/os-release".into(), text.clone()));
    }
    all.system = machine.system.clone();
}

// A name in another root directory says nothing about this system's packages, but something about those there.
fn find_package(process: &Process, root: &[u8], executable: Option<&File>, all: &mut Collected) {
    const LONGEST: Duration = Duration::from_secs(1);
    let Some(exe) = all.program.exe.as_deref() else { return };
    let until = Instant::now() + LONGEST;
    let mut open = |name: &str| process.file(name.as_bytes()).ok().filter(|_| Instant::now() < until);
    all.program.package = match root.split_first() {
        Some((1, _)) => package::find(Path::new("/"), exe, executable),
        other => {
            let root = String::from_utf8_lossy(other.map_or(&[], |(_, root)| root));
            let claim = Claim::find(surroundings::path_inside(exe, &root), &mut open);
            let proved = claim.zip(executable).and_then(|(claim, file)| claim.proved(file, until));
            proved.or_else(|| executable.and_then(package::noted))
        }
    };
}

struct NoMemory;

impl Memory for NoMemory {
    fn read(&self, _address: u64, _into: &mut [u8]) -> usize {
        0
    }
}
