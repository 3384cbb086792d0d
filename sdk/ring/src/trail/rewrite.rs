//! Streams written anew with other values in them, so that what is personal can leave as a pseudonym.
//!
//! What cannot be read is left out, and so is what is no event: padding and the unused end of packets become zeros,
//! because stale bytes of older events may lie there. It never invents or reorders events and never looks at the
//! clock.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::packet::{
    CONTENT_SIZE, EVENT_COUNT, Events, Fault, HEADER, PACKET_SIZE, Packet, Packets, RawEvent,
};
use super::schema::{MetadataError, Schema, Shape};
use super::{EventType, FieldType, Problems, Value};
use crate::metadata::FieldKind;

/// A stream with other values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The new content of the stream file.
    pub bytes: Vec<u8>,
    /// How many values were replaced.
    pub replaced: u64,
    /// What was left out because it could not be read: one sentence each.
    pub problems: Vec<String>,
}

/// Writes a stream file anew. `replace` is asked about every recorded value (not about secrets, which are not there):
/// `None` keeps it, `Some` puts a value of the same kind in its place.
///
/// A text or byte sequence is cut to 65,535 bytes; a value of another kind than the field's is replaced by zeros,
/// because keeping what was meant to go would be worse. Where nothing is replaced the bytes of a healthy stream stay
/// as they are.
///
/// # Errors
/// Metadata that is not that of a trail.
pub fn rewrite(
    metadata: &str,
    stream: &[u8],
    replace: &mut dyn FnMut(&EventType, &FieldType, &Value) -> Option<Value>,
) -> Result<Rewritten, MetadataError> {
    let mut problems = Problems::default();
    let schema = Schema::parse(metadata, &mut problems)?;
    let mut writer = Writer { schema: &schema, out: Vec::with_capacity(stream.len()), replaced: 0, replace };
    let mut newest = 0;
    for (number, packet) in Packets::new(&schema, stream).enumerate() {
        let outcome = packet.and_then(|packet| match packet.begin < newest {
            true => Err(Fault::Backwards),
            false => writer.packet(&packet, &mut newest),
        });
        if let Err(fault) = outcome {
            problems.add(|| format!("packet {}: {fault}", number + 1));
        }
    }
    Ok(Rewritten { bytes: writer.out, replaced: writer.replaced, problems: problems.into_sentences() })
}

struct Writer<'a> {
    schema: &'a Schema,
    out: Vec<u8>,
    replaced: u64,
    replace: &'a mut dyn FnMut(&EventType, &FieldType, &Value) -> Option<Value>,
}

impl Writer<'_> {
    /// Writes what can be read of a packet.
    fn packet(&mut self, packet: &Packet<'_>, newest: &mut u64) -> Result<(), Fault> {
        let start = self.out.len();
        self.out.extend_from_slice(&packet.bytes[..HEADER]);
        let mut outcome = Ok(());
        let mut count = 0u32;
        for event in Events::new(self.schema, packet) {
            match event {
                Ok(event) => {
                    *newest = event.time;
                    count += u32::from(!event.is_thread_change);
                    pad(&mut self.out, start, 8);
                    self.event(&event);
                }
                Err(fault) => {
                    outcome = Err(fault);
                    self.set(start + EVENT_COUNT, &count.to_le_bytes());
                    break;
                }
            }
        }
        let length = self.out.len() - start;
        let Ok(content) = u32::try_from(length * 8) else {
            self.out.truncate(start);
            return Err(Fault::TooMuch);
        };
        let size = if length > packet.bytes.len() { length.next_multiple_of(8) } else { packet.bytes.len() };
        self.out.resize(start + size, 0);
        let size = size as u64 * 8;
        self.set(start + CONTENT_SIZE, &content.to_le_bytes());
        self.set(start + PACKET_SIZE, &size.to_le_bytes());
        outcome
    }

    fn event(&mut self, event: &RawEvent<'_>) {
        self.out.extend_from_slice(event.header());
        let kind = event.kind_in(self.schema);
        for ((shape, bytes), field) in event.fields().zip(&kind.fields) {
            match shape {
                Shape::Secret => self.out.push(0),
                Shape::Plain(lies) => match (self.replace)(kind, field, &shape.value(bytes)) {
                    None => self.out.extend_from_slice(bytes),
                    Some(value) => {
                        self.replaced += 1;
                        encode(&mut self.out, lies, &value, bytes.len());
                    }
                },
            }
        }
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn pad(out: &mut Vec<u8>, start: usize, to: usize) {
    let length = (out.len() - start).next_multiple_of(to);
    out.resize(start + length, 0);
}

fn encode(out: &mut Vec<u8>, kind: FieldKind, value: &Value, width: usize) {
    let word = match (kind, value) {
        (FieldKind::Text, Value::Text(text)) => {
            let mut end = text.len().min(usize::from(u16::MAX));
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            return sequence(out, &text.as_bytes()[..end]);
        }
        (FieldKind::Bytes, Value::Bytes(bytes)) => {
            return sequence(out, &bytes[..bytes.len().min(usize::from(u16::MAX))]);
        }
        (FieldKind::Text | FieldKind::Bytes, _) => return sequence(out, &[]),
        (FieldKind::Bool, Value::Bool(value)) => u64::from(*value),
        (FieldKind::F32, Value::Float(value)) => u64::from((*value as f32).to_bits()),
        (FieldKind::F64, Value::Float(value)) => value.to_bits(),
        (FieldKind::U8 | FieldKind::U16 | FieldKind::U32 | FieldKind::U64, Value::Unsigned(value)) => *value,
        (FieldKind::I8 | FieldKind::I16 | FieldKind::I32 | FieldKind::I64, Value::Signed(value)) => {
            *value as u64
        }
        _ => 0,
    };
    out.extend_from_slice(&word.to_le_bytes()[..width]);
}

fn sequence(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}
