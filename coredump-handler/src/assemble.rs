//! From what was collected about a process to `report.json` and the bundle that holds it.
//!
//! Used by the handler's worker and by `foretrace-capture` alike. Pure: no clock, no file, no socket; the sink is
//! the caller's. A part that does not fit the bundle's layout becomes a problem; only a sink that cannot be written
//! is an error.

use std::io::{Seek, Write};

use foretrace_report::bundle::{BundleError, BundleWriter, MINIDUMP, class_of};
use foretrace_report::schema::{
    Annotation, Kind, Losses, Privacy, Problem, Program, Recorder, Report, SCHEMA, Signal, Surroundings,
    System, Thread,
};
use foretrace_report::{Class, ReportId};
use foretrace_ring::Snapshot;
use serde::Serialize;

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
    /// Its sha256 in hex, where somebody has worked it out already.
    pub minidump_sha256: Option<String>,
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
            minidump_sha256: None,
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

/// How much of what was collected goes into a container: all of it, or less because a larger one could not be written for a
/// reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    #[default]
    Whole,
    /// All but the process's memory and state.
    WithoutMemory(String),
    /// What happened, backtraces and problems: `report.json` alone.
    ReportAlone(String),
}

impl Extent {
    /// What is left to try where this much could not be written either.
    pub fn less(&self, why: &str) -> Option<Extent> {
        match self {
            Extent::Whole => Some(Extent::WithoutMemory(why.to_owned())),
            Extent::WithoutMemory(why) => Some(Extent::ReportAlone(why.clone())),
            Extent::ReportAlone(_) => None,
        }
    }

    // Why parts of this class are left out, where they are.
    fn lacks(&self, class: Class) -> Option<&str> {
        match self {
            Extent::Whole => None,
            Extent::WithoutMemory(why) => (class == Class::Memory).then_some(why),
            Extent::ReportAlone(why) => Some(why),
        }
    }
}

/// Writes the bundle of `collected`, with `threads` in the place of its own, into `sink`; returns the sink and the report as it was
/// written.
///
/// # Errors
/// A sink that cannot be written; nothing about what was collected is an error.
pub fn assemble<T: Serialize, W: Write + Seek>(
    collected: &Collected,
    threads: T,
    sink: W,
    extent: &Extent,
) -> Result<(W, Report<T>), BundleError> {
    let writer = BundleWriter::new(sink);
    let writer = if collected.unfinished { writer.hasty() } else { writer };
    let mut bundle = Bundle { writer, extent, problems: collected.problems.clone() };
    let mut losses = Losses::default();
    let mut recorder = Recorder::default();
    let mut annotations = Vec::new();

    if let Some(minidump) = &collected.minidump {
        bundle.add_with_sha256(MINIDUMP, minidump, collected.minidump_sha256.as_deref())?;
    }
    for (source, snapshot) in &collected.trails {
        losses.recorded = losses.recorded.saturating_add(snapshot.recorded);
        losses.overwritten = losses.overwritten.saturating_add(snapshot.overwritten);
        losses.discarded = losses.discarded.saturating_add(snapshot.discarded);
        add_cost(&mut recorder, snapshot);
        annotations.extend(snapshot.annotations.iter().map(annotation));
        bundle.problems.extend(snapshot.problems.iter().map(|what| Problem::new("trail", what.clone())));
        bundle.add(&format!("trace/{source}/metadata"), snapshot.metadata.as_bytes())?;
        for (stream, content) in &snapshot.streams {
            bundle.add(&format!("trace/{source}/{stream}"), content)?;
        }
    }
    for (name, content) in &collected.parts {
        bundle.add(name, content)?;
    }

    bundle.writer.finish_streaming(Report {
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
        threads,
        signature: collected.signature.clone(),
        annotations,
        losses,
        recorder: (!collected.trails.is_empty()).then_some(recorder),
        parts: Vec::new(),
        problems: bundle.problems,
    })
}

