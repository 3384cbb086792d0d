//! Cores with known answers, and the same cores damaged in every way that a pipe, a disk or an enemy can.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::PathBuf;

use foretrace_capture::core::{CoreError, CoreHead, Sender, read_file, read_head};
use foretrace_capture::maps;
use foretrace_capture::memory::{CoreMemory, Dumped, Memory};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cores").join(name)
}

fn head(name: &str) -> CoreHead {
    let bytes = fs::read(fixture(name)).unwrap();
    let (streamed, raw) = read_head(&mut Cursor::new(&bytes)).unwrap();
    assert_eq!(format!("{streamed:?}"), in_a_file(&bytes));
    assert_eq!(raw, bytes[..raw.len()]);
    streamed
}

// What the same bytes say in a file, where what nobody wants is passed over.
fn in_a_file(bytes: &[u8]) -> String {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    format!("{:?}", read_file(&file).unwrap())
}

fn tids(head: &CoreHead) -> Vec<i32> {
    head.threads.iter().map(|thread| thread.tid).collect()
}

#[test]
fn a_kernel_core_names_process_signal_and_address() {
    let head = head("segv-x86_64.core");
    assert_eq!((head.pid, head.name.as_str(), head.uid), (32259, "a.out", 1007));
    assert_eq!(tids(&head), [32259]);
    let signal = head.signal.unwrap();
    assert_eq!((signal.number, signal.code, signal.address, signal.sender), (11, Some(1), Some(0), None));
    assert_eq!(head.threads[0].registers.instruction(), 0x40_011c);
    assert_eq!(head.threads[0].fpregs.as_ref().unwrap().len(), 512);
    assert_eq!(head.files[0].path, "/home/labath/test/a.out");
    assert!(head.problems.is_empty(), "{:?}", head.problems);
}

#[test]
fn the_crashed_thread_comes_first_and_a_sent_signal_has_no_address() {
    let head = head("threads-x86_64.core");
    assert_eq!((head.pid, tids(&head)), (5222, vec![5250, 5222, 5249]));
    let signal = head.signal.unwrap();
    assert_eq!((signal.number, signal.code, signal.address), (4, Some(-6), None));
    assert_eq!(signal.sender, Some(Sender { pid: 5222, uid: 1000 }));
}

#[test]
fn gcores_order_of_notes_gives_the_same_answers() {
    let head = head("gcore-x86_64.core");
    assert_eq!((head.pid, tids(&head)), (5669, vec![5669, 5671, 5672]));
    assert!(head.threads.iter().all(|thread| thread.signal == 19));
    assert_eq!(head.signal.unwrap().number, 19);
}

#[test]
fn memory_that_the_kernel_withheld_is_not_readable() {
    let head = head("threads-x86_64.core");
    let memory = CoreMemory::new(File::open(fixture("threads-x86_64.core")).unwrap(), &head.segments);
    let everything = Everything;
    let dumped = Dumped::new(&everything, &head.segments);
    for source in [&memory as &dyn Memory, &dumped] {
        assert_eq!(source.read(0x40_0000, &mut [0; 8]), 0);
        let dumped = head.segments.iter().filter(|segment| segment.file_size > 0);
        let ends: Vec<u64> = dumped.clone().map(|segment| segment.address + segment.file_size).collect();
        let starts: Vec<u64> = dumped.map(|segment| segment.address).collect();
        assert_eq!(source.read(starts[0], &mut [0; 8]), 8);
        let end = *ends.iter().find(|end| !starts.contains(end)).unwrap();
        assert_eq!(source.read(end - 4, &mut [0; 8]), 4, "a read stops where the dumped range stops");
    }
}

