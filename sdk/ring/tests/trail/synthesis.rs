//! Trails put together by hand, from the written description of the format alone: nothing of the crate under test
//! helps, so that an error in its constants cannot hide.

use proptest::prelude::*;

/// The fixed head of every trail here: 2.5 GHz, tick 0 is 1,700,000,000.1 s after 1970.
pub const PREAMBLE: &str = include_str!("preamble.tsdl");
pub const UUID: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

/// A field as the metadata names it, and its bytes in one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Wire {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    Secret,
}

impl Wire {
    pub fn alias(&self) -> &'static str {
        match self {
            Wire::U8(_) => "uint8_t",
            Wire::U16(_) => "uint16_t",
            Wire::U32(_) => "uint32_t",
            Wire::U64(_) => "uint64_t",
            Wire::I8(_) => "int8_t",
            Wire::I16(_) => "int16_t",
            Wire::I32(_) => "int32_t",
            Wire::I64(_) => "int64_t",
            Wire::F32(_) => "float32_t",
            Wire::F64(_) => "float64_t",
            Wire::Bool(_) => "bool8_t",
            Wire::Text(_) => "char8_t",
            Wire::Bytes(_) => "octet_t",
            Wire::Secret => "secret_t",
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let sequence = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
        match self {
            Wire::U8(v) => v.to_le_bytes().into(),
            Wire::U16(v) => v.to_le_bytes().into(),
            Wire::U32(v) => v.to_le_bytes().into(),
            Wire::U64(v) => v.to_le_bytes().into(),
            Wire::I8(v) => v.to_le_bytes().into(),
            Wire::I16(v) => v.to_le_bytes().into(),
            Wire::I32(v) => v.to_le_bytes().into(),
            Wire::I64(v) => v.to_le_bytes().into(),
            Wire::F32(v) => v.to_le_bytes().into(),
            Wire::F64(v) => v.to_le_bytes().into(),
            Wire::Bool(v) => vec![u8::from(*v)],
            Wire::Text(v) => sequence(v.as_bytes()),
            Wire::Bytes(v) => sequence(v),
            Wire::Secret => vec![0],
        }
    }
}

/// The declaration of an event type `app::test:NAME` with these fields, named f0, f1, ...; those in `personal` are
/// personal.
pub fn declaration(id: u16, name: &str, fields: &[Wire], personal: &[bool]) -> String {
    let mut text = format!(
        "event {{ name = \"app::test:{name}\"; id = {id}; stream_id = 0; loglevel = 6; fields := struct {{ "
    );
    for (n, field) in fields.iter().enumerate() {
        let class = if personal.get(n) == Some(&true) && *field != Wire::Secret { "personal_" } else { "" };
        let alias = field.alias();
        text += &match field {
            Wire::Text(_) | Wire::Bytes(_) => {
                format!("uint16_t __f{n}_length; {class}{alias} _f{n}[__f{n}_length]; ")
            }
            _ => format!("{class}{alias} _f{n}; "),
        };
    }
    text + "}; };\n"
}

/// The bytes of a packet under construction.
pub struct Packet {
    bytes: Vec<u8>,
    events: u32,
    /// When its last event was.
    time: u64,
}

impl Packet {
    pub fn new(begin: u64, thread: u32) -> Packet {
        let mut bytes = vec![0; 96];
        bytes[0..4].copy_from_slice(&[0xc1, 0x1f, 0xfc, 0xc1]);
        bytes[4..20].copy_from_slice(&UUID);
        bytes[32..40].copy_from_slice(&begin.to_le_bytes());
        bytes[92..96].copy_from_slice(&thread.to_le_bytes());
        Packet { bytes, events: 0, time: begin }
    }

    pub fn numbered(mut self, instance: u64, sequence: u64, events_before: u64) -> Packet {
        self.bytes[24..32].copy_from_slice(&instance.to_le_bytes());
        self.bytes[64..72].copy_from_slice(&sequence.to_le_bytes());
        self.bytes[80..88].copy_from_slice(&events_before.to_le_bytes());
        self
    }

    pub fn event(&mut self, id: u16, time: u64, fields: &[Wire]) {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        self.bytes.extend(id.to_le_bytes());
        self.bytes.extend(&time.to_le_bytes()[..6]);
        self.bytes.extend(fields.iter().flat_map(Wire::bytes));
        self.events += u32::from(id != 65534);
        self.time = time;
    }

