//! `weight MEBIBYTES LEDGER crash|wait [RESERVED [THREADS]]`: touches that much memory, reserves RESERVED MiB more of
//! which it touches one page, starts THREADS threads with stacks of 8 MiB that wait, notes the time (CLOCK_MONOTONIC,
//! ns) in its ledger entry, and faults at once or waits to be killed. For measurements.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use foretrace_victims::{Account, crash_by_null_store, monotonic_nanoseconds};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "weight MEBIBYTES LEDGER crash|wait [RESERVED [THREADS]]";
    let number = |n: usize| arguments.get(n).map(|word| word.parse::<usize>().expect(usage));
    let mebibytes = number(1).expect(usage);
    let ledger = arguments.get(2).expect(usage);
    let crash = arguments.get(3).expect(usage) == "crash";
    let mut memory = vec![0_u8; mebibytes << 20];
    for (n, page) in memory.chunks_mut(4096).enumerate() {
        page[0] = n as u8 | 1;
    }
    black_box(&memory);
    reserve(number(4).unwrap_or(0));
    wait_in_threads(number(5).unwrap_or(0));
    let account = Account::open(ledger, 0);
    account.note(monotonic_nanoseconds());
    if crash {
        crash_by_null_store();
    }
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn reserve(mebibytes: usize) {
    if mebibytes == 0 {
        return;
    }
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: asks for new memory at a place of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), mebibytes << 20, access, kind, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED, "{mebibytes} MiB could not be reserved");
    // SAFETY: the first byte of what was just mapped, readable and writable.
    unsafe { start.cast::<u8>().write_volatile(1) };
}

fn wait_in_threads(threads: usize) {
    let started = Arc::new(Barrier::new(threads + 1));
    for _ in 0..threads {
        let started = Arc::clone(&started);
        let wait = move || {
            black_box([1_u8; 2048]);
            started.wait();
            loop {
                thread::park();
            }
        };
        thread::Builder::new().stack_size(8 << 20).spawn(wait).expect("a thread can be started");
    }
    started.wait();
}