#[test]
fn a_core_files_memory_is_the_files() {
    let head = head("segv-x86_64.core");
    let memory = CoreMemory::new(File::open(fixture("segv-x86_64.core")).unwrap(), &head.segments);
    let bytes = fs::read(fixture("segv-x86_64.core")).unwrap();
    assert_eq!(memory.read_vec(0x40_0000, 0x2000), bytes[0x1000..0x2000]);
    assert_eq!(memory.read_vec(0x40_0fff, 1), bytes[0x1fff..0x2000]);
    assert!(memory.read_vec(u64::MAX - 1, 16).is_empty());
    let maps = maps::from_core(&head).0;
    assert_eq!(maps::find(&maps, head.threads[0].registers.stack()).unwrap().path, "[stack]");
    assert_eq!(maps::parse(maps::text(&maps).as_bytes()).0, maps);
}

#[test]
fn a_core_cut_anywhere_is_read_as_far_as_it_goes() {
    let bytes = fs::read(fixture("threads-x86_64.core")).unwrap();
    let (whole, raw) = read_head(&mut Cursor::new(&bytes)).unwrap();
    let mut most = 0;
    for length in 0..raw.len() {
        match read_head(&mut &bytes[..length]) {
            Err(CoreError::Truncated(at)) => assert!(at == length && length < 64),
            Err(other) => panic!("{length}: {other}"),
            Ok((head, _)) => {
                assert_eq!(format!("{head:?}"), in_a_file(&bytes[..length]));
                assert!(!head.problems.is_empty(), "{length}");
                assert!(head.threads.len() >= most, "{length}: a longer core gave fewer threads");
                most = head.threads.len();
            }
        }
    }
    assert_eq!(most, whole.threads.len());
}

#[test]
fn what_is_no_core_or_of_another_machine_is_refused_with_a_reason() {
    let core = fs::read(fixture("segv-x86_64.core")).unwrap();
    let changed = |at: usize, value: u8| {
        let mut bytes = core.clone();
        bytes[at] = value;
        read_head(&mut Cursor::new(bytes)).unwrap_err().to_string()
    };
    assert_eq!(read_head(&mut &b"#!/bin/sh"[..]).unwrap_err().to_string(), "this is no ELF core file");
    assert_eq!(changed(16, 2), "this is no ELF core file");
    assert!(changed(4, 1).ends_with("a program of the x32 kind"));
    assert!(changed(5, 2).ends_with("a big-endian machine"));
    assert!(changed(18, 40).ends_with("machine 40 of the ELF header"));
}

#[test]
fn a_huge_note_costs_what_is_there_not_what_it_says() {
    let mut core = fs::read(fixture("segv-x86_64.core")).unwrap();
    core[64 + 32..64 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    let (head, raw) = read_head(&mut Cursor::new(&core)).unwrap();
    assert_eq!(head.pid, 32259);
    assert!(raw.len() <= core.len());
    assert!(head.problems.iter().any(|problem| problem.what.contains("cut short")), "{:?}", head.problems);
}

struct Everything;

impl Memory for Everything {
    fn read(&self, _address: u64, into: &mut [u8]) -> usize {
        into.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_core_never_panics(
        name in prop::sample::select(vec!["segv-x86_64.core", "threads-x86_64.core", "gcore-x86_64.core"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = fs::read(fixture(name)).unwrap();
        bytes.truncate(0x3000.min(bytes.len()));
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        if let Ok((head, _)) = read_head(&mut Cursor::new(&bytes)) {
            // Who has a file finds the number of segments elsewhere, where there are too many for the header.
            let counted = bytes.get(56..58) != Some(&[0xff; 2][..]);
            let streamed = format!("{head:?}");
            prop_assert!(!counted || streamed == in_a_file(&bytes));
            let maps = maps::from_core(&head).0;
            let _ = maps::find(&maps, 0x40_0000);
            let _ = foretrace_capture::stack::copy(&head, &maps, &Everything, &Default::default());
        }
    }

    #[test]
    fn any_text_is_parsed_as_maps(text in "[0-9a-f]{0,17}(-[0-9a-f]{0,17})?( [rwxps-]{0,5}){0,2}( [^\n]{0,30})?\n") {
        let (mappings, problems) = maps::parse(text.as_bytes());
        prop_assert!(mappings.len() + problems.len() <= 1);
    }
}
