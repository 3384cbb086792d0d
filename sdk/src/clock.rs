//! What time it is, in ticks, and what ticks mean.
//!
//! Ticks are the processor's time stamp counter where the kernel itself trusts it, else nanoseconds of
//! CLOCK_MONOTONIC. The slow path keeps pairs of (ticks, monotonic, realtime) in the ring, from which a reader makes
//! wall-clock times. Owns the pairs; never waits: one thread at a time refreshes them, others go on.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use foretrace_ring::layout::*;

use crate::host;
use crate::ring::Ring;

/// A pair is old when so many ticks (as a power of two) have passed: 0.2 to 1 second. A thread looks when it opens a
/// packet, and when the ticks' upper half is a new one: every 1 to 4 seconds.
const EPOCH: u32 = 30;

/// Whether the fast path may read the time stamp counter.
static TSC: AtomicBool = AtomicBool::new(false);
/// The C library's clock reads the counter too: where that is forbidden, only the system call tells the time.
static FORBIDDEN: AtomicBool = AtomicBool::new(false);
/// When somebody began to refresh the pairs; 0: nobody does. Whoever began long ago has jumped away from it.
static REFRESHING: AtomicU64 = AtomicU64::new(0);
/// The pair since which the frequency is measured.
static ANCHOR_TICKS: AtomicU64 = AtomicU64::new(0);
static ANCHOR_MONOTONIC: AtomicU64 = AtomicU64::new(0);

/// How long the first measurement of the frequency takes, in nanoseconds: 30 ns of error make 0.05 %, until the
/// next refresh.
const FIRST_MEASUREMENT: u64 = 60_000;
/// A measurement over this long is as good as any, in nanoseconds.
const SETTLED: u64 = 1_000_000_000;
/// Clocks that differ by more than this from what they should be have jumped: nanoseconds, and a part of the time.
const JUMP: u64 = 2_000_000;
const JUMP_PART: u64 = 1000;

/// Ticks now.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    if !is_tsc() {
        return monotonic();
    }
    let Halves { low, high } = counter();
    high << 32 | low
}

/// Whether ticks are those of the time stamp counter.
#[inline(always)]
pub(crate) fn is_tsc() -> bool {
    TSC.load(Ordering::Relaxed)
}

/// A time in two parts of 32 bits, as the processor gives it.
#[derive(Clone, Copy)]
pub(crate) struct Halves {
    /// The lower 32 bits.
    pub low: u64,
    /// The upper 32 bits.
    pub high: u64,
}

impl From<u64> for Halves {
    #[inline(always)]
    fn from(time: u64) -> Halves {
        Halves { low: time & u64::from(u32::MAX), high: time >> 32 }
    }
}

/// The time stamp counter.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
pub(crate) fn counter() -> Halves {
    let (low, high);
    // SAFETY: every x86-64 processor has the instruction; `choose` made sure that this thread may use it. It clears the
    // registers' upper halves.
    unsafe {
        core::arch::asm!("rdtsc", out("rax") low, out("rdx") high, options(nomem, nostack, preserves_flags));
    }
    Halves { low, high }
}

/// The time stamp counter: not on this architecture, and `choose` never says so.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn counter() -> Halves {
    monotonic().into()
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// What the kernel's coarse clock says: another number after each of the kernel's ticks.
#[inline(always)]
pub(crate) fn coarse() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u64) << 30 | time.tv_nsec as u64
}

/// Ticks at a moment of CLOCK_MONOTONIC, as the newest pair has it.
pub(crate) fn ticks_at(ring: Ring, monotonic: u64) -> u64 {
    let newest = ring.word(AT_CLOCK_PUBLISHED).load(Ordering::Relaxed).wrapping_sub(1);
    let (pair, frequency) = (Pair::load(ring, newest), Pair::frequency(ring, newest));
    let passed = i128::from(monotonic) - i128::from(pair.monotonic);
    let ticks = i128::from(pair.ticks) + passed * i128::from(frequency) / 1_000_000_000;
    u64::try_from(ticks.max(0)).unwrap_or(u64::MAX)
}

/// CLOCK_REALTIME in nanoseconds.
pub(crate) fn realtime() -> u64 {
    nanoseconds(libc::CLOCK_REALTIME)
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if FORBIDDEN.load(Ordering::Relaxed) {
        // SAFETY: writes the structure it is given.
        unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &mut time) };
    } else {
        // SAFETY: writes the structure it is given.
        unsafe { libc::clock_gettime(clock, &mut time) };
    }
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Decides what ticks are; the layout's number for it.
pub(crate) fn choose() -> u32 {
    let tsc = may_read_counter();
    TSC.store(tsc, Ordering::Relaxed);
    if tsc { CLOCK_TSC } else { CLOCK_MONOTONIC }
}

