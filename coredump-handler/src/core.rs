//! ELF cores: the header, the program headers and the notes, from a pipe or from a file.
//!
//! Owns the core's layout and the list of what the kernel was willing to dump. Never reads memory contents (that is
//! [`crate::memory`]), never looks at `/proc`, and believes nothing: a core may be cut short or made by an enemy. What
//! cannot be read becomes a [`Problem`]; only bytes that are no core of a known machine are an error.
//!
//! ```text
//! 0      ELF header      e_type = ET_CORE, e_machine, e_phoff, e_phnum (0xffff: too many to count here)
//! phoff  program headers PT_NOTE first (the kernel and gcore both), then one PT_LOAD a mapping
//! ...    notes           owner, type, description: threads' registers, signal, auxv, mapped files
//! ...    memory          p_filesz bytes of each PT_LOAD; 0 where the kernel withheld it
//! ```

mod bytes;
mod notes;
mod registers;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use foretrace_report::schema::Problem;

pub use crate::elf::{EM_386, EM_AARCH64, EM_X86_64};
pub(crate) use bytes::{text_until_nul, u16_at, u32_at, u64_at};
pub(crate) use notes::Notes;
pub use registers::{Aarch64, Registers, X86, X86_64};

use crate::elf::{Class, HEADER_BYTES, Header, ProgramHeader, SectionHeader};

/// More than this is never read for headers and notes together: 20,000 threads with AMX state.
pub const HEAD_LIMIT: u64 = 256 << 20;

const UNCOUNTED_SEGMENTS: u16 = 0xffff;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const ET_CORE: u16 = 4;

/// Why bytes are no core that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The stream or file could not be read.
    #[error("the core could not be read")]
    Io(#[from] io::Error),
    /// The stream ended within the ELF header.
    #[error("the core ended after {0} bytes, within its ELF header")]
    Truncated(usize),
    /// No ELF magic, or an ELF file that is not a core.
    #[error("this is no ELF core file")]
    NotCore,
    /// A core of a machine, class or byte order that is not read.
    #[error("cores of this kind are not supported: {0}")]
    Unsupported(String),
}

/// Everything that a core says before its memory.
#[derive(Clone, Debug)]
pub struct CoreHead {
    /// `e_machine`: [`EM_X86_64`], [`EM_386`] or [`EM_AARCH64`].
    pub machine: u16,
    /// The process's ID in the dumping kernel's view of it.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
    /// Its command name, at most 15 bytes.
    pub name: String,
    /// The start of its arguments, at most 79 bytes. Private: reports take argv\[0\] alone.
    pub arguments: String,
    /// All threads; the one that took the signal first.
    pub threads: Vec<ThreadState>,
    /// The fatal signal.
    pub signal: Option<SignalInfo>,
    /// The auxiliary vector, without its end mark.
    pub auxv: Vec<(u64, u64)>,
    /// The auxiliary vector's bytes.
    pub auxv_raw: Vec<u8>,
    /// The mappings, and how much of each the core holds.
    pub segments: Vec<Segment>,
    /// The mapped files, from NT_FILE.
    pub files: Vec<MappedFile>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

impl CoreHead {
    /// An auxiliary vector entry, as `AT_ENTRY` or `AT_SYSINFO_EHDR`.
    pub fn auxv_value(&self, key: u64) -> Option<u64> {
        self.auxv.iter().find(|entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Where each thread's stack ends.
    pub fn stack_pointers(&self) -> Vec<u64> {
        self.threads.iter().map(|thread| thread.registers.stack()).collect()
    }

    /// The thread that took the signal.
    pub fn crashed(&self) -> Option<&ThreadState> {
        self.threads.first()
    }
}

/// One thread as the core's notes give it.
#[derive(Clone, Debug)]
pub struct ThreadState {
    /// Its ID.
    pub tid: i32,
    /// The signal it was stopped by, 0 for none. The kernel writes the fatal signal into every thread.
    pub signal: i32,
    /// General registers.
    pub registers: Registers,
    /// Floating point and SSE state (FXSAVE, 512 bytes) on x86-64.
    pub fpregs: Option<Vec<u8>>,
}

/// One mapping, as the core's program headers give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub address: u64,
    /// Its size in memory.
    pub memory_size: u64,
    /// Where its bytes start in the core.
    pub file_offset: u64,
    /// How many bytes of it the core holds, from its start. 0: the kernel withheld it.
    pub file_size: u64,
    /// `PF_X` 1, `PF_W` 2, `PF_R` 4.
    pub flags: u32,
}

/// A mapped file, from NT_FILE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Where the mapping starts.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The file's path in the process's own mount namespace.
    pub path: String,
}

/// A signal and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its number.
    pub number: i32,
    /// `si_code`: positive from the kernel, 0 and below from a process. `None`: nothing says where it came from.
    pub code: Option<i32>,
    /// `si_errno`.
    pub errno: i32,
    /// The fault's address, only for signals that carry one.
    pub address: Option<u64>,
    /// Who sent it, only where a process did.
    pub sender: Option<Sender>,
}

