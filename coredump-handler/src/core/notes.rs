//! A core's notes: who the process was, its threads, its signal, its auxiliary vector and its mapped files.
//!
//! The order of notes is not believed: the kernel puts the crashed thread first, gcore puts NT_PRPSINFO first and a
//! NT_SIGINFO behind every thread.

use std::io;

use foretrace_report::schema::Problem;

use super::{
    CoreHead, EM_386, EM_X86_64, MappedFile, Registers, Sender, SignalInfo, ThreadState, text_until_nul,
    u16_at, u32_at,
};
use crate::elf::Class;

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
const NT_SIGINFO: u32 = 0x5349_4749;
/// i386's FXSAVE area, in a note of the owner `LINUX`.
const NT_PRXFPREG: u32 = 0x46e6_2b7f;

const FXSAVE_BYTES: usize = 512;
const ALIGNMENT: usize = 4;
/// Notes that cannot be read; behind the last of them nothing is believed.
pub(super) const PROBLEM_LIMIT: usize = 16;
/// More threads are not looked at: a process of 64 KiB stacks would have 4 GiB of them.
const THREAD_LIMIT: usize = 1 << 16;
/// More mapped files are not looked at: the usual limit of mappings where it is high.
const FILE_LIMIT: usize = 1 << 20;

/// What is read at once of notes in a file: a thread's that are wanted, not the kilobytes of its vector registers.
const WINDOW: u64 = 4 << 10;

/// Adds what `bytes` (the contents of one PT_NOTE) says to `head`.
pub(super) fn parse(bytes: &[u8], head: &mut CoreHead) {
    let mut notes = Notes::new(bytes, ALIGNMENT);
    for (owner, kind, description) in &mut notes {
        if !add(owner, kind, description, head) {
            return;
        }
    }
    end(notes.cut(), head);
}

/// The same for a PT_NOTE of `length` bytes in a file, of which `read` gives a part: offset and length. What nobody wants is
/// passed over.
pub(super) fn parse_parts(
    mut length: u64,
    mut read: impl FnMut(u64, u64) -> io::Result<Vec<u8>>,
    head: &mut CoreHead,
) -> io::Result<()> {
    let (mut at, mut window, mut passed) = (0, Vec::new(), 0);
    let cut = loop {
        let (rest, left) = (window.get(passed..).unwrap_or_default(), length - at);
        let shape = Shape::of(rest, ALIGNMENT);
        let missing = match shape {
            Some(shape) if shape.end as u64 > left => break Some(shape.kind),
            Some(shape) if is_wanted(shape.kind) && shape.end > rest.len() => shape.end as u64,
            Some(shape) => {
                if is_wanted(shape.kind)
                    && let (owner, description) = shape.parts(rest)
                    && !add(owner, shape.kind, description, head)
                {
                    return Ok(());
                }
                passed = passed.saturating_add(shape.next);
                at += (shape.next as u64).min(left);
                continue;
            }
            // Less than a note is left.
            None if rest.len() as u64 == left => break None,
            None => 0,
        };
        let asked = missing.max(WINDOW).min(left);
        (window, passed) = (read(at, asked)?, 0);
        if (window.len() as u64) < asked {
            length = at + window.len() as u64;
        }
    };
    end(cut, head);
    Ok(())
}

fn is_wanted(kind: u32) -> bool {
    matches!(kind, NT_PRSTATUS | NT_FPREGSET | NT_PRPSINFO | NT_AUXV | NT_FILE | NT_SIGINFO | NT_PRXFPREG)
}

// Whether more notes are read.
fn add(owner: &[u8], kind: u32, description: &[u8], head: &mut CoreHead) -> bool {
    match owner {
        b"CORE" => take(kind, description, head),
        b"LINUX" if kind == NT_PRXFPREG => drop(saved_area(description, head)),
        _ => {}
    }
    let more = head.problems.len() != PROBLEM_LIMIT;
    if !more {
        head.problems.push(Problem::new("core", "the core's further notes were not read"));
    }
    more
}

