//! Threads that come and go: each goes on in the packet that the last one left.

mod rings;

use foretrace::event;

#[test]
fn most_of_what_28_000_short_threads_recorded_is_there() {
    const EACH: u64 = 10;
    std::thread::scope(|scope| {
        for spawner in 0..4_u64 {
            scope.spawn(move || {
                for thread in 0..7000_u64 {
                    let body = move || {
                        for number in 0..EACH {
                            event!(info, "short", number = (spawner << 32 | thread) << 8 | number);
                        }
                    };
                    std::thread::Builder::new().stack_size(64 << 10).spawn(body).unwrap().join().unwrap();
                }
            });
        }
    });
    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!((snapshot.recorded, snapshot.discarded), (4 * 7000 * EACH, 0));
    assert_eq!(trail.events.len() as u64 + snapshot.overwritten, snapshot.recorded);
    let kept = trail.events.len() as f64 / snapshot.recorded as f64;
    assert!(kept >= 0.8, "{:.1} % kept", kept * 100.0);
    // Every run of ten has one thread's ID, and no other run has it: thread-change events are where they belong.
    let mut threads = std::collections::HashMap::new();
    for event in &trail.events {
        let thread = rings::number(event, 0) >> 8;
        let known = *threads.entry(thread).or_insert(event.thread);
        assert_eq!(known, event.thread, "thread {thread:x} has two IDs");
    }
    println!("{:.1} % kept in {} streams", kept * 100.0, snapshot.streams.len());
}
