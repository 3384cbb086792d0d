//! The slow path: a place for an event when the fast path found none.
//!
//! Owns nesting, the switch to a new packet, and what happens when a thread ends. No allocation, no lock, no wait; a
//! signal handler may interrupt it anywhere and record, on the next nesting level and in a packet of its own.
//!
//! The order within a switch makes the counts exact at any instant of death: the new packet's header carries the
//! count of all events before it, and only when it is complete does the slot name it instead of the old one.
#![allow(unsafe_code)]

use foretrace_ring::layout::*;

use crate::atomic::{AtomicU64, Ordering, compiler_fence, fence};
use crate::pool::{self, Taken};
use crate::ring::{self, Ring};
use crate::slot::{self, Slot};
use crate::thread::{self, IDLE, LEVELS, Level, Thread};
use crate::{clock, host, own};

/// Bytes that an event may have, header included.
pub(crate) const MAX_EVENT: usize = (BLOCK_SIZE as u64 - PACKET_HEADER) as usize;
/// What fits into a cell.
const MAX_IN_CELL: u64 = CELL_SIZE as u64 - PACKET_HEADER;
/// Times of one packet must not be farther apart: their lower 48 bits are recorded.
const MAX_SPAN: u32 = 47;
/// Bytes of a thread-change event: header and thread ID.
const THREAD_EVENT: u64 = 12;

/// A place for one event.
pub(crate) struct Place {
    /// Where the event begins.
    pub at: *mut u8,
    /// Its time.
    pub time: u64,
    thread: &'static Thread,
    level: usize,
    outer: u64,
}

/// Finds a place for an event of `size` bytes, header included. `None`: recording is off, or the event was discarded
/// and counted. `here` is the stack pointer of the call site, which a signal handler's is always below.
pub(crate) fn place(ring: Ring, size: usize, here: u64) -> Option<Place> {
    let thread = thread::current();
    let Some((level, outer)) = enter(thread, here) else {
        ring.count(AT_DISCARDED);
        return None;
    };
    let found = place_at(ring, thread, level, size as u64);
    match found {
        Some((at, time)) => Some(Place { at, time, thread, level, outer }),
        None => {
            leave(thread, level, outer);
            None
        }
    }
}

impl Place {
    /// The nesting level that it is of.
    pub fn level(&self) -> &Level {
        &self.thread.levels[self.level]
    }

    /// Makes the event, now written, part of its packet. `counts`: it is the application's.
    pub fn commit(self, size: usize, counts: bool) {
        let level = &self.thread.levels[self.level];
        advance(level, size as u64, if counts { ONE_EVENT } else { 0 });
        leave(self.thread, self.level, self.outer);
    }
}

/// Gives up the thread's slots: its packets stay.
#[unsafe(no_mangle)]
extern "C" fn foretrace_thread_ends() {
    let thread = thread::current();
    let held = ring::is_live();
    for (level, slot) in thread.levels.iter().zip(&thread.slots) {
        level.limit.set(0);
        compiler_fence(Ordering::SeqCst);
        let Some(index) = slot.replace(0).checked_sub(1) else { continue };
        if let Some(ring) = held.then(ring::live).flatten() {
            let slot = Slot::of(ring, index);
            // While its packet is still known; and what is the thread's own, its slot's next thread must not find.
            if slot.abandoned_opening().is_some_and(|left| slot.owns(left.cell)) {
                slot.end_opening();
            }
            if let Some(cell) = slot.current() {
                ring.word(ring.cell(cell) + PACKET_END).store(clock::ticks(), Ordering::Relaxed);
                slot.leave(cell, slot.events());
            }
            own::give_back(ring, slot);
            slot::give_back(ring, slot);
        }
    }
}

/// Begins a recording: its nesting level, and the frame it interrupted. `None`: nested too deeply.
pub(crate) fn enter(thread: &Thread, here: u64) -> Option<(usize, u64)> {
    let mut outer = thread.frame.get();
    let mut level = 0;
    if !matches!(outer, 0 | IDLE) {
        let depth = (thread.depth.get() as usize).min(LEVELS - 1);
        (level, outer) = unwind(thread, depth, outer, here);
        if level >= LEVELS {
            return None;
        }
    }
    if level > 0 {
        thread.outer[level - 1].set(outer);
    }
    thread.depth.set(level as u32);
    thread.frame.set(here);
    compiler_fence(Ordering::SeqCst);
    Some((level, outer))
}

