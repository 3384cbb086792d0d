//! From an event of a Sentry SDK to a report: the names differ, frames are the other way round.
//!
//! Pure. The event is a stranger's: what has another type than expected is left out.

use foretrace_report::bundle::hex;
use foretrace_report::schema::{
    Annotation, Frame, Kind, Losses, Package, Privacy, Program, SCHEMA, System, Thread, Trust,
};
use foretrace_report::signature::{Cause, signature};
use foretrace_report::{Report, ReportId};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Threads and frames at most.
const MOST: usize = 1000;

/// The report that an event comes to; `None` where it is no object.
pub fn report(event: &Value) -> Option<Report> {
    event.as_object()?;
    let id = text(event, "/event_id").and_then(|id| id.parse().ok()).unwrap_or_else(|| id_of(event));
    let exceptions = event.pointer("/exception/values").or(event.pointer("/exception"));
    let exception = exceptions.and_then(Value::as_array).and_then(|values| values.last());
    let mut threads: Vec<Thread> = Vec::new();
    let listed = event.pointer("/threads/values").and_then(Value::as_array);
    if let Some(exception) = exception {
        let tid = exception.get("thread_id").and_then(Value::as_i64).and_then(|tid| i32::try_from(tid).ok());
        let frames = frames(exception);
        threads.push(Thread { tid: tid.unwrap_or(0), crashed: true, frames, ..Thread::default() });
    }
    for thread in listed.into_iter().flatten().take(MOST) {
        let tid =
            thread.get("id").and_then(Value::as_i64).and_then(|tid| i32::try_from(tid).ok()).unwrap_or(0);
        let name = text(thread, "/name").unwrap_or_default();
        match threads.first_mut().filter(|first| first.tid == tid && exception.is_some()) {
            Some(first) => first.name = name,
            None => threads.push(Thread { tid, name, frames: frames(thread), ..Thread::default() }),
        }
    }
    let words = exception.and_then(|exception| text(exception, "/value"));
    let words = words.or_else(|| text(event, "/message/formatted")).or_else(|| text(event, "/message"));
    let kind = match text(event, "/level").as_deref() {
        Some("fatal") => Kind::Crash,
        _ => Kind::Error,
    };
    let crashed = threads.first().map(|thread| thread.frames.clone()).unwrap_or_default();
    let found = match crashed.is_empty() {
        false => signature(&Cause { kind, signal: None, stack_overflow: false }, &crashed),
        true => exception.and_then(|exception| text(exception, "/type")).unwrap_or_default(),
    };
    let release = text(event, "/release").unwrap_or_default();
    let (product, version) = release.rsplit_once('@').unwrap_or(("", &release));
    let package =
        (!version.is_empty()).then(|| Package { name: product.to_owned(), version: version.to_owned() });
    let name = [text(event, "/tags/program"), text(event, "/transaction"), Some(product.to_owned())];
    let name = name.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into());
    Some(Report {
        schema: SCHEMA,
        id,
        kind,
        time: time(event).unwrap_or_default(),
        program: Program { name, exe: None, pid: 0, package },
        signal: None,
        comment: None,
        message: words,
        system: System {
            os: text(event, "/contexts/os/name").unwrap_or_default(),
            kernel: text(event, "/contexts/os/kernel_version").unwrap_or_default(),
            arch: text(event, "/contexts/device/arch").unwrap_or_default(),
        },
        surroundings: None,
        threads,
        signature: found,
        annotations: tags(event),
        losses: Losses::default(),
        recorder: None,
        parts: Vec::new(),
        problems: Vec::new(),
    })
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

fn time(event: &Value) -> Option<String> {
    match event.get("timestamp")? {
        Value::String(text) => Some(text.parse::<jiff::Timestamp>().ok()?.to_string()),
        number => {
            let milliseconds = number.as_f64()? * 1000.0;
            Some(jiff::Timestamp::from_millisecond(milliseconds as i64).ok()?.to_string())
        }
    }
}

fn tags(event: &Value) -> Vec<Annotation> {
    let tags = event.get("tags").and_then(Value::as_object);
    let told = tags.into_iter().flatten().take(MOST);
    told.filter_map(|(key, value)| {
        let value = value.as_str()?.to_owned();
        Some(Annotation { key: key.clone(), value, privacy: Privacy::Public })
    })
    .collect()
}

/// Innermost first, as reports have them.
fn frames(of: &Value) -> Vec<Frame> {
    let listed = of.pointer("/stacktrace/frames").and_then(Value::as_array);
    listed.into_iter().flatten().rev().take(MOST).map(frame).collect()
}

fn frame(frame: &Value) -> Frame {
    let line = frame.get("lineno").and_then(Value::as_u64).and_then(|line| u32::try_from(line).ok());
    Frame {
        ip: text(frame, "/instruction_addr").unwrap_or_else(|| "0x0".into()),
        module: text(frame, "/package").or_else(|| text(frame, "/module")),
        build_id: None,
        offset: None,
        function: text(frame, "/function"),
        file: text(frame, "/abs_path").or_else(|| text(frame, "/filename")),
        line,
        inline: false,
        trust: Trust::Cfi,
    }
}

/// A name made of the content, so that the same event sent again has the same.
fn id_of(event: &Value) -> ReportId {
    let digest = hex(&Sha256::digest(event.to_string()));
    digest[..32].parse().unwrap_or_else(|_| ReportId::from_random([0; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_becomes_a_report_with_the_innermost_frame_first() {
        let report = report(&serde_json::json!({
            "event_id": "00017f80ff6162636465666768696a6b", "timestamp": 1_795_210_200.5, "level": "fatal",
            "release": "painter@2.3.0", "tags": {"a": "b", "n": 1},
            "exception": {"values": [{"type": "Error", "value": "it hurts", "thread_id": 7, "stacktrace": {"frames": [
                {"function": "main"}, {"function": "paint", "filename": "paint.c", "lineno": 7}]}}]},
            "threads": {"values": [{"id": 7, "name": "ui"}, {"id": 8, "stacktrace": {"frames": [{"function": 3}]}}]},
        }))
        .unwrap();
        assert_eq!(report.id.to_string(), "00017f80ff6162636465666768696a6b");
        assert_eq!(report.time, "2026-11-20T21:30:00.5Z");
        assert_eq!(report.signature, "paint");
        assert_eq!(report.program.package.unwrap().version, "2.3.0");
        assert_eq!((report.threads[0].name.as_str(), report.threads.len()), ("ui", 2));
        assert_eq!(report.annotations.len(), 1);
    }

    #[test]
    fn nonsense_is_a_report_that_says_little_or_none() {
        assert_eq!(report(&serde_json::json!([1])), None);
        let odd =
            serde_json::json!({"timestamp": "soon", "exception": 7, "threads": {"values": {}}, "release": 1});
        let read = report(&odd).unwrap();
        assert_eq!((read.program.name.as_str(), read.time.as_str()), ("unknown", ""));
        assert_eq!(read.id, report(&odd).unwrap().id);
    }
}
