//! The trail: exported CTF decoded into events, and rewritten for redaction.
//!
//! Input is hostile (it may come from the network); decoding never panics and returns what it could read together
//! with problems.

use alloc::string::String;
use alloc::vec::Vec;

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
    /// Decodes exported metadata and stream files (name, content).
    pub fn decode(_metadata: &str, _streams: &[(&str, &[u8])]) -> Trail {
        Trail::default()
    }

    /// The type of an event.
    pub fn kind_of(&self, event: &Event) -> &EventType {
        &self.types[event.kind]
    }
}
