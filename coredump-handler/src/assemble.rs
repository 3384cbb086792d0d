//! From what was collected about a process to `report.json` and the bundle that holds it.
//!
//! Used by the handler's worker and by `foretrace-capture` alike. Pure: no clock, no file, no socket; the sink is
//! the caller's. A part that does not fit the bundle's layout becomes a problem; only a sink that cannot be written
//! is an error.

use std::io::{Seek, Write};

use foretrace_report::ReportId;
use foretrace_report::bundle::{BundleError, BundleWriter, MINIDUMP};
use foretrace_report::schema::{
    Annotation, Kind, Losses, Privacy, Problem, Program, Recorder, Report, SCHEMA, Signal, Surroundings,
    System, Thread,
};
use foretrace_ring::Snapshot;

/// Everything that was had about one process at one moment.
pub struct Collected {
    /// The report's name.
    pub id: ReportId,
    /// What happened.
    pub kind: Kind,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// To which program.
    pub program: Program,
    /// The signal that ended it, where there was one.
    pub signal: Option<Signal>,
    /// What the program itself said.
    pub message: Option<String>,
    /// The machine's operating system.
    pub system: System,
    /// What surrounded the program.
    pub surroundings: Surroundings,
    /// All threads with their frames; the crashed one first.
    pub threads: Vec<Thread>,
    /// The crash's group.
    pub signature: String,
    /// The minidump, where one could be made.
    pub minidump: Option<Vec<u8>>,
    /// Each ring that was believed, under the name of its source (such as `ring-1234`).
    pub trails: Vec<(String, Snapshot)>,
    /// Further parts by their full name in the bundle (`process/status`, `system/os-release`, `logs/kmsg`), each of
    /// them already reduced to what may be kept.
    pub parts: Vec<(String, Vec<u8>)>,
    /// What could not be had.
    pub problems: Vec<Problem>,
    /// Whether more is to come: the bundle is then made fast rather than small, because another one replaces it.
    pub unfinished: bool,
}

impl Collected {
    /// A collection that holds nothing yet but names, so that a report can always be made of it.
    pub fn new(id: ReportId, kind: Kind, time: String, program: Program) -> Collected {
        Collected {
            id,
            kind,
            time,
            program,
            signal: None,
            message: None,
            system: System::default(),
            surroundings: Surroundings::default(),
            threads: Vec::new(),
            signature: String::new(),
            minidump: None,
            trails: Vec::new(),
            parts: Vec::new(),
            problems: Vec::new(),
            unfinished: false,
        }
    }

    /// Adds what could not be had of `part`.
    pub fn problem(&mut self, part: &str, what: impl Into<String>) {
        self.problems.push(Problem::new(part, what));
    }
}

/// Writes the bundle of `collected` into `sink` and returns the sink and the report as it was written. The threads are taken for
/// that, which may be thousands; all else stays.
///
/// # Errors
/// A sink that cannot be written; nothing about what was collected is an error.
pub fn assemble<W: Write + Seek>(collected: &mut Collected, sink: W) -> Result<(W, Report), BundleError> {
    let bundle = BundleWriter::new(sink);
    let mut bundle = if collected.unfinished { bundle.hasty() } else { bundle };
    let mut problems = collected.problems.clone();
    let mut losses = Losses::default();
    let mut recorder = Recorder::default();
    let mut annotations = Vec::new();

    if let Some(minidump) = &collected.minidump {
        add(&mut bundle, MINIDUMP, minidump, &mut problems)?;
    }
    for (source, snapshot) in &collected.trails {
        losses.recorded = losses.recorded.saturating_add(snapshot.recorded);
        losses.overwritten = losses.overwritten.saturating_add(snapshot.overwritten);
        losses.discarded = losses.discarded.saturating_add(snapshot.discarded);
        add_cost(&mut recorder, snapshot);
        annotations.extend(snapshot.annotations.iter().map(annotation));
        problems.extend(snapshot.problems.iter().map(|what| Problem::new("trail", what.clone())));
        add(&mut bundle, &format!("trace/{source}/metadata"), snapshot.metadata.as_bytes(), &mut problems)?;
        for (stream, content) in &snapshot.streams {
            add(&mut bundle, &format!("trace/{source}/{stream}"), content, &mut problems)?;
        }
    }
    for (name, content) in &collected.parts {
        add(&mut bundle, name, content, &mut problems)?;
    }

    bundle.finish(Report {
        schema: SCHEMA,
        id: collected.id,
        kind: collected.kind,
        time: collected.time.clone(),
        program: collected.program.clone(),
        signal: collected.signal.clone(),
        comment: None,
        message: collected.message.clone(),
        system: collected.system.clone(),
        surroundings: Some(collected.surroundings.clone()).filter(|known| *known != Surroundings::default()),
        threads: std::mem::take(&mut collected.threads),
        signature: collected.signature.clone(),
        annotations,
        losses,
        recorder: (!collected.trails.is_empty()).then_some(recorder),
        parts: Vec::new(),
        problems,
    })
}