/// The process that sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its ID, in the receiver's PID namespace.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
}

/// Reads header, program headers and notes from a stream and stops there. Returns the raw bytes too.
///
/// # Errors
/// A stream that fails, ends within the ELF header, or is no core of a known machine.
pub fn read_head(stream: &mut impl Read) -> Result<(CoreHead, Vec<u8>), CoreError> {
    let mut source = Streamed { stream, bytes: Vec::new() };
    let head = parse(&mut source)?;
    Ok((head, source.bytes))
}

/// Reads header, program headers and notes of a core file, wherever they lie in it.
///
/// # Errors
/// A file that cannot be read, or is no core of a known machine.
pub fn read_file(file: &File) -> Result<CoreHead, CoreError> {
    parse(&mut Stored { file, size: file.metadata()?.len() })
}

// Where a core's bytes come from. `range` gives fewer bytes than asked for where there are no more.
trait Source {
    fn range(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>>;
    // How many of `length` bytes from `offset` are there.
    fn available(&mut self, offset: u64, length: u64) -> io::Result<u64>;
    // Adds what a PT_NOTE of `length` bytes at `offset`, which are there, says.
    fn notes(&mut self, offset: u64, length: u64, head: &mut CoreHead) -> io::Result<()>;
    // Whether going forward costs the bytes in between.
    const SEQUENTIAL: bool;
}

struct Streamed<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
}

impl<R: Read> Source for Streamed<'_, R> {
    const SEQUENTIAL: bool = true;

    fn range(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(length).min(HEAD_LIMIT);
        let missing = end.saturating_sub(self.bytes.len() as u64);
        // `take` and `read_to_end` grow with what arrives, so a lying size costs nothing.
        self.stream.take(missing).read_to_end(&mut self.bytes)?;
        let end = (end as usize).min(self.bytes.len());
        Ok(self.bytes.get(offset as usize..end).unwrap_or_default().to_vec())
    }

    fn available(&mut self, offset: u64, length: u64) -> io::Result<u64> {
        Ok(self.range(offset, length)?.len() as u64)
    }

    fn notes(&mut self, offset: u64, length: u64, head: &mut CoreHead) -> io::Result<()> {
        notes::parse(&self.range(offset, length)?, head);
        Ok(())
    }
}

struct Stored<'a> {
    file: &'a File,
    size: u64,
}

impl Source for Stored<'_> {
    const SEQUENTIAL: bool = false;

    fn range(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.size.saturating_sub(offset)).min(HEAD_LIMIT);
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn available(&mut self, offset: u64, length: u64) -> io::Result<u64> {
        Ok(length.min(self.size.saturating_sub(offset)))
    }

    fn notes(&mut self, offset: u64, length: u64, head: &mut CoreHead) -> io::Result<()> {
        notes::parse_parts(length, |at, length| self.range(offset.saturating_add(at), length), head)
    }
}

fn parse<S: Source>(source: &mut S) -> Result<CoreHead, CoreError> {
    let header = checked(&source.range(0, HEADER_BYTES as u64)?)?;
    let machine = header.machine;
    let mut head = CoreHead {
        machine,
        pid: 0,
        uid: 0,
        name: String::new(),
        arguments: String::new(),
        threads: Vec::new(),
        signal: None,
        auxv: Vec::new(),
        auxv_raw: Vec::new(),
        segments: Vec::new(),
        files: Vec::new(),
        problems: Vec::new(),
    };
    let notes = segments(source, &header, &mut head)?;
    // All may say that they lie in the same place.
    let mut left = HEAD_LIMIT;
    for note in notes {
        let there = source.available(note.file_offset, note.file_size.min(left))?;
        left -= there;
        if there < note.file_size {
            let what = format!("the core's notes are cut short: {there} of {} bytes", note.file_size);
            head.problems.push(Problem::new("core", what));
        }
        source.notes(note.file_offset, there, &mut head)?;
        if left == 0 || head.problems.len() > notes::PROBLEM_LIMIT {
            break;
        }
    }
    if head.threads.is_empty() {
        head.problems.push(Problem::new("threads", "the core names no thread"));
    }
    Ok(head)
}

