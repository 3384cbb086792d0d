//! The worker: everything that parses. It has no rights, and everything it knows came as bytes and descriptors.
//!
//! Order is all: the ring first, because a killed process leaves nothing else; then the core's head, mapped files and
//! stacks; then the state in `/proc`; then the process is let go; and only then what takes time: backtraces, names,
//! package, logs, the bundle. What cannot be had is a problem in the report.

use std::fs::File;
use std::io::{self, Cursor, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem, Program, Signal, System, Thread, signal_name};
use foretrace_report::signature::{Cause, signature};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::arguments::Crash;
use super::channel::{Answer, Channel, HeadReady, Progress, Question, Stage};
use super::locker::LockerReader;
use super::{last_words, sandbox, state};
use crate::assemble::{Collected, assemble};
use crate::backtrace;
use crate::core::{self, CoreHead};
use crate::maps::{self, Mapping};
use crate::memory::{Dumped, Memory, ProcessMemory};
use crate::minidump;
use crate::module::Modules;
use crate::mounts::Blocking;
use crate::process::{Part, thread_names};
use crate::stack::{self, Stack};
use crate::trail::{self, RingRefused};

/// What a worker tries. The one after a failure tries less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Rings.
    pub ring: bool,
    /// The core's head.
    pub head: bool,
    /// Mapped files.
    pub images: bool,
    /// Memory, and what of `/proc` is read from it.
    pub memory: bool,
    /// Backtraces and names.
    pub analysis: bool,
}

impl Effort {
    /// Everything.
    pub const FULL: Effort = Effort { ring: true, head: true, images: true, memory: true, analysis: true };

    /// What is left to try after a worker ended at `stage`. Memory is never tried again: it may block, and most of what
    /// can be wrong is in it.
    pub fn after(self, stage: Stage) -> Effort {
        let less = Effort { memory: false, ..self };
        match stage {
            Stage::Start | Stage::Assembly => Effort { analysis: false, images: false, ..less },
            Stage::Ring => Effort { ring: false, ..less },
            Stage::Head => Effort { head: false, ..less },
            // The first suspect is the memory that the images are compared with.
            Stage::Images => Effort { images: self.memory, ..less },
            Stage::Memory | Stage::State => less,
            Stage::Analysis => Effort { analysis: false, images: false, ..less },
        }
    }
}

/// The number of the kept minidump; rings have theirs from 0 on.
pub const KEPT_MINIDUMP: u32 = 100;

/// The kernel's lines that concern a crash are not older.
const KERNEL_LOG_SECONDS: f64 = 120.0;

/// What a worker is given.
pub struct Task<'a> {
    /// The kernel's arguments.
    pub crash: &'a Crash,
    /// The report's name.
    pub id: ReportId,
    /// What to try.
    pub effort: Effort,
    /// Who opens things; none where the process is gone.
    pub broker: Option<Channel>,
    /// Whom to tell.
    pub supervisor: Channel,
    /// What was read of the process already.
    pub locker: LockerReader,
    /// Where the core's head will be.
    pub head: &'a File,
    /// Where the bundle goes.
    pub bundle: File,
    /// What an earlier worker wanted to have kept.
    pub kept: Vec<(u32, File)>,
    /// What is known to be wrong already.
    pub problems: Vec<Problem>,
    /// Further environment variables that are kept.
    pub environment: Vec<String>,
    /// Whether there is a journal to ask for.
    pub journal: bool,
    /// Whether the owner may see the kernel's log.
    pub kernel_log: bool,
    /// Whom to run as: user and group.
    pub user: (u32, u32),
    /// The kernel as `uname -srvm` prints it, its release, its machine.
    pub kernel: [String; 3],
}

