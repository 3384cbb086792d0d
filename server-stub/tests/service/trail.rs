//! Trails for reports: metadata in the recorder's words, packets put together by hand.

use foretrace_ring::metadata::{self, Clock, ClockSource, EventDecl, FieldDecl, FieldKind};
use foretrace_ring::trail::{Level, Privacy};

const UUID: [u8; 16] = *b"0123456789abcdef";

/// Nanoseconds since 1970 of the report's time, 2026-01-01T00:00:00Z.
pub const CRASH: u64 = 1_767_225_600_000_000_000;

/// An event type: name, level, fields.
pub type Kind<'a> = (&'a str, Level, &'a [(&'a str, FieldKind, Privacy)]);

/// The metadata of a trail with these event types, numbered from 0. Its clock counts nanoseconds since 1970.
pub fn metadata(kinds: &[Kind<'_>]) -> String {
    let clock = Clock {
        source: ClockSource::Monotonic,
        frequency: 1_000_000_000,
        offset_seconds: 0,
        offset_ticks: 0,
    };
    let mut text = String::new();
    metadata::preamble(&mut text, &UUID, &clock).unwrap();
    for (id, (name, level, fields)) in kinds.iter().enumerate() {
        let fields: Vec<FieldDecl<'_>> = fields
            .iter()
            .map(|(name, kind, privacy)| FieldDecl { name, kind: *kind, privacy: *privacy })
            .collect();
        let declaration = EventDecl {
            id: id as u16,
            provider: "hello::net",
            name,
            level: *level,
            file: "src/net.rs",
            line: 40 + id as u32,
            fields: &fields,
        };
        metadata::event_declaration(&mut text, &declaration).unwrap();
    }
    text
}

/// One packet of one thread.
pub struct Packet {
    bytes: Vec<u8>,
    events: u32,
    last: u64,
}

impl Packet {
    pub fn new(thread: u32, begin: u64) -> Packet {
        let mut bytes = vec![0; 96];
        bytes[..4].copy_from_slice(&0xC1FC_1FC1u32.to_le_bytes());
        bytes[4..20].copy_from_slice(&UUID);
        bytes[24..32].copy_from_slice(&u64::from(thread).to_le_bytes());
        bytes[32..40].copy_from_slice(&begin.to_le_bytes());
        bytes[92..96].copy_from_slice(&thread.to_le_bytes());
        Packet { bytes, events: 0, last: begin }
    }

    pub fn event(&mut self, kind: u16, time: u64, payload: &[u8]) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(&time.to_le_bytes()[..6]);
        self.bytes.extend(payload);
        self.events += 1;
        self.last = time;
    }

    pub fn finish(mut self) -> Vec<u8> {
        let content = self.bytes.len();
        self.bytes.resize(content.next_multiple_of(8), 0);
        let size = self.bytes.len() as u64 * 8;
        self.bytes[40..48].copy_from_slice(&self.last.to_le_bytes());
        self.bytes[48..52].copy_from_slice(&(content as u32 * 8).to_le_bytes());
        self.bytes[52..56].copy_from_slice(&self.events.to_le_bytes());
        self.bytes[56..64].copy_from_slice(&size.to_le_bytes());
        self.bytes
    }
}

/// A text as a payload.
pub fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u16).to_le_bytes()[..], value.as_bytes()].concat()
}
