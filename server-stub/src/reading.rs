//! From a stored bundle to what a page shows. The bundle is a stranger's: nothing in it is believed.
//!
//! Owns the limits under which bundles are opened, how the trail is put together from its parts, and the few
//! readings that are kept in memory. What cannot be read becomes a problem beside what can.

use std::collections::VecDeque;
use std::io::{Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};

use foretrace_report::Report;
use foretrace_report::bundle::{BundleError, BundleReader, ERASURE, Limits};
use foretrace_report::schema::Problem;
use foretrace_ring::Trail;
use foretrace_ring::trail::{Event, Value};

use crate::store::{Record, Store, StoreError};

/// The largest `report.json`.
const MAX_REPORT: u64 = 16 << 20;
/// The most CTF of one report, over all its rings; four times the recorder's usual pool.
const MAX_TRAIL: u64 = 16 << 20;
/// Readings kept in memory.
const KEPT: usize = 4;
/// Bytes that they may hold together, roughly.
const KEPT_BYTES: usize = 256 << 20;

/// Everything a page shows of one report.
pub struct Reading {
    /// What is stored about it.
    pub record: Record,
    /// Its `report.json`; none where it could not be read.
    pub report: Option<Report>,
    /// The events of all its rings, oldest first.
    pub trail: Trail,
    /// How many rings the bundle holds.
    pub rings: usize,
    /// What its sender said of it after it was sent: when, in milliseconds since 1970, and the words.
    pub comments: Vec<(i64, String)>,
    /// What is wrong with the report: its own problems, then those met on reading it.
    pub problems: Vec<Problem>,
    // Bytes of the trail in memory, roughly.
    weight: usize,
}

/// The `report.json` of a bundle.
///
/// # Errors
/// A container or a report that cannot be read.
pub fn report_in(bundle: impl Read + Seek) -> Result<Report, BundleError> {
    BundleReader::open(bundle, Limits { entry_bytes: MAX_REPORT, ..Limits::default() })?.report()
}

/// The digest of the token that erases a report, where its bundle holds one.
pub fn erasure_in(bundle: impl Read + Seek) -> Option<String> {
    let limits = Limits { entry_bytes: 64, ..Limits::default() };
    let text = BundleReader::open(bundle, limits).ok()?.part(ERASURE).ok()?;
    let text = String::from_utf8(text).ok()?;
    is_digest(&text).then_some(text)
}

/// Whether a text is a sha256 in hex.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Readings kept for whoever turns a page.
#[derive(Default)]
pub struct Readings {
    kept: Mutex<VecDeque<Arc<Reading>>>,
    // One at a time: a small bundle can unpack to much.
    reading: Mutex<()>,
}

impl Readings {
    /// The reading of a stored report; none where there is no such report. Blocks.
    ///
    /// # Errors
    /// A store that could not be read.
    pub fn read(&self, store: &Store, id: &str) -> Result<Option<Arc<Reading>>, StoreError> {
        if let Some(reading) = self.find(id) {
            return Ok(Some(reading));
        }
        let Some(record) = store.reports.report(id)? else { return Ok(None) };
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = self.find(id) {
            return Ok(Some(reading));
        }
        let reading = Arc::new(read(store, record)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front(reading.clone());
        kept.truncate(KEPT);
        while kept.iter().map(|reading| reading.weight).sum::<usize>() > KEPT_BYTES {
            kept.pop_back();
        }
        Ok(Some(reading))
    }

    /// Drops a report that was erased.
    pub fn forget(&self, id: &str) {
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|reading| reading.record.id != id);
    }

    fn find(&self, id: &str) -> Option<Arc<Reading>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|reading| reading.record.id == id).cloned()
    }
}

fn read(store: &Store, record: Record) -> Result<Reading, StoreError> {
    let notes: Vec<String> = serde_json::from_str(&record.notes).unwrap_or_default();
    let mut reading = Reading {
        problems: notes.into_iter().map(|note| Problem::new("submission", note)).collect(),
        report: None,
        trail: Trail::default(),
        rings: 0,
        weight: 0,
        comments: store.reports.comments(&record.id)?,
        record,
    };
    if let Some(blob) = &reading.record.bundle {
        let file = store.blobs.read(blob)?;
        if let Ok(report) = report_in(&file) {
            reading.problems.splice(0..0, report.problems.iter().cloned());
            reading.report = Some(report);
            reading.trail = trail_in(&file, &mut reading.problems, &mut reading.rings);
            reading.weight = weight(&reading.trail);
        }
    }
    Ok(reading)
}

fn trail_in(bundle: impl Read + Seek, problems: &mut Vec<Problem>, count: &mut usize) -> Trail {
    let mut whole = Trail::default();
    match rings(bundle, problems) {
        Ok(rings) => {
            *count = rings.len();
            for ring in rings {
                let streams: Vec<(&str, &[u8])> =
                    ring.streams.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
                let metadata = String::from_utf8_lossy(&ring.metadata);
                join(&mut whole, Trail::decode(&metadata, &streams));
            }
        }
        Err(error) => problems.push(Problem::new("trail", format!("The trail cannot be read: {error}."))),
    }
    problems.extend(whole.problems.drain(..).map(|what| Problem::new("trail", what)));
    whole
}

struct Ring {
    source: String,
    metadata: Vec<u8>,
    streams: Vec<(String, Vec<u8>)>,
}

fn rings(bundle: impl Read + Seek, problems: &mut Vec<Problem>) -> Result<Vec<Ring>, BundleError> {
    let mut reader = BundleReader::open(bundle, Limits { entry_bytes: MAX_TRAIL, ..Limits::default() })?;
    let mut rings: Vec<Ring> = Vec::new();
    let mut room = MAX_TRAIL;
    for name in reader.names() {
        let Some((source, file)) = name.strip_prefix("trace/").and_then(|rest| rest.rsplit_once('/')) else {
            continue;
        };
        let content = match reader.part(&name) {
            Ok(content) if content.len() as u64 <= room => content,
            Ok(_) | Err(BundleError::TooLarge { .. }) => {
                let limit = MAX_TRAIL >> 20;
                let what = format!("The trail is larger than {limit} MiB; '{name}' is not shown.");
                problems.push(Problem::new("trail", what));
                continue;
            }
            Err(error) => {
                problems.push(Problem::new("trail", format!("'{name}' cannot be read: {error}.")));
                continue;
            }
        };
        room -= content.len() as u64;
        let at = rings.iter().position(|ring| ring.source == source).unwrap_or_else(|| {
            rings.push(Ring { source: source.to_owned(), metadata: Vec::new(), streams: Vec::new() });
            rings.len() - 1
        });
        if file == "metadata" {
            rings[at].metadata = content;
        } else {
            rings[at].streams.push((file.to_owned(), content));
        }
    }
    Ok(rings)
}

fn join(whole: &mut Trail, mut ring: Trail) {
    let shift = whole.types.len();
    ring.events.iter_mut().for_each(|event| event.kind += shift);
    whole.types.append(&mut ring.types);
    whole.events.append(&mut ring.events);
    whole.problems.append(&mut ring.problems);
    if shift > 0 {
        // Stable: events of one stream stay in the order of recording.
        whole.events.sort_by_key(|event| event.time);
    }
}

fn weight(trail: &Trail) -> usize {
    let held = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let of = |event: &Event| {
        size_of::<Event>() + event.values.iter().map(|value| size_of::<Value>() + held(value)).sum::<usize>()
    };
    trail.events.iter().map(of).sum()
}
