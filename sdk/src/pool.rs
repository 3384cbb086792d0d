//! Which part of the pool is reused next.
//!
//! A packet is a whole block or, when many threads write, one of its cells. Every part has one descriptor word, and
//! taking it is one compare-and-swap; the oldest part is found by a ticket that walks round the pool. Nobody waits
//! and nothing is locked: a part that another thread takes first is that thread's, and the ticket goes on.
//!
//! Closed parts go first. Only when a whole round found none, pinned ones go too: a pin keeps a quiet thread's
//! history from noisy neighbours, but never costs a new event. An open part is never taken.

use foretrace_ring::layout::*;

use crate::atomic::Ordering;
use crate::ring::Ring;

/// A part that was taken: its descriptor says BUSY, its contents are about to change.
pub(crate) struct Taken {
    /// The first cell.
    pub cell: u32,
    /// The descriptor without its state.
    pub word: u64,
}

/// Whether so many threads write that each gets a cell instead of a block: with an open and a pinned packet each they
/// would fill five eighths of the pool.
pub(crate) fn is_crowded(ring: Ring) -> bool {
    let active = ring.word(AT_ACTIVE).load(Ordering::Relaxed);
    let wanted = active.saturating_mul(2 * u64::from(BLOCK_CELLS));
    let own = ring.word(AT_OWN).load(Ordering::Relaxed);
    wanted > u64::from(ring.geometry.cells).saturating_sub(own) / 8 * 5
}

/// Takes the next block. `None`: every one is in use, at least in part.
pub(crate) fn take_block(ring: Ring) -> Option<Taken> {
    let blocks = ring.geometry.cells / BLOCK_CELLS;
    for pins in [false, true] {
        for _ in 0..blocks {
            let ticket = ring.word(AT_TICKET).fetch_add(u64::from(BLOCK_CELLS), Ordering::Relaxed);
            let block = (ticket / u64::from(BLOCK_CELLS) % u64::from(blocks)) as u32;
            if let Some(taken) = claim_block(ring, block * BLOCK_CELLS, pins) {
                return Some(taken);
            }
        }
    }
    None
}

/// Takes the next cell. `None`: every one is being written.
pub(crate) fn take_cell(ring: Ring) -> Option<Taken> {
    let cells = ring.geometry.cells;
    // Where more threads write than there are cells, each event would look at all of them in vain.
    let released = ring.word(AT_RELEASED).load(Ordering::Acquire).wrapping_add(1);
    if ring.word(AT_EXHAUSTED).load(Ordering::Relaxed) == released {
        return None;
    }
    // When nearly everything is open or pinned, looking everywhere for a closed cell would cost more than a pin is
    // worth.
    for (pins, most) in [(false, cells / 4), (true, cells)] {
        let mut seen = 0;
        while seen < most {
            let ticket = ring.word(AT_TICKET).fetch_add(1, Ordering::Relaxed);
            let cell = (ticket % u64::from(cells)) as u32;
            let word = ring.descriptor(cell).load(Ordering::Relaxed);
            let in_block = word & STATE == MEMBER || word & WHOLE != 0;
            let taken = if in_block {
                split(ring, cell - cell % BLOCK_CELLS, pins)
            } else {
                claim(ring, cell, word, pins, 0)
            };
            if taken.is_some() {
                return taken;
            }
            // A look at a block counts like one at a cell: a few large packets in use must not end the search for closed
            // cells and cost a quiet thread its pin.
            seen += 1;
            if in_block {
                skip(ring, ticket + 1, BLOCK_CELLS - cell % BLOCK_CELLS - 1);
            }
        }
    }
    ring.word(AT_EXHAUSTED).store(released, Ordering::Relaxed);
    None
}

/// Notes that a part was let go: a search is worth while again.
pub(crate) fn note_release(ring: Ring) {
    ring.word(AT_RELEASED).fetch_add(1, Ordering::Release);
}

/// Moves the ticket over the rest of a block that cannot be had, unless others have moved it meanwhile.
fn skip(ring: Ring, ticket: u64, cells: u32) {
    let next = ticket + u64::from(cells);
    let _ = ring.word(AT_TICKET).compare_exchange(ticket, next, Ordering::Relaxed, Ordering::Relaxed);
}

pub(crate) fn may_be_reused(word: u64, pins: bool) -> bool {
    match word & STATE {
        FREE | CLOSED => true,
        PINNED => pins,
        _ => false,
    }
}

/// Takes a part anew that its owner took and never opened.
pub(crate) fn take_again(ring: Ring, part: Taken) -> Taken {
    let word = next_generation(part.word) | part.word & WHOLE;
    ring.descriptor(part.cell).store(word | BUSY, Ordering::Relaxed);
    Taken { word, ..part }
}

/// Gives back a part that was taken.
pub(crate) fn give_back(ring: Ring, part: &Taken) {
    ring.descriptor(part.cell).store(part.word | CLOSED, Ordering::Release);
    note_release(ring);
}

/// The descriptor of the same part one generation on, without flags and state.
fn next_generation(word: u64) -> u64 {
    (word / GENERATION).wrapping_add(1).wrapping_mul(GENERATION)
}

fn claim(ring: Ring, cell: u32, word: u64, pins: bool, flags: u64) -> Option<Taken> {
    if !may_be_reused(word, pins) {
        return None;
    }
    let next = next_generation(word) | flags;
    let claimed =
        ring.descriptor(cell).compare_exchange(word, next | BUSY, Ordering::AcqRel, Ordering::Relaxed);
    claimed.is_ok().then_some(Taken { cell, word: next })
}

/// Takes a block that is whole, or makes it whole if all its cells can be had.
pub(crate) fn claim_block(ring: Ring, first: u32, pins: bool) -> Option<Taken> {
    let word = ring.descriptor(first).load(Ordering::Relaxed);
    if word & WHOLE != 0 {
        return claim(ring, first, word, pins, WHOLE);
    }
    let mut words = [0; BLOCK_CELLS as usize];
    for (cell, word) in (first..).zip(&mut words) {
        *word = ring.descriptor(cell).load(Ordering::Relaxed);
        // Look before taking: whoever takes and gives back disturbs others.
        if !may_be_reused(*word, pins) || *word & WHOLE != 0 {
            return None;
        }
    }
    for (index, word) in words.iter().enumerate() {
        if claim(ring, first + index as u32, *word, pins, 0).is_none() {
            for (cell, word) in (first..).zip(&words[..index]) {
                ring.descriptor(cell).store(*word, Ordering::Release);
            }
            note_release(ring);
            return None;
        }
    }
    for (cell, word) in (first..).zip(&words).skip(1) {
        ring.descriptor(cell).store(next_generation(*word) | MEMBER, Ordering::Release);
    }
    let word = next_generation(words[0]) | WHOLE;
    ring.descriptor(first).store(word | BUSY, Ordering::Release);
    Some(Taken { cell: first, word })
}

/// Takes a whole block for its first cell and leaves the others to whoever comes next.
fn split(ring: Ring, first: u32, pins: bool) -> Option<Taken> {
    let word = ring.descriptor(first).load(Ordering::Relaxed);
    if word & WHOLE == 0 {
        return None;
    }
    let taken = claim(ring, first, word, pins, 0)?;
    for cell in first + 1..first + BLOCK_CELLS {
        let member = ring.descriptor(cell);
        member.store(next_generation(member.load(Ordering::Relaxed)) | FREE, Ordering::Release);
    }
    note_release(ring);
    Some(taken)
}
