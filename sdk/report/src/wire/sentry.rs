//! Sentry's envelope: an event with frames and breadcrumbs, the minidump, and `outgoing.zip` with the rest.
//!
//! ```text
//! POST /api/<project>/envelope/            Content-Type: application/x-sentry-envelope, gzip, X-Sentry-Auth
//! {"event_id":…}                           no sent_at: the same outgoing.zip makes the same body
//! {"type":"event","length":…}              event.json
//! {"type":"attachment",…,"attachment_type":"event.attachment"}   outgoing.zip, where it says more than the event
//! {"type":"attachment",…,"attachment_type":"event.minidump"}     minidump.dmp, where memory was granted
//! ```

use std::io::{Read, Seek};

use serde_json::{Map, Value, json};

use super::{Content, Outgoing, Piece, Plan, frames, time};
use crate::bundle::{BundleError, MINIDUMP};
use crate::schema::{Frame, Report, Thread};
use crate::trail::{Entry, Trails, level_name};
use crate::{Class, ClassSet, Preset};

/// The part that is the event.
pub const EVENT: &str = "event.json";
/// The part that holds `outgoing.zip`.
pub const OUTGOING: &str = "outgoing.zip";
/// The media type of an envelope.
pub const MEDIA_TYPE: &str = "application/x-sentry-envelope";
/// How many of the newest events become breadcrumbs.
pub const BREADCRUMBS: usize = 100;

pub(super) fn plan<R: Read + Seek>(outgoing: &mut Outgoing<'_, R>) -> Result<Plan, BundleError> {
    let classes = outgoing.classes();
    let trails = Trails::read(&mut outgoing.reader);
    let event = serde_json::to_vec(&event(&outgoing.report, &trails))?;
    drop(trails);
    let head = format!("{}\n", json!({"event_id": outgoing.report.id}));
    let head = format!("{head}{}\n", json!({"type": "event", "length": event.len()}));
    let in_event = classes.intersection(Preset(Class::Trail).classes());
    let mut pieces = vec![Piece { name: EVENT, classes: in_event, content: Content::Made(event) }];
    let mut framing = vec![head.into_bytes()];
    let mut attach = |name: &'static str, kind: &str, media_type: &str, length: u64, classes, content| {
        let item = json!({"type": "attachment", "length": length, "filename": name, "attachment_type": kind,
                          "content_type": media_type});
        framing.push(format!("\n{item}\n").into_bytes());
        pieces.push(Piece { name, classes, content });
    };
    if !classes.is_subset(Preset(Class::Stack).classes()) {
        let kind = "event.attachment";
        attach(OUTGOING, kind, "application/zip", outgoing.bytes, classes, Content::Outgoing);
    }
    if outgoing.has(MINIDUMP) {
        let length = outgoing.reader.declared_bytes(MINIDUMP)?;
        let classes = ClassSet::EMPTY.with(Class::Memory);
        let media_type = "application/x-dmp";
        attach(MINIDUMP, "event.minidump", media_type, length, classes, Content::Entry(MINIDUMP));
    }
    framing.push(b"\n".to_vec());
    Ok(Plan { content_type: MEDIA_TYPE.into(), gzip: true, pieces, framing })
}

fn event(report: &Report, trails: &Trails) -> Value {
    let (product, version) = frames::product(report);
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let chosen = frames::crashed(report);
    let fatal = frames::is_fatal(report.kind);
    let mut exception = json!({
        "type": frames::exception_type(report),
        "value": frames::exception_words(report),
        "mechanism": {"type": "foretrace", "handled": !fatal, "synthetic": true},
    });
    if let Some(signal) = &report.signal {
        exception["mechanism"]["meta"] =
            json!({"signal": {"number": signal.number, "code": signal.code, "name": signal.name}});
    }
    if let Some(thread) = chosen {
        exception["thread_id"] = json!(thread.tid);
        exception["stacktrace"] = stacktrace(&thread.frames);
    }
    let threads: Vec<Value> = report
        .threads
        .iter()
        .map(|it| thread(it, chosen.is_some_and(|chosen| chosen.tid == it.tid)))
        .collect();
    let skipped = trails.len().saturating_sub(BREADCRUMBS);
    let breadcrumbs: Vec<Value> = trails.entries().skip(skipped).map(|it| breadcrumb(&it, seconds)).collect();
    let mut event = json!({
        "event_id": report.id,
        "timestamp": time::nanoseconds(&report.time).map(seconds),
        "platform": "native",
        "level": if fatal { "fatal" } else { "error" },
        "logger": "foretrace",
        "release": version.map(|version| format!("{product}@{version}")),
        "transaction": report.program.name,
        "tags": tags(report),
        "contexts": {
            "os": {"type": "os", "name": "Linux", "version": report.system.os,
                   "kernel_version": report.system.kernel},
            "device": {"type": "device", "arch": report.system.arch},
            "trail": {"type": "trail", "recorded": report.losses.recorded,
                      "overwritten": report.losses.overwritten, "discarded": report.losses.discarded},
        },
        "exception": {"values": [exception]},
    });
    let mut fill = |key: &str, value: Value, empty: bool| {
        if !empty {
            event[key] = value;
        }
    };
    fill("threads", json!({"values": threads}), threads.is_empty());
    fill("breadcrumbs", json!({"values": breadcrumbs}), breadcrumbs.is_empty());
    let images = images(report);
    fill("debug_meta", json!({"images": images}), images.is_empty());
    let comment = report.comment.iter().map(|comment| ("comment".to_owned(), json!(comment)));
    let notes = report.annotations.iter().map(|note| (note.key.clone(), json!(note.value)));
    let notes: Map<String, Value> = notes.chain(comment).collect();
    let none = notes.is_empty();
    fill("extra", Value::Object(notes), none);
    event
}

