//! Packets and events in the bytes of a stream: what lies where, with every length checked against what is there.
//!
//! Shared by decoding and rewriting, which differ in what they do with a field only. It builds no value lists and
//! knows no wall-clock time.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::schema::{Schema, Shape};
use super::{EventType, Value};
use crate::metadata::{FieldKind, THREAD_ID};

/// Bytes of a packet before its first event.
pub(super) const HEADER: usize = 96;
/// Where the bits of content are counted (u32).
pub(super) const CONTENT_SIZE: usize = 48;
/// Where the application's events are counted (u32).
pub(super) const EVENT_COUNT: usize = 52;
/// Where the bits of the packet are counted (u64).
pub(super) const PACKET_SIZE: usize = 56;

const MAGIC: u32 = 0xC1FC_1FC1;
const UUID: usize = 4;
const STREAM_ID: usize = 20;
const TIMESTAMP_BEGIN: usize = 32;
const THREAD: usize = 92;
const EVENT_HEADER: usize = 8;
const TIME_BITS: u64 = (1 << 48) - 1;

/// Why a packet, or the rest of it, could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Cut,
    Magic,
    PacketSize,
    Foreign,
    ContentSize,
    Backwards,
    UnknownType(u16),
    CutEvent(u16),
    TooMuch,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Cut => f.write_str("the file ends within it; it was skipped"),
            Fault::Magic => f.write_str("what stands there is no packet; the rest of the file was skipped"),
            Fault::PacketSize => f.write_str("its size is impossible; the rest of the file was skipped"),
            Fault::Foreign => f.write_str("it belongs to another trace; it was skipped"),
            Fault::ContentSize => f.write_str("the size of its content is impossible; it was skipped"),
            Fault::Backwards => f.write_str("time goes backwards; the rest of it was skipped"),
            Fault::UnknownType(id) => {
                write!(f, "event type {id} is not declared; the rest of it was skipped")
            }
            Fault::CutEvent(id) => {
                write!(f, "an event of type {id} is longer than what is there; the rest of it was skipped")
            }
            Fault::TooMuch => {
                f.write_str("the trail holds more than is decoded at once; the rest was skipped")
            }
        }
    }
}

/// The packets of a stream, one after the other.
pub(super) struct Packets<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    pub fn new(schema: &'a Schema, stream: &'a [u8]) -> Packets<'a> {
        Packets { schema, rest: stream }
    }
}

/// A packet whose header holds.
pub(super) struct Packet<'a> {
    /// All of it, also what lies behind its content.
    pub bytes: &'a [u8],
    /// Header and events.
    pub content: &'a [u8],
    pub begin: u64,
    pub thread: u32,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        // Where a packet ends is known only if magic and size are good; else there is nothing to go on with.
        let rest = core::mem::take(&mut self.rest);
        if rest.len() < HEADER {
            return Some(Err(Fault::Cut));
        }
        if u32_at(rest, 0) != Some(MAGIC) {
            return Some(Err(Fault::Magic));
        }
        let Some(size) = bytes_of(u64_at(rest, PACKET_SIZE)).filter(|size| *size >= HEADER) else {
            return Some(Err(Fault::PacketSize));
        };
        let Some((bytes, rest)) = rest.split_at_checked(size) else {
            return Some(Err(Fault::Cut));
        };
        self.rest = rest;
        Some(self.open(bytes))
    }
}

impl<'a> Packets<'a> {
    fn open(&self, bytes: &'a [u8]) -> Result<Packet<'a>, Fault> {
        if bytes.get(UUID..UUID + 16) != Some(&self.schema.uuid) || u32_at(bytes, STREAM_ID) != Some(0) {
            return Err(Fault::Foreign);
        }
        let content = bytes_of(u32_at(bytes, CONTENT_SIZE).map(u64::from))
            .filter(|size| *size >= HEADER)
            .and_then(|size| bytes.get(..size))
            .ok_or(Fault::ContentSize)?;
        let begin = u64_at(bytes, TIMESTAMP_BEGIN).ok_or(Fault::Cut)?;
        let thread = u32_at(bytes, THREAD).ok_or(Fault::Cut)?;
        Ok(Packet { bytes, content, begin, thread })
    }
}

/// The events of a packet. Ends after the first fault.
pub(super) struct Events<'a> {
    schema: &'a Schema,
    content: &'a [u8],
    at: usize,
    time: u64,
    thread: u32,
}

/// An event whose lengths hold.
pub(super) struct RawEvent<'a> {
    /// Index of its type.
    pub kind: usize,
    /// Ticks.
    pub time: u64,
    pub thread: u32,
    /// Its header and its fields.
    pub bytes: &'a [u8],
    /// The recorder's note of who records, not an event of the application.
    pub is_thread_change: bool,
    shapes: &'a [Shape],
}

