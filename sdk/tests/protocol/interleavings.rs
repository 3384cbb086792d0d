//! Threads that race, explored by loom: which of them goes on, and which of the values that the memory model allows each
//! load returns.
//!
//! Loom controls the words that threads race for in each proof (descriptors, a slot's words, commit words, counts,
//! events); all others are constant or one thread's. Threads are preempted at most `PREEMPTIONS` times, which finds
//! nearly everything that is wrong and ends within minutes. The controls forget one thing each that the protocol rests
//! on, and loom has to find the torn event: where it does not, the proofs prove nothing.

use foretrace_ring::layout::*;
use foretrace_ring::trail::Privacy;
use loom::thread;

use crate::atomic::{Ordering, forget_order, twins};
use crate::model::{CELL, LARGE, SMALL, View, begin, end_thread, examine, record};
use crate::recorder::annotation::annotate;
use crate::words::Ring;
use crate::{pool, ring, slot};

const PREEMPTIONS: usize = 2;

/// Explores a proof; says how many executions it had.
fn explore(preemptions: usize, proof: impl Fn() + Send + Sync + 'static) {
    static EXECUTIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let before = EXECUTIONS.load(std::sync::atomic::Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        EXECUTIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        twins::clear();
        proof();
    });
    let executions = EXECUTIONS.load(std::sync::atomic::Ordering::Relaxed) - before;
    println!("{executions} executions");
    assert!(executions > 10, "nothing was explored");
}

/// A ring, and loom in control of all that writers of whole blocks race for.
fn contended(blocks: u32) -> Ring {
    let ring = begin(blocks);
    twins::control(ring.word(AT_TICKET));
    for block in 0..blocks {
        let packet = ring.cell(block * BLOCK_CELLS);
        twins::control(ring.descriptor(block * BLOCK_CELLS));
        for at in [PACKET_COMMIT, PACKET_NUMBER, PACKET_BEFORE, PACKET_HEADER + 8] {
            twins::control(ring.word(packet + at));
        }
    }
    for index in 0..2 {
        twins::control(ring.word(ring.geometry.slots + index * u64::from(SLOT_SIZE) + SLOT_CURRENT));
    }
    ring
}

/// Two packets of one thread are full; it reuses them while a snapshot is taken.
fn reuse_during_a_snapshot(events: u64) {
    let ring = contended(2);
    assert!(record(0, 0, LARGE) && record(0, 1, LARGE));
    let thread = crate::thread::current() as *const crate::thread::Thread as usize;
    let writer = thread::spawn(move || {
        // SAFETY: that thread waits here for this one, which goes on in its place.
        crate::storage::go_on_as(unsafe { &*(thread as *const crate::thread::Thread) });
        for number in 2..2 + events {
            assert!(record(0, number, LARGE));
        }
    });
    let snapshot = View(ring).read();
    let lanes = examine(&snapshot);
    assert!((2..=2 + events).contains(&snapshot.recorded), "{}", snapshot.recorded);
    assert!(lanes[0].iter().all(|number| *number < 2 + events));
    writer.join().unwrap();
    let snapshot = View(ring).read();
    examine(&snapshot);
    assert_eq!((snapshot.recorded, snapshot.discarded), (2 + events, 0));
}

#[test]
fn a_snapshot_of_a_thread_that_switches_packets_has_no_torn_event() {
    explore(PREEMPTIONS, || reuse_during_a_snapshot(1));
}

/// One open packet grows while a snapshot is taken.
fn growth_during_a_snapshot() {
    let ring = begin(2);
    assert!(record(0, 0, SMALL));
    let packet = ring.cell(0);
    for at in [PACKET_COMMIT, PACKET_HEADER + 16, PACKET_HEADER + 24, PACKET_HEADER + 32, PACKET_HEADER + 40]
    {
        twins::control(ring.word(packet + at));
    }
    let thread = crate::thread::current() as *const crate::thread::Thread as usize;
    let writer = thread::spawn(move || {
        // SAFETY: that thread waits here for this one, which goes on in its place.
        crate::storage::go_on_as(unsafe { &*(thread as *const crate::thread::Thread) });
        assert!(record(0, 1, SMALL) && record(0, 2, SMALL));
    });
    let snapshot = View(ring).read();
    let lanes = examine(&snapshot);
    let read = lanes[0].len() as u64;
    assert!(read >= 1 && lanes[0].iter().copied().eq(0..read), "{lanes:?}");
    writer.join().unwrap();
    assert_eq!(View(ring).read().recorded, 3);
}

#[test]
fn a_snapshot_of_a_growing_packet_has_whole_events_only() {
    explore(3, growth_during_a_snapshot);
}

#[test]
#[should_panic(expected = "torn")]
fn control_without_any_order_a_growing_packet_is_torn() {
    explore(PREEMPTIONS, || {
        forget_order(true);
        growth_during_a_snapshot();
    });
}

#[test]
#[should_panic]
fn control_without_any_order_a_reused_packet_is_torn_or_miscounted() {
    explore(PREEMPTIONS, || {
        forget_order(true);
        reuse_during_a_snapshot(1);
    });
}

#[test]
fn threads_that_open_packets_at_once_get_different_ones() {
    explore(PREEMPTIONS, || {
        let ring = contended(4);
        twins::control(ring.word(AT_FREE_SLOTS));
        twins::control(ring.word(AT_USED_SLOTS));
        let other = thread::spawn(|| assert!(record(1, 0, LARGE) && record(1, 1, LARGE)));
        assert!(record(0, 0, LARGE) && record(0, 1, LARGE));
        other.join().unwrap();
        let snapshot = View(ring).read();
        let lanes = examine(&snapshot);
        assert_eq!((snapshot.recorded, snapshot.discarded), (4, 0));
        assert_eq!((lanes[0].last(), lanes[1].last()), (Some(&1), Some(&1)));
    });
}

