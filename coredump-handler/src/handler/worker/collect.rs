//! What is collected while the crashed process stands still: each part in its turn, each as far as it can be had.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Effort, KEPT_MINIDUMP, Refusal, STATE_PATIENCE, Worker, os_release, whole, with_source};
use crate::attachment;
use crate::core::{self, CoreHead};
use crate::elf::Class;
use crate::handler::channel::{Progress, Question, Stage, Told};
use crate::handler::{sockets, state, storm};
use crate::maps::{self, Mapping};
use crate::memory::{Dumped, Memory, Nothing, ProcessMemory};
use crate::minidump;
use crate::module::Modules;
use crate::mounts::Blocking;
use crate::numbers::{self, Numbers};
use crate::package::Claim;
use crate::process::{Part, thread_names};
use crate::reported;
use crate::stack::{self, Stack};
use crate::surroundings;
use crate::trail::{self, RingRefused};
use crate::unwind::Walk;

/// More mapped files are not compared with their packages'.
const COMPARED_FILES: usize = 1024;

/// The sum of a smaller minidump takes no longer than asking for it.
const LARGE_MINIDUMP: usize = 1 << 18;

// What the analysis needs afterwards.
#[derive(Default)]
pub(super) struct Held {
    pub(super) maps_text: Option<Vec<u8>>,
    pub(super) maps: Vec<Mapping>,
    pub(super) status: Option<Vec<u8>>,
    pub(super) descriptors: Option<Vec<u8>>,
    pub(super) head: Option<CoreHead>,
    pub(super) modules: Option<Modules>,
    pub(super) stacks: Vec<Stack>,
    // Found from the stacks, which are not kept any longer than that.
    pub(super) walks: Vec<Walk>,
    pub(super) overflowed: bool,
    pub(super) names: Vec<(i32, String)>,
    // The minidump as a file, where it is large enough to have somebody else work out its sum.
    pub(super) large_minidump: Option<File>,
    pub(super) numbers: Numbers,
    pub(super) executable: Option<File>,
    pub(super) own_root: bool,
    // Its root directory as the handler sees it.
    pub(super) root: String,
    // What its container's packages say of its program.
    pub(super) claim: Option<Claim>,
    // The mapped files that are images, each once, by the names that the process has for them.
    pub(super) files: Vec<(String, File)>,
}

