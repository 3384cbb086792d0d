//! The trail of a report as one sequence of events, from all rings in its bundle; and an event's values in JSON.
//!
//! Decoding is `foretrace-ring`'s; this file finds the parts and puts their events in order. What cannot be read is a
//! sentence beside what can.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use foretrace_ring::Trail;
use foretrace_ring::trail::{Event, EventType, Level, Value};
use serde_json::{Value as Json, json};

use crate::bundle::{BundleReader, hex};

/// The trails of all rings in a bundle.
#[derive(Debug, Default)]
pub struct Trails {
    sources: Vec<(String, Trail)>,
    // (source, event) in the order of time.
    order: Vec<(usize, usize)>,
    /// What could not be read: one sentence each.
    pub problems: Vec<String>,
}

/// An event, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The ring, by its folder's name.
    pub source: &'a str,
    /// What was recorded.
    pub event: &'a Event,
    /// Its type.
    pub kind: &'a EventType,
}

impl Trails {
    /// Decodes every ring's trail in a bundle.
    pub fn read<R: Read + Seek>(bundle: &mut BundleReader<R>) -> Trails {
        let mut trails = Trails::default();
        let mut sources: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
        for name in bundle.names() {
            let Some((source, file)) = source_and_file(&name) else { continue };
            match bundle.part(&name) {
                Ok(content) => sources.entry(source.to_owned()).or_default().push((file.to_owned(), content)),
                Err(error) => trails.problems.push(format!("{name}: {error}")),
            }
        }
        for (source, files) in sources {
            let metadata = files.iter().find(|(file, _)| file == "metadata");
            let metadata = metadata.map(|(_, content)| String::from_utf8_lossy(content)).unwrap_or_default();
            let streams: Vec<(&str, &[u8])> = files
                .iter()
                .filter(|(file, _)| file.ends_with(".ctf"))
                .map(|(file, content)| (file.as_str(), content.as_slice()))
                .collect();
            let trail = Trail::decode(&metadata, &streams);
            trails.problems.extend(trail.problems.iter().map(|problem| format!("{source}: {problem}")));
            trails.sources.push((source, trail));
        }
        trails.sort();
        trails
    }

    fn sort(&mut self) {
        let all = self.sources.iter().enumerate();
        self.order = all.flat_map(|(s, (_, trail))| (0..trail.events.len()).map(move |e| (s, e))).collect();
        let sources = &self.sources;
        self.order.sort_by_key(|(s, e)| sources[*s].1.events[*e].time);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All events, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        self.order.iter().map(|(source, event)| {
            let (source, trail) = &self.sources[*source];
            let event = &trail.events[*event];
            Entry { source, event, kind: trail.kind_of(event) }
        })
    }

    /// How many events are older than `time`, in nanoseconds since 1970.
    pub fn before(&self, time: u64) -> usize {
        self.order.partition_point(|(source, event)| self.sources[*source].1.events[*event].time < time)
    }
}

impl Entry<'_> {
    /// The event's fields as a JSON object.
    pub fn fields(&self) -> serde_json::Map<String, Json> {
        let fields = self.kind.fields.iter().zip(&self.event.values);
        fields.map(|(field, value)| (field.name.clone(), value_json(value))).collect()
    }
}

/// The parts of a `trace/<source>/<file>` name.
pub fn source_and_file(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("trace/")?.split_once('/').filter(|(_, file)| !file.contains('/'))
}

/// The word for a level.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Unsigned(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(hex(bytes)),
        Value::Withheld => Json::Null,
    }
}
