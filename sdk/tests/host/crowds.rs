//! More processes, and more threads, than anybody plans for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Barrier;

use foretrace::event;

use crate::apart::{apart, fork, step, wait_for};
use crate::rings;

#[test]
fn three_hundred_processes_use_little_more_than_what_they_recorded() {
    const PROCESSES: usize = 300;
    const EVENTS: u64 = 1000;
    let claim = "crowds::three_hundred_processes_use_little_more_than_what_they_recorded";
    let said = apart(
        claim,
        |_| {},
        || {
            let mut ends = [0; 2];
            // SAFETY: writes two descriptors.
            assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
            let [from_children, to_parent] = ends;
            // SAFETY: writes two descriptors.
            assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
            let [from_parent, to_children] = ends;
            let children: Vec<libc::pid_t> = (0..PROCESSES)
                .map(|_| {
                    fork(|| {
                        (0..EVENTS).for_each(step);
                        let ring = [foretrace::descriptor().unwrap() as u8];
                        // SAFETY: one byte.
                        assert_eq!(unsafe { libc::write(to_parent, ring.as_ptr().cast(), 1) }, 1);
                        // SAFETY: takes a number; the parent's end alone is left, so that its end is seen.
                        unsafe { libc::close(to_children) };
                        let mut byte = [0_u8];
                        // SAFETY: one byte.
                        assert_eq!(unsafe { libc::read(from_parent, byte.as_mut_ptr().cast(), 1) }, 0);
                    })
                })
                .collect();
            let mut ring = [0_u8];
            for _ in &children {
                // SAFETY: one byte.
                assert_eq!(unsafe { libc::read(from_children, ring.as_mut_ptr().cast(), 1) }, 1);
            }
            let used = |child: &libc::pid_t| {
                fs::metadata(format!("/proc/{child}/fd/{}", ring[0])).unwrap().blocks() * 512
            };
            let used: Vec<u64> = children.iter().map(used).collect();
            // SAFETY: takes a number.
            unsafe { libc::close(to_children) };
            children.into_iter().for_each(wait_for);
            let (all, most) = (used.iter().sum::<u64>(), *used.iter().max().unwrap());
            println!(
                "{PROCESSES} processes with {EVENTS} events each: {} KiB, at most {most} bytes",
                all >> 10
            );
            // An event of 16 bytes; a page here and there of what the ring has besides its pool.
            assert!(most <= EVENTS * 16 + (48 << 10), "{most} bytes in one process");
        },
    );
    if let Some(output) = said {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// So many threads, all alive, each of which records so often; answers with recorded and discarded events, and of how
/// many threads the last event is there.
fn crowd(threads: u64, events: u64) -> (u64, u64, u64) {
    let (all_ran, all_seen) = (Barrier::new(threads as usize + 1), Barrier::new(threads as usize + 1));
    let snapshot = std::thread::scope(|scope| {
        for thread in 0..threads {
            let (all_ran, all_seen) = (&all_ran, &all_seen);
            let body = move || {
                (0..events).for_each(|number| event!(info, "crowd", thread = thread, number = number));
                all_ran.wait();
                all_seen.wait();
            };
            std::thread::Builder::new().stack_size(32 << 10).spawn_scoped(scope, body).unwrap();
        }
        all_ran.wait();
        let snapshot = rings::snapshot();
        all_seen.wait();
        snapshot
    });
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!(snapshot.recorded, snapshot.overwritten + trail.events.len() as u64);
    let last = trail.events.iter().filter(|event| rings::number(event, 1) == events - 1).count();
    (snapshot.recorded, snapshot.discarded, last as u64)
}

/// While the crowd gathers, its first eighty or so get blocks of 16 KiB; whoever comes later has a cell of 1 KiB, and pins
/// lapse when cells run out. In 4 MiB that is room for some 2,890 threads that are all alive.
#[test]
fn twenty_eight_hundred_live_threads_lose_pins_and_no_event() {
    let claim = "crowds::twenty_eight_hundred_live_threads_lose_pins_and_no_event";
    apart(
        claim,
        |_| {},
        || {
            let (recorded, discarded, last) = crowd(2800, 150);
            assert_eq!((recorded, discarded, last), (2800 * 150, 0, 2800));
        },
    );
}

#[test]
fn more_live_threads_than_writer_slots_are_counted_to_the_last_event() {
    let claim = "crowds::more_live_threads_than_writer_slots_are_counted_to_the_last_event";
    apart(
        claim,
        |_| {},
        || {
            let (recorded, discarded, last) = crowd(4500, 10);
            assert_eq!(recorded + discarded, 4500 * 10);
            // What those had to say who found no packet is counted.
            assert!(last >= 2800, "{last} threads' last events, {discarded} discarded");
            assert!(discarded >= 10 * (4500 - 4096), "{discarded} discarded");
        },
    );
}