/// Ends a recording.
pub(crate) fn leave(thread: &Thread, level: usize, outer: u64) {
    compiler_fence(Ordering::SeqCst);
    thread.depth.set(level.saturating_sub(1) as u32);
    thread.frame.set(if level > 0 { outer } else { IDLE });
}

/// Which of the recordings in progress are still there: one that a handler left by siglongjmp has a frame above which
/// the stack has been taken back, or that of the very call site that records again. Answers the level for a new
/// recording and the frame below it.
fn unwind(thread: &Thread, depth: usize, innermost: u64, here: u64) -> (usize, u64) {
    let alternate = host::alternate_stack();
    let mut level = depth + 1;
    let mut frame = innermost;
    while level > 0 {
        let gone = match alternate {
            // On the alternate stack nothing can be said of frames elsewhere.
            Some((true, ref range)) => range.contains(&frame) && frame <= here,
            Some((false, ref range)) => frame <= here || range.contains(&frame),
            None => frame <= here,
        };
        if !gone {
            break;
        }
        level -= 1;
        reload(&thread.levels[level]);
        frame = if level > 0 { thread.outer[level - 1].get() } else { 0 };
    }
    (level, frame)
}

/// Makes the thread's idea of a packet that of the packet itself: a recording was abandoned between the two.
fn reload(level: &Level) {
    if level.limit.get() == 0 {
        return;
    }
    // SAFETY: a level with a limit has a packet in the mapping, and this word of it is only used atomically.
    let commit = unsafe { &*level.base.get().wrapping_add(PACKET_COMMIT as usize).cast::<AtomicU64>() };
    level.commit.set(round_up(commit.load(Ordering::Relaxed)));
}

/// A commit word with the content size rounded up to where the next event begins.
fn round_up(commit: u64) -> u64 {
    (commit + 63) & !63
}

/// The commit word's content size in bytes.
fn content(commit: u64) -> u64 {
    u64::from(commit as u32) / 8
}

/// Commits `size` bytes at the level's end.
fn advance(level: &Level, size: u64, events: u64) {
    let commit = level.commit.get() + size * 8 + events;
    // SAFETY: as in `reload`; the level has the packet that `place_at` found.
    let word = unsafe { &*level.base.get().wrapping_add(PACKET_COMMIT as usize).cast::<AtomicU64>() };
    word.store(commit, Ordering::Release);
    level.commit.set(round_up(commit));
}

fn place_at(ring: Ring, thread: &Thread, index: usize, size: u64) -> Option<(*mut u8, u64)> {
    let level = &thread.levels[index];
    let mut time = clock::ticks();
    if thread.enter_epoch(time) {
        clock::refresh(ring, time);
        time = clock::ticks();
        thread.enter_epoch(time);
    }
    if !fits(ring, level, size, time) {
        let slot = match thread.slots[index].get().checked_sub(1) {
            Some(index) => Slot::of(ring, index),
            None => {
                let slot = take_slot(ring, thread, index)?;
                // The slot's last thread may have recorded in the packet that goes on after the time was taken.
                time = clock::ticks();
                slot
            }
        };
        if !fits(ring, level, size, time) {
            switch(ring, level, slot, size, time)?;
            clock::refresh(ring, time);
        }
    }
    Some((level.base.get().wrapping_add(content(level.commit.get()) as usize), time))
}

/// Whether the level's packet has room, and began not too long ago (nor later than now).
fn fits(ring: Ring, level: &Level, size: u64, time: u64) -> bool {
    let limit = level.limit.get().unsigned_abs();
    if limit == 0 || content(level.commit.get()) + size > limit {
        return false;
    }
    let packet = (level.base.get() as u64).wrapping_sub(ring.address(0) as u64);
    let begin = ring.word(packet + PACKET_BEGIN).load(Ordering::Relaxed);
    time.wrapping_sub(begin) >> MAX_SPAN == 0
}

/// Gives the thread a slot, and with it the packet that the slot's last thread left.
pub(crate) fn take_slot(ring: Ring, thread: &Thread, index: usize) -> Option<Slot> {
    let id = host::thread_id();
    let Some(slot) = slot::take(ring, id) else {
        ring.count(AT_DISCARDED);
        return None;
    };
    thread.slots[index].set(slot.index + 1);
    thread::watch();
    if let Some(cell) = slot.reopen_idle() {
        let time = clock::ticks();
        let level = &thread.levels[index];
        let whole = ring.descriptor(cell).load(Ordering::Relaxed) & WHOLE != 0;
        let commit = ring.word(ring.cell(cell) + PACKET_COMMIT).load(Ordering::Relaxed);
        enter_packet(ring, level, cell, whole, round_up(commit));
        ring.word(ring.cell(cell) + PACKET_END).store(NOT_ENDED, Ordering::Relaxed);
        if fits(ring, level, THREAD_EVENT, time) {
            let at = ring.cell(cell) + content(level.commit.get());
            ring.word(at).store(time << 16 | u64::from(THREAD_ID), Ordering::Relaxed);
            ring.word(at + 8).store(u64::from(id), Ordering::Relaxed);
            advance(level, THREAD_EVENT, 0);
        } else {
            level.limit.set(0);
        }
    }
    Some(slot)
}

