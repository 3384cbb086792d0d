//! A handler that leaves by a jump: the recording that it interrupted is given up, and the next ones go on.
#![allow(unsafe_code)]

mod rings;

use foretrace::{Field, event};
use foretrace_ring::metadata::FieldKind;

/// A value whose copying never ends: it unwinds out of the middle of a recording, as a jump would.
#[derive(Clone, Copy)]
struct Jumps;

// SAFETY: never returns, so that it writes nothing of any size.
unsafe impl Field for Jumps {
    const KIND: FieldKind = FieldKind::U64;
    type Held<'a> = Jumps;

    fn hold(&self) -> Jumps {
        *self
    }

    fn size(&self) -> usize {
        8
    }

    unsafe fn write(&self, _at: *mut u8) -> *mut u8 {
        std::panic::resume_unwind(Box::new("away"))
    }
}

#[test]
fn recordings_that_were_jumped_out_of_cost_nothing_but_themselves() {
    event!(info, "before", number = 0_u64);
    for number in 1..=1000_u64 {
        for _ in 0..3 {
            let jumped = std::panic::catch_unwind(|| event!(info, "jumps", value = Jumps));
            assert!(jumped.is_err());
        }
        event!(info, "after", number = number);
    }
    let snapshot = rings::snapshot();
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (1001, 0, 0));
    let numbers: Vec<u64> = trail.events.iter().map(|event| rings::number(event, 0)).collect();
    assert_eq!(numbers, (0..=1000).collect::<Vec<u64>>());
}