impl Task<'_> {
    /// Does the work, from giving up all rights to the finished bundle. Returns the process's exit code.
    pub fn work(mut self) -> i32 {
        let supervisor = Arc::new(self.supervisor.as_fd().try_clone_to_owned().map(Channel::from));
        let teller = Arc::clone(&supervisor);
        std::panic::set_hook(Box::new(move |panic| {
            if let Ok(supervisor) = teller.as_ref() {
                let _ = supervisor.send(&Progress::Failed(panic.to_string()), None);
            }
        }));
        if let Ok(supervisor) = supervisor.as_ref()
            && let Err(error) = sandbox::keep_only(&self.descriptors(supervisor))
        {
            return self.fail(&format!("its descriptors could not be closed: {error}"));
        }
        match sandbox::enter(self.user.0, self.user.1) {
            Ok(problems) => self.problems.extend(problems),
            Err(error) => return self.fail(&format!("it could not give up root's rights: {error}")),
        }
        let bundle = match self.bundle.try_clone() {
            Ok(bundle) => bundle,
            Err(error) => return self.fail(&error.to_string()),
        };
        let program = Program { name: String::new(), exe: None, pid: self.crash.pid, package: None };
        let mut collected = Collected::new(self.id, Kind::Crash, super::rfc3339(self.crash.time), program);
        collected.problems = std::mem::take(&mut self.problems);
        let mut worker = Worker { task: self, collected };
        let held = worker.collect();
        worker.finish(&held, bundle)
    }

    fn fail(&self, why: &str) -> i32 {
        let _ = self.supervisor.send(&Progress::Failed(why.to_owned()), None);
        1
    }

    fn descriptors(&self, teller: &Channel) -> Vec<RawFd> {
        let mut keep = vec![
            teller.as_fd().as_raw_fd(),
            self.supervisor.as_fd().as_raw_fd(),
            self.locker.as_fd().as_raw_fd(),
            self.head.as_raw_fd(),
            self.bundle.as_raw_fd(),
        ];
        keep.extend(self.broker.as_ref().map(|broker| broker.as_fd().as_raw_fd()));
        keep.extend(self.kept.iter().map(|(_, file)| file.as_raw_fd()));
        keep
    }
}

struct Worker<'a> {
    task: Task<'a>,
    collected: Collected,
}

// What is collected while the process stands still, for the analysis afterwards.
#[derive(Default)]
struct Held {
    maps_text: Option<Vec<u8>>,
    maps: Vec<Mapping>,
    status: Option<Vec<u8>>,
    head: Option<CoreHead>,
    modules: Option<Modules>,
    stacks: Vec<Stack>,
    names: Vec<(i32, String)>,
    executable: Option<File>,
    own_root: bool,
}

/// Memory of which nothing can be read.
struct Nothing;

impl Memory for Nothing {
    fn read(&self, _address: u64, _into: &mut [u8]) -> usize {
        0
    }
}

