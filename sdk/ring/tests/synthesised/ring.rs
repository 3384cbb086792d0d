//! A ring put together byte by byte, without the constants of the crate under test.

use foretrace_ring::{Snapshot, reader};

pub const SCHEMA: usize = 4096 + 64 * 512;
pub const SLOTS: usize = SCHEMA + 4 * 512;
pub const DESCRIPTORS: usize = SLOTS + 8 * 128;
pub const CELLS: usize = 64;
pub const POOL: usize = DESCRIPTORS + CELLS * 8;
pub const SIZE: usize = POOL + CELLS * 1024;
pub const UUID: [u8; 16] = *b"0123456789abcdef";

/// Events of the large packet in [`filled`]. Miri is some thousand times slower than the machine.
pub const MANY: u64 = if cfg!(miri) { 9 } else { 900 };

pub const OPEN: u64 = 1;
pub const PINNED: u64 = 2;
pub const CLOSED: u64 = 3;
pub const BUSY: u64 = 4;
pub const MEMBER: u64 = 5;

/// A ring under construction.
#[derive(Clone)]
pub struct Synthesis(pub Vec<u8>);

impl Synthesis {
    pub fn new() -> Synthesis {
        let mut ring = Synthesis(vec![0; SIZE]);
        ring.0[0..8].copy_from_slice(b"FORETRC1");
        ring.half(8, 1);
        ring.half(12, 4096);
        ring.0[16..32].copy_from_slice(&UUID);
        ring.word(32, SIZE as u64);
        ring.half(40, 4711);
        ring.half(44, 0);
        ring.word(48, 99);
        for (at, place, count, each) in
            [(56, 4096, 64, 512), (72, SCHEMA, 4, 512), (88, SLOTS, 8, 128), (120, POOL, 0, 0)]
        {
            ring.word(at, place as u64);
            if count > 0 {
                ring.half(at + 8, count);
                ring.half(at + 12, each);
            }
        }
        ring.word(104, DESCRIPTORS as u64);
        ring.half(112, CELLS as u32);
        ring.half(116, 1024);
        ring.half(128, 16);
        // One clock pair: tick 1000 was 2026-01-01 00:00:00, and ticks are nanoseconds.
        ring.word(192, 1);
        for (index, word) in [1000, 1000, 1_767_225_600_000_000_000, 1_000_000_000].into_iter().enumerate() {
            ring.word(256 + index * 8, word);
        }
        ring.word(456, 8);
        ring.declare(0, "event { name = \"a:b\"; id = 1; stream_id = 0; loglevel = 6; fields := struct { uint64_t _v; }; };\n");
        ring
    }

    pub fn half(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn word(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    pub fn declare(&mut self, index: usize, text: &str) {
        let at = SCHEMA + index * 512;
        self.half(at, 0x75D1_1D57);
        self.0[at + 4..at + 20].copy_from_slice(&UUID);
        self.half(at + 24, (37 + text.len() as u32) * 8);
        self.half(at + 28, 512 * 8);
        self.0[at + 34] = 0;
        self.0[at + 37..at + 37 + text.len()].copy_from_slice(text.as_bytes());
        self.word(544, index as u64 + 1);
    }

    pub fn packet(&mut self, packet: &Packet) {
        let at = POOL + packet.cell * 1024;
        self.half(at, 0xC1FC_1FC1);
        self.0[at + 4..at + 20].copy_from_slice(&UUID);
        self.word(at + 24, packet.slot);
        let begin = 1000 + packet.before * 10;
        self.word(at + 32, begin);
        self.word(at + 40, 1 << 62);
        let content = 96 + packet.events * 16;
        self.half(at + 48, content as u32 * 8);
        self.half(at + 52, packet.events as u32);
        self.word(at + 56, if packet.whole { 16 * 1024 * 8 } else { 1024 * 8 });
        self.word(at + 64, packet.number);
        self.word(at + 80, packet.before);
        self.half(at + 92, 70 + packet.slot as u32);
        for event in 0..packet.events {
            let place = at + 96 + event as usize * 16;
            self.word(place, (begin + event * 10) << 16 | 1);
            self.word(place + 8, packet.slot << 32 | (packet.before + event));
        }
        self.word(DESCRIPTORS + packet.cell * 8, 7 << 8 | u64::from(packet.whole) << 4 | packet.state);
        if packet.whole {
            for member in packet.cell + 1..packet.cell + 16 {
                self.word(DESCRIPTORS + member * 8, 3 << 8 | MEMBER);
            }
        }
    }

    pub fn read(&self) -> Snapshot {
        reader::read(&self.0[..]).expect("a ring")
    }
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub cell: usize,
    pub whole: bool,
    pub state: u64,
    pub slot: u64,
    pub number: u64,
    pub before: u64,
    pub events: u64,
}

/// A ring with a packet of each kind, an annotation and two declarations.
pub fn filled() -> Synthesis {
    let mut ring = Synthesis::new();
    ring.packet(&Packet { cell: 0, whole: true, state: CLOSED, slot: 0, number: 0, before: 0, events: MANY });
    ring.packet(&Packet {
        cell: 17,
        whole: false,
        state: OPEN,
        slot: 0,
        number: 1,
        before: MANY,
        events: 40,
    });
    ring.packet(&Packet { cell: 18, whole: false, state: PINNED, slot: 3, number: 0, before: 0, events: 5 });
    ring.word(SLOTS, 18);
    ring.declare(1, "event { name = \"a:c\"; id = 2; stream_id = 0; fields := struct { }; };\n");
    ring.word(4096, 2);
    ring.word(4104, 3 | 5 << 16 | 1 << 32);
    ring.0[4112..4120].copy_from_slice(b"keyvalue");
    ring
}
