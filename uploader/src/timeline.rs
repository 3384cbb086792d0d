//! The trail of a report, from all of its rings, as one sequence of events; and how an event is written down.
//!
//! Decoding is `foretrace-ring`'s; this file finds the parts in a bundle and owns the text and JSON forms.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};
use std::time::Duration;

use foretrace_report::Report;
use foretrace_report::bundle::{BundleReader, hex};
use foretrace_report::text::escape;
use foretrace_ring::Trail;
use foretrace_ring::trail::{Event, EventType, Level, Value};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::moment;
use crate::output::Paint;

/// The decoded trail of a report.
#[derive(Debug, Default)]
pub struct Timeline {
    sources: Vec<(String, Trail)>,
    // (source, event) in the order of time.
    order: Vec<(usize, usize)>,
    threads: HashMap<u32, String>,
    /// What could not be read: one sentence each.
    pub problems: Vec<String>,
}

/// An event, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    source: &'a str,
    event: &'a Event,
    kind: &'a EventType,
    thread_name: Option<&'a str>,
}

impl Timeline {
    /// Decodes every ring's trail in a bundle.
    pub fn read<R: Read + Seek>(bundle: &mut BundleReader<R>, report: &Report) -> Timeline {
        let mut timeline = Timeline::default();
        let mut sources: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
        for name in bundle.names() {
            let Some((source, file)) = source_and_file(&name) else { continue };
            match bundle.part(&name) {
                Ok(content) => sources.entry(source.to_owned()).or_default().push((file.to_owned(), content)),
                Err(error) => timeline.problems.push(format!("{name}: {error}")),
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
            timeline.problems.extend(trail.problems.iter().map(|problem| format!("{source}: {problem}")));
            timeline.sources.push((source, trail));
        }
        let named = report.threads.iter().filter(|thread| !thread.name.is_empty());
        timeline.threads =
            named.filter_map(|thread| Some((u32::try_from(thread.tid).ok()?, thread.name.clone()))).collect();
        timeline.sort();
        timeline
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

    /// All events, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.order.iter().map(|(source, event)| {
            let (source, trail) = &self.sources[*source];
            let event = &trail.events[*event];
            let thread_name = self.threads.get(&event.thread).map(String::as_str);
            Entry { source, event, kind: trail.kind_of(event), thread_name }
        })
    }

    /// How many events are older than the last `span` before the newest.
    pub fn before_last(&self, span: Duration) -> usize {
        let time = |(source, event): &(usize, usize)| self.sources[*source].1.events[*event].time;
        let newest = self.order.last().map_or(0, time);
        let from = newest.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.order.partition_point(|place| time(place) < from)
    }
}

/// The parts of a `trace/<source>/<file>` name.
pub fn source_and_file(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("trace/")?.split_once('/').filter(|(_, file)| !file.contains('/'))
}

impl Entry<'_> {
    /// One line of text; `previous` is the time of the line before.
    pub fn text(&self, previous: Option<u64>, zone: &TimeZone, paint: Paint) -> String {
        let time = moment::clock(self.event.time, zone);
        let delta = match previous {
            Some(previous) => {
                let nanoseconds = self.event.time.saturating_sub(previous);
                format!("(+{}.{:09})", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
            }
            None => "(+?.?????????)".to_owned(),
        };
        let level = format!("{:<5}", level_name(self.kind.level));
        let level = match self.kind.level {
            Level::Error => paint.red(level),
            Level::Warn => paint.yellow(level),
            Level::Debug | Level::Trace => paint.dim(level),
            _ => level,
        };
        let thread = match self.thread_name {
            Some(name) => format!("{} {}", self.event.thread, escape(name)),
            None => self.event.thread.to_string(),
        };
        let name = paint.bold(format!("{}:{}", escape(&self.kind.provider), escape(&self.kind.name)));
        let fields: Vec<String> = self
            .kind
            .fields
            .iter()
            .zip(&self.event.values)
            .map(|(field, value)| format!("{} = {}", escape(&field.name), value_text(value)))
            .collect();
        let fields = if fields.is_empty() { "{ }".into() } else { format!("{{ {} }}", fields.join(", ")) };
        format!("[{time}] {} {thread} {level} {name}: {fields}", paint.dim(delta))
    }

    /// The event as a JSON object.
    pub fn json(&self) -> serde_json::Value {
        let fields = self.kind.fields.iter().zip(&self.event.values);
        let fields: serde_json::Map<String, serde_json::Value> =
            fields.map(|(field, value)| (field.name.clone(), value_json(value))).collect();
        let mut object = json!({
            "time": moment::rfc3339(self.event.time),
            "source": self.source,
            "thread": self.event.thread,
            "thread_name": self.thread_name,
            "level": level_name(self.kind.level),
            "provider": self.kind.provider,
            "event": self.kind.name,
            "fields": fields,
        });
        if let Some((file, line)) = &self.kind.location {
            object["file"] = json!(file);
            object["line"] = json!(line);
        }
        object
    }

    /// When it was recorded, in nanoseconds since 1970.
    pub fn time(&self) -> u64 {
        self.event.time
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => format!("\"{}\"", escape(&text.replace('\\', "\\\\").replace('"', "\\\""))),
        Value::Bytes(bytes) => hex(bytes),
        Value::Withheld => "(not recorded)".to_owned(),
    }
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Unsigned(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(hex(bytes)),
        Value::Withheld => serde_json::Value::Null,
    }
}
