//! ABRT's uReport 2, as FAF takes it: a backtrace and no content of memory.
//!
//! ```text
//! POST /reports/new/        multipart/form-data, Accept: application/json
//!   file                    application/json          the uReport
//! ```

use std::io::{Read, Seek};

use serde_json::{Value, json};

use super::{Content, Outgoing, Piece, Plan, frames, multipart};
use crate::bundle::BundleError;
use crate::schema::{Frame, Report, Thread};

/// The part that holds the uReport.
pub const FILE: &str = "file";

pub(super) fn plan<R: Read + Seek>(outgoing: &Outgoing<'_, R>) -> Result<Plan, BundleError> {
    let report = &outgoing.report;
    let classes = outgoing.classes().intersection(super::carried(crate::receipt::Protocol::Faf));
    let content = Content::Made(serde_json::to_vec(&ureport(report))?);
    let file = Piece { name: FILE, classes, content };
    Ok(multipart(report, vec![(file, Some("ureport.json"), "application/json")]))
}

fn ureport(report: &Report) -> Value {
    let (component, version) = frames::product(report);
    let (os, release) = system(&report.system.os);
    let executable = report.program.exe.as_deref().unwrap_or(&report.program.name);
    let reason = match &report.signal {
        Some(signal) => format!("{executable} was terminated by signal {}", signal.number),
        None => format!("{executable}: {}", report.kind.name()),
    };
    let chosen = frames::crashed(report).map(|thread| thread.tid);
    let threads: Vec<Value> = report
        .threads
        .iter()
        .filter(|thread| !thread.frames.is_empty())
        .map(|thread| self::thread(thread, Some(thread.tid) == chosen))
        .collect();
    let packages: Vec<Value> = version
        .map(|version| {
            let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
            let (upstream, packaging) = rest.rsplit_once('-').unwrap_or((rest, "0"));
            json!({"name": component, "epoch": epoch.parse::<u64>().unwrap_or(0), "version": upstream,
                   "release": packaging, "architecture": report.system.arch, "package_role": "affected"})
        })
        .into_iter()
        .collect();
    json!({
        "ureport_version": 2,
        "reason": clipped(&reason, 512),
        "reporter": {"name": "foretrace", "version": env!("CARGO_PKG_VERSION")},
        "os": {"name": os, "version": release, "architecture": report.system.arch},
        "problem": {
            "type": "core",
            "component": component,
            "executable": executable,
            "signal": report.signal.as_ref().map_or(0, |signal| signal.number),
            // Which user it was is nobody's business; whoever could report it sat at the machine.
            "user": {"root": false, "local": true},
            "stacktrace": threads,
        },
        "packages": packages,
    })
}

fn thread(thread: &Thread, crashed: bool) -> Value {
    // Frames are physical ones: the server finds inlined calls itself.
    let frames: Vec<Value> = thread.frames.iter().filter(|frame| !frame.inline).map(frame).collect();
    json!({"crash_thread": crashed, "frames": frames})
}

fn frame(frame: &Frame) -> Value {
    let mut value = json!({
        "address": frames::number(&frame.ip).unwrap_or(0),
        "build_id_offset": frame.offset.as_deref().and_then(frames::number).unwrap_or(0),
        "file_name": frame.module.as_deref().unwrap_or("unknown filename"),
    });
    if let Some(build_id) = &frame.build_id {
        value["build_id"] = json!(build_id);
    }
    if let Some(function) = &frame.function {
        value["function_name"] = json!(clipped(function, 1024));
    }
    value
}

/// The system's short name and its version, out of what it calls itself.
fn system(name: &str) -> (String, String) {
    let mut words = name.split_whitespace();
    let short = words.next().unwrap_or("unknown").to_lowercase();
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("unknown");
    (short, version.to_owned())
}

fn clipped(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::outgoing;
    use super::super::{made, plan};
    use super::*;
    use crate::receipt::Protocol;

    #[test]
    fn a_ureport_holds_physical_frames_and_no_words_of_the_program() {
        let plan = plan(Protocol::Faf, &mut outgoing(&[("minidump.dmp", b"MDMP")]), "").unwrap();
        assert_eq!(plan.pieces.len(), 1);
        assert_eq!(plan.pieces[0].classes.to_string(), "summary,stack");
        let bytes = made(&plan).next().unwrap().1;
        assert!(!String::from_utf8_lossy(bytes).contains("it hurts"));
        let report: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(report["os"], json!({"name": "debian", "version": "13", "architecture": "x86_64"}));
        let threads = report["problem"]["stacktrace"].as_array().unwrap();
        assert_eq!((threads.len(), &threads[0]["crash_thread"]), (2, &json!(true)));
        assert_eq!(threads[0]["frames"].as_array().unwrap().len(), 1, "the inlined call is none");
        assert_eq!(threads[0]["frames"][0]["build_id_offset"], 0x1010);
        assert_eq!(threads[0]["frames"][0]["function_name"], "main");
        assert_eq!(report["packages"][0]["release"], "1");
    }
}
