//! What a program itself said: the recorder's `foretrace:report` events and the annotations in a ring's snapshot.

use foretrace_ring::trail::{Privacy, Trail, Value};
use foretrace_ring::{Snapshot, metadata};

/// An error or panic in the program's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The thread, numbered in its own PID namespace.
    pub thread: u32,
    /// The recorder's number for what it was.
    pub kind: u64,
    /// What went wrong.
    pub message: String,
    /// Where in the source, as `file:line:column`.
    pub location: String,
}

impl Reported {
    /// Message and place as one sentence.
    pub fn sentence(&self) -> String {
        match (self.message.is_empty(), self.location.is_empty()) {
            (false, false) => format!("{}, at {}", self.message, self.location),
            (false, true) => self.message.clone(),
            (true, false) => self.location.clone(),
            (true, true) => String::new(),
        }
    }
}

/// The newest report of a snapshot, of one thread where `thread` names it.
pub fn last(snapshot: &Snapshot, thread: Option<u32>) -> Option<Reported> {
    let streams: Vec<(&str, &[u8])> =
        snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let trail = Trail::decode(&snapshot.metadata, &streams);
    trail.events.iter().rev().find_map(|event| {
        let kind = trail.kind_of(event);
        let own = kind.id == metadata::REPORT_ID && kind.provider == metadata::INTERNAL_PROVIDER;
        let fits = own && thread.is_none_or(|thread| thread == event.thread);
        match (fits, event.values.as_slice()) {
            (true, [Value::Unsigned(kind), Value::Text(message), Value::Text(location)]) => Some(Reported {
                time: event.time,
                thread: event.thread,
                kind: *kind,
                message: message.clone(),
                location: location.clone(),
            }),
            _ => None,
        }
    })
}

/// What the program noted about itself and nobody needs to be asked about, as (key, value).
pub fn public_annotations(trails: &[(String, Snapshot)]) -> Vec<(String, String)> {
    let notes = trails.iter().flat_map(|(_, snapshot)| &snapshot.annotations);
    notes
        .filter(|note| note.privacy == Privacy::Public)
        .map(|note| (note.key.clone(), note.value.clone()))
        .collect()
}
