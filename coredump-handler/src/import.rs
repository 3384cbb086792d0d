//! A report from a core file, whoever wrote it: what its notes and memory say, with names from this machine's files
//! where their build-ids are the core's.
//!
//! The core may come from another machine and another time. So nothing is taken from this machine's `/proc`, and its
//! packages are asked only about a file that is provably the one that ran.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use foretrace_report::ReportId;
use foretrace_report::schema::{Kind, Problem, Program, Signal, System, signal_name};
use foretrace_report::signature::{Cause, signature};
use foretrace_report::text::escape;
use foretrace_ring::{Snapshot, layout};

use crate::assemble::Collected;
use crate::core::{self, CoreError, CoreHead, EM_386, EM_AARCH64, MappedFile};
use crate::elf::Class;
use crate::handler::state;
use crate::maps::{self, Mapping};
use crate::memory::{CoreMemory, Memory};
use crate::minidump::{self, Files, Image};
use crate::module::{Modules, Places};
use crate::reported::{self, Reported};
use crate::symbol::Detail;
use crate::{attachment, backtrace, hands, module, package, stack, trail};

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// The report's name.
    pub id: ReportId,
    /// Seconds since 1970 when the core was written, and the same moment in the form of reports.
    pub time: (u32, String),
    /// The program's file, where it is not found under the path that the core names.
    pub exe: Option<PathBuf>,
}

/// What of this machine a core's names may reach.
pub struct Surroundings<'a> {
    /// Opens a file that the core names.
    pub open: &'a mut dyn FnMut(&Path) -> Option<File>,
    /// Where debug files are looked for.
    pub places: Places,
}

/// Collects everything that a core file says, with names from whatever file its person can read.
///
/// # Errors
/// A file that cannot be read, or is no core of a known machine.
pub fn collect(core: File, request: &Request) -> Result<Collected, CoreError> {
    collect_within(core, request, Surroundings { open: &mut open_regular, places: Places::Anywhere })
}

