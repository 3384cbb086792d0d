//! Many threads in the usual pool: each thread's last event is there, nothing is discarded, every count is exact.

mod rings;

use std::collections::HashMap;
use std::sync::Barrier;

use foretrace::event;

/// Holds the ring against what the threads know they recorded: `written[thread]` events each, numbered from 0.
fn compare(snapshot: &foretrace_ring::Snapshot, written: &[u64]) {
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let trail = rings::trail(snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let total: u64 = written.iter().sum();
    assert_eq!(snapshot.discarded, 0);
    assert_eq!(snapshot.recorded, total, "events were miscounted");
    assert_eq!(snapshot.overwritten + trail.events.len() as u64, total, "kept and overwritten are not all");
    let mut last: HashMap<u64, u64> = HashMap::new();
    for event in &trail.events {
        let (thread, number) = (rings::number(event, 0), rings::number(event, 1));
        assert_eq!(rings::number(event, 2), check(thread, number), "a torn event");
        let before = last.insert(thread, number);
        assert!(before.is_none_or(|before| before < number), "thread {thread}: {number} after {before:?}");
    }
    for (thread, count) in written.iter().enumerate() {
        assert_eq!(last.get(&(thread as u64)), Some(&(count - 1)), "the last event of thread {thread}");
    }
}

fn check(thread: u64, number: u64) -> u64 {
    (thread << 32 ^ number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31)
}

#[test]
fn a_thousand_live_threads_each_keep_their_last_event() {
    const THREADS: u64 = 1000;
    const EVENTS: u64 = 3000;
    let (all_ran, all_seen) = (Barrier::new(THREADS as usize + 1), Barrier::new(THREADS as usize + 1));
    let alive = std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (all_ran, all_seen) = (&all_ran, &all_seen);
            let body = move || {
                for number in 0..EVENTS {
                    event!(info, "step", thread = thread, number = number, check = check(thread, number));
                }
                all_ran.wait();
                all_seen.wait();
            };
            std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, body).unwrap();
        }
        all_ran.wait();
        let first = rings::snapshot();
        let differ = (1..100).filter(|_| rings::snapshot() != first).count();
        all_seen.wait();
        assert_eq!(differ, 0, "snapshots of an idle ring differ");
        first
    });
    let written = vec![EVENTS; THREADS as usize];
    compare(&alive, &written);
    // The threads' ends change nothing of that.
    compare(&rings::snapshot(), &written);
}
