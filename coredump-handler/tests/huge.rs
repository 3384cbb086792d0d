//! Cores that are larger than anything, or say that they are: each gives a report, within a time and a memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use foretrace_capture::core::{read_file, read_head};
use foretrace_report::Report;
use foretrace_report::bundle::{BundleReader, Limits};

const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
const NT_FILE: u32 = 0x4649_4c45;
const PAGE: u64 = 4096;
const READABLE: u64 = 4;
const ANYTHING: u64 = 7;

// A program header: kind and flags, address, size in memory; its bytes are at `offset` of the file.
#[derive(Clone, Copy)]
struct Segment {
    kind: u64,
    flags: u64,
    address: u64,
    offset: u64,
    in_file: u64,
    in_memory: u64,
}

// A core of x86-64 in the making. The kernel's order: header, program headers, notes, memory.
struct Core {
    notes: Vec<u8>,
    segments: Vec<Segment>,
    stack: (u64, Vec<u8>),
}

impl Core {
    // What a real process left, without its memory but for its stack.
    fn real() -> Core {
        let bytes = fs::read(
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cores/segv-x86_64.core"),
        )
        .unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let part = |row: usize| {
            let (start, size) = (word(64 + row * 56 + 8) as usize, word(64 + row * 56 + 32) as usize);
            bytes[start..(start + size).min(bytes.len())].to_vec()
        };
        let (head, _) = read_head(&mut Cursor::new(&bytes)).unwrap();
        let pointer = head.threads[0].registers.stack();
        let holds = |row: &usize| {
            let (address, size) = (word(64 + row * 56 + 16), word(64 + row * 56 + 40));
            word(64 + row * 56) as u32 == PT_LOAD as u32 && address <= pointer && pointer < address + size
        };
        let stack = (0..10).find(holds).unwrap();
        Core { notes: part(0), segments: Vec::new(), stack: (word(64 + stack * 56 + 16), part(stack)) }
    }

    fn anonymous(&mut self, address: u64, in_memory: u64) {
        self.segments.push(Segment {
            kind: PT_LOAD,
            flags: READABLE,
            address,
            offset: 0,
            in_file: 0,
            in_memory,
        });
    }

    fn note(&mut self, kind: u32, description: &[u8]) {
        for word in [5, description.len() as u32, kind] {
            self.notes.extend(word.to_le_bytes());
        }
        self.notes.extend(b"CORE\0\0\0\0");
        self.notes.extend(description);
        self.notes.resize(self.notes.len().next_multiple_of(4), 0);
    }

    // `count` pages of files below the stack, in one NT_FILE.
    fn files(&mut self, count: u64) {
        let mut table = Vec::new();
        for word in [count, PAGE] {
            table.extend(word.to_le_bytes());
        }
        for index in 0..count {
            for word in [address_of(index), address_of(index) + PAGE, 1] {
                table.extend(word.to_le_bytes());
            }
        }
        table.extend((0..count).flat_map(|index| format!("/tmp/{}\0", index % 1000).into_bytes()));
        self.note(NT_FILE, &table);
    }

    fn file(&self, size: u64) -> tempfile::NamedTempFile {
        let count = self.segments.len() + 2;
        let notes_at = (64 + count * 56) as u64;
        let section_at = notes_at + self.notes.len() as u64;
        let stack_at = (section_at + 64).next_multiple_of(PAGE);
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let counted = u16::try_from(count).unwrap_or(u16::MAX);
        for (at, half) in [(16, 4), (18, 62), (20, 1), (52, 64), (54, 56), (56, counted), (58, 64), (60, 1)] {
            bytes[at..at + 2].copy_from_slice(&u16::to_le_bytes(half));
        }
        for (at, word) in [(32, 64), (40, section_at)] {
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
        }
        let length = self.notes.len() as u64;
        let notes =
            Segment { kind: PT_NOTE, flags: 0, address: 0, offset: notes_at, in_file: length, in_memory: 0 };
        let length = self.stack.1.len() as u64;
        let stack = Segment {
            kind: PT_LOAD,
            flags: ANYTHING,
            address: self.stack.0,
            offset: stack_at,
            in_file: length,
            in_memory: length,
        };
        for segment in [notes].iter().chain(&self.segments).chain(&[stack]) {
            let Segment { kind, flags, address, offset, in_file, in_memory } = *segment;
            let row = [kind | flags << 32, offset, address, 0, in_file, in_memory, 1];
            bytes.extend(row.into_iter().flat_map(u64::to_le_bytes));
        }
        bytes.extend(&self.notes);
        // Section 0 counts what the header cannot.
        bytes.extend([0; 44]);
        bytes.extend((count as u32).to_le_bytes());
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size.max(stack_at + length)).unwrap();
        file.as_file().write_all_at(&bytes, 0).unwrap();
        file.as_file().write_all_at(&self.stack.1, stack_at).unwrap();
        file
    }
}