impl Worker<'_> {
    fn collect(&mut self) -> Held {
        let mut held = Held::default();
        self.at(Stage::Ring);
        held.maps_text = self.part(Part::Maps);
        let (maps, problems) = maps::parse(held.maps_text.as_deref().unwrap_or_default());
        held.maps = maps;
        self.collected.problems.extend(problems);
        held.status = self.part(Part::Status);
        if self.task.effort.ring {
            self.rings(&held);
        }

        self.at(Stage::Head);
        held.head = self.head();
        let blocking = self.part(Part::MountInfo).map(|text| Blocking::parse(&text)).unwrap_or_default();

        self.at(Stage::Images);
        let process = self.memory(held.head.as_ref(), &blocking, &held.maps);
        let dumped = process.as_ref().map(|(memory, ranges)| Dumped::within(memory, ranges.clone()));
        let memory: &dyn Memory = match &dumped {
            Some(dumped) => dumped,
            None => &Nothing,
        };
        self.images(&mut held, memory, &blocking);

        self.at(Stage::Memory);
        self.stacks(&mut held, memory);
        let cpuinfo = self.part(Part::Processors);
        self.minidump(&held, memory, cpuinfo.as_deref());

        self.at(Stage::State);
        self.state(&mut held, cpuinfo.as_deref());
        self.tell(&Progress::Release, None);
        held
    }

    // The rings that are believed.
    fn rings(&mut self, held: &Held) {
        let found: Vec<Mapping> = trail::candidates(&held.maps).into_iter().cloned().collect();
        if found.is_empty() {
            return;
        }
        let stat = self.part(Part::Stat).unwrap_or_default();
        let Some(owner) = trail::owner_from(held.status.as_deref().unwrap_or_default(), &stat) else {
            return self
                .collected
                .problem("trail", "the process's identity is unknown, so no ring was believed");
        };
        for (number, mapping) in found.iter().enumerate() {
            let snapshot = self.ring(number as u32, mapping).and_then(|file| {
                let snapshot = trail::read_still(&file, owner)?;
                self.tell(&Progress::Keep(number as u32), Some(&file));
                Ok(snapshot)
            });
            match snapshot {
                Ok(snapshot) => {
                    let name = trail::source_name(self.task.crash.pid, self.collected.trails.len());
                    self.collected.trails.push((name, snapshot));
                }
                Err(why) => self.collected.problems.push(trail::refusal(mapping, &why)),
            }
        }
    }

    fn ring(&mut self, number: u32, mapping: &Mapping) -> Result<File, RingRefused> {
        match self.task.kept.iter().position(|(kept, _)| *kept == number) {
            Some(place) => Ok(self.task.kept.swap_remove(place).1),
            None => match self.opened(Question::Mapping(mapping.start, mapping.end)) {
                Ok(file) => Ok(file),
                Err(Refusal::NotRegular) => Err(RingRefused::NotMemory),
                Err(other) => Err(RingRefused::Io(io::Error::other(other))),
            },
        }
    }

    // The core's head, as soon as the supervisor has it.
    fn head(&mut self) -> Option<CoreHead> {
        if !self.task.effort.head {
            return None;
        }
        let ready = match self.task.supervisor.receive::<HeadReady>() {
            Ok(Some((ready, _))) => ready,
            _ => HeadReady { bytes: 0, whole: false },
        };
        if !ready.whole {
            let what =
                format!("the kernel's core ended after {} bytes, before the end of its notes", ready.bytes);
            self.collected.problem("core", what);
        }
        let mut bytes = vec![0; usize::try_from(ready.bytes).ok()?];
        if let Err(error) = self.task.head.read_exact_at(&mut bytes, 0) {
            self.collected.problem("core", error.to_string());
            return None;
        }
        match core::read_head(&mut Cursor::new(bytes)) {
            Ok((head, _)) => {
                self.collected.problems.extend(head.problems.iter().cloned());
                Some(head)
            }
            Err(error) => {
                self.collected.problem("core", with_source(&error));
                None
            }
        }
    }

    // The process's memory, where the core's own list allows it and where reading it cannot block.
    fn memory(
        &mut self,
        head: Option<&CoreHead>,
        blocking: &Blocking,
        maps: &[Mapping],
    ) -> Option<(ProcessMemory, Vec<(u64, u64)>)> {
        if !self.task.effort.memory {
            return None;
        }
        let Some(head) = head else {
            self.collected
                .problem("memory", "without the core's list of what may be read, no memory was read");
            return None;
        };
        let dumped = head.segments.iter().map(|segment| {
            let size = segment.file_size.min(segment.memory_size);
            (segment.address, segment.address.saturating_add(size))
        });
        let ranges: Vec<(u64, u64)> = dumped.filter(|(start, end)| start < end).collect();
        let allowed = blocking.without(ranges.clone(), maps);
        if allowed != ranges {
            let what = "memory that another process or machine provides (FUSE, NFS and the like) was not read: \
                        reading it can block for ever";
            self.collected.problem("memory", what);
        }
        match self.opened(Question::Memory) {
            Ok(file) => Some((ProcessMemory(file), allowed)),
            Err(error) => {
                self.collected
                    .problem("memory", format!("the process's memory could not be opened: {error}"));
                None
            }
        }
    }

    fn images(&mut self, held: &mut Held, memory: &dyn Memory, blocking: &Blocking) {
        if !self.task.effort.images {
            return;
        }
        let executable = self.part(Part::Executable).unwrap_or_default();
        let executable = String::from_utf8_lossy(&executable).into_owned();
        let mut main = None;
        let (modules, problems) = Modules::new(&held.maps, memory, &mut |mapping| {
            if blocking.holds(mapping) {
                return None;
            }
            let file = self.opened(Question::Mapping(mapping.start, mapping.end)).ok()?;
            if mapping.path == executable && main.is_none() {
                main = file.try_clone().ok();
            }
            Some(file)
        });
        self.collected.problems.extend(problems);
        held.modules = Some(modules);
        held.executable = main;
    }

    fn stacks(&mut self, held: &mut Held, memory: &dyn Memory) {
        if let Some(names) = self.part(Part::Threads) {
            held.names = thread_names(&names);
        }
        if let (Some(head), true) = (&held.head, self.task.effort.memory) {
            let (stacks, problems) = stack::copy(head, &held.maps, memory, &stack::Limits::default());
            held.stacks = stacks;
            self.collected.problems.extend(problems);
        }
    }

    fn minidump(&mut self, held: &Held, memory: &dyn Memory, cpuinfo: Option<&[u8]>) {
        if let Some(place) = self.task.kept.iter().position(|(kept, _)| *kept == KEPT_MINIDUMP) {
            self.collected.minidump = whole(&self.task.kept.swap_remove(place).1).ok();
            return;
        }
        let Some(head) = &held.head else { return };
        let limits = self.part(Part::Limits);
        let os_release = os_release();
        let images: Vec<minidump::Image<'_>> =
            held.modules.iter().flat_map(Modules::iter).map(image).collect();
        let annotations: Vec<(String, String)> = self
            .collected
            .trails
            .iter()
            .flat_map(|(_, snapshot)| &snapshot.annotations)
            .map(|note| (note.key.clone(), note.value.clone()))
            .collect();
        let trail = self.collected.trails.first().map(|(name, _)| format!("trace/{name}"));
        let input = minidump::Input {
            time: u32::try_from(self.task.crash.time).unwrap_or_default(),
            head,
            maps: &held.maps,
            memory,
            stacks: &held.stacks,
            images: &images,
            thread_names: &held.names,
            system: &self.task.kernel[0],
            files: minidump::Files {
                cpuinfo,
                status: held.status.as_deref(),
                limits: limits.as_deref(),
                maps: held.maps_text.as_deref(),
                os_release: os_release.as_deref(),
            },
            annotations: &annotations,
            trail_note: trail.as_deref(),
        };
        match minidump::write(&input) {
            Ok((bytes, problems)) => {
                self.collected.problems.extend(problems);
                if let Ok(file) = in_memory(&bytes) {
                    self.tell(&Progress::Keep(KEPT_MINIDUMP), Some(&file));
                }
                self.collected.minidump = Some(bytes);
            }
            Err(error) => self.collected.problem("minidump", with_source(&error)),
        }
    }

    // The process's state in /proc. What is read from its memory comes last: it may block.
    fn state(&mut self, held: &mut Held, cpuinfo: Option<&[u8]>) {
        let name = self.part(Part::Name).unwrap_or_default();
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        let noted = held.head.as_ref().map(|head| head.name.clone()).unwrap_or_default();
        self.collected.program.name =
            if name.is_empty() { noted } else { String::from_utf8_lossy(name).into_owned() };
        self.collected.program.exe = self
            .part(Part::Executable)
            .map(|path| String::from_utf8_lossy(&path).into_owned())
            .filter(|path| !path.is_empty());
        held.own_root = self.part(Part::Root).is_some_and(|same| same == [1]);

        const KEPT: [(&str, Part); 9] = [
            ("status", Part::Status),
            ("maps", Part::Maps),
            ("limits", Part::Limits),
            ("cgroup", Part::Cgroup),
            ("mountinfo", Part::MountInfo),
            ("auxv", Part::Auxv),
            ("fds", Part::Descriptors),
            ("environ", Part::Environ),
            ("cmdline", Part::CommandLine),
        ];
        for (name, part) in KEPT {
            if part.reads_memory() && !self.task.effort.memory {
                continue;
            }
            let bytes = match part {
                Part::Status => held.status.clone(),
                Part::Maps => held.maps_text.clone(),
                _ => self.part(part),
            };
            let Some(bytes) = bytes else { continue };
            let reduced = match part {
                Part::Auxv => state::auxiliary_vector(&bytes),
                Part::Descriptors => state::descriptors(&bytes),
                Part::Environ => state::environment(&bytes, &self.task.environment),
                Part::CommandLine => state::command_line(&bytes),
                _ => bytes,
            };
            self.collected.parts.push((format!("process/{name}"), reduced));
        }
        if let Some(cpuinfo) = cpuinfo {
            self.collected.parts.push(("system/cpuinfo".into(), state::processor(cpuinfo).to_vec()));
        }
    }

    // From here on the process is gone.
    fn analyse(&mut self, held: &Held) {
        self.at(Stage::Analysis);
        let asked = self.ask_for_logs();
        let crash = self.task.crash;
        let known =
            held.head.as_ref().and_then(|head| head.signal).filter(|known| known.number == crash.signal);
        self.collected.signal = Some(Signal {
            number: crash.signal,
            name: signal_name(crash.signal),
            code: known.map(|known| known.code),
            address: known.and_then(|known| known.address).map(|address| format!("{address:#x}")),
        });
        self.last_words(held);
        self.threads(held);
        self.system();
        self.package(held);
        self.logs(asked);
    }

    fn last_words(&mut self, held: &Held) {
        let Some(crashed) = held.head.as_ref().and_then(CoreHead::crashed) else { return };
        let snapshots = self.collected.trails.iter().map(|(_, snapshot)| snapshot);
        let thread = u32::try_from(crashed.tid).unwrap_or_default();
        if let Some(message) = last_words::of_panic(self.task.crash, thread, snapshots) {
            self.collected.kind = Kind::Panic;
            self.collected.message = Some(message);
        }
    }

    fn threads(&mut self, held: &Held) {
        let Some(head) = held.head.as_ref().filter(|head| !head.threads.is_empty()) else {
            // Without the core's notes nobody knows who crashed.
            let thread = |(tid, name): &(i32, String)| Thread {
                tid: *tid,
                name: name.clone(),
                crashed: false,
                frames: Vec::new(),
            };
            self.collected.threads = held.names.iter().map(thread).collect();
            self.collected.signature = self.signature(held);
            return;
        };
        let modules = held.modules.as_ref().filter(|_| self.task.effort.analysis);
        let (none, _) = Modules::new(&[], &Nothing, &mut |_| None);
        let modules = modules.unwrap_or(&none);
        let (threads, problems) = backtrace::threads(head, &held.names, modules, &held.stacks, true);
        self.collected.problems.extend(problems);
        self.collected.threads = threads;
        self.collected.signature = self.signature(held);
    }

    fn signature(&self, held: &Held) -> String {
        let cause = Cause {
            kind: self.collected.kind,
            signal: self.collected.signal.as_ref(),
            stack_overflow: overflowed(held),
        };
        let crashed = self.collected.threads.iter().find(|thread| thread.crashed);
        signature(&cause, crashed.map(|thread| thread.frames.as_slice()).unwrap_or_default())
    }

    fn system(&mut self) {
        let [_, release, machine] = &self.task.kernel;
        let text = os_release();
        let name = text.as_deref().and_then(|text| state::os_release_value(text, "PRETTY_NAME"));
        self.collected.system =
            System { os: name.unwrap_or_default(), kernel: release.clone(), arch: machine.clone() };
        self.collected
            .parts
            .push(("system/kernel".into(), format!("{}\n", self.task.kernel[0]).into_bytes()));
        if let Some(text) = text {
            self.collected.parts.push(("system/os-release".into(), text));
        }
    }

    // A name in another root directory says nothing about this system's packages.
    fn package(&mut self, held: &Held) {
        let Some(exe) = &self.collected.program.exe else { return };
        self.collected.program.package = match held.own_root {
            true => crate::package::find(Path::new("/"), exe, held.executable.as_ref()),
            false => held.executable.as_ref().and_then(crate::package::noted),
        };
    }

    // The broker reads the logs while backtraces are worked out; its answers are waiting afterwards.
    fn ask_for_logs(&self) -> Vec<(&'static str, Question)> {
        let Some(broker) = &self.task.broker else { return Vec::new() };
        let wanted = [
            ("journal", Question::Journal, self.task.journal),
            ("kmsg", Question::KernelLog, self.task.kernel_log),
        ];
        wanted
            .into_iter()
            .filter(|(_, question, there)| *there && broker.send(question, None).is_ok())
            .map(|(name, question, _)| (name, question))
            .collect()
    }

    fn logs(&mut self, asked: Vec<(&'static str, Question)>) {
        for (name, question) in asked {
            let content = match (self.task.answer(), question) {
                (Ok((content, _)), Question::KernelLog) => {
                    Ok(state::recent_lines(&content, seconds_since_boot(), KERNEL_LOG_SECONDS))
                }
                (Ok((content, _)), _) => Ok(content),
                (Err(error), _) => Err(error),
            };
            match content {
                Ok(content) if content.is_empty() => {}
                Ok(content) => self.collected.parts.push((format!("logs/{name}"), content)),
                Err(error) => self.collected.problem("logs", format!("{name} could not be read: {error}")),
            }
        }
    }

    fn finish(mut self, held: &Held, bundle: File) -> i32 {
        self.analyse(held);
        self.at(Stage::Assembly);
        let collected = self.collected;
        let written = assemble(collected, io::BufWriter::with_capacity(1 << 18, bundle))
            .map_err(|error| with_source(&error))
            .and_then(|(mut sink, report)| sink.flush().map(|()| report).map_err(|error| error.to_string()));
        match written {
            Ok(report) => {
                let done = Progress::Done(report.kind, report.signature);
                i32::from(self.task.supervisor.send(&done, None).is_err())
            }
            Err(why) => self.task.fail(&why),
        }
    }

    fn at(&self, stage: Stage) {
        self.tell(&Progress::At(stage), None);
    }

    // A supervisor that is gone takes nobody's report; the next write will end this process.
    fn tell(&self, progress: &Progress, file: Option<&File>) {
        let _ = self.task.supervisor.send(progress, file.map(AsFd::as_fd));
    }

    // A part of the process, or a problem.
    fn part(&mut self, part: Part) -> Option<Vec<u8>> {
        if let Some(known) = self.task.known(part) {
            return Some(known);
        }
        match self.task.ask(Question::Part(part)) {
            Ok((content, _)) => Some(content),
            Err(Refusal::NoProcess) => None,
            Err(error) => {
                self.collected.problem("process", format!("{} could not be read: {error}", part.describe()));
                None
            }
        }
    }

    fn opened(&self, question: Question) -> Result<File, Refusal> {
        self.task.ask(question)?.1.map(File::from).ok_or(Refusal::System(libc::EBADF))
    }
}