fn enter_packet(ring: Ring, level: &Level, cell: u32, whole: bool, commit: u64) {
    let limit = i64::from(if whole { BLOCK_SIZE } else { CELL_SIZE });
    level.limit.set(0);
    compiler_fence(Ordering::SeqCst);
    level.base.set(ring.address(ring.cell(cell)));
    level.commit.set(commit);
    compiler_fence(Ordering::SeqCst);
    level.limit.set(if clock::is_tsc() { limit } else { -limit });
}

/// Opens a new packet for the slot and pins the one before it.
fn switch(ring: Ring, level: &Level, slot: Slot, size: u64, time: u64) -> Option<()> {
    // Whoever jumps out of this finds a full packet, and comes here again.
    let limit = level.limit.replace(0);
    compiler_fence(Ordering::SeqCst);
    let Some(taken) = take(ring, slot, size <= MAX_IN_CELL) else {
        slot.word(SLOT_DISCARDED).fetch_add(1, Ordering::Relaxed);
        level.limit.set(limit);
        return None;
    };
    slot.begin_opening(&taken);
    let whole = taken.word & WHOLE != 0;
    let old = slot.current();
    let before = slot.events();
    // Whoever sees a word of the new header sees the new generation too.
    fence(Ordering::Release);
    let packet = ring.cell(taken.cell);
    write_header(ring, packet, slot, whole, time, before);
    ring.descriptor(taken.cell).store(taken.word | OPEN, Ordering::Release);
    slot.word(SLOT_CURRENT).store(u64::from(taken.cell) + 1, Ordering::Release);
    if let Some(old) = old {
        ring.word(ring.cell(old) + PACKET_END).store(time, Ordering::Relaxed);
        // A block of the thread's own stays open, so that nobody else takes it.
        if !slot.owns(old) {
            slot.pin(old);
        }
    }
    slot.end_opening();
    enter_packet(ring, level, taken.cell, whole, EMPTY);
    Some(())
}

/// A part for a new packet: first the one that an abandoned switch has left.
fn take(ring: Ring, slot: Slot, small: bool) -> Option<Taken> {
    if let Some(left) = slot.abandoned_opening() {
        if small || left.word & WHOLE != 0 {
            return Some(left);
        }
        pool::give_back(ring, &left);
        slot.end_opening();
    }
    if let Some(own) = own::take(ring, slot) {
        return Some(own);
    }
    let block = if small && pool::is_crowded(ring) { None } else { pool::take_block(ring) };
    block.or_else(|| if small { pool::take_cell(ring) } else { None })
}

fn write_header(ring: Ring, packet: u64, slot: Slot, whole: bool, time: u64, before: u64) {
    let low = ring.word(AT_UUID).load(Ordering::Relaxed);
    let high = ring.word(AT_UUID + 8).load(Ordering::Relaxed);
    let number = slot.word(SLOT_NUMBER).fetch_add(1, Ordering::Relaxed);
    let discarded = slot.word(SLOT_DISCARDED).load(Ordering::Relaxed);
    let thread = slot.word(SLOT_THREAD).load(Ordering::Relaxed) as u32;
    let bits = u64::from(if whole { BLOCK_SIZE } else { CELL_SIZE }) * 8;
    let words = [
        u64::from(PACKET_MAGIC) | low << 32,
        low >> 32 | high << 32,
        high >> 32,
        u64::from(slot.index),
        time,
        NOT_ENDED,
        EMPTY,
        bits,
        number,
        discarded,
        before,
        u64::from(thread) << 32,
    ];
    for (at, word) in (packet..).step_by(8).zip(words) {
        ring.word(at).store(word, Ordering::Relaxed);
    }
}

const _: () = assert!(PACKET_BEGIN == 4 * 8 && PACKET_COMMIT == 6 * 8 && PACKET_BEFORE == 10 * 8);