    /// Complete, with so many unused bytes at its end (more, up to a multiple of 8).
    pub fn finish(mut self, unused: usize) -> Vec<u8> {
        let content = self.bytes.len() as u32 * 8;
        self.bytes[40..48].copy_from_slice(&self.time.to_le_bytes());
        let size = (self.bytes.len() + unused).next_multiple_of(8);
        self.bytes[48..52].copy_from_slice(&content.to_le_bytes());
        self.bytes[52..56].copy_from_slice(&self.events.to_le_bytes());
        self.bytes[56..64].copy_from_slice(&(size as u64 * 8).to_le_bytes());
        self.bytes.resize(size, 0);
        self.bytes
    }
}

/// An event that must come out of the decoder.
#[derive(Clone, Debug)]
pub struct Expected {
    pub ticks: u64,
    pub thread: u32,
    pub id: u16,
    pub fields: Vec<Wire>,
}

/// A whole trail and what it says.
#[derive(Clone, Debug)]
pub struct Synthesis {
    pub metadata: String,
    pub streams: Vec<Vec<u8>>,
    /// For each stream, in order.
    pub expected: Vec<Vec<Expected>>,
}

pub fn wire() -> impl Strategy<Value = Wire> {
    prop_oneof![
        any::<u8>().prop_map(Wire::U8),
        any::<u16>().prop_map(Wire::U16),
        any::<u32>().prop_map(Wire::U32),
        any::<u64>().prop_map(Wire::U64),
        any::<i8>().prop_map(Wire::I8),
        any::<i16>().prop_map(Wire::I16),
        any::<i32>().prop_map(Wire::I32),
        any::<i64>().prop_map(Wire::I64),
        (-1e30f32..1e30).prop_map(Wire::F32),
        (-1e300f64..1e300).prop_map(Wire::F64),
        any::<bool>().prop_map(Wire::Bool),
        "[a-zäß✓ ]{0,12}".prop_map(Wire::Text),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Wire::Bytes),
        Just(Wire::Secret),
    ]
}

/// Trails of up to six event types, four streams and five packets each. Every event of a type has the same field
/// kinds, with values of its own where they come from `twist`.
pub fn synthesis() -> impl Strategy<Value = Synthesis> {
    let types = proptest::collection::vec(proptest::collection::vec((wire(), any::<bool>()), 0..6), 1..6);
    let event = (any::<proptest::sample::Index>(), 0u64..1 << 40, any::<u8>(), any::<bool>());
    let packet = (proptest::collection::vec(event, 0..12), 0usize..40);
    let stream = (0u64..1 << 50, proptest::collection::vec(packet, 0..5));
    (types, proptest::collection::vec(stream, 0..4)).prop_map(|(types, streams)| {
        let mut metadata = String::from(PREAMBLE);
        for (id, fields) in types.iter().enumerate() {
            let (wires, personal): (Vec<_>, Vec<_>) = fields.iter().cloned().unzip();
            metadata += &declaration(id as u16 * 7, &format!("e{id}"), &wires, &personal);
        }
        let mut synthesis = Synthesis { metadata, streams: vec![], expected: vec![] };
        for (instance, (begin, packets)) in streams.into_iter().enumerate() {
            let (mut bytes, mut expected, mut time) = (vec![], vec![], begin);
            for (sequence, (events, unused)) in packets.into_iter().enumerate() {
                let mut thread = 100 + instance as u32;
                let mut packet = Packet::new(time, thread).numbered(
                    instance as u64,
                    sequence as u64,
                    expected.len() as u64,
                );
                for (which, later, twist, handover) in events {
                    time += later;
                    if handover {
                        thread += 1000;
                        packet.event(65534, time, &[Wire::U32(thread)]);
                    }
                    let at = which.index(types.len());
                    let fields: Vec<Wire> = types[at].iter().map(|(wire, _)| twisted(wire, twist)).collect();
                    packet.event(at as u16 * 7, time, &fields);
                    expected.push(Expected { ticks: time, thread, id: at as u16 * 7, fields });
                }
                bytes.extend(packet.finish(unused));
            }
            synthesis.streams.push(bytes);
            synthesis.expected.push(expected);
        }
        synthesis
    })
}

fn twisted(wire: &Wire, twist: u8) -> Wire {
    match wire {
        Wire::U8(v) => Wire::U8(v ^ twist),
        Wire::I64(v) => Wire::I64(v ^ i64::from(twist)),
        Wire::Text(v) => Wire::Text(v.repeat(usize::from(twist % 4))),
        Wire::Bytes(v) => Wire::Bytes(v.iter().map(|b| b ^ twist).chain([twist]).collect()),
        same => same.clone(),
    }
}
