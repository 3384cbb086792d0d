//! The trail of a report, from all of its rings, as one sequence of events; and how an event is written down.
//!
//! Decoding and order are `foretrace-report`'s; this file owns the text and JSON forms.

use std::collections::HashMap;
use std::io::{Read, Seek};
use std::time::Duration;

use foretrace_report::Report;
use foretrace_report::bundle::{BundleReader, hex};
use foretrace_report::text::escape;
use foretrace_report::trail::{self, Trails, level_name};
use foretrace_ring::trail::{Level, Value};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::moment;
use crate::output::Paint;

/// A line of text shows no more of a value of bytes; JSON has all of it.
const SHOWN_BYTES: usize = 64;

/// The decoded trail of a report.
#[derive(Debug, Default)]
pub struct Timeline {
    trails: Trails,
    threads: HashMap<u32, String>,
    /// What could not be read: one sentence each.
    pub problems: Vec<String>,
}

/// An event, and which thread recorded it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    entry: trail::Entry<'a>,
    thread_name: Option<&'a str>,
}

impl Timeline {
    /// Decodes every ring's trail in a bundle.
    pub fn read<R: Read + Seek>(bundle: &mut BundleReader<R>, report: &Report) -> Timeline {
        let mut trails = Trails::read(bundle);
        let named = report.threads.iter().filter(|thread| !thread.name.is_empty());
        let threads = named.filter_map(|thread| Some((thread.trail_tid()?, thread.name.clone()))).collect();
        let problems = std::mem::take(&mut trails.problems);
        Timeline { trails, threads, problems }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.trails.len()
    }

    /// All events, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.trails.entries().map(|entry| {
            let thread_name = self.threads.get(&entry.event.thread).map(String::as_str);
            Entry { entry, thread_name }
        })
    }

    /// How many events are older than the last `span` before the newest.
    pub fn before_last(&self, span: Duration) -> usize {
        let newest = self.trails.entries().next_back().map_or(0, |entry| entry.event.time);
        self.trails.before(newest.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Entry<'_> {
    /// One line of text; `previous` is the time of the line before.
    pub fn text(&self, previous: Option<u64>, zone: &TimeZone, paint: Paint) -> String {
        let time = moment::clock(self.entry.event.time, zone);
        let delta = match previous {
            Some(previous) => {
                let nanoseconds = self.entry.event.time.saturating_sub(previous);
                format!("(+{}.{:09})", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
            }
            None => "(+?.?????????)".to_owned(),
        };
        let level = format!("{:<5}", level_name(self.entry.kind.level));
        let level = match self.entry.kind.level {
            Level::Error => paint.red(level),
            Level::Warn => paint.yellow(level),
            Level::Debug | Level::Trace => paint.dim(level),
            _ => level,
        };
        let thread = match self.thread_name {
            Some(name) => format!("{} {}", self.entry.event.thread, escape(name)),
            None => self.entry.event.thread.to_string(),
        };
        let name =
            paint.bold(format!("{}:{}", escape(&self.entry.kind.provider), escape(&self.entry.kind.name)));
        let fields: Vec<String> = self
            .entry
            .kind
            .fields
            .iter()
            .zip(&self.entry.event.values)
            .map(|(field, value)| format!("{} = {}", escape(&field.name), value_text(value)))
            .collect();
        let fields = if fields.is_empty() { "{ }".into() } else { format!("{{ {} }}", fields.join(", ")) };
        format!("[{time}] {} {thread} {level} {name}: {fields}", paint.dim(delta))
    }

    /// The event as a JSON object.
    pub fn json(&self) -> serde_json::Value {
        let mut object = json!({
            "time": moment::rfc3339(self.entry.event.time),
            "source": self.entry.source,
            "thread": self.entry.event.thread,
            "thread_name": self.thread_name,
            "level": level_name(self.entry.kind.level),
            "provider": self.entry.kind.provider,
            "event": self.entry.kind.name,
            "fields": self.entry.fields(),
        });
        if let Some((file, line)) = &self.entry.kind.location {
            object["file"] = json!(file);
            object["line"] = json!(line);
        }
        object
    }

    /// When it was recorded, in nanoseconds since 1970.
    pub fn time(&self) -> u64 {
        self.entry.event.time
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => format!("\"{}\"", escape(&text.replace('\\', "\\\\").replace('"', "\\\""))),
        Value::Bytes(bytes) if bytes.len() > SHOWN_BYTES => format!("{}…", hex(&bytes[..SHOWN_BYTES])),
        Value::Bytes(bytes) => hex(bytes),
        Value::Withheld => "(not recorded)".to_owned(),
    }
}