fn tags(report: &Report) -> Value {
    let mut tags = json!({"kind": report.kind.name(), "signature": clipped(&report.signature)});
    if let Some(signal) = &report.signal {
        tags["signal"] = json!(signal.name);
    }
    tags
}

/// A tag's value is at most 200 characters long.
fn clipped(text: &str) -> String {
    text.chars().take(200).collect()
}

fn thread(thread: &Thread, chosen: bool) -> Value {
    let mut value =
        json!({"id": thread.tid, "name": thread.name, "crashed": thread.crashed, "current": chosen});
    // The chosen thread's frames stand in the exception.
    if !chosen {
        value["stacktrace"] = stacktrace(&thread.frames);
    }
    value
}

/// Oldest first, as Sentry has them.
fn stacktrace(frames: &[Frame]) -> Value {
    json!({"frames": frames.iter().rev().map(frame).collect::<Vec<_>>()})
}

fn frame(frame: &Frame) -> Value {
    let mut value = json!({"instruction_addr": frame.ip, "trust": frame.trust, "function": frame.function,
                           "package": frame.module, "lineno": frame.line});
    if let Some(file) = &frame.file {
        value["abs_path"] = json!(file);
        value["filename"] = json!(file.rsplit('/').next().unwrap_or(file));
    }
    value
}

/// The modules that frames lie in, so that the server can find debug information.
fn images(report: &Report) -> Vec<Value> {
    let mut images: Vec<Value> = Vec::new();
    for frame in report.threads.iter().flat_map(|thread| &thread.frames) {
        let (Some(module), Some(build_id)) = (&frame.module, &frame.build_id) else { continue };
        let distance = frame.offset.as_deref().and_then(frames::number);
        let Some(base) = frames::number(&frame.ip).zip(distance).and_then(|(ip, by)| ip.checked_sub(by))
        else {
            continue;
        };
        let address = format!("{base:#x}");
        if images.iter().any(|image| image["image_addr"] == *address) {
            continue;
        }
        images.push(json!({"type": "elf", "code_file": module, "code_id": build_id,
                           "debug_id": debug_id(build_id), "image_addr": address}));
    }
    images
}

/// Breakpad's name for a build-id: its first 16 bytes as a GUID, whose first three fields are little-endian.
fn debug_id(build_id: &str) -> Option<String> {
    let mut digits: Vec<&str> = (0..16).map(|n| build_id.get(2 * n..2 * n + 2)).collect::<Option<_>>()?;
    [0..4, 4..6, 6..8].into_iter().for_each(|field| digits[field].reverse());
    let part = |from: usize, to: usize| digits[from..to].concat();
    Some(format!("{}-{}-{}-{}-{}", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16)))
}

fn breadcrumb(entry: &Entry<'_>, seconds: impl Fn(u64) -> f64) -> Value {
    let level = match level_name(entry.kind.level) {
        "warn" => "warning",
        "trace" => "debug",
        same => same,
    };
    json!({"timestamp": seconds(entry.event.time), "type": "default", "category": entry.kind.provider,
           "message": entry.kind.name, "level": level, "data": entry.fields()})
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ID, outgoing};
    use super::super::{assemble, made, plan};
    use super::*;
    use crate::receipt::Protocol;

    fn event_of(parts: &[(&str, &[u8])]) -> Value {
        let plan = plan(Protocol::Sentry, &mut outgoing(parts), "").unwrap();
        serde_json::from_slice(made(&plan).next().unwrap().1).unwrap()
    }

    #[test]
    fn frames_are_oldest_first_and_images_are_named_once() {
        let event = event_of(&[]);
        let frames = &event["exception"]["values"][0]["stacktrace"]["frames"];
        assert_eq!((&frames[0]["function"], &frames[1]["function"]), (&json!("main"), &json!("paint")));
        let images = event["debug_meta"]["images"].as_array().unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0]["image_addr"], "0x400000");
        assert_eq!(images[0]["debug_id"], "04030201-0605-0807-090a-0b0c0d0e0f10");
        assert_eq!(event["threads"]["values"][1]["stacktrace"]["frames"][0]["package"], "/usr/lib/libc.so.6");
        assert_eq!(event["timestamp"], 1_795_210_200.5);
    }

    #[test]
    fn every_item_is_as_long_as_its_header_says() {
        let mut zip = outgoing(&[(MINIDUMP, b"MDMP\nwith\nlines"), ("logs/journal", b"a\n")]);
        let plan = plan(Protocol::Sentry, &mut zip, "").unwrap();
        let body = assemble(&plan, &mut zip).unwrap();
        let line = |at: usize| {
            let end = at + body[at..].iter().position(|byte| *byte == b'\n').unwrap();
            (serde_json::from_slice::<Value>(&body[at..end]).unwrap(), end + 1)
        };
        let (head, mut at) = line(0);
        assert_eq!(head, json!({"event_id": ID}));
        let mut items = Vec::new();
        while at < body.len() {
            let (item, start) = line(at);
            let length = usize::try_from(item["length"].as_u64().unwrap()).unwrap();
            items.push((item["filename"].clone(), body[start..start + length].to_vec()));
            assert_eq!(body[start + length], b'\n');
            at = start + length + 1;
        }
        assert_eq!(items.len(), 3);
        assert_eq!(items[1], (json!("outgoing.zip"), zip.into_inner()));
        assert_eq!(items[2], (json!("minidump.dmp"), b"MDMP\nwith\nlines".to_vec()));
    }
}