fn address_of(index: u64) -> u64 {
    0x1_0000_0000 + index * 2 * PAGE
}

// Imports a core with so much address space and so many seconds of processor time.
fn import(core: &File, mebibytes: u64, seconds: u64) -> Report {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {} && ulimit -t {seconds} && exec \"$@\"", mebibytes << 10), "sh"])
        .arg(env!("CARGO_BIN_EXE_foretrace-capture"))
        .arg("--root")
        .arg(root.path())
        .args(["--json", "import", "/dev/stdin"])
        .stdin(core.try_clone().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bundle = PathBuf::from(answer["path"].as_str().unwrap()).join("bundle.zip");
    let report =
        BundleReader::open(File::open(bundle).unwrap(), Limits::default()).unwrap().report().unwrap();
    assert_eq!(report.threads[0].frames[0].ip, "0x40011c");
    report
}

fn says(report: &Report, text: &str) -> bool {
    report.problems.iter().any(|problem| problem.what.contains(text))
}

#[test]
fn a_hundred_gigabytes_of_holes_cost_what_is_there() {
    const SIZE: u64 = 100 << 30;
    let mut core = Core::real();
    core.anonymous(0x2_0000_0000, SIZE);
    let hole = core.segments.last_mut().unwrap();
    (hole.offset, hole.in_file) = (1 << 20, SIZE - (1 << 20));
    let report = import(core.file(SIZE).as_file(), 256, 5);
    assert!(!says(&report, "stack"), "{:?}", report.problems);
}

#[test]
fn a_million_mappings_hide_no_stack() {
    let mut core = Core::real();
    (0..1_000_000).for_each(|index| core.anonymous(address_of(index), PAGE));
    let report = import(core.file(0).as_file(), 1024, 60);
    assert!(says(&report, "of 1000002 mappings were looked at"), "{:?}", report.problems);
    assert!(!says(&report, "stack"), "{:?}", report.problems);
}

#[test]
fn a_million_mapped_files_are_looked_up_and_not_through() {
    let mut core = Core::real();
    core.files(1_000_000);
    (0..1_000_000).for_each(|index| core.anonymous(address_of(index), PAGE));
    let report = import(core.file(0).as_file(), 1024, 60);
    assert!(!says(&report, "stack"), "{:?}", report.problems);
}

#[test]
fn more_segments_than_the_header_can_count_are_all_known() {
    let mut core = Core::real();
    (0..70_000).for_each(|index| core.anonymous(address_of(index), PAGE));
    let file = core.file(0);
    let (streamed, _) = read_head(&mut File::open(file.path()).unwrap()).unwrap();
    for head in [streamed, read_file(file.as_file()).unwrap()] {
        assert_eq!((head.segments.len(), head.pid, head.threads.len()), (70_001, 32259, 1));
        assert!(head.problems.is_empty(), "{:?}", head.problems);
    }
}

#[test]
fn notes_that_all_lie_in_one_place_are_read_once() {
    const SIZE: u64 = 64 << 20;
    let mut core = Core::real();
    let hole = Segment { kind: PT_NOTE, flags: 0, address: 0, offset: 8 << 20, in_file: SIZE, in_memory: 0 };
    core.segments.extend(std::iter::repeat_n(hole, 60_000));
    let report = import(core.file(SIZE + (8 << 20)).as_file(), 512, 60);
    assert!(says(&report, "cut short"), "{:?}", report.problems);
}

#[test]
fn a_million_notes_that_lie_make_a_few_problems() {
    let mut core = Core::real();
    // Each too short for what it says that it is: a thread, its signal, its files.
    for kind in [1, 0x5349_4749, NT_FILE, 6].iter().cycle().take(1_000_000) {
        core.note(*kind, &[0xff; 7]);
    }
    // A table of more files than there are bytes, and a note of 4 GiB.
    core.note(NT_FILE, &[0xff; 64]);
    core.notes.extend([5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    let report = import(core.file(0).as_file(), 512, 20);
    assert!(says(&report, "further notes were not read"), "{:?}", report.problems);
    assert!(report.problems.len() < 40, "{} problems", report.problems.len());
}
