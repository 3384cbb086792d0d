//! Writer slots: where a thread (at one nesting level) keeps what must outlive it.
//!
//! A slot names its open packet, and the counts in that packet's header and commit word are exact whatever happens
//! next; while it names none, the slot itself keeps the count. Free slots are a stack, so that short-lived threads go
//! on in the half-filled packet that the last one left.

use foretrace_ring::layout::*;

use crate::atomic::{AtomicU64, Ordering, compiler_fence};
use crate::pool::{self, Taken};
use crate::ring::Ring;

/// A slot that a thread holds.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub index: u32,
    at: u64,
    ring: Ring,
}

impl Slot {
    /// The slot with this number.
    pub fn of(ring: Ring, index: u32) -> Slot {
        let index = index % SLOT_COUNT;
        Slot { index, at: ring.geometry.slots + u64::from(index) * u64::from(SLOT_SIZE), ring }
    }

    /// One of its words.
    pub fn word(self, offset: u64) -> &'static AtomicU64 {
        self.ring.word(self.at + offset)
    }

    /// The first cell of its open packet.
    pub fn current(self) -> Option<u32> {
        self.cell(SLOT_CURRENT)
    }

    /// The packet that a thread left, if nobody has reused it: open again, and the slot's.
    pub fn reopen_idle(self) -> Option<u32> {
        let cell = self.cell(SLOT_IDLE)?;
        let word = self.word(SLOT_IDLE_WORD).load(Ordering::Relaxed);
        self.word(SLOT_IDLE).store(0, Ordering::Relaxed);
        let open = word & !STATE | OPEN;
        self.ring.descriptor(cell).compare_exchange(word, open, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        self.word(SLOT_CURRENT).store(u64::from(cell) + 1, Ordering::Release);
        Some(cell)
    }

    /// Pins a packet that the slot no longer writes, and lets the one that was pinned go.
    pub fn pin(self, cell: u32) {
        let pinned = self.stop_writing(cell);
        let earlier = self.cell(SLOT_PINNED);
        let earlier_word = self.word(SLOT_PINNED_WORD).load(Ordering::Relaxed);
        self.word(SLOT_PINNED).store(u64::from(cell) + 1, Ordering::Relaxed);
        self.word(SLOT_PINNED_WORD).store(pinned, Ordering::Relaxed);
        if let Some(earlier) = earlier {
            let closed = earlier_word & !STATE | CLOSED;
            // It may have been reused: then there is nothing to let go.
            let _ = self.ring.descriptor(earlier).compare_exchange(
                earlier_word,
                closed,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    /// Notes that a part was taken to open a packet in, behind the current one.
    pub fn begin_opening(self, part: &Taken) {
        let current = self.word(SLOT_CURRENT).load(Ordering::Relaxed);
        if let Some(cell) = self.current() {
            let word = self.ring.descriptor(cell).load(Ordering::Relaxed);
            self.word(SLOT_REPLACED_WORD).store(word, Ordering::Relaxed);
        }
        self.word(SLOT_REPLACED).store(current, Ordering::Relaxed);
        self.word(SLOT_OPENING_WORD).store(part.word, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.word(SLOT_OPENING).store(u64::from(part.cell) + 1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// The packet is open, and the one before it pinned.
    pub fn end_opening(self) {
        compiler_fence(Ordering::SeqCst);
        self.word(SLOT_OPENING).store(0, Ordering::Relaxed);
    }

    /// What remains of an opening out of which a signal handler jumped: the part, if no packet was opened in it.
    pub fn abandoned_opening(self) -> Option<Taken> {
        let cell = self.cell(SLOT_OPENING)?;
        let word = self.word(SLOT_OPENING_WORD).load(Ordering::Relaxed);
        if self.current() != Some(cell) {
            return Some(pool::take_again(self.ring, Taken { cell, word }));
        }
        // It became the current packet. The one before it may still look as if somebody wrote it.
        if let Some(replaced) = self.cell(SLOT_REPLACED).filter(|cell| !self.owns(*cell)) {
            let word = self.word(SLOT_REPLACED_WORD).load(Ordering::Relaxed);
            let closed = word & !STATE | CLOSED;
            let descriptor = self.ring.descriptor(replaced);
            let _ = descriptor.compare_exchange(word, closed, Ordering::Release, Ordering::Relaxed);
        }
        self.end_opening();
        None
    }

    /// Leaves the open packet as it is for the next thread, unless somebody needs the room first.
    pub fn leave(self, cell: u32, events: u64) {
        self.word(SLOT_BEFORE).store(events, Ordering::Relaxed);
        self.word(SLOT_CURRENT).store(0, Ordering::Release);
        let word = self.stop_writing(cell);
        self.word(SLOT_IDLE_WORD).store(word, Ordering::Relaxed);
        self.word(SLOT_IDLE).store(u64::from(cell) + 1, Ordering::Relaxed);
    }

    /// Events in all the slot's packets.
    pub fn events(self) -> u64 {
        match self.current() {
            Some(cell) => {
                let packet = self.ring.cell(cell);
                let commit = self.ring.word(packet + PACKET_COMMIT).load(Ordering::Relaxed);
                self.ring.word(packet + PACKET_BEFORE).load(Ordering::Relaxed).wrapping_add(commit >> 32)
            }
            None => self.word(SLOT_BEFORE).load(Ordering::Relaxed),
        }
    }

    /// The blocks that only this thread reuses: the first cell of the first, and how many.
    pub fn own(self) -> Option<(u32, u32)> {
        let word = self.word(SLOT_OWN).load(Ordering::Relaxed);
        let (first, blocks) = ((word as u32).checked_sub(1)?, (word >> 32) as u32);
        let inside = blocks.checked_mul(BLOCK_CELLS)?.checked_add(first)? <= self.ring.geometry.cells;
        (inside && blocks > 0).then_some((first, blocks))
    }

    /// Whether the cell is of one of these blocks.
    pub fn owns(self, cell: u32) -> bool {
        self.own().is_some_and(|(first, blocks)| (first..first + blocks * BLOCK_CELLS).contains(&cell))
    }

    fn stop_writing(self, cell: u32) -> u64 {
        let descriptor = self.ring.descriptor(cell);
        let word = descriptor.load(Ordering::Relaxed) & !STATE | PINNED;
        descriptor.store(word, Ordering::Release);
        pool::note_release(self.ring);
        word
    }

    fn cell(self, offset: u64) -> Option<u32> {
        let word = self.word(offset).load(Ordering::Relaxed);
        word.checked_sub(1).filter(|cell| *cell < u64::from(self.ring.geometry.cells)).map(|cell| cell as u32)
    }
}

/// Takes a free slot for a thread. `None`: all are held.
pub(crate) fn take(ring: Ring, thread: u32) -> Option<Slot> {
    let slot = pop(ring).or_else(|| unused(ring))?;
    slot.word(SLOT_THREAD).store(u64::from(thread), Ordering::Relaxed);
    ring.word(AT_ACTIVE).fetch_add(1, Ordering::Relaxed);
    Some(slot)
}

/// Gives a slot back.
pub(crate) fn give_back(ring: Ring, slot: Slot) {
    let head = ring.word(AT_FREE_SLOTS);
    let mut seen = head.load(Ordering::Relaxed);
    loop {
        slot.word(SLOT_THREAD).store(seen << 32, Ordering::Relaxed);
        let next = tagged(seen, u64::from(slot.index) + 1);
        match head.compare_exchange_weak(seen, next, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    ring.word(AT_ACTIVE).fetch_sub(1, Ordering::Relaxed);
}

fn pop(ring: Ring) -> Option<Slot> {
    let head = ring.word(AT_FREE_SLOTS);
    let mut seen = head.load(Ordering::Acquire);
    loop {
        let slot = Slot::of(ring, (seen as u32).checked_sub(1)?);
        let below = slot.word(SLOT_THREAD).load(Ordering::Relaxed) >> 32;
        match head.compare_exchange_weak(seen, tagged(seen, below), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(slot),
            Err(now) => seen = now,
        }
    }
}

fn unused(ring: Ring) -> Option<Slot> {
    let used = ring.word(AT_USED_SLOTS);
    let next = |count| (count < u64::from(SLOT_COUNT)).then_some(count + 1);
    let index = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
    Some(Slot::of(ring, index as u32))
}

/// A new head of the stack; the tag tells it from an older one that names the same slot.
fn tagged(seen: u64, entry: u64) -> u64 {
    (seen >> 32).wrapping_add(1) << 32 | entry
}
