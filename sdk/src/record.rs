//! Recording one event: the fast path that is compiled into every call site, and what it falls back to.
//!
//! The fast path has three questions (is another recording in progress, is there room, is the time near), one time
//! stamp, and the stores. It makes no call, takes no lock, and uses no atomic operation that a plain store is not.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use foretrace_ring::layout::*;

use crate::clock::{self, Halves};
use crate::field::Fields;
use crate::given;
use crate::ring::{self, Ring};
use crate::site::{self, Site};
use crate::storage;
use crate::thread::{self, IDLE, Level};
use crate::writer::{self, MAX_EVENT};

const HEADER: usize = EVENT_HEADER as usize;

/// Records an event. `word` is what [`Site::word`] said, and not 0.
///
/// # Signal safety
/// May be called from a signal handler, also from one that interrupts a recording.
#[inline(always)]
pub fn record<F: Fields>(site: &'static Site, word: u64, fields: F) {
    record_stamped(site, word, fields, Now);
}

/// Where the time of an event comes from, on the fast path.
pub(crate) trait Stamp {
    /// The time of an event that is about to be written at the level's end.
    fn time(&self, level: &Level) -> Halves;
    /// The event was written.
    fn recorded(&self, _level: &Level, _time: Halves) {}
    /// A time that the caller gives, which the slow path records too.
    #[inline(always)]
    fn given(&self) -> Option<u64> {
        None
    }
}

/// Each event has its own.
struct Now;

impl Stamp for Now {
    #[inline(always)]
    fn time(&self, _level: &Level) -> Halves {
        clock::counter()
    }
}

/// Records an event with a time from `stamp`, or from the clock where the fast path is not for it.
#[inline(always)]
pub(crate) fn record_stamped<F: Fields>(site: &'static Site, word: u64, fields: F, stamp: impl Stamp) {
    // The values themselves: a reference to a variable of the caller's that the slow path might follow would keep that
    // variable in memory, and store it there even where the site is off.
    let held = fields.hold();
    let given = stamp.given();
    if !(site::signature_of(word) == F::SIGNATURE && record_here(word, &held, stamp)) {
        record_slowly(site, held, thread::stack_pointer(), given);
    }
}

/// The fast path. False: it is not for this event.
#[inline(always)]
fn record_here<F: Fields>(word: u64, fields: &F, stamp: impl Stamp) -> bool {
    let mark = ring::mark();
    let thread = thread::current();
    if thread.frame.get() != mark {
        return false;
    }
    thread::note_stack_pointer(&thread.frame);
    compiler_fence(Ordering::SeqCst);
    let done = 'done: {
        let level = &thread.levels[0];
        let size = HEADER + fields.size();
        let (before, base) = storage::next_place(thread);
        let start = (before as u32 / 8) as usize;
        if (start + size) as i64 > level.limit.get() {
            break 'done false;
        }
        let time = stamp.time(level);
        if time.high as u32 != thread.epoch.get() {
            break 'done false;
        }
        // SAFETY: a packet with room for the event: `limit` is its size, and only this thread, at this nesting level,
        // writes into it.
        unsafe { write(base.wrapping_add(start), time, word, fields) };
        // SAFETY: the level's packet; the event lies in it.
        unsafe { commit(level, base, before, size) };
        stamp.recorded(level, time);
        true
    };
    compiler_fence(Ordering::SeqCst);
    thread.frame.set(IDLE);
    done
}

/// Makes an event of `size` bytes part of the packet. `before` is the level's commit word.
///
/// # Safety
/// `base` is the level's packet.
#[inline(always)]
unsafe fn commit(level: &Level, base: *mut u8, before: u64, size: usize) {
    // SAFETY: the commit word of that packet, aligned; only used atomically.
    let shared = unsafe { &*base.wrapping_add(PACKET_COMMIT as usize).cast::<AtomicU64>() };
    shared.store(before + ONE_EVENT + size as u64 * 8, Ordering::Release);
    level.commit.set(before + ONE_EVENT + ((size + 7) & !7) as u64 * 8);
}

/// Writes header and payload. The event type's number is in the word's upper 16 bits.
///
/// # Safety
/// There is room for both at `at`.
#[inline(always)]
unsafe fn write<F: Fields>(at: *mut u8, time: Halves, word: u64, fields: &F) {
    // The upper half is stored over what the lower one does not fill: that costs less than to put them together.
    // SAFETY: the caller's room.
    unsafe { at.cast::<u64>().write_unaligned((time.low << 16 | word >> site::NUMBER).to_le()) };
    // SAFETY: the last two of those bytes.
    unsafe { at.wrapping_add(6).cast::<u16>().write_unaligned((time.high as u16).to_le()) };
    // SAFETY: the caller's room behind the header.
    unsafe { fields.write(at.wrapping_add(HEADER)) };
}

