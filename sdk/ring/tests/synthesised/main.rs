//! Rings made byte by byte from the drawing in `layout.rs`, without its constants: the reader must agree with the
//! drawing, not with itself.

mod changing;
mod ring;

use foretrace_ring::reader::{self, RingError};
use foretrace_ring::trail::{Privacy, Value};
use foretrace_ring::{Snapshot, Trail};
use proptest::prelude::*;
use ring::*;

fn decode(snapshot: &Snapshot) -> Trail {
    let streams: Vec<(&str, &[u8])> =
        snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    Trail::decode(&snapshot.metadata, &streams)
}

/// As many cases as usual, or what Miri has time for.
fn cases(usual: u32) -> ProptestConfig {
    if cfg!(miri) {
        ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() }
    } else {
        ProptestConfig::with_cases(usual)
    }
}

/// Events that fit into a cell and into a block, or fewer where each takes a while.
const CELL_EVENTS: u64 = if cfg!(miri) { 8 } else { 58 };
const BLOCK_EVENTS: u64 = if cfg!(miri) { 40 } else { 1018 };

prop_compose! {
    /// For each block: one whole packet, or some cells; who wrote it, how many events, and whether it was recycled.
    fn blocks()(blocks in prop::collection::vec(
        (any::<bool>(), prop::collection::vec((0..8_u64, 0..CELL_EVENTS, 0..5_u8), 16), 0..BLOCK_EVENTS), 4
    )) -> Vec<(bool, Vec<(u64, u64, u8)>, u64)> {
        blocks
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn what_was_synthesised_is_read_and_counted_exactly(blocks in blocks(), ticket in 0..200_u64) {
        let mut ring = Synthesis::new();
        ring.word(384, ticket);
        let mut written = [0_u64; 8];
        let mut numbers = [0_u64; 8];
        let mut kept: Vec<u64> = Vec::new();
        let mut last: [Option<Packet>; 8] = [const { None }; 8];
        for (block, (whole, cells, many)) in blocks.iter().enumerate() {
            for (index, (slot, few, fate)) in cells.iter().enumerate() {
                if *whole && index > 0 {
                    break;
                }
                let slot_index = *slot as usize;
                let events = if *whole { *many } else { *few };
                let state = match fate {
                    0 => PINNED,
                    1 => BUSY,
                    _ => CLOSED,
                };
                let packet = Packet {
                    cell: block * 16 + index,
                    whole: *whole,
                    state,
                    slot: *slot,
                    number: numbers[slot_index],
                    before: written[slot_index],
                    events,
                };
                ring.packet(&packet);
                numbers[slot_index] += 1;
                written[slot_index] += events;
                if state != BUSY {
                    kept.extend((packet.before..packet.before + events).map(|event| slot << 32 | event));
                    last[slot_index] = Some(packet);
                } else {
                    last[slot_index] = None;
                }
            }
        }
        for (slot, last) in last.iter().enumerate() {
            let at = SLOTS + slot * 128;
            match last {
                Some(packet) => {
                    ring.word(at, packet.cell as u64 + 1);
                    ring.packet(&Packet { state: OPEN, ..packet.clone() });
                }
                // A slot whose thread has ended keeps its own count.
                None => ring.word(at + 8, written[slot]),
            }
            ring.word(at + 24, slot as u64);
        }
        ring.word(512, 5);
        let snapshot = ring.read();
        prop_assert_eq!(&snapshot.problems, &Vec::<String>::new());
        let all: u64 = written.iter().sum();
        prop_assert_eq!(snapshot.recorded, all);
        prop_assert_eq!(snapshot.overwritten, all - kept.len() as u64);
        prop_assert_eq!(snapshot.discarded, 5 + 28);
        prop_assert_eq!((snapshot.owner.pid, snapshot.owner.start_time), (4711, 99));
        let trail = decode(&snapshot);
        prop_assert_eq!(&trail.problems, &Vec::<String>::new());
        let mut found: Vec<u64> = Vec::new();
        for event in &trail.events {
            let Value::Unsigned(value) = event.values[0] else { panic!("{event:?}") };
            found.push(value);
            prop_assert_eq!(u64::from(event.thread), 70 + (value >> 32));
            let tick = 1000 + (value & 0xffff_ffff) * 10;
            prop_assert_eq!(event.time, 1_767_225_600_000_000_000 + tick - 1000);
        }
        found.sort_unstable();
        kept.sort_unstable();
        prop_assert_eq!(found, kept);
        prop_assert_eq!(ring.read().streams, snapshot.streams);
    }

    #[test]
    fn times_are_those_of_the_newest_clock_pair(
        source in 0..2_u32,
        published in 1..12_u64,
        frequency in prop_oneof![Just(1_000_000_000_u64), 1_000_000..5_000_000_000_u64, Just(1_u64 << 40)],
        ticks in 0..1_u64 << 50,
        real in 0..4_000_000_000_000_000_000_u64,
    ) {
        let mut ring = Synthesis::new();
        ring.half(44, source);
        ring.word(192, published);
        let newest = 256 + (published as usize - 1) % 4 * 32;
        for (index, word) in [ticks, 5, real, frequency].into_iter().enumerate() {
            ring.word(newest + index * 8, word);
        }
        ring.packet(&Packet { cell: 0, whole: true, state: OPEN, slot: 0, number: 0, before: 0, events: 3 });
        let at = POOL;
        ring.word(at + 32, ticks);
        for event in 0..3_u64 {
            ring.word(at + 96 + event as usize * 16, (ticks + event * 1000) << 16 | 1);
        }
        ring.word(SLOTS, 1);
        let trail = decode(&ring.read());
        prop_assert_eq!(&trail.problems, &Vec::<String>::new());
        prop_assert_eq!(trail.events.len(), 3);
        for (event, number) in trail.events.iter().zip(0_u64..) {
            let expected = real + (u128::from(number) * 1000 * 1_000_000_000 / u128::from(frequency)) as u64;
            let tick = 1_000_000_000 / frequency + 2;
            prop_assert!(event.time.abs_diff(expected) <= tick, "{} instead of {expected}", event.time);
        }
        prop_assert_eq!(ring.read().metadata.contains("name = tsc"), source == 1);
    }

    #[test]
    fn annotations_are_what_was_noted(
        notes in prop::collection::vec(("[a-z]{1,40}", "[^\0]{0,60}", 0..3_u64, 1..9_u64), 0..20),
    ) {
        let mut ring = Synthesis::new();
        let mut expected: Vec<(String, String, Privacy)> = Vec::new();
        for (index, (key, value, privacy, changes)) in notes.into_iter().enumerate() {
            let at = 4096 + index * 512;
            ring.word(at, changes * 2);
            ring.word(at + 8, key.len() as u64 | (value.len() as u64) << 16 | privacy << 32);
            ring.0[at + 16..at + 16 + key.len()].copy_from_slice(key.as_bytes());
            let behind = at + 16 + key.len();
            ring.0[behind..behind + value.len()].copy_from_slice(value.as_bytes());
            let privacy = [Privacy::Public, Privacy::Personal, Privacy::Secret][privacy as usize];
            // Of two entries with one key the later one holds.
            match expected.iter_mut().find(|note| note.0 == key) {
                Some(note) => *note = (key, value, privacy),
                None => expected.push((key, value, privacy)),
            }
        }
        let snapshot = ring.read();
        prop_assert_eq!(&snapshot.problems, &Vec::<String>::new());
        let found: Vec<_> =
            snapshot.annotations.into_iter().map(|note| (note.key, note.value, note.privacy)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_word_of_a_ring_can_make_the_reader_fail(
        words in prop::collection::vec((0..SIZE / 8, prop_oneof![any::<u64>(), 0..40_u64, Just(u64::MAX)]), 1..40),
        header in prop::collection::vec((0..80_usize, any::<u32>()), 0..3),
    ) {
        let mut ring = filled();
        for (at, word) in words {
            ring.word(at * 8, word);
        }
        for (at, half) in header {
            ring.half(at * 8, half);
        }
        if let Ok(snapshot) = reader::read(&ring.0[..]) {
            prop_assert!(snapshot.overwritten <= snapshot.recorded);
            decode(&snapshot);
        }
    }
}

#[test]
fn every_loss_that_was_counted_is_said() {
    for (at, sentence) in [
        (200, "the clock jumped 7 times (a suspend or a migration): times before the last jump are shifted"),
        (520, "7 fields were too long and were cut"),
        (528, "7 event types were refused: there is no room for more"),
        (536, "7 annotations were refused: too many, too long, or two at once"),
        (568, "7 reports were not started: too many in a minute, or foretrace-capture could not be run"),
    ] {
        let mut ring = filled();
        ring.word(at, 7);
        let snapshot = ring.read();
        assert_eq!(snapshot.problems, [sentence]);
        assert_eq!(decode(&snapshot).events.len() as u64, MANY + 45);
    }
    // Those without a writer slot, and those of each slot.
    let mut ring = filled();
    ring.word(512, 7);
    ring.word(SLOTS + 24, 30);
    ring.word(SLOTS + 3 * 128 + 24, 500);
    assert_eq!(ring.read().discarded, 537);
    // A slot that nobody ever used says nothing.
    ring.word(456, 3);
    assert_eq!(ring.read().discarded, 37);
}

#[test]
fn a_declaration_may_run_over_several_slots() {
    let mut ring = Synthesis::new();
    let name = "n".repeat(1200);
    let text = format!(
        "event {{ name = \"a:{name}\"; id = 2; stream_id = 0; fields := struct {{ uint64_t _v; }}; }};\n"
    );
    let at = SCHEMA + 512;
    ring.half(at, 0x75D1_1D57);
    ring.0[at + 4..at + 20].copy_from_slice(&UUID);
    ring.half(at + 24, (37 + text.len() as u32) * 8);
    ring.half(at + 28, 3 * 512 * 8);
    ring.0[at + 37..at + 37 + text.len()].copy_from_slice(text.as_bytes());
    ring.word(544, 4);
    assert!(ring.read().metadata.ends_with(&text));
    // One that says it has more slots than there are costs itself alone.
    ring.word(544, 3);
    assert!(!ring.read().metadata.contains(&name));
}

#[test]
fn packets_that_contradict_each_other_are_a_problem() {
    let mut twice = filled();
    twice.packet(&Packet { cell: 33, whole: false, state: CLOSED, slot: 3, number: 0, before: 0, events: 9 });
    assert_eq!(twice.read().problems, ["1 packets had the number of another one and were dropped"]);
    let mut back = filled();
    back.packet(&Packet { cell: 33, whole: false, state: CLOSED, slot: 3, number: 1, before: 2, events: 9 });
    assert_eq!(back.read().problems, ["1 packets contradict the counts of the packet before them"]);
}

#[test]
fn what_a_lapsed_pin_held_is_overwritten_and_counted() {
    let mut ring = filled();
    let whole = ring.read();
    // The slot still names the packet that it had pinned; the cell is another thread's by now.
    ring.word(SLOTS + 3 * 128 + 40, 19);
    ring.word(SLOTS + 3 * 128 + 48, 7 << 8 | PINNED);
    ring.word(SLOTS + 3 * 128 + 8, 5);
    ring.packet(&Packet { cell: 18, whole: false, state: OPEN, slot: 5, number: 0, before: 0, events: 2 });
    ring.word(SLOTS + 5 * 128, 19);
    let snapshot = ring.read();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    assert_eq!((snapshot.recorded, snapshot.overwritten), (whole.recorded + 2, 5));
    assert_eq!(decode(&snapshot).events.len() as u64, MANY + 42);
}

#[test]
fn a_header_that_lies_is_refused() {
    let good = filled();
    assert_eq!(good.read().annotations[0].value, "value");
    for (at, bad, error) in [
        (0, 1, RingError::Magic),
        (8, 2 | 4096 << 32, RingError::Version(2)),
        (8, 1 | 8192 << 32, RingError::Layout("header")),
        (32, 1 << 40, RingError::Truncated { stated: 1 << 40, present: SIZE as u64 }),
        (32, 5000, RingError::Layout("annotations")),
        (56, u64::MAX - 7, RingError::Layout("annotations")),
        (56, 4097, RingError::Layout("annotations")),
        (56, 0, RingError::Layout("annotations")),
        (80, 4 | 100 << 32, RingError::Layout("schema area")),
        (88, SIZE as u64, RingError::Layout("writer slots")),
        (96, 5000 | 128 << 32, RingError::Layout("writer slots")),
        (104, u64::MAX, RingError::Layout("descriptors")),
        (112, 63 | 1024 << 32, RingError::Layout("pool")),
        (112, 80 | 1024 << 32, RingError::Layout("pool")),
        (112, 64 | 0xffff_ffff << 32, RingError::Layout("pool")),
        (120, POOL as u64 + 8, RingError::Layout("pool")),
        (128, 0, RingError::Layout("pool")),
    ] {
        let mut ring = good.clone();
        ring.word(at, bad);
        assert_eq!(reader::read(&ring.0[..]).err(), Some(error), "word {at} = {bad:#x}");
    }
    for length in [0, 7, 8, 4095, 4096, SIZE - 1] {
        assert!(reader::read(&good.0[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_damaged_packet_is_a_problem_and_the_others_are_there() {
    let at = POOL + 17 * 1024;
    for (place, bad) in
        [(at, 0), (at + 4, 1), (at + 16, 1 << 32), (at + 24, 8), (at + 48, 95 * 8), (at + 48, 1025 * 8)]
    {
        let mut ring = filled();
        ring.word(place, bad);
        let snapshot = ring.read();
        assert_eq!(decode(&snapshot).events.len() as u64, MANY + 5, "{place} = {bad}");
        assert_eq!(snapshot.problems.len(), 1, "{:?}", snapshot.problems);
    }
    // Only a block's first cell can be a whole packet.
    let mut ring = filled();
    ring.word(DESCRIPTORS + 17 * 8, 7 << 8 | 0x10 | OPEN);
    assert_eq!(decode(&ring.read()).events.len() as u64, MANY + 5);
}

#[test]
fn a_snapshot_in_the_memory_of_a_former_one_is_the_same() {
    let ring = filled();
    let fresh = ring.read();
    let (small, large) = (Synthesis::new().read(), ring.read());
    let mut dirty = large.clone();
    for (_, bytes) in &mut dirty.streams {
        bytes.fill(0xff);
        bytes.extend([0xff; 5000]);
    }
    for former in [small, large, dirty] {
        let again = reader::read_again(&ring.0[..], former).expect("a ring");
        assert!(again == fresh, "{:?}", again.problems);
    }
}

#[test]
fn an_interrupted_declaration_costs_only_itself() {
    let mut ring = filled();
    ring.word(544, 4);
    // Slot 2 was taken and nothing written; slot 3 says that its text did not come.
    ring.half(SCHEMA + 3 * 512, 0x75D1_1D57);
    ring.half(SCHEMA + 3 * 512 + 24, 37 * 8);
    ring.half(SCHEMA + 3 * 512 + 28, 512 * 8);
    let snapshot = ring.read();
    assert_eq!(decode(&snapshot).problems, Vec::<String>::new());
    assert_eq!(decode(&snapshot).events.len() as u64, MANY + 45);
    // Sizes that point elsewhere.
    for sizes in [u64::MAX, (36 * 8) | 4096 << 32, (513 * 8) | 4096 << 32, (40 * 8) | (512 * 8 * 9) << 32] {
        ring.word(SCHEMA + 3 * 512 + 24, sizes);
        assert_eq!(ring.read().metadata, snapshot.metadata);
    }
}

#[test]
fn an_annotation_that_never_stops_changing_is_a_problem() {
    let mut ring = filled();
    ring.word(4096 + 512, 3);
    let snapshot = ring.read();
    assert_eq!(snapshot.annotations.len(), 1);
    assert_eq!(snapshot.problems, ["annotation 1 was being written"]);
    ring.word(4096 + 512, 4);
    ring.word(4096 + 520, 400 | 400 << 16);
    assert_eq!(ring.read().problems, ["annotation 1 has an impossible length"]);
}

#[test]
fn a_clock_that_no_machine_has_is_no_clock() {
    for frequency in [0, 1 << 41, u64::MAX] {
        let mut ring = filled();
        let before = decode(&ring.read()).events.len();
        ring.word(256 + 16, u64::MAX);
        ring.word(256 + 24, frequency);
        let snapshot = ring.read();
        assert!(
            snapshot.problems.iter().any(|problem| problem.contains("no clock")),
            "{:?}",
            snapshot.problems
        );
        assert_eq!(decode(&snapshot).events.len(), before);
    }
}
