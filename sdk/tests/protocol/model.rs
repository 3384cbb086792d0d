//! A small ring, what is recorded into it, and what a snapshot of it must say.

use foretrace_ring::layout::*;
use foretrace_ring::{Memory, Snapshot, reader};

use crate::atomic::{Ordering, fence};
use crate::ring::{self, Ring};
use crate::writer;

/// Threads that the reader looks for.
const SLOTS: u32 = 8;
/// An event's number: which lane it is of, and its place there.
const LANE: u32 = 32;
/// The number of the only event type.
const STEP: u64 = 1;
/// Bytes of an event: header and number.
const EVENT: usize = 16;
/// The stack pointer of whoever records; a handler's is below.
pub(crate) const FRAME: u64 = 1 << 20;

/// An event that fits wherever another one does.
pub(crate) const SMALL: usize = EVENT;
/// An event that asks for a block of its own, whatever it then needs.
pub(crate) const LARGE: usize = writer::MAX_EVENT;
/// An event that asks for a cell of its own.
pub(crate) const CELL: usize = (CELL_SIZE as u64 - PACKET_HEADER) as usize;

/// Makes a ring of so many blocks this thread's only one. Nothing is given back: a proof's threads may outlive it.
pub(crate) fn begin(blocks: u32) -> Ring {
    let cells = blocks * BLOCK_CELLS;
    let annotations = HEADER_SIZE;
    let slots = annotations + u64::from(ANNOTATION_SIZE);
    let descriptors = slots + u64::from(SLOTS * SLOT_SIZE);
    let pool = descriptors + u64::from(cells) * 8;
    let size = pool + u64::from(cells * CELL_SIZE);
    let geometry = Geometry { annotations, schema: slots, slots, descriptors, pool, cells, size };
    let base = memory(size as usize);
    let ring = Ring { base, geometry };
    let set = |at: u64, word: u64| ring.word(at).store(word, Ordering::Relaxed);
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    set(AT_ABI, pair(ABI, HEADER_SIZE as u32));
    set(AT_UUID, 0x1122_3344_5566_7788);
    set(AT_SIZE, size);
    set(AT_ANNOTATIONS, annotations);
    set(AT_ANNOTATION_COUNT, pair(1, ANNOTATION_SIZE));
    set(AT_SCHEMA, slots);
    set(AT_SCHEMA_COUNT, pair(0, SCHEMA_SIZE));
    set(AT_SLOTS, slots);
    set(AT_SLOT_COUNT, pair(SLOTS, SLOT_SIZE));
    set(AT_DESCRIPTORS, descriptors);
    set(AT_CELL_COUNT, pair(cells, CELL_SIZE));
    set(AT_POOL, pool);
    set(AT_BLOCK, u64::from(BLOCK_CELLS));
    // One clock pair.
    set(AT_CLOCK_PUBLISHED, 1);
    set(AT_CLOCK + 24, 1_000_000_000);
    set(AT_MAGIC, MAGIC);
    ring::begin(ring);
    ring
}

/// Zeroed memory for the ring: the last one of this thread, which no proof uses any more.
fn memory(size: usize) -> *mut u8 {
    thread_local! {
        static MEMORY: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    MEMORY.with_borrow_mut(|memory| {
        memory.clear();
        memory.resize(size / 8, 0);
        memory.as_mut_ptr().cast()
    })
}

/// Records event `number` of a lane into a place of `room` bytes. False: there was none.
pub(crate) fn record_at(frame: u64, lane: u64, number: u64, room: usize) -> bool {
    let ring = ring::live().unwrap();
    let Some(place) = writer::place(ring, room, frame) else { return false };
    let at = place.at as u64 - ring.base as u64;
    ring.word(at).store(place.time << 16 | STEP, Ordering::Relaxed);
    ring.word(at + 8).store(lane << LANE | number, Ordering::Relaxed);
    place.commit(EVENT, true);
    true
}

/// As [`record_at`], by a thread that nobody interrupted.
pub(crate) fn record(lane: u64, number: u64, room: usize) -> bool {
    record_at(FRAME, lane, number, room)
}

/// What the calling thread does when it ends.
pub(crate) fn end_thread() {
    unsafe extern "C" {
        fn foretrace_thread_ends();
    }
    // SAFETY: the recorder's own function, compiled into this test; no preconditions.
    unsafe { foretrace_thread_ends() };
}

/// A snapshot, checked: no torn event, none twice, each lane in order, everything counted. Answers with each lane's
/// events.
pub(crate) fn examine(snapshot: &Snapshot) -> Vec<Vec<u64>> {
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let mut lanes = vec![Vec::new(); SLOTS as usize];
    let mut events = 0;
    for (name, stream) in &snapshot.streams {
        let word = |at: u64| stream[..].load(at).unwrap();
        let mut at = 0;
        while at < stream.len() as u64 {
            let commit = word(at + PACKET_COMMIT);
            let mut left = commit >> 32;
            let mut place = at + PACKET_HEADER;
            while place < at + (commit as u32 / 8) as u64 {
                if word(place) as u16 == THREAD_ID {
                    place += 16;
                    continue;
                }
                assert_eq!(word(place), 1000 << 16 | STEP, "a torn event in {name}");
                let number = word(place + 8);
                lanes[(number >> LANE) as usize].push(number as u32 as u64);
                left = left.checked_sub(1).expect("a packet has more events than it says");
                events += 1;
                place += EVENT as u64;
            }
            assert_eq!(left, 0, "a packet has fewer events than it says");
            at += word(at + PACKET_SIZE) / 8;
        }
    }
    for lane in &mut lanes {
        lane.sort_unstable();
        assert!(lane.windows(2).all(|pair| pair[0] < pair[1]), "an event is there twice: {lane:?}");
    }
    assert_eq!(snapshot.recorded, snapshot.overwritten + events, "not everything is counted");
    lanes
}

/// What another process sees of the ring.
pub(crate) struct View(pub Ring);

impl View {
    /// A snapshot.
    pub(crate) fn read(&self) -> Snapshot {
        reader::read(self).expect("a ring")
    }
}

impl Memory for View {
    fn size(&self) -> u64 {
        self.0.geometry.size
    }

    fn load(&self, offset: u64) -> Option<u64> {
        Some(self.0.word(offset).load(Ordering::Acquire))
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        for (at, bytes) in (offset..).step_by(8).zip(into.chunks_mut(8)) {
            let word = self.0.word(at).load(Ordering::Relaxed).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        fence(Ordering::Acquire);
        true
    }
}
