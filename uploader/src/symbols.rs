//! Names that a report lacks: which files' debug information has them, and what becomes of the report with it.
//!
//! Owns `names.json`, which lies beside the report and never leaves: the report itself stays as it was made, and so does
//! what its signature says. Fetches nothing; that is [`crate::commands::symbols`]'s, after an answer.

pub mod cache;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use foretrace_report::Report;
use foretrace_report::schema::{Call, Frame, Trust};
use foretrace_store::{NAMES, ReportDir};
use serde::{Deserialize, Serialize};

/// Files whose names are looked for; a backtrace goes through a few.
const FILES: usize = 64;
/// Places in one file.
const PLACES: usize = 4096;

/// A file some of whose functions have no names in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Its build-id in hex.
    pub build_id: String,
    /// Its path.
    pub file: String,
    /// Where: distances from the module's start.
    pub offsets: BTreeSet<u64>,
    /// In how many frames.
    pub frames: usize,
}

/// The files whose debug information would name a report's frames.
pub fn lacking(report: &Report) -> Vec<Lack> {
    let mut lacks: BTreeMap<&str, Lack> = BTreeMap::new();
    for (frame, offset) in report.threads.iter().flat_map(|thread| nameless(&thread.frames)) {
        let (Some(build_id), Some(file)) = (&frame.build_id, &frame.module) else { continue };
        if lacks.len() == FILES && !lacks.contains_key(build_id.as_str()) {
            continue;
        }
        let lack = lacks.entry(build_id).or_insert_with(|| Lack {
            build_id: build_id.clone(),
            file: file.clone(),
            offsets: BTreeSet::new(),
            frames: 0,
        });
        if lack.offsets.len() < PLACES || lack.offsets.contains(&offset) {
            lack.offsets.insert(offset);
            lack.frames += 1;
        }
    }
    lacks.into_values().collect()
}

/// The frames without a name that a file's debug information could name, with the place to look up.
fn nameless(frames: &[Frame]) -> impl Iterator<Item = (&Frame, u64)> {
    frames.iter().enumerate().filter_map(|(index, frame)| Some((frame, place(frames, index)?)))
}

/// Where to look a frame up, as a distance from its module's start: a return address lies behind its call.
fn place(frames: &[Frame], index: usize) -> Option<u64> {
    let frame = &frames[index];
    let in_a_file = frame.module.as_deref().is_some_and(|module| module.starts_with('/'));
    let known = frame.build_id.as_deref().is_some_and(is_build_id);
    if frame.function.is_some() || frame.trust == Trust::Signal || !in_a_file || !known {
        return None;
    }
    let offset = u64::from_str_radix(frame.offset.as_deref()?.strip_prefix("0x")?, 16).ok()?;
    let interrupted = index.checked_sub(1).is_some_and(|inner| frames[inner].trust == Trust::Signal);
    Some(if frame.trust == Trust::Context || interrupted { offset } else { offset.wrapping_sub(1) })
}

/// Whether a text is a build-id that can stand in an address and in a path.
pub fn is_build_id(text: &str) -> bool {
    (16..=128).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `names.json`: by build-id and place, the calls there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names(BTreeMap<String, BTreeMap<u64, Vec<Call>>>);

impl Names {
    /// What was found for a report so far.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn read(report: &ReportDir) -> Result<Names> {
        let Some(json) = report.read(NAMES)? else { return Ok(Names::default()) };
        serde_json::from_slice(&json)
            .with_context(|| format!("{} is damaged: remove it", report.path().join(NAMES).display()))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn write(&self, report: &ReportDir) -> Result<()> {
        Ok(report.write_atomically(NAMES, &serde_json::to_vec_pretty(self)?)?)
    }

    /// Adds what a file's debug information says of its places.
    pub fn learn(&mut self, lack: &Lack, calls: Vec<Vec<Call>>) {
        let known = lack.offsets.iter().copied().zip(calls).filter(|(_, calls)| !calls.is_empty());
        self.0.entry(lack.build_id.clone()).or_default().extend(known);
    }

    /// Names a report's frames; returns how many. An inlined call becomes a frame of its own.
    pub fn apply(&self, report: &mut Report) -> usize {
        let mut named = 0;
        for thread in &mut report.threads {
            let frames = std::mem::take(&mut thread.frames);
            for (index, frame) in frames.iter().enumerate() {
                let calls = place(&frames, index)
                    .and_then(|place| self.0.get(frame.build_id.as_deref()?)?.get(&place))
                    .filter(|calls| !calls.is_empty());
                let Some(calls) = calls else {
                    thread.frames.push(frame.clone());
                    continue;
                };
                named += 1;
                thread.frames.extend(calls.iter().enumerate().map(|(index, call)| Frame {
                    function: call.function.clone(),
                    file: call.file.clone(),
                    line: call.line,
                    inline: index + 1 < calls.len(),
                    ..frame.clone()
                }));
            }
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff00112233";

    fn report() -> Report {
        let frame = |offset: &str, trust: &str, more: &str| {
            format!(
                r#"{{"ip":"0x1","module":"/usr/bin/x","build_id":"{ID}","offset":"{offset}","function":null,"trust":"{trust}"{more}}}"#
            )
        };
        let frames = [
            frame("0x10", "context", ""),
            frame("0x20", "cfi", ""),
            frame("0x30", "signal", ""),
            frame("0x40", "cfi", ""),
            frame("0x50", "scan", "").replace("null", "\"known\""),
            frame("0x60", "cfi", "").replace("/usr/bin/x", "[vdso]"),
            frame("0x70", "cfi", "").replace(ID, "../../../../etc/shadow"),
            frame("0x20", "cfi", ""),
        ];
        let json = format!(
            r#"{{"schema":1,"id":"00017f80ff6162636465666768696a6b","kind":"crash","time":"2026-01-01T00:00:00Z",
            "program":{{"name":"x","pid":1}},"threads":[{{"tid":1,"crashed":true,"frames":[{}]}}]}}"#,
            frames.join(",")
        );
        serde_json::from_str(&json).unwrap()
    }

    fn call(function: &str) -> Call {
        Call { function: Some(function.into()), file: None, line: Some(7) }
    }

    #[test]
    fn a_return_address_is_looked_up_in_its_call_and_an_interrupted_one_where_it_is() {
        let lacks = lacking(&report());
        assert_eq!(lacks.len(), 1, "{lacks:?}");
        assert_eq!((lacks[0].build_id.as_str(), lacks[0].frames), (ID, 4));
        assert_eq!(lacks[0].offsets, BTreeSet::from([0x10, 0x1f, 0x40]));
    }

    #[test]
    fn names_fill_in_what_was_lacking_and_nothing_else() {
        let (mut report, mut names) = (report(), Names::default());
        let lack = &lacking(&report)[0];
        names.learn(lack, vec![vec![call("top")], vec![call("inlined"), call("outer")], vec![]]);
        assert_eq!(names.apply(&mut report), 3);
        let functions: Vec<_> =
            report.threads[0].frames.iter().map(|frame| (frame.function.as_deref(), frame.inline)).collect();
        assert_eq!(
            functions,
            [
                (Some("top"), false),
                (Some("inlined"), true),
                (Some("outer"), false),
                (None, false),
                (None, false),
                (Some("known"), false),
                (None, false),
                (None, false),
                (Some("inlined"), true),
                (Some("outer"), false),
            ]
        );
        assert_eq!(names.apply(&mut report), 0, "named once");
        let json = serde_json::to_string(&names).unwrap();
        assert_eq!(serde_json::from_str::<Names>(&json).unwrap(), names);
    }
}