// Why the broker gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the process is gone")]
    NoProcess,
    #[error("the connection to the broker broke")]
    Broken,
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    System(i32),
    #[error("it is no regular file")]
    NotRegular,
    #[error("it lies on a file system that may block")]
    MayBlock,
}

impl Task<'_> {
    fn ask(&self, question: Question) -> Result<(Vec<u8>, Option<OwnedFd>), Refusal> {
        let broker = self.broker.as_ref().ok_or(Refusal::NoProcess)?;
        broker.send(&question, None).map_err(|_| Refusal::Broken)?;
        self.answer()
    }

    fn answer(&self) -> Result<(Vec<u8>, Option<OwnedFd>), Refusal> {
        let broker = self.broker.as_ref().ok_or(Refusal::NoProcess)?;
        let Ok(Some((answer, descriptor))) = broker.receive::<Answer>() else { return Err(Refusal::Broken) };
        match answer {
            Answer::Here(_, 0) => Ok((Vec::new(), descriptor)),
            Answer::Here(offset, length) => {
                let content = self.locker.content(offset, length).map_err(|_| Refusal::Broken)?;
                Ok((content, descriptor))
            }
            Answer::Refused(libc::ESRCH) => Err(Refusal::NoProcess),
            Answer::Refused(number) => Err(Refusal::System(number)),
            Answer::NotRegular => Err(Refusal::NotRegular),
            Answer::MayBlock => Err(Refusal::MayBlock),
        }
    }

    // What an earlier worker's broker left.
    fn known(&self, part: Part) -> Option<Vec<u8>> {
        if self.effort == Effort::FULL { None } else { self.locker.find(part as u32) }
    }
}

