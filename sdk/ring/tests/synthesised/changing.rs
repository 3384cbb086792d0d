//! Memory that changes while it is read, and memory that is not all there.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use foretrace_ring::{Memory, reader};

use crate::decode;
use crate::ring::*;

/// A ring of which another process changes one word, right after something was read for the first time.
struct Changing {
    bytes: RefCell<Vec<u8>>,
    /// The word that is read.
    read: usize,
    /// The word that changes, and what it becomes, until it has.
    change: Cell<Option<(usize, u64)>>,
}

impl Changing {
    fn new(read: usize, at: usize, to: u64) -> Changing {
        Changing { bytes: RefCell::new(filled().0), read, change: Cell::new(Some((at, to))) }
    }

    fn was_read(&self, place: Range<usize>) {
        if place.contains(&self.read)
            && let Some((at, to)) = self.change.take()
        {
            self.bytes.borrow_mut()[at..at + 8].copy_from_slice(&to.to_le_bytes());
        }
    }
}

impl Memory for Changing {
    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn load(&self, offset: u64) -> Option<u64> {
        let word = self.bytes.borrow()[..].load(offset);
        self.was_read(offset as usize..offset as usize + 8);
        word
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let copied = self.bytes.borrow()[..].copy(offset, into);
        self.was_read(offset as usize..offset as usize + into.len());
        copied
    }
}

/// The packets of [`filled`]: cell, descriptor and events.
const PACKETS: [(usize, u64, u64); 3] =
    [(0, 7 << 8 | 0x10 | CLOSED, MANY), (17, 7 << 8 | OPEN, 40), (18, 7 << 8 | PINNED, 5)];

#[test]
fn a_packet_that_is_replaced_while_it_is_copied_is_not_returned() {
    for (cell, word, events) in PACKETS {
        let changed = |to| {
            let at = DESCRIPTORS + cell * 8;
            // Its last event: the copy is done.
            let read = POOL + cell * 1024 + 96 + (events as usize - 1) * 16;
            let snapshot = reader::read(&Changing::new(read, at, to)).expect("a ring");
            assert_eq!(snapshot.problems, [""; 0]);
            decode(&snapshot).events.len() as u64
        };
        let words = [8 << 8 | OPEN, word & !0xf | BUSY, 8 << 8 | CLOSED, 8 << 8 | BUSY, 8 << 8 | MEMBER];
        // Miri has time for two.
        for &to in if cfg!(miri) { &words[..2] } else { &words[..] } {
            assert_eq!(changed(to), MANY + 45 - events, "cell {cell} becomes {to:#x}");
        }
        // Closing it is no replacement.
        assert_eq!(changed(word & !0xf | CLOSED), MANY + 45);
    }
    // What could not be returned counts as overwritten.
    let ring = Changing::new(POOL + 17 * 1024 + 96, DESCRIPTORS + 17 * 8, 8 << 8 | BUSY);
    let snapshot = reader::read(&ring).expect("a ring");
    assert_eq!((snapshot.recorded, snapshot.overwritten), (MANY + 45, 40));
}

#[test]
fn a_header_that_changes_after_it_was_read_changes_no_stream() {
    let streams = filled().read().streams;
    let values = [0, (1 << 40) | (96 * 8), u64::MAX];
    // Miri has time for the first word and the commit word.
    let (values, step) = if cfg!(miri) { (&values[2..], 48) } else { (&values[..], 8) };
    for (cell, _, _) in PACKETS {
        for at in (0..96).step_by(step).map(|word| POOL + cell * 1024 + word) {
            for &to in values {
                let snapshot = reader::read(&Changing::new(at, at, to)).expect("a ring");
                let byte = at - POOL - cell * 1024;
                assert!(snapshot.streams == streams, "byte {byte} of cell {cell} becomes {to:#x}");
            }
        }
    }
}

/// A ring of which some bytes cannot be had.
struct Holed {
    ring: Synthesis,
    hole: Range<u64>,
}

impl Memory for Holed {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn load(&self, offset: u64) -> Option<u64> {
        self.ring.0[..].load(offset)
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        let end = offset + into.len() as u64;
        (end <= self.hole.start || self.hole.end <= offset) && self.ring.0[..].copy(offset, into)
    }
}

/// A ring with closed packets side by side.
fn neighbours() -> Synthesis {
    let mut ring = Synthesis::new();
    for number in 0..40 {
        let cell = 8 + number as usize;
        let packet =
            Packet { cell, whole: false, state: CLOSED, slot: 2, number, before: number * 3, events: 3 };
        ring.packet(&packet);
    }
    ring
}

#[test]
fn memory_that_cannot_be_had_costs_the_packets_that_lie_there() {
    let hole = POOL as u64 + 20 * 1024 + 1023..POOL as u64 + 22 * 1024 + 1;
    let snapshot = reader::read(&Holed { ring: neighbours(), hole }).expect("a ring");
    assert_eq!(snapshot.problems, ["3 packets were dropped; the last of them lies outside the ring"]);
    assert_eq!(decode(&snapshot).events.len(), 37 * 3);
    assert_eq!((snapshot.recorded, snapshot.overwritten), (120, 9));
}