// `cut`: the type of the note at which reading stopped before the end.
fn end(cut: Option<u32>, head: &mut CoreHead) {
    if let Some(kind) = cut {
        head.problems.push(Problem::new("core", format!("the core's note {kind:#x} is cut short")));
    }
    // Without siginfo (a cut core) the first thread's status still names the signal.
    if head.signal.is_none()
        && let Some(number) = head.threads.first().map(|thread| thread.signal).filter(|number| *number != 0)
    {
        head.signal = Some(SignalInfo { number, code: None, errno: 0, address: None, sender: None });
        head.problems.push(Problem::new("signal", "the core does not say where its signal came from"));
    }
}

/// Owner without its NUL, type, description.
type Note<'a> = (&'a [u8], u32, &'a [u8]);

// Where the parts of a note lie, as its first bytes say.
#[derive(Clone, Copy)]
struct Shape {
    kind: u32,
    owner_end: usize,
    start: usize,
    end: usize,
    // Where the next note begins.
    next: usize,
}

impl Shape {
    fn of(bytes: &[u8], alignment: usize) -> Option<Shape> {
        let owner_end = 12usize.checked_add(u32_at(bytes, 0)? as usize)?;
        let start = owner_end.checked_next_multiple_of(alignment)?;
        let end = start.checked_add(u32_at(bytes, 4)? as usize)?;
        let next = end.checked_next_multiple_of(alignment)?;
        Some(Shape { kind: u32_at(bytes, 8)?, owner_end, start, end, next })
    }

    // Owner and description in `bytes`, which have all of it.
    fn parts<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let owner = bytes.get(12..self.owner_end).unwrap_or_default();
        let owner = owner.split(|byte| *byte == 0).next().unwrap_or_default();
        (owner, bytes.get(self.start..self.end).unwrap_or_default())
    }
}

/// The notes in the contents of a PT_NOTE: owner without its NUL, type, description.
pub(crate) struct Notes<'a> {
    rest: &'a [u8],
    alignment: usize,
}

impl<'a> Notes<'a> {
    /// `alignment` is the segment's: 8 in some images, else 4.
    pub(crate) fn new(bytes: &'a [u8], alignment: usize) -> Self {
        Notes { rest: bytes, alignment }
    }

    // The type of the note at which reading stopped before the end.
    fn cut(&self) -> Option<u32> {
        u32_at(self.rest, 8)
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let shape = Shape::of(self.rest, self.alignment).filter(|shape| shape.end <= self.rest.len())?;
        let (owner, description) = shape.parts(self.rest);
        self.rest = self.rest.get(shape.next..).unwrap_or_default();
        Some((owner, shape.kind, description))
    }
}

fn take(kind: u32, description: &[u8], head: &mut CoreHead) {
    let understood = match kind {
        NT_PRSTATUS => thread(description, head),
        NT_FPREGSET => floating_point(description, head),
        NT_PRPSINFO => process(description, head),
        NT_AUXV => auxv(description, head),
        NT_FILE => files(description, head),
        NT_SIGINFO => signal(description, head),
        _ => Some(()),
    };
    if understood.is_none() {
        head.problems
            .push(Problem::new("core", format!("the core's note {kind:#x} is too short to be read")));
    }
}

// struct elf_prstatus: siginfo, the signal, two masks, four IDs, four times, registers
fn thread(status: &[u8], head: &mut CoreHead) -> Option<()> {
    let (tid, registers) = match Class::of_machine(head.machine) {
        Class::Bits32 => (24, 72),
        Class::Bits64 => (32, 112),
    };
    let registers = Registers::parse(head.machine, status.get(registers..)?)?;
    if head.threads.len() == THREAD_LIMIT {
        let what = format!("only the first {THREAD_LIMIT} threads were looked at");
        if !head.problems.iter().any(|problem| problem.what == what) {
            head.problems.push(Problem::new("threads", what));
        }
        return Some(());
    }
    let signal = i32::from(u16_at(status, 12)?.cast_signed());
    let tid = u32_at(status, tid)?.cast_signed();
    head.threads.push(ThreadState { tid, signal, registers, fpregs: None });
    Some(())
}

fn floating_point(state: &[u8], head: &mut CoreHead) -> Option<()> {
    if head.machine == EM_X86_64 { saved_area(state, head) } else { Some(()) }
}