/// The entries of an auxiliary vector's bytes, without its end mark.
pub fn auxv_entries(vector: &[u8], class: Class) -> Vec<(u64, u64)> {
    let size = class.word_bytes();
    vector
        .chunks_exact(2 * size)
        .filter_map(|entry| Some((class.word(entry, 0)?, class.word(entry, size)?)))
        .take_while(|entry| entry.0 != 0)
        .collect()
}

// The header of a core that can be read.
fn checked(header: &[u8]) -> Result<Header, CoreError> {
    if !header.starts_with(b"\x7fELF") && header.len() >= 4 {
        return Err(CoreError::NotCore);
    }
    if header.len() < HEADER_BYTES {
        return Err(CoreError::Truncated(header.len()));
    }
    if header[5] == 2 {
        return Err(CoreError::Unsupported("a big-endian machine".into()));
    }
    let header = Header::parse(header).ok_or(CoreError::NotCore)?;
    if header.kind != ET_CORE {
        return Err(CoreError::NotCore);
    }
    match (header.machine, header.class) {
        (EM_X86_64 | EM_AARCH64, Class::Bits64) | (EM_386, Class::Bits32) => Ok(header),
        (EM_X86_64, Class::Bits32) => Err(CoreError::Unsupported("a program of the x32 kind".into())),
        (machine, _) => Err(CoreError::Unsupported(format!("machine {machine} of the ELF header"))),
    }
}

// Fills in the PT_LOADs and returns the PT_NOTEs.
fn segments<S: Source>(
    source: &mut S,
    header: &Header,
    head: &mut CoreHead,
) -> Result<Vec<Segment>, CoreError> {
    let size = ProgramHeader::bytes(header.class);
    if header.segments.row_bytes != size {
        let what = format!("program headers of {} bytes are not known", header.segments.row_bytes);
        head.problems.push(Problem::new("core", what));
        return Ok(Vec::new());
    }
    let count = segment_count(source, header, head)?;
    let length = count * size as u64;
    let bytes = source.range(header.segments.offset, length)?;
    if (bytes.len() as u64) < length {
        head.problems.push(Problem::new(
            "core",
            format!("the core's program headers are cut short: {} of {count}", bytes.len() / size),
        ));
    }
    let mut notes = Vec::new();
    for row in bytes.chunks_exact(size).filter_map(|row| ProgramHeader::parse(header.class, row)) {
        let segment = Segment {
            address: row.address,
            memory_size: row.memory_size,
            file_offset: row.offset,
            file_size: row.file_size,
            flags: row.flags,
        };
        match row.kind {
            PT_NOTE => notes.push(segment),
            PT_LOAD => head.segments.push(segment),
            _ => {}
        }
    }
    Ok(notes)
}

// With 65,535 segments or more the true count stands in section header 0, which the kernel writes at the very end of
// the stream. There the notes' own place tells: the kernel puts them right behind the program headers.
fn segment_count<S: Source>(source: &mut S, header: &Header, head: &mut CoreHead) -> Result<u64, CoreError> {
    let (class, offset) = (header.class, header.segments.offset);
    if header.segments.rows != UNCOUNTED_SEGMENTS {
        return Ok(u64::from(header.segments.rows));
    }
    if !S::SEQUENTIAL {
        let section = source.range(header.sections.offset, SectionHeader::bytes(class) as u64)?;
        let count = SectionHeader::parse(class, &section).map(|section| section.info);
        if let Some(count) = count.filter(|count| *count >= u32::from(UNCOUNTED_SEGMENTS)) {
            return Ok(u64::from(count));
        }
    }
    let size = ProgramHeader::bytes(class) as u64;
    let first = ProgramHeader::parse(class, &source.range(offset, size)?);
    let notes_offset = first.filter(|first| first.kind == PT_NOTE).map(|first| first.offset);
    match notes_offset.and_then(|notes| notes.checked_sub(offset)).map(|bytes| bytes / size) {
        Some(count) if count >= u64::from(UNCOUNTED_SEGMENTS) && count < HEAD_LIMIT / size => Ok(count),
        _ => {
            head.problems.push(Problem::new(
                "core",
                "the core has too many mappings to count them without its end: only the first 65,535 are known",
            ));
            Ok(u64::from(UNCOUNTED_SEGMENTS))
        }
    }
}