/// The same within surroundings of the caller's choice.
///
/// # Errors
/// As [`collect`].
pub fn collect_within(
    core: File,
    request: &Request,
    around: Surroundings<'_>,
) -> Result<Collected, CoreError> {
    let Surroundings { open: open_named, places } = around;
    let mut head = core::read_file(&core)?;
    let memory = CoreMemory::new(core, &head.segments);
    name_program(&mut head, request.exe.as_deref());
    if head.files.is_empty() {
        let what = "the core names no files, so nothing has a name; `--exe FILE` gives the program's own";
        head.problems.push(Problem::new("modules", what));
    }
    let (maps, problems) = maps::from_core(&head);
    head.problems.extend(problems);
    let exe = executable(&head);
    let program = Program { name: head.name.clone(), exe: exe.clone(), pid: head.pid, package: None };
    let mut all = Collected::new(request.id, Kind::Crash, request.time.1.clone(), program);
    all.problems.extend(head.problems.iter().cloned());
    all.signal = head.signal.map(|signal| Signal {
        number: signal.number,
        name: signal_name(signal.number),
        code: signal.code,
        address: signal.address.map(|address| format!("{address:#x}")),
    });
    let arch = match head.machine {
        EM_AARCH64 => "aarch64",
        EM_386 => "i686",
        _ => "x86_64",
    };
    all.system = System { arch: arch.into(), ..System::default() };

    let (trails, problems) = rings(&head, &maps, &memory);
    all.trails = trails;
    all.problems.extend(problems);
    let had = attachment::memory(&all.trails, &memory);
    all.parts.extend(had.parts);
    all.problems.extend(had.problems);
    let had = attachment::files(&all.trails, &mut |_| Err("a core file does not hold files".into()));
    all.problems.extend(had.problems);
    if let Some(panic) = last_panic(&head, &all.trails, request.time.0) {
        all.kind = Kind::Panic;
        all.message = Some(panic.sentence());
    }
    let (stacks, problems) = stack::copy(&head, &maps, &memory, &stack::Limits::default());
    all.problems.extend(problems);

    let mut open = |mapping: &Mapping| match (&request.exe, &exe) {
        (Some(file), Some(exe)) if *exe == mapping.path => open_regular(file),
        _ => open_named(Path::new(&mapping.path)),
    };
    let (modules, problems) = Modules::new(&maps, &memory, &mut open);
    all.problems.extend(problems);
    let modules = modules.looking_in(places);
    let names = [(head.pid, head.name.clone())];
    let walks = backtrace::walks(&head, &modules, &stacks, &memory);
    let program = exe.as_deref().and_then(|exe| Some((exe, proven(exe, &modules, open_named)?)));
    let (package, threads) = hands::both(
        || program.and_then(|(exe, file)| package::find(Path::new("/"), exe, Some(&file))),
        || backtrace::Threads::new(&head, &names, &modules, &walks, true, Detail::Lines),
    );
    all.program.package = package;
    all.threads = threads.iter().collect();
    all.problems.extend(threads.problems());
    let crashed = head.crashed().map(|thread| thread.tid).unwrap_or_default();
    let cause = Cause {
        kind: all.kind,
        signal: all.signal.as_ref(),
        stack_overflow: stack::overflowed(&stacks, crashed, &maps),
    };
    all.signature = signature(&cause, all.threads.first().map(|t| t.frames.as_slice()).unwrap_or_default());
    all.parts.push(("process/maps".into(), maps::text(&maps).into_bytes()));
    all.parts.push((
        "process/auxv".into(),
        state::auxiliary_vector(&head.auxv_raw, Class::of_machine(head.machine)),
    ));

    let images: Vec<Image<'_>> = modules.iter().map(Image::from).collect();
    let note = all.trails.first().map(|(source, _)| format!("trace/{source}"));
    let status = status(&head);
    let input = minidump::Input {
        time: request.time.0,
        head: &head,
        maps: &maps,
        memory: &memory,
        stacks: &stacks,
        images: &images,
        thread_names: &names,
        system: &format!("Linux {arch}"),
        files: Files { status: Some(status.as_bytes()), ..Files::default() },
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
    Ok(all)
}

// What a core says of what `/proc/PID/status` said; debuggers look there for the process's number.
fn status(head: &CoreHead) -> String {
    let name = escape(&head.name);
    format!("Name:\t{name}\nTgid:\t{pid}\nPid:\t{pid}\nThreads:\t{}\n", head.threads.len(), pid = head.pid)
}

// Some cores name no files. Then the program that was given is placed by where its program headers are.
fn name_program(head: &mut CoreHead, exe: Option<&Path>) {
    const AT_PHDR: u64 = 3;
    let Some(exe) = exe.filter(|_| head.files.is_empty()).and_then(|exe| exe.canonicalize().ok()) else {
        return;
    };
    let parts = || module::placed(open_regular(&exe)?, head.auxv_value(AT_PHDR)?);
    let Some(parts) = parts() else { return };
    let path = exe.to_string_lossy().into_owned();
    let file = |(start, end, offset)| MappedFile { start, end, offset, path: path.clone() };
    head.files.extend(parts.into_iter().map(file));
}

// The file behind the program's entry point; else the first mapped file.
fn executable(head: &CoreHead) -> Option<String> {
    const AT_ENTRY: u64 = 9;
    let entry = head.auxv_value(AT_ENTRY);
    let at_entry = |entry| head.files.iter().find(|file| file.start <= entry && entry < file.end);
    let file = entry.and_then(at_entry).or_else(|| head.files.first())?;
    Some(file.path.clone())
}

// A core names a ring by its mapping alone, and nothing but its own content speaks for it.
fn rings(head: &CoreHead, maps: &[Mapping], memory: &CoreMemory) -> (Vec<(String, Snapshot)>, Vec<Problem>) {
    let mut trails = Vec::new();
    let mut problems = Vec::new();
    for first in trail::candidates(maps) {
        // Parts of one mapping may be protected differently, and then are segments of their own.
        let mut end = first.end;
        for next in maps.iter().filter(|next| next.path == first.path && next.start > first.start) {
            end = if next.start == end && next.offset == end - first.start { next.end } else { end };
        }
        let length = usize::try_from((end - first.start).min(trail::MAX_BYTES + 1)).unwrap_or(usize::MAX);
        let bytes = memory.read_vec(first.start, length);
        match trail::read_bytes(&bytes, head.pid.cast_unsigned()) {
            Ok(snapshot) => trails.push((trail::source_name(head.pid, trails.len()), snapshot)),
            Err(why) => problems.push(trail::refusal(first, &why)),
        }
    }
    (trails, problems)
}

// A panic that ended in an abort: the crashed thread reported it shortly before the core was written.
fn last_panic(head: &CoreHead, trails: &[(String, Snapshot)], written: u32) -> Option<Reported> {
    const RECENT: u64 = 10;
    let aborted = head.signal.is_some_and(|signal| signal.number == libc::SIGABRT);
    let thread = head.crashed().filter(|_| aborted)?.tid.cast_unsigned();
    let said = trails.iter().filter_map(|(_, snapshot)| reported::last(snapshot, Some(thread)));
    said.max_by_key(|said| said.time).filter(|said| {
        said.kind == u64::from(layout::REPORT_PANIC)
            && said.time / 1_000_000_000 >= u64::from(written).saturating_sub(RECENT)
    })
}

// The program's file on this machine, if it is the one that ran.
fn proven(exe: &str, modules: &Modules, open: &mut dyn FnMut(&Path) -> Option<File>) -> Option<File> {
    let module = modules.iter().find(|module| module.path == exe)?;
    let file = open(Path::new(exe))?;
    (module.build_id.is_some() && module.build_id == package::build_id(&file)).then_some(file)
}

// A core may name anything: no FIFO may hold us up, no device may be opened for its effects.
fn open_regular(path: &Path) -> Option<File> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// Why a core file gave no report, for a person.
pub fn refusal(path: &Path, error: &CoreError) -> String {
    let reason = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{}: {error}{reason}", escape(&path.display().to_string()))
}