// A bundle, and what it does not hold.
struct Bundle<'e, W: Write + Seek> {
    writer: BundleWriter<W>,
    extent: &'e Extent,
    problems: Vec<Problem>,
}

impl<W: Write + Seek> Bundle<'_, W> {
    // A stream's name comes from a ring: one that the layout forbids costs that stream, not the report.
    fn add(&mut self, name: &str, content: &[u8]) -> Result<(), BundleError> {
        self.add_with_sha256(name, content, None)
    }

    fn add_with_sha256(
        &mut self,
        name: &str,
        content: &[u8],
        sha256: Option<&str>,
    ) -> Result<(), BundleError> {
        let part = name.split(['/', '.']).next().unwrap_or(name);
        if let Some(why) = class_of(name).and_then(|class| self.extent.lacks(class)) {
            let what = format!("left out, because the report could not be written with it: {why}");
            let problem = Problem::new(part, what);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
            return Ok(());
        }
        if self.writer.parts().iter().any(|part| part.name == name) {
            self.problems.push(Problem::new(part, format!("{name} was there twice; the first was kept")));
            return Ok(());
        }
        let added = match sha256 {
            Some(known) => self.writer.add_with_sha256(name, content, known),
            None => self.writer.add(name, content),
        };
        match added {
            Err(refused @ BundleError::Name(_)) => {
                self.problems.push(Problem::new(part, refused.to_string()));
                Ok(())
            }
            other => other,
        }
    }
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
        let (sink, report) =
            assemble(&collected(), Vec::<Thread>::new(), Cursor::new(Vec::new()), &Extent::Whole).unwrap();
        let mut reader = BundleReader::open(sink, Limits::default()).unwrap();
        assert_eq!(reader.report().unwrap(), report);
        assert!(report.parts.is_empty());
    }

    #[test]
    fn losses_of_several_rings_are_added_up() {
        let mut all = collected();
        all.trails =
            vec![("ring-7".into(), snapshot("slot-0.ctf")), ("ring-8".into(), snapshot("slot-0.ctf"))];
        let (_, report) =
            assemble(&all, Vec::<Thread>::new(), Cursor::new(Vec::new()), &Extent::Whole).unwrap();
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
        let (sink, report) =
            assemble(&all, Vec::<Thread>::new(), Cursor::new(Vec::new()), &Extent::Whole).unwrap();
        let mut reader = BundleReader::open(sink, Limits::default()).unwrap();
        assert_eq!(reader.part("process/status").unwrap(), b"a");
        assert_eq!(reader.names(), ["trace/ring-7/metadata", "process/status", "report.json"]);
        assert_eq!(report.problems.len(), 3);
    }

    #[test]
    fn each_lesser_extent_names_what_it_leaves_out() {
        let mut all = collected();
        all.minidump = Some(vec![1; 100]);
        all.trails = vec![("ring-7".into(), snapshot("slot-0.ctf"))];
        all.parts = vec![
            ("process/status".into(), b"a".to_vec()),
            ("process/maps".into(), b"b".to_vec()),
            ("system/kernel".into(), b"c".to_vec()),
        ];
        let mut extent = Extent::Whole;
        let mut seen = Vec::new();
        loop {
            let (sink, report) =
                assemble(&all, Vec::<Thread>::new(), Cursor::new(Vec::new()), &extent).unwrap();
            let names = BundleReader::open(sink, Limits::default()).unwrap().names();
            let out = report.problems.iter().filter(|problem| problem.what.ends_with("it: the disk is full"));
            seen.push((names.len(), out.map(|problem| problem.part.clone()).collect::<Vec<_>>()));
            let Some(less) = extent.less("the disk is full") else { break };
            extent = less;
        }
        let out = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            seen,
            [
                (7, out(&[])),
                (4, out(&["minidump", "process"])),
                (1, out(&["minidump", "trace", "process", "system"])),
            ]
        );
    }
}
