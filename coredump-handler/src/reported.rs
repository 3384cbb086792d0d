//! What a program itself said: the recorder's `foretrace:report` events and the annotations in a ring's snapshot.

use foretrace_ring::layout::REPORT_FRAMES;
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
    /// Where the thread was: return addresses, innermost first, at most [`REPORT_FRAMES`]. None where it did not say.
    pub frames: Vec<u64>,
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
            (true, [Value::Unsigned(kind), Value::Text(message), Value::Text(location), rest @ ..]) => {
                Some(Reported {
                    time: event.time,
                    thread: event.thread,
                    kind: *kind,
                    message: message.clone(),
                    location: location.clone(),
                    frames: rest.first().map(addresses).unwrap_or_default(),
                })
            }
            _ => None,
        }
    })
}

fn addresses(value: &Value) -> Vec<u64> {
    let Value::Bytes(bytes) = value else { return Vec::new() };
    bytes.as_chunks().0.iter().take(REPORT_FRAMES).map(|word| u64::from_le_bytes(*word)).collect()
}

/// What the program noted about itself and nobody needs to be asked about, as (key, value).
pub fn public_annotations(trails: &[(String, Snapshot)]) -> Vec<(String, String)> {
    let notes = trails.iter().flat_map(|(_, snapshot)| &snapshot.annotations);
    notes
        .filter(|note| note.privacy == Privacy::Public)
        .map(|note| (note.key.clone(), note.value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_stated_frames_no_more_are_taken_than_a_recorder_writes_and_half_an_address_is_none() {
        let forged = Value::Bytes(vec![1; 8 * (REPORT_FRAMES + 1) + 3]);
        assert_eq!(addresses(&forged), [0x0101_0101_0101_0101; REPORT_FRAMES]);
        assert!(addresses(&Value::Bytes(vec![1; 7])).is_empty());
        assert!(addresses(&Value::Text("0x1".into())).is_empty());
    }
}