// What recording cost the program: the bytes of what is left stand for those of all events, and an event takes as long as
// reading the clock and a fifth more, which is what the benchmark measures for one with a number.
fn add_cost(recorder: &mut Recorder, snapshot: &Snapshot) {
    let recorded = u128::from(snapshot.recorded);
    let kept = recorded.saturating_sub(snapshot.overwritten.into()).max(1);
    let bytes: usize = snapshot.streams.iter().map(|(_, content)| content.len()).sum();
    let bytes = u64::try_from(bytes as u128 * recorded / kept).unwrap_or(u64::MAX);
    let time = u64::try_from(recorded * u128::from(snapshot.clock_cost) * 6 / 5 / 1000).unwrap_or(u64::MAX);
    recorder.events = recorder.events.saturating_add(snapshot.recorded);
    recorder.bytes = recorder.bytes.saturating_add(bytes);
    recorder.nanoseconds = recorder.nanoseconds.saturating_add(time);
}

// A stream's name comes from a ring: one that the layout forbids costs that stream, not the report.
fn add<W: Write + Seek>(
    bundle: &mut BundleWriter<W>,
    name: &str,
    content: &[u8],
    problems: &mut Vec<Problem>,
) -> Result<(), BundleError> {
    let part = name.split('/').next().unwrap_or(name);
    let taken = bundle.parts().iter().any(|part| part.name == name);
    if taken {
        problems.push(Problem::new(part, format!("{name} was there twice; the first was kept")));
        return Ok(());
    }
    match bundle.add(name, content) {
        Err(refused @ BundleError::Name(_)) => {
            problems.push(Problem::new(part, refused.to_string()));
            Ok(())
        }
        other => other,
    }
}

fn annotation(note: &foretrace_ring::reader::Annotation) -> Annotation {
    use foretrace_ring::trail::Privacy as Recorded;
    Annotation {
        key: note.key.clone(),
        value: note.value.clone(),
        privacy: match note.privacy {
            Recorded::Public => Privacy::Public,
            Recorded::Personal => Privacy::Personal,
            Recorded::Secret => Privacy::Secret,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use foretrace_report::bundle::{BundleReader, Limits};
    use foretrace_ring::reader::Owner;

    use super::*;

    fn snapshot(stream: &str) -> Snapshot {
        Snapshot {
            owner: Owner { pid: 1, start_time: 2 },
            metadata: "/* CTF 1.8 */".into(),
            streams: vec![(stream.into(), vec![1, 2, 3])],
            annotations: vec![],
            attachments: vec![],
            recorded: 10,
            overwritten: 4,
            discarded: 1,
            clock_cost: 10_000,
            problems: vec!["a packet was torn".into()],
        }
    }

    fn collected() -> Collected {
        let program = Program { name: "victim".into(), exe: None, pid: 7, package: None };
        Collected::new(ReportId::from_random([1; 16]), Kind::Crash, "2026-01-01T00:00:00Z".into(), program)
    }

    #[test]
    fn a_collection_of_nothing_is_still_a_report() {
        let (sink, report) = assemble(&mut collected(), Cursor::new(Vec::new())).unwrap();
        let mut reader = BundleReader::open(sink, Limits::default()).unwrap();
        assert_eq!(reader.report().unwrap(), report);
        assert!(report.parts.is_empty());
    }

    #[test]
    fn losses_of_several_rings_are_added_up() {
        let mut all = collected();
        all.trails =
            vec![("ring-7".into(), snapshot("slot-0.ctf")), ("ring-8".into(), snapshot("slot-0.ctf"))];
        let (_, report) = assemble(&mut all, Cursor::new(Vec::new())).unwrap();
        assert_eq!(report.losses, Losses { recorded: 20, overwritten: 8, discarded: 2 });
        // 3 bytes for the 6 events that are left of 10 in each ring; 12 ns an event.
        assert_eq!(report.recorder, Some(Recorder { events: 20, bytes: 10, nanoseconds: 240 }));
        assert_eq!(report.parts.len(), 4);
        assert_eq!(report.problems.len(), 2);
    }

    #[test]
    fn a_part_with_a_forbidden_or_repeated_name_costs_that_part_alone() {
        let mut all = collected();
        all.trails = vec![("ring-7".into(), snapshot("../../etc/passwd"))];
        all.parts = vec![("process/status".into(), b"a".to_vec()), ("process/status".into(), b"b".to_vec())];
        let (sink, report) = assemble(&mut all, Cursor::new(Vec::new())).unwrap();
        let mut reader = BundleReader::open(sink, Limits::default()).unwrap();
        assert_eq!(reader.part("process/status").unwrap(), b"a");
        assert_eq!(reader.names(), ["trace/ring-7/metadata", "process/status", "report.json"]);
        assert_eq!(report.problems.len(), 3);
    }
}
