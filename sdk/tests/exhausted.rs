//! More live threads than the pool has cells: what finds no room is counted, and is not looked for again and again.

mod rings;

use std::sync::Barrier;

use foretrace::event;
use foretrace_ring::Memory;
use foretrace_ring::layout::{AT_TICKET, CELL_SIZE, MIN_POOL};

const CELLS: u64 = MIN_POOL / CELL_SIZE as u64;
const THREADS: u64 = CELLS + 40;
const EVENTS: u64 = 500;

#[test]
fn events_without_room_are_counted_and_search_for_none() {
    assert!(foretrace::start_with(MIN_POOL));
    let ring = rings::Live::of(foretrace::descriptor().unwrap());
    let ticket = || ring.load(AT_TICKET).unwrap();
    let [began, full, done] = [(); 3].map(|()| Barrier::new(THREADS as usize + 1));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (began, full, done) = (&began, &full, &done);
            let body = move || {
                event!(info, "first", thread = thread);
                began.wait();
                full.wait();
                // Those without a packet: each event asks for one.
                (0..EVENTS).for_each(|number| event!(info, "more", thread = thread, number = number));
                done.wait();
            };
            std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, body).unwrap();
        }
        began.wait();
        let before = ticket();
        full.wait();
        done.wait();
        let discarded = rings::snapshot().discarded;
        assert!(discarded >= (THREADS - CELLS) * EVENTS, "{discarded} discarded");
        let moved = ticket() - before;
        // A search that is in vain looks at more than a pool; some are worth while, when a packet was just left.
        assert!(moved < discarded, "the ticket moved by {moved} for {discarded} events");
    });
    let snapshot = rings::snapshot();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    assert_eq!(snapshot.recorded + snapshot.discarded, THREADS * (EVENTS + 1), "events were miscounted");
}