impl Worker<'_> {
    // None where the crash is one of many and only counted.
    pub(super) fn collect(&mut self) -> Option<Held> {
        let mut held = Held::default();
        self.at(Stage::Ring);
        held.maps_text = self.part(Part::Maps);
        let (maps, mut problems) = maps::parse(held.maps_text.as_deref().unwrap_or_default());
        held.maps = maps;
        held.status = self.part(Part::Status);
        if self.task.effort.ring {
            self.rings(&held);
        }

        self.at(Stage::Head);
        held.head = self.head();
        if let (false, Some(head)) = (problems.is_empty(), &held.head) {
            let text = held.maps_text.take().unwrap_or_default();
            (held.maps, problems) = maps::parse_around(&text, &head.stack_pointers());
            held.maps_text = Some(maps::text(&held.maps).into_bytes());
        }
        self.collected.problems.extend(problems);
        self.numbers(&mut held);
        let blocking = self.blocking(&held.maps);

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
        if !self.is_wanted(&held) {
            return None;
        }
        let cpuinfo = self.part(Part::Processors);
        held.descriptors = self.part(Part::Descriptors);
        held.large_minidump = self.minidump(&held, memory, cpuinfo.as_deref());
        self.attached_memory(memory);

        self.at(Stage::State);
        let until = Instant::now() + STATE_PATIENCE;
        self.state(&mut held, cpuinfo.as_deref(), until);
        self.surroundings(&mut held, until);
        self.attached_files();
        let threads = held.head.as_ref().map_or(1, |head| head.threads.len());
        self.tell(&Progress::Release(u32::try_from(threads).unwrap_or(u32::MAX)), None);
        Some(held)
    }

    // What a container runs from may be mounted only outside it.
    fn blocking(&mut self, maps: &[Mapping]) -> Blocking {
        let mut blocking = self.part(Part::MountInfo).map(|text| Blocking::parse(&text)).unwrap_or_default();
        if maps.iter().any(|mapping| blocking.is_unknown(mapping)) {
            blocking.add(&self.part(Part::Mounts).unwrap_or_default());
        }
        blocking
    }

    // Whether the crash becomes a report. A supervisor that does not answer wants no report either.
    fn is_wanted(&mut self, held: &Held) -> bool {
        let asked = || self.task.ask(Question::Part(Part::Executable));
        if self.task.effort == Effort::FULL && matches!(asked(), Err(Refusal::Broken)) {
            // It died this moment, so that nobody else has noticed: without it this attempt has next to nothing.
            self.tell(&Progress::Failed(Refusal::Broken.to_string()), None);
            return false;
        }
        let program = self.part(Part::Executable).filter(|path| !path.is_empty());
        let program = program.or_else(|| self.part(Part::Name)).unwrap_or_default();
        let seen = storm::Seen {
            signal: self.task.crash.signal,
            head: held.head.as_ref(),
            modules: held.modules.as_ref(),
            stacks: &held.stacks,
        };
        self.tell(&Progress::Same(storm::key(&program, &seen)), None);
        self.told() == Some(Told::Go)
    }

    // The rings that are believed.
    fn rings(&mut self, held: &Held) {
        let found: Vec<Mapping> = trail::candidates(&held.maps).into_iter().cloned().collect();
        if found.is_empty() {
            return;
        }
        let stat = self.part(Part::Stat).unwrap_or_default();
        let clocks = self.part(Part::Clocks).unwrap_or_default();
        let status = held.status.as_deref().unwrap_or_default();
        let Some(owner) = trail::Expected::parse(status, &stat, &clocks) else {
            return self
                .collected
                .problem("trail", "the process's identity is unknown, so no ring was believed");
        };
        for (number, mapping) in found.iter().enumerate() {
            let snapshot = self.ring(number as u32, mapping).and_then(|file| {
                let snapshot = trail::read_still(&file, &owner)?;
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
            None if !trail::is_memory(mapping) => Err(RingRefused::NotMemory),
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
        let (length, whole) = match self.task.supervisor.receive::<Told>() {
            Ok(Some((Told::Head(length, whole), _))) => (length, whole),
            _ => (0, false),
        };
        if !whole {
            let what = format!("the kernel's core ended after {length} bytes, before the end of its notes");
            self.collected.problem("core", what);
        }
        // From where it lies: thousands of threads' notes are tens of megabytes, and are needed once.
        match core::read_file(self.task.head) {
            Ok(head) => {
                self.collected.problems.extend(head.problems.iter().cloned());
                Some(head)
            }
            Err(error) => {
                self.collected.problem("core", with_source(&error));
                None
            }
        }
    }

    // In a PID namespace of its own the core has the process's own numbers for its threads.
    fn numbers(&mut self, held: &mut Held) {
        if !held.status.as_deref().is_some_and(numbers::differ) {
            return;
        }
        held.numbers = Numbers::parse(&self.part(Part::Numbers).unwrap_or_default());
        let Some(head) = &mut held.head else { return };
        let unknown = held.numbers.outward(head);
        if unknown > 0 {
            let what = format!(
                "{unknown} threads have their own numbers here, not the host's: they could not be matched"
            );
            self.collected.problem("threads", what);
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
        let mut files: Vec<(String, File)> = Vec::new();
        let (modules, problems) = Modules::new(&held.maps, memory, &mut |mapping| {
            if blocking.holds(mapping) || blocking.is_unknown(mapping) && !trail::is_memory(mapping) {
                return None;
            }
            let file = self.opened(Question::Mapping(mapping.start, mapping.end)).ok()?;
            if mapping.path == executable && main.is_none() {
                main = file.try_clone().ok();
            }
            if files.len() < COMPARED_FILES && files.iter().all(|(name, _)| *name != mapping.path) {
                files.extend(file.try_clone().ok().map(|file| (mapping.path.clone(), file)));
            }
            Some(file)
        });
        self.collected.problems.extend(problems);
        let images: HashSet<&str> = modules.iter().map(|module| module.path.as_str()).collect();
        files.retain(|(name, _)| images.contains(name.as_str()));
        held.files = files;
        held.modules = Some(modules);
        held.executable = main;
    }

    // The broker reads thousands of threads' names while their stacks are copied.
    fn stacks(&mut self, held: &mut Held, memory: &dyn Memory) {
        let names = self.ask_for(Part::Threads);
        if let (Some(head), true) = (&held.head, self.task.effort.memory) {
            let (stacks, problems) = stack::copy(head, &held.maps, memory, &stack::Limits::default());
            held.stacks = stacks;
            self.collected.problems.extend(problems);
        }
        held.names = self.had(names).as_deref().map(thread_names).unwrap_or_default();
    }

    // Returns it as a file where it is a large one.
    fn minidump(&mut self, held: &Held, memory: &dyn Memory, cpuinfo: Option<&[u8]>) -> Option<File> {
        if let Some(place) = self.task.kept.iter().position(|(kept, _)| *kept == KEPT_MINIDUMP) {
            self.collected.minidump = whole(&self.task.kept.swap_remove(place).1).ok();
            return None;
        }
        let head = held.head.as_ref()?;
        let limits = self.part(Part::Limits);
        let os_release = os_release();
        let images: Vec<minidump::Image<'_>> =
            held.modules.iter().flat_map(Modules::iter).map(image).collect();
        let annotations = reported::public_annotations(&self.collected.trails);
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
                descriptors: held.descriptors.as_deref(),
            },
            annotations: &annotations,
            trail_note: trail.as_deref(),
        };
        match minidump::write(&input) {
            Ok((bytes, problems)) => {
                self.collected.problems.extend(problems);
                let file = in_memory(&bytes).ok();
                if let Some(file) = &file {
                    self.tell(&Progress::Keep(KEPT_MINIDUMP), Some(file));
                }
                let is_large = bytes.len() >= LARGE_MINIDUMP;
                self.collected.minidump = Some(bytes);
                file.filter(|_| is_large)
            }
            Err(error) => {
                self.collected.problem("minidump", with_source(&error));
                None
            }
        }
    }

    fn attached_memory(&mut self, memory: &dyn Memory) {
        if self.task.effort.memory {
            let had = attachment::memory(&self.collected.trails, memory);
            self.collected.parts.extend(had.parts);
            self.collected.problems.extend(had.problems);
        } else if attachment::any(&self.collected.trails) {
            self.collected.problem("attachments", "nothing attached was read at this further try");
        }
    }

    fn attached_files(&mut self) {
        if !self.task.effort.memory {
            return;
        }
        let mut open =
            |path: &[u8]| self.opened(Question::File(path.to_vec())).map_err(|error| error.to_string());
        let had = attachment::files(&self.collected.trails, &mut open);
        self.collected.parts.extend(had.parts);
        self.collected.problems.extend(had.problems);
    }

    // Of the namespace's tables only what is the process's own is kept.
    fn sockets(&mut self, descriptors: &[u8], until: Instant) {
        if !sockets::has_any(descriptors) {
            return;
        }
        let Some(tables) = self.part_by(Part::Sockets, until) else { return };
        self.collected.parts.push(("process/sockets".into(), sockets::sockets(descriptors, &tables)));
    }

    // The process's state in /proc. What is read from its memory comes last: it may block.
    fn state(&mut self, held: &mut Held, cpuinfo: Option<&[u8]>, until: Instant) {
        let name = self.part_by(Part::Name, until).unwrap_or_default();
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        let noted = held.head.as_ref().map(|head| head.name.clone()).unwrap_or_default();
        self.collected.program.name =
            if name.is_empty() { noted } else { String::from_utf8_lossy(name).into_owned() };
        self.collected.program.exe = self
            .part_by(Part::Executable, until)
            .map(|path| String::from_utf8_lossy(&path).into_owned())
            .filter(|path| !path.is_empty());
        let root = self.part_by(Part::Root, until).unwrap_or_default();
        held.own_root = root.first() == Some(&1);
        held.root = String::from_utf8_lossy(root.get(1..).unwrap_or_default()).into_owned();

        const KEPT: [(&str, Part); 12] = [
            ("status", Part::Status),
            ("maps", Part::Maps),
            ("limits", Part::Limits),
            ("cgroup", Part::Cgroup),
            ("mountinfo", Part::MountInfo),
            ("auxv", Part::Auxv),
            ("fds", Part::Descriptors),
            ("namespaces", Part::Namespaces),
            ("pressure", Part::Pressure),
            ("cwd", Part::Directory),
            ("environ", Part::Environ),
            ("cmdline", Part::CommandLine),
        ];
        let class = held.head.as_ref().map_or(Class::Bits64, |head| Class::of_machine(head.machine));
        for (name, part) in KEPT {
            if part.reads_memory() && !self.task.effort.memory {
                continue;
            }
            let bytes = match part {
                Part::Status => held.status.clone(),
                Part::Descriptors => held.descriptors.take(),
                Part::Maps => held.maps_text.clone(),
                _ => self.part_by(part, until),
            };
            let Some(bytes) = bytes else { continue };
            let reduced = match part {
                Part::Auxv => state::auxiliary_vector(&bytes, class),
                Part::Descriptors => {
                    self.sockets(&bytes, until);
                    state::descriptors(&bytes)
                }
                Part::Pressure => {
                    self.collected.surroundings.pressure = Some(surroundings::pressure(&bytes));
                    state::records(&bytes)
                }
                Part::Environ => state::environment(&bytes, &self.task.environment),
                // One line, as a path has no NUL.
                Part::CommandLine | Part::Directory => state::command_line(&bytes),
                _ => bytes,
            };
            self.collected.parts.push((format!("process/{name}"), reduced));
        }
        if let Some(cpuinfo) = cpuinfo {
            self.collected.parts.push(("system/cpuinfo".into(), state::processor(cpuinfo).to_vec()));
        }
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

fn in_memory(content: &[u8]) -> io::Result<File> {
    let file = File::from(memfd_create(c"foretrace-minidump", MFdFlags::MFD_CLOEXEC)?);
    file.write_all_at(content, 0)?;
    Ok(file)
}