impl<'a> Events<'a> {
    pub fn new(schema: &'a Schema, packet: &Packet<'a>) -> Events<'a> {
        Events { schema, content: packet.content, at: HEADER, time: packet.begin, thread: packet.thread }
    }

    fn read(&mut self) -> Option<Result<RawEvent<'a>, Fault>> {
        let start = self.at.next_multiple_of(EVENT_HEADER);
        let rest = self.content.get(start..).filter(|rest| !rest.is_empty())?;
        Some(self.read_at(start, rest))
    }

    fn read_at(&mut self, start: usize, rest: &'a [u8]) -> Result<RawEvent<'a>, Fault> {
        let header = u64_at(rest, 0).ok_or(Fault::ContentSize)?;
        let (id, low) = (header as u16, header >> 16);
        // Only the low bits are stored: an event is less than half their range behind the one before it.
        let ahead = low.wrapping_sub(self.time) & TIME_BITS;
        if ahead > TIME_BITS / 2 {
            return Err(Fault::Backwards);
        }
        let time = self.time.checked_add(ahead).ok_or(Fault::Backwards)?;
        let kind = self.schema.index_of(id).ok_or(Fault::UnknownType(id))?;
        let shapes = &self.schema.shapes[kind];
        let mut length = EVENT_HEADER;
        for shape in shapes {
            let field = rest.get(length..).and_then(|rest| shape.take(rest)).ok_or(Fault::CutEvent(id))?;
            length += field.len();
        }
        let bytes = &rest[..length];
        let is_thread_change = id == THREAD_ID;
        if is_thread_change {
            self.thread = u32_at(bytes, EVENT_HEADER).ok_or(Fault::CutEvent(id))?;
        }
        (self.at, self.time) = (start + length, time);
        Ok(RawEvent { kind, time, thread: self.thread, bytes, is_thread_change, shapes })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<RawEvent<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = self.read();
        if let Some(Err(_)) = event {
            self.content = &[];
        }
        event
    }
}

impl<'a> RawEvent<'a> {
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..EVENT_HEADER]
    }

    /// The fields in order: how each lies there, and all its bytes.
    pub fn fields(&self) -> impl Iterator<Item = (Shape, &'a [u8])> {
        let mut rest = &self.bytes[EVENT_HEADER..];
        self.shapes.iter().map_while(move |shape| {
            let field = shape.take(rest)?;
            rest = &rest[field.len()..];
            Some((*shape, field))
        })
    }

    pub fn kind_in<'s>(&self, schema: &'s Schema) -> &'s EventType {
        &schema.types[self.kind]
    }
}

impl Shape {
    /// The bytes of a field of this shape at the start of `rest`.
    fn take<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let length = match self {
            Shape::Secret => 1,
            Shape::Plain(kind) => match kind {
                FieldKind::U8 | FieldKind::I8 | FieldKind::Bool => 1,
                FieldKind::U16 | FieldKind::I16 => 2,
                FieldKind::U32 | FieldKind::I32 | FieldKind::F32 => 4,
                FieldKind::U64 | FieldKind::I64 | FieldKind::F64 => 8,
                FieldKind::Text | FieldKind::Bytes => 2 + usize::from(u16_at(rest, 0)?),
            },
        };
        rest.get(..length)
    }

    /// What a field's bytes (as [`Shape::take`] gave them) say.
    pub fn value(&self, field: &[u8]) -> Value {
        let Shape::Plain(kind) = self else { return Value::Withheld };
        if kind.is_sequence() {
            let inside = field.get(2..).unwrap_or_default();
            return match kind {
                FieldKind::Text => Value::Text(String::from_utf8_lossy(inside).into_owned()),
                _ => Value::Bytes(Vec::from(inside)),
            };
        }
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(field) {
            *to = *from;
        }
        let word = u64::from_le_bytes(word);
        match kind {
            FieldKind::I8 => Value::Signed(i64::from(word as i8)),
            FieldKind::I16 => Value::Signed(i64::from(word as i16)),
            FieldKind::I32 => Value::Signed(i64::from(word as i32)),
            FieldKind::I64 => Value::Signed(word as i64),
            FieldKind::F32 => Value::Float(f64::from(f32::from_bits(word as u32))),
            FieldKind::F64 => Value::Float(f64::from_bits(word)),
            FieldKind::Bool => Value::Bool(word != 0),
            _ => Value::Unsigned(word),
        }
    }
}

fn bytes_of(bits: Option<u64>) -> Option<usize> {
    let bits = bits?;
    if bits % 8 == 0 { usize::try_from(bits / 8).ok() } else { None }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_le_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}