/// Whether the kernel keeps time by the counter (so that it is synchronous and steady) and lets us read it.
#[cfg(target_arch = "x86_64")]
fn may_read_counter() -> bool {
    const SOURCE: &core::ffi::CStr = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut allowed: libc::c_int = 0;
    // SAFETY: writes the integer it is given.
    let answer = unsafe { libc::prctl(libc::PR_GET_TSC, &mut allowed) };
    if answer != 0 || allowed != libc::PR_TSC_ENABLE {
        FORBIDDEN.store(answer == 0, Ordering::Relaxed);
        return false;
    }
    let mut text = [0; 16];
    if !host::read(SOURCE, &mut text).starts_with(b"tsc\n") {
        return false;
    }
    core::arch::x86_64::__cpuid(0x8000_0000).eax >= 0x8000_0007
        && core::arch::x86_64::__cpuid(0x8000_0007).edx & 1 << 8 != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn may_read_counter() -> bool {
    false
}

/// Publishes a new ring's first pairs. A forked child need not measure the frequency that its parent knows.
pub(crate) fn begin(ring: Ring, parent: Option<Ring>) {
    REFRESHING.store(0, Ordering::Relaxed);
    if parent.is_some_and(|parent| go_on(ring, parent)) {
        return;
    }
    let first = Pair::now();
    first.anchor();
    if is_tsc() {
        while monotonic().wrapping_sub(first.monotonic) < FIRST_MEASUREMENT {
            core::hint::spin_loop();
        }
    }
    Pair::now().publish(ring);
    ring.word(AT_CLOCK_COST).store(cost(ring), Ordering::Relaxed);
}

/// What one reading of the clock takes, in picoseconds: the best of a few tries, between which nobody came.
fn cost(ring: Ring) -> u64 {
    const READINGS: u64 = 64;
    let took = (0..4).map(|_| {
        let start = ticks();
        (1..READINGS).for_each(|_| {
            core::hint::black_box(ticks());
        });
        ticks().wrapping_sub(start)
    });
    let published = ring.word(AT_CLOCK_PUBLISHED).load(Ordering::Relaxed);
    let frequency = Pair::frequency(ring, published.wrapping_sub(1)).max(1);
    let picoseconds = u128::from(took.min().unwrap_or(0)) * 1_000_000_000_000 / u128::from(frequency);
    u64::try_from(picoseconds / u128::from(READINGS)).unwrap_or(0)
}

/// Publishes a pair by the parent's frequency. False: the child's clocks are not those of its parent.
fn go_on(ring: Ring, parent: Ring) -> bool {
    let source = |ring: Ring| ring.word(AT_OWNER).load(Ordering::Relaxed) >> 32;
    let published = parent.word(AT_CLOCK_PUBLISHED).load(Ordering::Relaxed);
    if source(ring) != source(parent) || published == 0 {
        return false;
    }
    let (newest, now) = (Pair::load(parent, published - 1), Pair::now());
    let same = !now.has_jumped_since(newest, parent, published);
    if same {
        now.publish(ring);
        let cost = parent.word(AT_CLOCK_COST).load(Ordering::Relaxed);
        ring.word(AT_CLOCK_COST).store(cost, Ordering::Relaxed);
    }
    same
}

/// Publishes a new pair if the newest one is old, or the frequency is not yet known well.
pub(crate) fn refresh(ring: Ring, ticks: u64) {
    let published = ring.word(AT_CLOCK_PUBLISHED).load(Ordering::Relaxed);
    let newest = Pair::load(ring, published.wrapping_sub(1));
    let settled = newest.monotonic.wrapping_sub(ANCHOR_MONOTONIC.load(Ordering::Relaxed)) >= SETTLED;
    if settled && ticks.wrapping_sub(newest.ticks) >> EPOCH == 0 {
        return;
    }
    let begun = REFRESHING.load(Ordering::Relaxed);
    if begun != 0 && ticks.wrapping_sub(begun) >> EPOCH == 0 {
        return;
    }
    if REFRESHING.compare_exchange(begun, ticks.max(1), Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    let now = Pair::now();
    // Before the frequency is known well nothing can be said of jumps.
    if settled && now.has_jumped_since(newest, ring, published) {
        ring.count(AT_CLOCK_JUMPS);
        newest.reanchor(now);
    }
    now.publish(ring);
    REFRESHING.store(0, Ordering::Release);
}

/// What the clocks said at one instant.
#[derive(Clone, Copy)]
struct Pair {
    ticks: u64,
    monotonic: u64,
    realtime: u64,
}

impl Pair {
    fn now() -> Pair {
        // Of three tries the one that took least: nobody was scheduled away between its clocks.
        let mut best: Option<(u64, Pair)> = None;
        for _ in 0..3 {
            let before = ticks();
            let monotonic = monotonic();
            let after = ticks();
            let took = after.wrapping_sub(before);
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, Pair { ticks: before.wrapping_add(took / 2), monotonic, realtime: 0 }));
            }
        }
        let (_, mut pair) = best.unwrap_or((0, Pair { ticks: ticks(), monotonic: monotonic(), realtime: 0 }));
        // Realtime is monotonic plus an offset that changes when somebody sets the clock.
        let before = monotonic();
        let real = realtime();
        let middle = before.wrapping_add(monotonic().wrapping_sub(before) / 2);
        pair.realtime = real.wrapping_sub(middle).wrapping_add(pair.monotonic);
        pair
    }

    fn load(ring: Ring, index: u64) -> Pair {
        let at = AT_CLOCK + index % CLOCK_PAIRS * CLOCK_PAIR_SIZE;
        let word = |offset: u64| ring.word(at + offset).load(Ordering::Relaxed);
        Pair { ticks: word(0), monotonic: word(8), realtime: word(16) }
    }

    /// Ticks a second, as the pair with this number has it.
    fn frequency(ring: Ring, index: u64) -> u64 {
        ring.word(AT_CLOCK + index % CLOCK_PAIRS * CLOCK_PAIR_SIZE + 24).load(Ordering::Relaxed)
    }

    fn anchor(self) {
        ANCHOR_TICKS.store(self.ticks, Ordering::Relaxed);
        ANCHOR_MONOTONIC.store(self.monotonic, Ordering::Relaxed);
    }

    /// After a jump the frequency is measured anew, and until then taken to be what it was.
    fn reanchor(self, now: Pair) {
        let ticks = self.ticks.wrapping_sub(ANCHOR_TICKS.load(Ordering::Relaxed));
        let monotonic = self.monotonic.wrapping_sub(ANCHOR_MONOTONIC.load(Ordering::Relaxed));
        ANCHOR_TICKS.store(now.ticks.wrapping_sub(ticks), Ordering::Relaxed);
        ANCHOR_MONOTONIC.store(now.monotonic.wrapping_sub(monotonic), Ordering::Relaxed);
    }

    fn has_jumped_since(self, newest: Pair, ring: Ring, published: u64) -> bool {
        let frequency = Pair::frequency(ring, published.wrapping_sub(1));
        let ticks = self.ticks.wrapping_sub(newest.ticks);
        let passed = self.monotonic.wrapping_sub(newest.monotonic);
        if frequency == 0 {
            return false;
        }
        let expected = u128::from(ticks) * 1_000_000_000 / u128::from(frequency);
        expected.abs_diff(u128::from(passed)) > u128::from(JUMP + passed / JUMP_PART)
    }

    fn publish(self, ring: Ring) {
        let ticks = self.ticks.wrapping_sub(ANCHOR_TICKS.load(Ordering::Relaxed));
        let passed = self.monotonic.wrapping_sub(ANCHOR_MONOTONIC.load(Ordering::Relaxed));
        let frequency = match passed {
            0 => 1_000_000_000,
            _ if !is_tsc() => 1_000_000_000,
            passed => (u128::from(ticks) * 1_000_000_000 / u128::from(passed)) as u64,
        };
        let published = ring.word(AT_CLOCK_PUBLISHED).load(Ordering::Relaxed);
        let at = AT_CLOCK + published % CLOCK_PAIRS * CLOCK_PAIR_SIZE;
        // Whoever sees a word of the new pair sees all that were published before it.
        fence(Ordering::Release);
        for (offset, word) in [(0, self.ticks), (8, self.monotonic), (16, self.realtime), (24, frequency)] {
            ring.word(at + offset).store(word, Ordering::Relaxed);
        }
        ring.word(AT_CLOCK_PUBLISHED).store(published.wrapping_add(1), Ordering::Release);
    }
}
