//! SIGKILL at random instants: whoever holds the memory finds every committed event, exactly counted.
#![allow(unsafe_code)]

mod rings;

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foretrace::event;
use foretrace_ring::reader;

const THREADS: usize = 4;
const KILLS: u64 = 60;

/// What each thread has recorded, in memory that outlives the child; the last word is the ring's descriptor.
type Ledger = [AtomicU64; 512];

fn ledger() -> &'static Ledger {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: zeroed, aligned, never unmapped.
    unsafe { &*page.cast::<Ledger>() }
}

/// The child: records for ever, and notes what it has recorded.
fn write_for_ever(ledger: &'static Ledger) -> ! {
    for thread in 0..THREADS {
        std::thread::spawn(move || {
            for number in 0.. {
                let text = &"abcdefghijklmnopqrstuvwxyz"[..number as usize % 27];
                event!(info, "step", thread = thread as u64, number = number, text = text, check = !number);
                ledger[thread * 64].store(number + 1, Ordering::Release);
            }
        });
    }
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_killed_process_leaves_every_event_that_it_had_recorded() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..KILLS {
        let ledger = ledger();
        // SAFETY: the child makes its own ring and threads, and nothing else runs here.
        let child = unsafe { libc::fork() };
        if child == 0 {
            foretrace::start();
            ledger[511].store(foretrace::descriptor().expect("a ring") as u64, Ordering::Release);
            write_for_ever(ledger);
        }
        let descriptor = loop {
            match ledger[511].load(Ordering::Acquire) {
                0 => std::thread::yield_now(),
                descriptor => break descriptor as RawFd,
            }
        };
        let path = format!("/proc/{child}/fd/{descriptor}");
        let held = std::fs::File::open(path).expect("the ring of a live child");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(500 + (random >> 33) % 8000));
        // SAFETY: our own child.
        unsafe { libc::kill(child, libc::SIGKILL) };
        // SAFETY: our own child; no status is wanted.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };

        use std::os::fd::AsRawFd;
        let ring = rings::Live::of(held.as_raw_fd());
        let snapshot = reader::read(&ring).expect("a ring");
        assert_eq!(snapshot.problems, Vec::<String>::new(), "round {round}");
        assert_eq!(snapshot.owner.pid, child as u32);
        let trail = rings::trail(&snapshot);
        assert_eq!(trail.problems, Vec::<String>::new(), "round {round}");
        assert_eq!(snapshot.discarded, 0);
        assert_eq!(snapshot.recorded, snapshot.overwritten + trail.events.len() as u64);
        let noted: Vec<u64> =
            (0..THREADS).map(|thread| ledger[thread * 64].load(Ordering::Acquire)).collect();
        let total: u64 = noted.iter().sum();
        // Each thread may have been killed between an event and its note.
        assert!(
            (total..=total + THREADS as u64).contains(&snapshot.recorded),
            "{total}, {}",
            snapshot.recorded
        );
        let mut last: HashMap<u64, u64> = HashMap::new();
        for event in &trail.events {
            let (thread, number) = (rings::number(event, 0), rings::number(event, 1));
            assert_eq!(rings::number(event, 3), !number, "a torn event");
            let before = last.insert(thread, number);
            assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
        }
        for (thread, noted) in noted.iter().enumerate().filter(|(_, noted)| **noted > 0) {
            let last = last.get(&(thread as u64)).copied().unwrap_or(0);
            assert!(
                last + 1 >= *noted,
                "round {round}: thread {thread} recorded {noted}, the last is {last}"
            );
        }
    }
}
