//! Events of a batch share a time as long as nothing comes between them, and a thread's times never go back.

mod rings;

use foretrace::{batch, event};

#[test]
fn a_batch_shares_one_time_and_the_trail_stays_in_order() {
    assert!(foretrace::start());
    // Warm: the first event of each type takes the slow path, which has its own time.
    let first = batch();
    for round in 0..20_000_u64 {
        event!(batch: first, info, "one", number = round * 4);
        event!(batch: first, target: "other", info, "two", number = round * 4 + 1);
        if round % 3 == 0 {
            event!(info, "between", number = round * 4 + 2);
        }
        event!(batch: first, info, "three", number = round * 4 + 3);
    }
    let last = batch();
    for number in 0..5_u64 {
        event!(batch: last, info, "end", number = number);
    }

    let snapshot = rings::snapshot();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let (mut before, mut shared) = (0, 0);
    for pair in trail.events.windows(2) {
        assert!(pair[0].time <= pair[1].time, "the time went back");
        let names = [0, 1].map(|at| trail.kind_of(&pair[at]).name.as_str());
        shared += u64::from(pair[0].time == pair[1].time);
        if names == ["two", "between"] {
            before += u64::from(pair[0].time < pair[1].time);
        }
    }
    assert!(before > 0, "an event outside the batch has its own time");
    // Of the kept rounds, each event but those behind a foreign one, or in a new packet, has its predecessor's time.
    assert!(shared * 10 > trail.events.len() as u64 * 5, "{shared} of {}", trail.events.len());
    let order = trail.events.iter().filter(|event| trail.kind_of(event).name != "end");
    let numbers: Vec<u64> = order.map(|event| rings::number(event, 0)).collect();
    assert!(numbers.is_sorted(), "the order is that of recording");
}