fn saved_area(state: &[u8], head: &mut CoreHead) -> Option<()> {
    let thread = head.threads.last_mut().filter(|_| matches!(head.machine, EM_X86_64 | EM_386))?;
    thread.fpregs = Some(state.get(..FXSAVE_BYTES)?.to_vec());
    Some(())
}

// struct elf_prpsinfo: states, flags, the user's and the group's ID (2 bytes each on i386), four IDs, names
fn process(info: &[u8], head: &mut CoreHead) -> Option<()> {
    let (uid, pid, name) = match Class::of_machine(head.machine) {
        Class::Bits32 => (u16_at(info, 8)?.into(), 12, 28),
        Class::Bits64 => (u32_at(info, 16)?, 24, 40),
    };
    head.uid = uid;
    head.pid = u32_at(info, pid)?.cast_signed();
    head.name = text_until_nul(info.get(name..name + 16)?);
    head.arguments = text_until_nul(info.get(name + 16..name + 96)?).trim_end().to_owned();
    Some(())
}

fn auxv(vector: &[u8], head: &mut CoreHead) -> Option<()> {
    head.auxv_raw = vector.to_vec();
    head.auxv = super::auxv_entries(vector, Class::of_machine(head.machine));
    Some(())
}

fn signal(info: &[u8], head: &mut CoreHead) -> Option<()> {
    let signal = SignalInfo::parse(info, Class::of_machine(head.machine))?;
    // gcore writes one for every thread; the first thread's counts, as in a core of the kernel's.
    if head.signal.is_none() && head.threads.len() <= 1 {
        head.signal = Some(signal);
    }
    if let Some(thread) = head.threads.last_mut().filter(|thread| thread.signal == 0) {
        thread.signal = signal.number;
    }
    Some(())
}

impl SignalInfo {
    /// Reads a `siginfo_t` as the kernel writes it: three numbers, then, where words begin, what the signal tells.
    pub(crate) fn parse(info: &[u8], class: Class) -> Option<SignalInfo> {
        const KERNEL: i32 = 0x80;
        let number = u32_at(info, 0)?.cast_signed();
        let errno = u32_at(info, 4)?.cast_signed();
        let code = u32_at(info, 8)?.cast_signed();
        let told = match class {
            Class::Bits32 => 12,
            Class::Bits64 => 16,
        };
        let carries_address =
            matches!(number, libc::SIGILL | libc::SIGTRAP | libc::SIGBUS | libc::SIGFPE | libc::SIGSEGV);
        // SI_KERNEL comes with address 0 where the machine does not tell it (a general protection fault).
        let from_fault = code > 0 && (code != KERNEL || number == libc::SIGSYS);
        let address = (from_fault && (carries_address || number == libc::SIGSYS))
            .then(|| class.word(info, told))
            .flatten();
        let sender = (code <= 0)
            .then(|| Some(Sender { pid: u32_at(info, told)?.cast_signed(), uid: u32_at(info, told + 4)? }))
            .flatten();
        Some(SignalInfo { number, code: Some(code), errno, address, sender })
    }
}

// count, page size, count times (start, end, offset in pages), then the names, each with its NUL
fn files(table: &[u8], head: &mut CoreHead) -> Option<()> {
    let class = Class::of_machine(head.machine);
    let size = class.word_bytes();
    let count = usize::try_from(class.word(table, 0)?).ok()?;
    let page_size = class.word(table, size)?;
    let entries = table.get(2 * size..)?.get(..count.checked_mul(3 * size)?)?;
    let mut names = table.get(2 * size + entries.len()..)?;
    for entry in entries.chunks_exact(3 * size) {
        if head.files.len() == FILE_LIMIT {
            let what = format!("only the first {FILE_LIMIT} mapped files were looked at");
            head.problems.push(Problem::new("core", what));
            break;
        }
        let end = names.iter().position(|byte| *byte == 0)?;
        head.files.push(MappedFile {
            start: class.word(entry, 0)?,
            end: class.word(entry, size)?,
            offset: class.word(entry, 2 * size)?.checked_mul(page_size)?,
            path: text_until_nul(&names[..end]),
        });
        names = &names[end + 1..];
    }
    Some(())
}