/// Everything else: the first event, a new packet, a nested recording, a clock that is not the processor's.
#[cold]
#[inline(never)]
fn record_slowly<F: Fields>(site: &'static Site, fields: F, here: u64, given: Option<u64>) {
    if !site.is_wanted() {
        return;
    }
    let Some(ring) = ring::live() else {
        site.switch_off();
        return;
    };
    if let Some(id) = site.number(ring, F::SIGNATURE, &|kinds| F::kinds(kinds, 0)) {
        record_at(ring, id, &fields, here, given);
    }
}

/// Records an event of a type that is declared, by the slow path.
pub(crate) fn record_as<F: Fields>(ring: Ring, id: u16, fields: &F) {
    record_at(ring, id, fields, thread::stack_pointer(), None);
}

fn record_at<F: Fields>(ring: Ring, id: u16, fields: &F, here: u64, given: Option<u64>) {
    let size = HEADER + fields.size();
    if size > MAX_EVENT {
        return record_cut(ring, id, fields, here);
    }
    if let Some(place) = writer::place(ring, size, here) {
        let time = given.map_or(place.time, |time| given::in_order(place.level(), time, place.time));
        // SAFETY: the place has room for `size` bytes.
        unsafe { write(place.at, time.into(), u64::from(id) << site::NUMBER, fields) };
        place.commit(size, true);
    }
}

/// Records an event whose payload somebody has laid out already, and whose type is declared.
#[cfg(feature = "tracing")]
pub(crate) fn record_laid(ring: Ring, id: u16, payload: &[u8]) {
    let fields = crate::field::Laid(payload);
    if !record_here(u64::from(id) << site::NUMBER, &fields, Now) {
        record_as(ring, id, &fields);
    }
}

/// Records an event that `lay` writes where it will stay: given a place and the room there, it answers the type's number
/// and the payload's size. `None`, or false: it is not for this way. `lay` must not record.
#[cfg(feature = "tracing")]
#[inline(always)]
pub(crate) fn record_in_place(lay: impl FnOnce(*mut u8, usize) -> Option<(u16, usize)>) -> bool {
    let mark = ring::mark();
    let thread = thread::current();
    // In a forked child the mark is 0: the packet is its parent's, and not even what is behind its end may be written.
    if thread.frame.get() != mark || mark == 0 {
        return false;
    }
    thread::note_stack_pointer(&thread.frame);
    compiler_fence(Ordering::SeqCst);
    let done = 'done: {
        let level = &thread.levels[0];
        let before = level.commit.get();
        let start = (before as u32 / 8) as usize;
        let room = level.limit.get() - (start + HEADER) as i64;
        if room < 0 {
            break 'done false;
        }
        let base = level.base.get();
        let at = base.wrapping_add(start);
        // Before `lay`, for the processor reads its counter only when everything before that is done.
        let time = clock::counter();
        if time.high as u32 != thread.epoch.get() {
            break 'done false;
        }
        let Some((id, size)) = lay(at.wrapping_add(HEADER), room as usize) else { break 'done false };
        // SAFETY: the packet has room for the header, and `lay` has written what follows it.
        unsafe { write(at, time, u64::from(id) << site::NUMBER, &()) };
        // SAFETY: the level's packet; the event lies in it.
        unsafe { commit(level, base, before, HEADER + size) };
        true
    };
    compiler_fence(Ordering::SeqCst);
    thread.frame.set(IDLE);
    done
}

/// Records an event that is larger than a packet: with its texts cut, if that is enough.
#[cold]
fn record_cut<F: Fields>(ring: Ring, id: u16, fields: &F, here: u64) {
    let fixed = HEADER + fields.size_cut(0);
    if F::SEQUENCES == 0 || fixed > MAX_EVENT {
        ring.count(AT_DISCARDED);
        return;
    }
    let limit = (MAX_EVENT - fixed) / F::SEQUENCES;
    let size = HEADER + fields.size_cut(limit);
    if let Some(place) = writer::place(ring, size, here) {
        // SAFETY: the place has room for `size` bytes, of which these are the first.
        unsafe { place.at.cast::<u64>().write_unaligned((place.time << 16 | u64::from(id)).to_le()) };
        // SAFETY: the rest of them.
        unsafe { fields.write_cut(place.at.wrapping_add(HEADER), limit) };
        place.commit(size, true);
        ring.count(AT_CUT);
    }
}
