//! Blocks of the pool that one thread alone reuses, so that its history survives neighbours that record much more.
//!
//! Owns the taking and the giving back. The blocks lie one behind the other and are ordinary packets of the thread's
//! slot: a reader need not know of them. Those that are not written at the moment stay open, which nobody else takes.

use foretrace_ring::layout::*;

use crate::atomic::Ordering;
use crate::pool::{self, Taken};
use crate::ring::{self, Ring};
use crate::slot::Slot;
use crate::{thread, writer};

/// What all threads together may have for themselves: one part in so many of the pool.
const SHARE: u32 = 4;
/// Fewer would keep nothing while the next one begins.
const FEWEST: u32 = 2;

/// Gives the calling thread `bytes` of the pool for itself: what it records from now on is overwritten by its own newer
/// events only, however much other threads record. For the thread whose last minutes explain a crash and which records
/// little: a watchdog, a scheduler, a user's commands.
///
/// In steps of 16 KiB, at least 32 KiB; the newest `bytes` less one step are always kept. Until the thread ends; a forked
/// child has to ask anew. All threads together may have a quarter of the pool.
///
/// ```
/// # std::thread::spawn(|| {
/// assert!(foretrace::own_ring(64 << 10));
/// # }).join().unwrap();
/// ```
///
/// # Errors
/// False, and nothing has changed: recording is off, the thread has a ring of its own already, a quarter of the pool
/// would not be enough, or no such stretch of it is free of open packets. Call it early.
///
/// # Signal safety
/// Not for signal handlers.
pub fn own_ring(bytes: u64) -> bool {
    ring::live().is_some_and(|ring| begin(ring, bytes, thread::stack_pointer()))
}

/// Gives the calling thread, whose stack pointer is `here`, blocks of its own.
pub(crate) fn begin(ring: Ring, bytes: u64, here: u64) -> bool {
    let Ok(blocks) = u32::try_from(bytes.div_ceil(BLOCK_SIZE.into())) else { return false };
    let thread = thread::current();
    let Some((level, outer)) = writer::enter(thread, here) else { return false };
    let begun = level == 0 && {
        let held = thread.slots[0].get().checked_sub(1).map(|index| Slot::of(ring, index));
        let slot = held.or_else(|| writer::take_slot(ring, thread, 0));
        slot.is_some_and(|slot| reserve(ring, slot, blocks.max(FEWEST)))
    };
    if begun {
        // The next event opens the first of them.
        thread.levels[0].limit.set(0);
    }
    writer::leave(thread, level, outer);
    begun
}

/// The block that the slot's thread writes next, if it has its own: the one behind the current one, round and round.
pub(crate) fn take(ring: Ring, slot: Slot) -> Option<Taken> {
    let (first, blocks) = slot.own()?;
    let next = match slot.current().filter(|cell| slot.owns(*cell)) {
        Some(current) => ((current - first) / BLOCK_CELLS + 1) % blocks,
        None => 0,
    };
    let cell = first + next * BLOCK_CELLS;
    let word = ring.descriptor(cell).load(Ordering::Relaxed);
    Some(pool::take_again(ring, Taken { cell, word }))
}

/// Gives the slot's own blocks back to all; its thread has left the one that it wrote.
pub(crate) fn give_back(ring: Ring, slot: Slot) {
    let Some((first, blocks)) = slot.own() else { return };
    slot.word(SLOT_OWN).store(0, Ordering::Relaxed);
    release(ring, first, blocks);
}

/// Takes so many blocks, one behind the other, for the slot.
fn reserve(ring: Ring, slot: Slot, blocks: u32) -> bool {
    let all = u64::from(ring.geometry.cells);
    let wanted = u64::from(blocks) * u64::from(BLOCK_CELLS);
    let within = |own: u64| Some(own + wanted).filter(|own| *own <= all / u64::from(SHARE));
    let own = ring.word(AT_OWN);
    if slot.own().is_some() || own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
        return false;
    }
    // From the end: what others open next is at the beginning of a young ring.
    let last = (all - wanted) as u32 / BLOCK_CELLS;
    for pins in [false, true] {
        for first in (0..=last).rev().map(|block| block * BLOCK_CELLS) {
            if claim(ring, first, blocks, pins) {
                slot.word(SLOT_OWN)
                    .store((u64::from(first) + 1) | (u64::from(blocks) << 32), Ordering::Relaxed);
                return true;
            }
        }
    }
    own.fetch_sub(wanted, Ordering::Relaxed);
    false
}

/// Takes all these blocks or none.
fn claim(ring: Ring, first: u32, blocks: u32, pins: bool) -> bool {
    let places = || (0..blocks).map(|block| first + block * BLOCK_CELLS);
    // Look before taking: what is taken in vain has lost its packet.
    let free = |cell| {
        let word = ring.descriptor(cell).load(Ordering::Relaxed);
        let cells = if word & WHOLE != 0 { 1 } else { BLOCK_CELLS };
        (cell..cell + cells)
            .all(|cell| pool::may_be_reused(ring.descriptor(cell).load(Ordering::Relaxed), pins))
    };
    if !places().all(free) {
        return false;
    }
    for (taken, cell) in (0..).zip(places()) {
        if pool::claim_block(ring, cell, pins).is_none() {
            free_blocks(ring, first, taken);
            return false;
        }
    }
    true
}

fn release(ring: Ring, first: u32, blocks: u32) {
    free_blocks(ring, first, blocks);
    ring.word(AT_OWN).fetch_sub(u64::from(blocks * BLOCK_CELLS), Ordering::Relaxed);
}

/// Lets blocks go: packets stay readable, and a block in which none was opened is empty.
fn free_blocks(ring: Ring, first: u32, blocks: u32) {
    for cell in (0..blocks).map(|block| first + block * BLOCK_CELLS) {
        let descriptor = ring.descriptor(cell);
        let word = descriptor.load(Ordering::Relaxed);
        match word & STATE {
            OPEN => descriptor.store(word & !STATE | CLOSED, Ordering::Release),
            BUSY => descriptor.store(word & !STATE | FREE, Ordering::Release),
            // Left as it is for the slot's next thread.
            _ => {}
        }
    }
    pool::note_release(ring);
}
