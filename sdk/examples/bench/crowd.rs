//! Many threads: alive at the same time, or one after the other.

use std::collections::{HashMap, HashSet};
use std::sync::{Barrier, Mutex};
use std::thread;

use foretrace_ring::trail::{Trail, Value};

use crate::itself;
use crate::live;
use crate::measure::{Bar, each, median, ratios, row};
use crate::single::numbers;

const ROUNDS: usize = 9;
const ALONE: u64 = 1_000_000;
const SHORT_THREADS: u64 = 28_000;
const SHORT_EVENTS: u64 = 10;
/// Threads that start and await short ones.
const STARTERS: u64 = 8;

/// All rows.
pub fn rows() {
    together(64, 50_000, 1.2);
    together(1000, 3_000, 2.0);
    let kept: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let output = itself(&["short"]).output().expect("this program runs itself");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("a share")
        })
        .collect();
    row("28,000 short threads × 10 events in 4 MiB, kept", "of 1", Bar::AtLeast(0.80), &kept);
}

/// Threads that all record at once, beside one that records alone.
fn together(threads: usize, events: u64, most: f64) {
    let (mut crowd, mut alone, mut readable, mut discarded) = (vec![], vec![], vec![], vec![]);
    numbers(ALONE);
    let before = live::mine().discarded;
    for _ in 0..ROUNDS {
        let mut last = 0;
        crowd.push(record_together(threads, events, |recorders| {
            let ring = live::mine();
            last = last_events(&live::trail(&ring), recorders, events);
            discarded.push((ring.discarded - before) as f64);
        }));
        readable.push(last as f64);
        alone.push(each(ALONE, numbers));
    }
    let name = |what: &str| format!("{threads} threads × {events} events{what}");
    row(&name(", each"), "ns", Bar::Open, &crowd);
    row(&name(" ÷ one thread"), "×", Bar::AtMost(most), &ratios(&crowd, &alone));
    if threads == 1000 {
        let least = readable.iter().copied().fold(f64::INFINITY, f64::min);
        row(&name(": threads whose last event is readable"), "", Bar::AtLeast(threads as f64), &[least]);
        let most = discarded.iter().copied().fold(0.0, f64::max);
        row(&name(": discarded"), "", Bar::AtMost(0.0), &[most]);
    }
}

/// The median of what an event cost the threads. `look` sees the ring when all have recorded and none has ended.
fn record_together(threads: usize, events: u64, look: impl FnOnce(&HashSet<u32>)) -> f64 {
    let barrier = Barrier::new(threads + 1);
    let recorders = Mutex::new(HashSet::new());
    let costs = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                let body = || {
                    recorders.lock().expect("nobody panics with it").insert(thread_id());
                    barrier.wait();
                    let cost = each(events, numbers);
                    barrier.wait();
                    // Nobody's packets are free before everybody was looked at.
                    barrier.wait();
                    cost
                };
                thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, body).expect("a thread")
            })
            .collect();
        barrier.wait();
        barrier.wait();
        look(&recorders.lock().expect("nobody panics with it"));
        barrier.wait();
        running.into_iter().map(|thread| thread.join().expect("a thread that records")).collect::<Vec<_>>()
    });
    median(&costs)
}

/// How many of the threads have their last event in the trail.
fn last_events(trail: &Trail, recorders: &HashSet<u32>, events: u64) -> usize {
    let mut newest: HashMap<u32, u64> = HashMap::new();
    for event in &trail.events {
        if let Some(Value::Unsigned(number)) = event.values.first() {
            newest.insert(event.thread, *number);
        }
    }
    recorders.iter().filter(|thread| newest.get(thread) == Some(&(events - 1))).count()
}

#[allow(unsafe_code)]
fn thread_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() as u32 }
}

/// Threads that record a little and end, in a ring that holds nothing else; prints which share of it is kept.
pub fn short_threads() {
    thread::scope(|scope| {
        for _ in 0..STARTERS {
            scope.spawn(|| {
                for _ in 0..SHORT_THREADS / STARTERS {
                    thread::spawn(|| numbers(SHORT_EVENTS)).join().expect("a thread that records");
                }
            });
        }
    });
    let ring = live::mine();
    println!("{:.4}", (ring.recorded - ring.overwritten) as f64 / (SHORT_THREADS * SHORT_EVENTS) as f64);
}
