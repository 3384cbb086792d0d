//! What an event costs: thread CPU nanoseconds beside the physical limit L (one time stamp and 24 bytes of stores into a
//! ring of the same size), one JSON object a row.
//!
//! Runs of L and of the events alternate, so that a busy neighbour slows both; ratios are of medians of one run of this
//! program. `cargo run --release -p foretrace --example bench`
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use foretrace::event;

const RUNS: usize = 15;
const EVENTS: u64 = 1_000_000;
const RING: usize = 4 << 20;

fn main() {
    foretrace::start();
    single_thread();
    for (threads, events) in [(64, 50_000), (1000, 3_000)] {
        many_threads(threads, events);
    }
    switched_off();
}

/// Thread CPU time in nanoseconds.
fn cpu_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds for one of `count`.
fn each(count: u64, body: impl FnOnce(u64)) -> f64 {
    let start = cpu_time();
    body(count);
    (cpu_time() - start) as f64 / count as f64
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    std::time::Instant::now().elapsed().as_nanos() as u64
}

/// The limit: nothing that records a time and a value can be cheaper.
#[inline(never)]
fn limit(ring: &mut [u64], count: u64) {
    let mut at = 0;
    for number in 0..count {
        let place = ring.as_mut_ptr().wrapping_add(at);
        // SAFETY: a word of the ring, as the last line of the loop makes sure.
        unsafe { place.write_volatile(ticks()) };
        // SAFETY: the next one.
        unsafe { place.wrapping_add(1).write_volatile(number) };
        // SAFETY: the one after that.
        unsafe { place.wrapping_add(2).write_volatile(number) };
        at = if at + 6 > ring.len() { 0 } else { at + 3 };
    }
}

#[inline(never)]
fn numbers(count: u64) {
    for number in 0..count {
        event!(info, "u64", value = black_box(number));
    }
}

#[inline(never)]
fn texts(count: u64) {
    let text = black_box("abcdefghijklmnop");
    for number in 0..count {
        event!(info, "u64 and text", value = black_box(number), text = text);
    }
}

/// Memory of the same kind as the recorder's: shared, of the usual page size, and touched once.
fn shared_memory() -> &'static mut [u64] {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), RING, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED, "no memory for the limit's ring");
    // SAFETY: zeroed, aligned, this large, never unmapped, and nobody else's.
    unsafe { std::slice::from_raw_parts_mut(base.cast(), RING / 8) }
}

fn single_thread() {
    let ring = shared_memory();
    limit(ring, EVENTS);
    numbers(EVENTS);
    texts(EVENTS);
    let mut rows: [(&str, Vec<f64>); 3] =
        [("limit", vec![]), ("u64", vec![]), ("u64 + 16-byte string", vec![])];
    for _ in 0..RUNS {
        rows[0].1.push(each(EVENTS, |count| limit(ring, count)));
        rows[1].1.push(each(EVENTS, numbers));
        rows[2].1.push(each(EVENTS, texts));
    }
    let limit = median(&mut rows[0].1);
    for (name, values) in &mut rows {
        print(name, values, limit, "limit");
    }
}

fn many_threads(threads: usize, events: u64) {
    let mut results = Vec::new();
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                let barrier = &barrier;
                let body = move || {
                    barrier.wait();
                    let took = each(events, numbers);
                    // Nobody's packets are free before everybody is done.
                    barrier.wait();
                    took
                };
                std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, body).expect("a thread")
            })
            .collect();
        results.extend(running.into_iter().map(|thread| thread.join().expect("a thread that records")));
    });
    let mut alone: Vec<f64> = (0..RUNS).map(|_| each(EVENTS, numbers)).collect();
    let alone = median(&mut alone);
    print(&format!("{threads} threads x {events}"), &mut results, alone, "one thread");
}

fn switched_off() {
    static OFF: AtomicU64 = AtomicU64::new(0);
    let mut loops = Vec::new();
    let mut checks = Vec::new();
    for _ in 0..RUNS {
        loops.push(each(EVENTS * 10, |count| {
            (0..count).for_each(|number| {
                black_box(number);
            })
        }));
        checks.push(each(EVENTS * 10, |count| {
            for number in 0..count {
                black_box(number);
                // What the macro asks before anything else.
                if OFF.load(Ordering::Relaxed) != 0 {
                    numbers(1);
                }
            }
        }));
    }
    let bare = median(&mut loops);
    print("loop", &mut loops, bare, "loop");
    print("loop with a disabled event", &mut checks, bare, "loop");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(name: &str, values: &mut [f64], base: f64, of: &str) {
    let middle = median(values);
    let (least, most) = (values[0], values[values.len() - 1]);
    println!(
        r#"{{"what":"{name}","ns":{middle:.2},"min":{least:.2},"max":{most:.2},"runs":{},"ratio":{:.3},"of":"{of}"}}"#,
        values.len(),
        middle / base
    );
}
