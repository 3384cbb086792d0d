//! The notes of a core file whose headers are right: threads, registers, files, the auxiliary vector, whatever their sizes
//! say. No panic, what is found is found in the input, and a file, of which parts are passed over, gives the same as a stream.
#![no_main]

use std::io::Write;

use foretrace_capture::{core, maps};
use libfuzzer_sys::fuzz_target;

const NOTES_AT: usize = 64 + 56;

fuzz_target!(|data: &[u8]| {
    let mut file = vec![0; NOTES_AT];
    // A 64-bit little-endian core of an x86-64 process, with one program header: its notes.
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, half) in [(16, 4_u16), (18, 62), (20, 1), (52, 64), (54, 56), (56, 1)] {
        file[at..at + 2].copy_from_slice(&half.to_le_bytes());
    }
    for (at, word) in [(32, 64), (64, 4), (72, NOTES_AT as u64), (96, data.len() as u64)] {
        file[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
    file.extend_from_slice(data);
    let (head, read) = core::read_head(&mut &file[..]).expect("the headers are right");
    assert!(read.len() <= file.len(), "more was read than is there");
    let mut stored = tempfile::tempfile().expect("a file");
    stored.write_all(&file).expect("room for it");
    let skimmed = core::read_file(&stored).expect("the headers are right");
    assert_eq!(format!("{head:?}"), format!("{skimmed:?}"));
    maps::text(&maps::from_core(&head).0);
    head.crashed();
    head.auxv_value(33);
});