/// One thread wants the only block whole, another one a cell of it.
fn whole_or_split(ring: Ring) {
    twins::control(ring.word(AT_TICKET));
    (0..2).for_each(|cell| twins::control(ring.descriptor(cell)));
    let split = thread::spawn(move || pool::take_cell(ring).map(|part| part.cell));
    let whole = pool::take_block(ring).map(|part| part.cell);
    let cell = split.join().unwrap();
    assert!(whole.is_none() || cell.is_none(), "one part was given to two");
    assert!(whole.is_some() || cell.is_some(), "nobody got anything");
    let word = ring.descriptor(cell.unwrap_or(0)).load(Ordering::Acquire);
    assert_eq!(word & STATE, BUSY);
    assert_eq!(word & WHOLE != 0, whole.is_some());
}

#[test]
fn a_whole_block_is_split_for_one_thread_or_reused_by_another_never_both() {
    explore(PREEMPTIONS, || {
        let ring = begin(1);
        let block = pool::take_block(ring).unwrap();
        pool::give_back(ring, &block);
        whole_or_split(ring);
    });
}

#[test]
fn cells_become_a_block_for_one_thread_or_one_is_reused_by_another_never_both() {
    explore(PREEMPTIONS, || whole_or_split(begin(1)));
}

#[test]
fn threads_that_share_a_block_write_different_cells() {
    explore(PREEMPTIONS, || {
        let ring = begin(1);
        // So many that nobody gets a block; and all cells but two are somebody else's.
        ring.word(AT_ACTIVE).store(100, Ordering::Relaxed);
        (0..14).for_each(|_| assert!(pool::take_cell(ring).is_some()));
        twins::control(ring.word(AT_TICKET));
        (14..16).for_each(|cell| twins::control(ring.descriptor(cell)));
        let other = thread::spawn(|| record(1, 0, CELL));
        let mine = [record(0, 0, CELL), record(0, 1, CELL)];
        let others = other.join().unwrap();
        let snapshot = View(ring).read();
        let lanes = examine(&snapshot);
        let recorded = [mine[0], mine[1], others].into_iter().filter(|done| *done).count() as u64;
        assert_eq!((snapshot.recorded, snapshot.discarded), (recorded, 3 - recorded));
        assert_eq!(lanes[1].len(), usize::from(others));
    });
}

#[test]
fn a_slot_belongs_to_one_thread_at_a_time() {
    explore(3, || {
        let ring = begin(1);
        twins::control(ring.word(AT_FREE_SLOTS));
        twins::control(ring.word(AT_USED_SLOTS));
        for index in 0..3 {
            twins::control(slot::Slot::of(ring, index).word(SLOT_THREAD));
        }
        // Two free ones, so that the stack is what they race for.
        let (first, second) = (slot::take(ring, 1).unwrap(), slot::take(ring, 2).unwrap());
        slot::give_back(ring, first);
        slot::give_back(ring, second);
        let other = thread::spawn(move || {
            let mine = slot::take(ring, 3).unwrap();
            slot::give_back(ring, mine);
            slot::take(ring, 3).unwrap().index
        });
        let mine = slot::take(ring, 4).unwrap();
        let others = other.join().unwrap();
        assert_ne!(mine.index, others, "one slot was given to two threads");
        assert!(mine.index < 2 && others < 2, "a free slot was lost");
    });
}

/// A thread has left its packet half full: the next thread goes on in it, or somebody else reuses it.
#[test]
fn a_packet_that_a_thread_left_is_gone_on_with_or_reused_never_both() {
    explore(PREEMPTIONS, || {
        let ring = begin(2);
        assert!(record(0, 0, SMALL));
        end_thread();
        (0..2).for_each(|block| twins::control(ring.descriptor(block * BLOCK_CELLS)));
        let noisy = thread::spawn(move || [0, 1].map(|_| pool::take_block(ring).map(|part| part.cell)));
        let next = slot::take(ring, 2).unwrap().reopen_idle();
        let reused = noisy.join().unwrap().contains(&Some(0));
        assert!(next.is_none() || next == Some(0));
        assert!(next.is_some() != reused, "gone on with: {next:?}, reused: {reused}");
    });
}

/// A value changes while a snapshot is taken.
fn annotation_during_a_snapshot() {
    let ring = begin(1);
    annotate("key", "12345aaaaaaaa", Privacy::Public);
    let entry = ring.geometry.annotations;
    for at in [ANNOTATION_LOCK, ANNOTATION_HEAD, ANNOTATION_TEXT, ANNOTATION_TEXT + 8] {
        twins::control(ring.word(entry + at));
    }
    let writer = thread::spawn(|| annotate("key", "67890bbbbbbbb", Privacy::Public));
    let snapshot = View(ring).read();
    for note in &snapshot.annotations {
        let whole = note.key == "key" && ["12345aaaaaaaa", "67890bbbbbbbb"].contains(&note.value.as_str());
        assert!(whole, "a torn annotation: {note:?}");
    }
    writer.join().unwrap();
    assert_eq!(ring::live().unwrap().word(AT_REFUSED_ANNOTATIONS).load(Ordering::Relaxed), 0);
    assert_eq!(View(ring).read().annotations[0].value, "67890bbbbbbbb");
}

#[test]
fn a_snapshot_has_an_annotations_old_value_or_its_new_one() {
    explore(PREEMPTIONS, annotation_during_a_snapshot);
}

#[test]
#[should_panic(expected = "torn")]
fn control_without_any_order_an_annotation_is_torn() {
    explore(PREEMPTIONS, || {
        forget_order(true);
        annotation_during_a_snapshot();
    });
}