fn image(module: &crate::module::Module) -> minidump::Image<'_> {
    minidump::Image {
        base: module.base,
        end: module.end,
        path: &module.path,
        build_id: module.build_id.as_deref(),
    }
}

// The fault's address is just below the stack pointer, where no stack is any more.
fn overflowed(held: &Held) -> bool {
    const REACH: u64 = 64 << 10;
    let Some(head) = &held.head else { return false };
    let fault = head.signal.filter(|signal| signal.number == libc::SIGSEGV).and_then(|signal| signal.address);
    let pointer = head.crashed().map(|thread| thread.registers.stack());
    fault.zip(pointer).is_some_and(|(fault, pointer)| {
        let near = fault.abs_diff(pointer) <= REACH;
        let writable = maps::find(&held.maps, fault).is_some_and(|mapping| mapping.writable);
        let stack_above = held.stacks.iter().any(|stack| stack.start.abs_diff(pointer) <= REACH);
        near && !writable && stack_above
    })
}

fn os_release() -> Option<Vec<u8>> {
    let open = |path| File::open(path).ok();
    whole(&open("/etc/os-release").or_else(|| open("/usr/lib/os-release"))?).ok()
}

fn whole(mut file: &File) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    const BOUND: u64 = 1 << 30;
    let mut content = Vec::new();
    file.rewind()?;
    file.take(BOUND).read_to_end(&mut content)?;
    Ok(content)
}

fn in_memory(content: &[u8]) -> io::Result<File> {
    let file = File::from(memfd_create(c"foretrace-minidump", MFdFlags::MFD_CLOEXEC)?);
    file.write_all_at(content, 0)?;
    Ok(file)
}

fn seconds_since_boot() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0.0, |now| now.tv_sec() as f64)
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_leaves_less_to_try_and_the_ring_is_given_up_last() {
        let all = [
            Stage::Start,
            Stage::Ring,
            Stage::Head,
            Stage::Images,
            Stage::Memory,
            Stage::State,
            Stage::Analysis,
            Stage::Assembly,
        ];
        for stage in all {
            let next = Effort::FULL.after(stage);
            assert!(!next.memory, "{stage:?}");
            assert_eq!(next.ring, stage != Stage::Ring, "{stage:?}");
            assert_ne!(next, Effort::FULL);
        }
        let twice = Effort::FULL.after(Stage::Images).after(Stage::Images);
        assert!(!twice.images && twice.ring && twice.head);
    }
}
