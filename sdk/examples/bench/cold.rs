//! Events that come after something else has filled the caches.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use foretrace::event;

use crate::measure::median;

/// As much as no second-level cache holds.
const ELSEWHERE: usize = 64 << 20;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Events before it begins.
const WARM: u64 = 1000;

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has the instruction. What comes before has been done, but for stores on their way.
    unsafe { _mm_lfence() };
    // SAFETY: every x86-64 processor has the instruction.
    let ticks = unsafe { _rdtsc() };
    // SAFETY: every x86-64 processor has the instruction. What comes after has not begun.
    unsafe { _mm_lfence() };
    ticks
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}

/// The median of what `count` events with a number took, each of them on its own: nanoseconds until the program goes on.
pub fn cold(count: u64) -> f64 {
    let mut elsewhere = vec![1_u8; ELSEWHERE];
    let (begin, first) = (Instant::now(), ticks());
    let mut took = Vec::new();
    for number in 0..WARM + count {
        // The same call site, in the loop as an application has it: a call to somewhere else would be measured with it.
        let sweep = if number < WARM { 0 } else { ELSEWHERE };
        for at in (0..sweep).step_by(LINE) {
            elsewhere[at] = elsewhere[at].wrapping_add(1);
        }
        black_box(&mut elsewhere);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let before = ticks();
        event!(info, "cold", value = number);
        took.push((ticks() - before) as f64);
    }
    let took = &took[WARM as usize..];
    median(took) * begin.elapsed().as_nanos() as f64 / (ticks() - first) as f64
}
