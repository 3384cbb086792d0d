//! From a trickle to full speed, in several sizes of pool: every gap is accounted for, and no event is there twice.
//!
//! `cargo xtask soak recorder` does the same for longer, in more sizes, and reads from another process.
#![allow(unsafe_code, clippy::unwrap_used)]

mod rings;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foretrace::event;
use foretrace_ring::Snapshot;

const THREADS: usize = 2;
const STAGE: Duration = Duration::from_millis(100);
/// Bytes a second of each thread; the last stage is full speed.
const RATES: [u64; 4] = [10_000, 1_000_000, 100_000_000, u64::MAX];
/// Bytes of an event.
const EVENT: u64 = 32;

static RATE: AtomicU64 = AtomicU64::new(RATES[0]);
static STOP: AtomicBool = AtomicBool::new(false);

/// Checks what a snapshot says, whether or not threads go on writing. Answers with how many events it has.
fn examine(snapshot: &Snapshot) -> u64 {
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let trail = rings::trail(snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let mut next = [0; THREADS];
    for event in &trail.events {
        let (thread, number) = (rings::number(event, 0) as usize, rings::number(event, 1));
        assert_eq!(rings::number(event, 2), !number, "a torn event");
        assert!(number >= next[thread], "event {number} of thread {thread} is there twice");
        next[thread] = number + 1;
    }
    let events = trail.events.len() as u64;
    assert_eq!((snapshot.recorded, snapshot.discarded), (snapshot.overwritten + events, 0));
    events
}

/// Records at the rate that is set until it is told to stop; answers with how many events.
fn write(thread: u64) -> u64 {
    let mut number = 0;
    while !STOP.load(Ordering::Relaxed) {
        for _ in 0..(RATE.load(Ordering::Relaxed) / EVENT / 1000).clamp(1, 2000) {
            event!(info, "load", thread = thread, number = number, check = !number);
            number += 1;
        }
        match RATE.load(Ordering::Relaxed) {
            u64::MAX => {}
            rate => std::thread::sleep(Duration::from_micros((EVENT * 1_000_000 / rate).max(1000))),
        }
    }
    number
}

fn ramp(pool: u64) {
    std::thread::scope(|scope| {
        let writers = [0, 1].map(|thread| scope.spawn(move || write(thread)));
        let mut most = 0;
        for rate in RATES {
            RATE.store(rate, Ordering::Relaxed);
            let begun = Instant::now();
            while begun.elapsed() < STAGE {
                most = most.max(examine(&rings::snapshot()));
            }
        }
        STOP.store(true, Ordering::Relaxed);
        let written: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        let snapshot = rings::snapshot();
        most = most.max(examine(&snapshot));
        assert_eq!(snapshot.recorded, written, "events were miscounted");
        assert!(most > 0);
        assert!(pool > 1 << 20 || snapshot.overwritten > 0, "the pool was never full");
    });
}

#[test]
fn under_any_load_and_in_any_pool_no_event_is_lost_uncounted_or_there_twice() {
    for pool in [256 << 10, 1 << 20, 4 << 20] {
        // SAFETY: the child records, reads and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let held = std::panic::catch_unwind(move || {
                assert!(foretrace::start_with(pool));
                ramp(pool);
            })
            .is_ok();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!held)) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "a pool of {pool} bytes");
    }
}
