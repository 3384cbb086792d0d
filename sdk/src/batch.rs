//! Events that share one reading of the clock, which is most of what an event costs.
//!
//! Owns the rule that makes this safe: a time is used again only for the event right behind the one that it was read
//! for. So within a packet times never go back, whatever else the thread records in between.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::marker::PhantomData;
use core::{fmt, ptr};

use foretrace_ring::layout::PACKET_BEGIN;

use crate::atomic::{AtomicU64, Ordering};
use crate::clock::{self, Halves};
use crate::field::Fields;
use crate::record::{self, Stamp};
use crate::site::Site;
use crate::thread::Level;

/// A batch of events with one time, that of the first; made by [`batch`].
pub struct Batch {
    /// The packet of the last event, and its commit word after that event.
    base: Cell<*mut u8>,
    commit: Cell<u64>,
    /// When the first event was.
    time: Cell<u64>,
    /// Its packet is its thread's.
    _not_send: PhantomData<*const ()>,
}

/// Begins a batch: events that belong together so closely that the time of the first is good enough for all.
///
/// ```
/// # use foretrace::{batch, event};
/// # let (rows, bytes) = (7_u64, 900_u64);
/// let batch = batch();
/// event!(batch: batch, info, "rows", count = rows);
/// event!(batch: batch, info, "bytes", count = bytes);
/// ```
///
/// An event after the first costs some 2 ns instead of 10. Where the thread recorded anything else meanwhile, began a new
/// packet, or the clock is not the processor's, the time is read anew: events of a thread are always in order.
///
/// # Signal safety
/// May be used in a signal handler, with a batch of its own.
pub fn batch() -> Batch {
    Batch {
        base: Cell::new(ptr::null_mut()),
        commit: Cell::new(0),
        time: Cell::new(0),
        _not_send: PhantomData,
    }
}

impl Batch {
    #[doc(hidden)]
    #[inline(always)]
    pub fn record<F: Fields>(&self, site: &'static Site, word: u64, fields: F) {
        record::record_stamped(site, word, fields, self);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Stamp for &Batch {
    #[inline(always)]
    fn time(&self, level: &Level) -> Halves {
        let base = level.base.get();
        if base != self.base.get() || level.commit.get() != self.commit.get() {
            return clock::counter();
        }
        // SAFETY: the thread's open packet, whose header is only used atomically.
        let begin = unsafe { &*base.wrapping_add(PACKET_BEGIN as usize).cast::<AtomicU64>() };
        // The packet's memory may have been another packet's, long ago, that was as full.
        if begin.load(Ordering::Relaxed) > self.time.get() {
            return clock::counter();
        }
        self.time.get().into()
    }

    #[inline(always)]
    fn recorded(&self, level: &Level, time: Halves) {
        self.base.set(level.base.get());
        self.commit.set(level.commit.get());
        self.time.set(time.high << 32 | time.low);
    }
}

/// A clock that is read when the kernel's own tick has passed; made by [`coarse`].
pub struct Coarse {
    batch: Batch,
    /// What the kernel's coarse clock said last.
    tick: Cell<u64>,
}

/// Begins to record with a coarse clock: the processor's is read only when the kernel's coarse one has gone on.
///
/// ```
/// # use foretrace::{coarse, event};
/// let clock = coarse();
/// for row in 0..1000_u64 {
///     event!(batch: clock, debug, "row", number = row);
/// }
/// ```
///
/// Times are never ahead, and behind by at most one tick of the kernel: 1 to 10 ms, 4 ms with 250 ticks a second, as
/// `clock_getres(CLOCK_MONOTONIC_COARSE)` says. As in a [`batch`] the time is read anew where the thread recorded
/// anything else meanwhile.
///
/// # Signal safety
/// May be used in a signal handler, with a clock of its own.
pub fn coarse() -> Coarse {
    Coarse { batch: batch(), tick: Cell::new(0) }
}

impl Coarse {
    #[doc(hidden)]
    #[inline(always)]
    pub fn record<F: Fields>(&self, site: &'static Site, word: u64, fields: F) {
        record::record_stamped(site, word, fields, self);
    }
}

impl fmt::Debug for Coarse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coarse").finish_non_exhaustive()
    }
}

impl Stamp for &Coarse {
    #[inline(always)]
    fn time(&self, level: &Level) -> Halves {
        let tick = clock::coarse();
        if self.tick.replace(tick) != tick {
            return clock::counter();
        }
        (&self.batch).time(level)
    }

    #[inline(always)]
    fn recorded(&self, level: &Level, time: Halves) {
        (&self.batch).recorded(level, time);
    }
}
