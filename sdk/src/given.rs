//! Events whose time the caller gives: when something was, not when it is told.
//!
//! Owns what such a time is, and the rule that a thread's times never go back: what is earlier than the packet's last
//! event is recorded with that event's time. The last time is not kept anywhere, for that would cost every event; it is
//! found in the packet when it is asked for.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::marker::PhantomData;
use core::{fmt, ptr};

use foretrace_ring::layout::{PACKET_BEGIN, PACKET_HEADER};

use crate::atomic::{AtomicU64, Ordering};
use crate::clock::{self, Halves};
use crate::field::Fields;
use crate::record::{self, Stamp};
use crate::ring;
use crate::site::Site;
use crate::thread::Level;

/// Bits of a time that an event holds.
const BITS: u32 = 48;

/// A moment, never later than the present when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The present, in the ring's own clock: what an event without a given time would record. As dear as an event.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub fn now() -> Time {
        // Which clock it is, is known when there is a ring.
        let _ = ring::live();
        Time(clock::ticks())
    }

    /// A moment in nanoseconds of CLOCK_MONOTONIC; the present, if it is later than that.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub fn from_monotonic(nanoseconds: u64) -> Time {
        let now = Time::now();
        let then = ring::live().map(|ring| clock::ticks_at(ring, nanoseconds));
        then.map_or(now, |then| Time(then.min(now.0)))
    }

    /// In the ring's own clock.
    pub(crate) fn ticks(self) -> u64 {
        self.0
    }
}

/// Gives events their time; made by [`at`].
pub struct At {
    /// What to record.
    time: Cell<u64>,
    /// The packet of the last event, its commit word after that event, and the event's time.
    base: Cell<*mut u8>,
    commit: Cell<u64>,
    last: Cell<u64>,
    /// Its packet is its thread's.
    _not_send: PhantomData<*const ()>,
}

/// Events with a time that the caller gives.
///
/// ```
/// # use foretrace::{Time, at, event};
/// let arrived = Time::now();
/// // Much later:
/// event!(at: at(arrived), info, "request arrived", bytes = 512_u32);
/// // Or many, as a device has noted them in nanoseconds of CLOCK_MONOTONIC:
/// # let samples = [(1_u64, 20_i32), (2, 21)];
/// let sampled = at(arrived);
/// for (nanoseconds, celsius) in samples {
///     sampled.set(Time::from_monotonic(nanoseconds));
///     event!(at: sampled, info, "sample", celsius = celsius);
/// }
/// ```
///
/// The events of a thread stay in order: a time earlier than that of the packet's last event, or of its beginning, is
/// recorded as that one. To know the last one, the thread's packet is looked through when it recorded something else since
/// (all of its up to 16 KiB); otherwise no clock is read.
///
/// # Signal safety
/// May be used in a signal handler.
pub fn at(time: Time) -> At {
    At {
        time: Cell::new(time.0),
        base: Cell::new(ptr::null_mut()),
        commit: Cell::new(0),
        last: Cell::new(0),
        _not_send: PhantomData,
    }
}

impl At {
    /// From now on events have this time.
    ///
    /// # Signal safety
    /// May be called from a signal handler.
    pub fn set(&self, time: Time) {
        self.time.set(time.0);
    }

    #[doc(hidden)]
    #[inline(always)]
    pub fn record<F: Fields>(&self, site: &'static Site, word: u64, fields: F) {
        record::record_stamped(site, word, fields, self);
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("time", &self.time).finish_non_exhaustive()
    }
}

impl Stamp for &At {
    #[inline(always)]
    fn time(&self, level: &Level) -> Halves {
        if level.base.get() == self.base.get() && level.commit.get() == self.commit.get() {
            // As in a batch: the memory may have been another packet's, long ago, that was as full.
            let begin = begin_of(level);
            if begin <= self.last.get() {
                return self.time.get().max(self.last.get()).into();
            }
        }
        in_order(level, self.time.get(), clock::ticks()).into()
    }

    #[inline(always)]
    fn recorded(&self, level: &Level, time: Halves) {
        self.base.set(level.base.get());
        self.commit.set(level.commit.get());
        self.last.set(time.high << 32 | time.low);
    }

    #[inline(always)]
    fn given(&self) -> Option<u64> {
        Some(self.time.get())
    }
}

/// `time`, or the time of the level's last event if that is later.
#[cold]
#[inline(never)]
pub(crate) fn in_order(level: &Level, time: u64, now: u64) -> u64 {
    let begin = begin_of(level);
    let end = u64::from(level.commit.get() as u32) / 8;
    let passed = now.wrapping_sub(begin);
    // Every event's header is one of these words. A field's value may look like one: then the time found is later than the
    // last one, but not than now.
    let last = (PACKET_HEADER..end).step_by(8).map(|at| {
        let after = (word(level, at) >> (64 - BITS)).wrapping_sub(begin) & ((1 << BITS) - 1);
        if after <= passed { after } else { 0 }
    });
    time.min(now).max(begin.wrapping_add(last.max().unwrap_or(0)))
}

fn begin_of(level: &Level) -> u64 {
    word(level, PACKET_BEGIN)
}

/// A word of the level's packet.
fn word(level: &Level, at: u64) -> u64 {
    // SAFETY: a level with a commit word has a packet in the mapping, which is as large as that word says; what others
    // read meanwhile is only used atomically.
    unsafe { &*level.base.get().wrapping_add(at as usize).cast::<AtomicU64>() }.load(Ordering::Relaxed)
}
