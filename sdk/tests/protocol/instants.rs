//! At every single atomic operation of a recording something happens to the thread.
//!
//! Every proof repeats its recordings with the interruption one operation later, until there is none left to interrupt.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use foretrace_ring::layout::*;

use crate::atomic::{Ordering, interrupt_after, was_interrupted};
use crate::model::{CELL, FRAME, LARGE, SMALL, View, begin, end_thread, examine, record, record_at};
use crate::own;
use crate::storage::become_another;

/// What a thread does in these proofs: first events, filled packets, switches, reuse of what it wrote itself.
const WORK: [usize; 12] = [SMALL, SMALL, LARGE, CELL, SMALL, LARGE, LARGE, SMALL, LARGE, CELL, LARGE, SMALL];

/// Leaves the recording as a jump (or, for the others, a death) would.
fn leave() {
    resume_unwind(Box::new("gone"));
}

/// A handler that records.
fn handle() {
    assert!(record_at(FRAME - 4096, 1, 0, SMALL));
}

/// Does the work, interrupted after so many operations; answers with how many events were recorded for certain, and
/// whether the interruption came.
fn work(operations: u64, then: fn()) -> (u64, bool) {
    let mut noted = 0;
    interrupt_after(operations, then);
    // A panic that is an assertion's is seen in what was recorded.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        for room in WORK {
            assert!(record(0, noted, room), "event {noted} was discarded");
            noted += 1;
        }
    }));
    (noted, was_interrupted())
}

/// Repeats a proof at every instant of the work.
fn at_every_instant(then: fn(), blocks: u32, proof: impl Fn(u64, u64)) {
    let mut operations = 0;
    loop {
        become_another();
        let ring = begin(blocks);
        let (noted, interrupted) = work(operations, then);
        if !interrupted {
            assert_eq!(noted, WORK.len() as u64);
            assert_eq!(View(ring).read().recorded, noted);
            break;
        }
        proof(operations, noted);
        operations += 1;
    }
    assert!(operations > 200, "the work has only {operations} operations");
}

/// The ring that the proof is about.
fn view() -> View {
    View(crate::ring::live().unwrap())
}

#[test]
fn a_thread_that_dies_anywhere_loses_that_record_only() {
    at_every_instant(leave, 4, |operations, noted| {
        let snapshot = view().read();
        let lanes = examine(&snapshot);
        assert!((noted..=noted + 1).contains(&snapshot.recorded), "{operations}: {snapshot:?}");
        assert_eq!(lanes[0].last().copied(), snapshot.recorded.checked_sub(1), "{operations}");
        assert_eq!(snapshot.discarded, 0);
    });
}

#[test]
fn a_thread_that_dies_anywhere_blocks_nobody() {
    at_every_instant(leave, 6, |operations, noted| {
        let dead = view().read();
        let last = examine(&dead)[0].last().copied();
        become_another();
        for (number, room) in WORK.into_iter().cycle().take(200).enumerate() {
            assert!(record(1, number as u64, room), "{operations}: event {number}");
        }
        let snapshot = view().read();
        let lanes = examine(&snapshot);
        assert_eq!((snapshot.recorded, snapshot.discarded), (dead.recorded + 200, 0), "{operations}");
        assert_eq!(lanes[1].last(), Some(&199), "{operations}");
        // What it was writing, nobody takes.
        assert_eq!(lanes[0].last().copied(), last, "{operations}");
        assert!(dead.recorded >= noted);
    });
}

/// Again and again at the same instant: what a jump leaves behind must not add up.
#[test]
fn handlers_that_jump_away_cost_only_the_records_that_they_interrupted() {
    at_every_instant(leave, 12, |operations, noted| {
        let mut recorded = view().read().recorded;
        assert!((noted..=noted + 1).contains(&recorded), "{operations}");
        for _ in 0..6 {
            interrupt_after(operations, leave);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                for (number, room) in (recorded..).zip(WORK) {
                    assert!(record(0, number, room), "{operations}: event {number}");
                    recorded = number + 1;
                }
            }));
            was_interrupted();
            let now = view().read().recorded;
            assert!((recorded..=recorded + 1).contains(&now), "{operations}: {now}, not {recorded}");
            recorded = now;
        }
        for (number, room) in (recorded..).zip(WORK.into_iter().cycle().take(40)) {
            assert!(record(0, number, room), "{operations}: event {number}");
        }
        let snapshot = view().read();
        let lanes = examine(&snapshot);
        assert_eq!((snapshot.recorded, snapshot.discarded), (recorded + 40, 0), "{operations}");
        assert_eq!(lanes[0].last(), Some(&(recorded + 39)), "{operations}");
        // The next thread goes on with what this one had.
        end_thread();
        become_another();
        assert!(record(2, 0, SMALL));
        assert_eq!(view().read().recorded, recorded + 41, "{operations}");
    });
}

