//! The trail: exported CTF decoded into events, and rewritten for redaction.
//!
//! Input is hostile (it may come from the network); decoding never panics, takes one pass over the bytes and memory
//! in proportion to them, and returns what it could read together with problems. It never reads a ring: that is
//! [`crate::reader`].

mod packet;
mod rewrite;
mod schema;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use packet::{Events, Fault, Packets};
use schema::Schema;

pub use rewrite::{Rewritten, rewrite};
pub use schema::MetadataError;

/// Whose business a field is. Encoded in the metadata by the name of the field's type alias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privacy {
    /// Leaves as it is.
    #[default]
    Public,
    /// Leaves as a pseudonym.
    Personal,
    /// Never recorded: the field is declared, its value is not there.
    Secret,
}

/// How important an event is; the numbers are CTF's (and LTTng's) log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// 3
    Error = 3,
    /// 4
    Warn = 4,
    /// 6
    Info = 6,
    /// 14
    Debug = 14,
    /// 15: finer than debug.
    Trace = 15,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Unsigned, up to 64 bits.
    Unsigned(u64),
    /// Signed, up to 64 bits.
    Signed(i64),
    /// Floating point.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text; invalid UTF-8 was replaced.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A secret: not recorded.
    Withheld,
}

/// A declared field of an event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldType {
    /// Its name.
    pub name: String,
    /// Whose business it is.
    pub privacy: Privacy,
}

/// A declared event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The number in event headers.
    pub id: u16,
    /// Who records it: a Rust module path, or what C code calls itself. `foretrace` for the recorder's own.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// How important it is.
    pub level: Level,
    /// The source file and line of the call site, where it is known.
    pub location: Option<(String, u32)>,
    /// Its fields, in order.
    pub fields: Vec<FieldType>,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Nanoseconds since 1970 (UTC).
    pub time: u64,
    /// The recording thread's ID, in its own PID namespace.
    pub thread: u32,
    /// The index of its type in [`Trail::types`].
    pub kind: usize,
    /// One value for each field of its type.
    pub values: Vec<Value>,
}

/// A decoded trail.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Event types, by index.
    pub types: Vec<EventType>,
    /// Events of all streams, oldest first; within a stream in the order of recording.
    pub events: Vec<Event>,
    /// What could not be decoded: one sentence each.
    pub problems: Vec<String>,
}

impl Trail {
    /// What the events of [`Trail::decode`] may take, in bytes: enough for a ring of 64 MiB.
    pub const USUAL_MEMORY: usize = 512 << 20;

    /// Decodes exported metadata and stream files (name, content), within [`Trail::USUAL_MEMORY`].
    pub fn decode(metadata: &str, streams: &[(&str, &[u8])]) -> Trail {
        Trail::decode_within(Trail::USUAL_MEMORY, metadata, streams)
    }

    /// Decodes until the events take about `memory` bytes; that the rest is missing is a problem. A hostile trail can
    /// hold events that take thirty times their size.
    pub fn decode_within(memory: usize, metadata: &str, streams: &[(&str, &[u8])]) -> Trail {
        let mut problems = Problems::default();
        let schema = match Schema::parse(metadata, &mut problems) {
            Ok(schema) => schema,
            Err(error) => {
                problems.add(|| format!("{error}; no event was decoded"));
                return Trail { problems: problems.into_sentences(), ..Trail::default() };
            }
        };
        let mut decoder = Decoder { schema: &schema, events: Vec::new(), memory, problems };
        for (name, bytes) in streams {
            decoder.stream(name, bytes);
        }
        let Decoder { mut events, problems, .. } = decoder;
        events.sort_by_key(|event| event.time);
        Trail { types: schema.types, events, problems: problems.into_sentences() }
    }

    /// The type of an event.
    pub fn kind_of(&self, event: &Event) -> &EventType {
        &self.types[event.kind]
    }
}

impl Level {
    /// The level with this number.
    pub fn from_number(number: u8) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]
            .into_iter()
            .find(|level| *level as u8 == number)
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    events: Vec<Event>,
    /// What is left of it.
    memory: usize,
    problems: Problems,
}

impl Decoder<'_> {
    fn stream(&mut self, name: &str, bytes: &[u8]) {
        let mut newest = 0;
        for (number, packet) in Packets::new(self.schema, bytes).enumerate() {
            let outcome = packet.and_then(|packet| {
                if packet.begin < newest {
                    return Err(Fault::Backwards);
                }
                for event in Events::new(self.schema, &packet) {
                    let event = event?;
                    newest = event.time;
                    if !event.is_thread_change {
                        self.keep(&event)?;
                    }
                }
                Ok(())
            });
            if let Err(fault) = outcome {
                self.problems.add(|| format!("{name}, packet {}: {fault}", number + 1));
                if fault == Fault::TooMuch {
                    return;
                }
            }
        }
    }

    fn keep(&mut self, raw: &packet::RawEvent<'_>) -> Result<(), Fault> {
        let fields = raw.kind_in(self.schema).fields.len();
        let needed = size_of::<Event>() + fields * size_of::<Value>() + raw.bytes.len();
        self.memory = self.memory.checked_sub(needed).ok_or(Fault::TooMuch)?;
        let mut values = Vec::with_capacity(fields);
        values.extend(raw.fields().map(|(shape, field)| shape.value(field)));
        let time = self.schema.nanoseconds(raw.time);
        self.events.push(Event { time, thread: raw.thread, kind: raw.kind, values });
        Ok(())
    }
}

/// Sentences about what went wrong. A hostile trail can be wrong in more places than anybody wants to read.
#[derive(Default)]
struct Problems {
    sentences: Vec<String>,
    unsaid: usize,
}

impl Problems {
    const MAX: usize = 100;

    fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.sentences.len() < Problems::MAX {
            self.sentences.push(sentence());
        } else {
            self.unsaid += 1;
        }
    }

    fn into_sentences(mut self) -> Vec<String> {
        if self.unsaid > 0 {
            self.sentences.push(format!("and {} more problems like these", self.unsaid));
        }
        self.sentences
    }
}
