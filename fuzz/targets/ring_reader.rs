//! The ring reader over any memory, still or changing while it is read: no panic, no hang, no wrong count.
//!
//! The input is the memory. If its last byte is odd, the seven before it decide how words change between two reads.
#![no_main]

use std::cell::{Cell, RefCell};

use foretrace_ring::{Memory, Snapshot, Trail, reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if data.last().is_some_and(|byte| byte % 2 == 1) {
        if let Ok(snapshot) = reader::read(&Changing::new(data)) {
            check(&snapshot);
        }
        return;
    }
    let Ok(snapshot) = reader::read(data) else { return };
    check(&snapshot);
    let again = reader::read(data).expect("the same memory is a ring the second time too");
    assert_eq!(snapshot.streams, again.streams, "two readings differ");
    assert_eq!(
        (snapshot.recorded, snapshot.overwritten, snapshot.discarded),
        (again.recorded, again.overwritten, again.discarded)
    );
});

/// What every snapshot says, whatever it was read from.
fn check(snapshot: &Snapshot) {
    let mut kept = 0_u64;
    for (name, stream) in &snapshot.streams {
        assert!(!stream.is_empty(), "{name} is empty");
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let word = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().expect("eight bytes"));
            let (content, events) = (word(48) as u32, word(48) >> 32);
            let size = word(56);
            assert_eq!(word(0) as u32, 0xC1FC_1FC1, "{name} holds something else than packets");
            assert!(size % 64 == 0 && u64::from(content) <= size && size <= 16_384 * 8);
            kept = kept.saturating_add(events);
            rest = &rest[size as usize / 8..];
        }
    }
    // Packets that contradict each other are exported, and a problem.
    let said = snapshot.recorded.saturating_sub(snapshot.overwritten);
    let agrees = !snapshot.problems.iter().any(|problem| problem.contains("contradict"));
    assert!(!agrees || kept <= said, "{kept} events exported, {said} said to be there");
    let streams: Vec<(&str, &[u8])> =
        snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    Trail::decode_within(16 << 20, &snapshot.metadata, &streams);
}

/// Memory that a hostile process goes on writing.
struct Changing {
    bytes: RefCell<Vec<u8>>,
    state: Cell<u64>,
}

impl Changing {
    fn new(data: &[u8]) -> Changing {
        let mut seed = [0; 8];
        let end = data.len().min(8);
        seed[..end].copy_from_slice(&data[data.len() - end..]);
        Changing { bytes: RefCell::new(data.to_vec()), state: Cell::new(u64::from_le_bytes(seed) | 1) }
    }

    fn change(&self) {
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        let mut bytes = self.bytes.borrow_mut();
        let words = bytes.len() / 8;
        if words == 0 || state % 16 > 2 {
            return;
        }
        // One word becomes what another one is: much more often something that could be there than a random one.
        let (to, from) = ((state >> 8) as usize % words * 8, (state >> 32) as usize % words * 8);
        bytes.copy_within(from..from + 8, to);
    }
}

impl Memory for Changing {
    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn load(&self, offset: u64) -> Option<u64> {
        self.change();
        self.bytes.borrow()[..].load(offset)
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        self.change();
        self.bytes.borrow()[..].copy(offset, into)
    }
}