/// A part that was taken, but not yet noted in the thread's slot, is nobody's from then on: 1 KiB or 16 KiB of the pool.
/// That must stay rare.
#[test]
fn a_jump_costs_a_part_of_the_pool_only_between_taking_and_noting_it() {
    let mut operations = 0;
    let mut lost = 0;
    loop {
        become_another();
        let ring = begin(4);
        let mut next = 0;
        let mut record_next = |room| {
            next += 1;
            assert!(record(0, next, room), "{operations}: event {next}");
        };
        // Every block has been used: taking one is one operation.
        (0..8).for_each(|_| record_next(LARGE));
        interrupt_after(operations, leave);
        let _ = catch_unwind(AssertUnwindSafe(|| WORK.into_iter().for_each(&mut record_next)));
        if !was_interrupted() {
            break;
        }
        (0..40).for_each(|_| record_next(LARGE));
        let busy = |block: u32| {
            let word = ring.descriptor(block * BLOCK_CELLS).load(Ordering::Relaxed);
            word & STATE == BUSY
        };
        lost += u64::from((0..4).any(busy));
        operations += 1;
    }
    // Five instants of each switch; this work does little else.
    assert!(lost * 8 <= operations, "a part was lost at {lost} of {operations} instants");
}

#[test]
fn a_handler_anywhere_records_and_tears_nothing() {
    at_every_instant(handle, 6, |operations, noted| {
        let snapshot = view().read();
        let lanes = examine(&snapshot);
        assert_eq!(noted, WORK.len() as u64, "{operations}: an interrupted event was discarded");
        assert_eq!((snapshot.recorded, snapshot.discarded), (noted + 1, 0), "{operations}");
        assert_eq!(lanes[0].last(), Some(&(noted - 1)), "{operations}");
        assert!(lanes[1].len() <= 1);
    });
}

/// The thread takes blocks of its own, fills them several times over, and dies, or jumps away and goes on.
#[test]
fn a_thread_with_blocks_of_its_own_keeps_them_wherever_it_stops() {
    let mut operations = 0;
    loop {
        become_another();
        let ring = begin(16);
        assert!(record(0, 0, SMALL));
        let mut noted = 1;
        interrupt_after(operations, leave);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            own::begin(ring, 3 * u64::from(BLOCK_SIZE), FRAME);
            for room in WORK {
                assert!(record(0, noted, room), "event {noted} was discarded");
                noted += 1;
            }
        }));
        let interrupted = was_interrupted();
        let owner = crate::storage::current();
        let dead = view().read();
        let kept = examine(&dead)[0].clone();
        assert!((noted..=noted + 1).contains(&dead.recorded), "{operations}: {}", dead.recorded);
        assert_eq!(kept.last().copied(), Some(dead.recorded - 1), "{operations}");

        become_another();
        for (number, room) in WORK.into_iter().cycle().take(300).enumerate() {
            assert!(record(1, number as u64, room), "{operations}: event {number}");
        }
        let snapshot = view().read();
        let lanes = examine(&snapshot);
        assert_eq!((snapshot.recorded, snapshot.discarded), (dead.recorded + 300, 0), "{operations}");
        // What its three blocks hold is there: more than an open packet and a pinned one. A jump may have cost one of them.
        let held = if interrupted { 2 } else { 6 };
        let own: Vec<u64> = kept.iter().copied().filter(|number| number + held >= dead.recorded).collect();
        assert!(
            own.iter().all(|number| lanes[0].contains(number)),
            "{operations}: {own:?} of {:?}",
            lanes[0]
        );
        end_thread();

        // Whoever jumped goes on, and what it had is everybody's when it ends.
        crate::storage::go_on_as(owner);
        for (number, room) in (dead.recorded..).zip(WORK) {
            assert!(record(0, number, room), "{operations}: event {number}");
        }
        end_thread();
        become_another();
        for (number, room) in (300..).zip(WORK.into_iter().cycle().take(200)) {
            assert!(record(1, number, room), "{operations}: event {number}");
        }
        let last = view().read();
        examine(&last);
        assert_eq!((last.recorded, last.discarded), (dead.recorded + 512, 0), "{operations}");
        if !interrupted {
            assert_eq!(ring.word(AT_OWN).load(Ordering::Relaxed), 0, "own blocks were not given back");
            break;
        }
        operations += 1;
    }
    assert!(operations > 300, "the work has only {operations} operations");
}
