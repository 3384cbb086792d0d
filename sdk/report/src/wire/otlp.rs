//! OpenTelemetry's logs over HTTP, as JSON: one record for the crash, one for each event and each line of the logs.
//!
//! ```text
//! POST /v1/logs        Content-Type: application/json, gzip
//! ```
//!
//! Records of the trail and of the logs are the newest ones, bounded in number: collectors refuse large requests.

use std::io::{Read, Seek};

use serde_json::{Value, json};

use super::{Content, Outgoing, Piece, Plan, frames, time};
use crate::Class;
use crate::bundle::{BundleError, class_of};
use crate::receipt::Protocol;
use crate::schema::Report;
use crate::trail::{Entry, Trails};

/// The part that is the whole body.
pub const LOGS: &str = "logs.json";
/// The newest events, and the newest lines of each log, that are sent.
pub const RECORDS: usize = 2000;

pub(super) fn plan<R: Read + Seek>(outgoing: &mut Outgoing<'_, R>) -> Result<Plan, BundleError> {
    let classes = outgoing.classes().intersection(super::carried(Protocol::Otlp));
    let trails = Trails::read(&mut outgoing.reader);
    let report = &outgoing.report;
    let moment = time::nanoseconds(&report.time).unwrap_or(0);
    let mut records = vec![crash(report, moment)];
    let skipped = trails.len().saturating_sub(RECORDS);
    records.extend(trails.entries().skip(skipped).map(|entry| event(report, &entry)));
    drop(trails);
    for name in outgoing.names.iter().filter(|name| class_of(name) == Some(Class::Logs)) {
        let text = outgoing.reader.part(name)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(RECORDS);
        records.extend(lines[skipped..].iter().map(|text| line(report, name, moment, text)));
    }
    let (product, version) = frames::product(report);
    let body = json!({"resourceLogs": [{
        "resource": {"attributes": attributes(&[
            ("service.name", Some(product)),
            ("service.version", version),
            ("process.executable.name", Some(&report.program.name)),
            ("process.executable.path", report.program.exe.as_deref()),
            ("os.type", Some("linux")),
            ("os.description", Some(&report.system.os)),
            ("os.version", Some(&report.system.kernel)),
            ("host.arch", Some(&report.system.arch)),
        ])},
        "scopeLogs": [{
            "scope": {"name": "foretrace", "version": env!("CARGO_PKG_VERSION")},
            "logRecords": records,
        }],
    }]});
    let content = Content::Made(serde_json::to_vec(&body)?);
    Ok(Plan {
        content_type: "application/json".into(),
        gzip: true,
        pieces: vec![Piece { name: LOGS, classes, content }],
        framing: vec![vec![], vec![]],
    })
}

fn crash(report: &Report, moment: u64) -> Value {
    let fatal = frames::is_fatal(report.kind);
    let backtrace = frames::crashed(report).map(|thread| frames::text(&thread.frames));
    json!({
        "timeUnixNano": moment.to_string(),
        "severityNumber": if fatal { 21 } else { 17 },
        "severityText": if fatal { "FATAL" } else { "ERROR" },
        "eventName": "app.crash",
        "body": {"stringValue": format!("{}: {}", report.program.name, report.signature)},
        "attributes": attributes(&[
            ("exception.type", Some(frames::exception_type(report))),
            ("exception.message", report.message.as_deref()),
            ("foretrace.comment", report.comment.as_deref()),
            ("exception.stacktrace", backtrace.as_deref()),
            ("foretrace.report.id", Some(&report.id.to_string())),
            ("foretrace.kind", Some(report.kind.name())),
            ("foretrace.signature", Some(&report.signature)),
        ]),
    })
}

fn event(report: &Report, entry: &Entry<'_>) -> Value {
    use foretrace_ring::trail::Level;
    let (number, text) = match entry.kind.level {
        Level::Error => (17, "ERROR"),
        Level::Warn => (13, "WARN"),
        Level::Info => (9, "INFO"),
        Level::Debug => (5, "DEBUG"),
        Level::Trace => (1, "TRACE"),
    };
    let mut attributes = attributes(&[
        ("foretrace.report.id", Some(&report.id.to_string())),
        ("log.source", Some(entry.source)),
    ]);
    attributes.push(json!({"key": "thread.id", "value": {"intValue": entry.event.thread.to_string()}}));
    attributes
        .extend(entry.fields().into_iter().map(|(key, value)| json!({"key": key, "value": any(&value)})));
    json!({
        "timeUnixNano": entry.event.time.to_string(),
        "severityNumber": number,
        "severityText": text,
        "body": {"stringValue": format!("{}:{}", entry.kind.provider, entry.kind.name)},
        "attributes": attributes,
    })
}

fn line(report: &Report, log: &str, moment: u64, text: &str) -> Value {
    json!({
        "timeUnixNano": moment.to_string(),
        "severityNumber": 9,
        "severityText": "INFO",
        "body": {"stringValue": text},
        "attributes": attributes(&[
            ("foretrace.report.id", Some(&report.id.to_string())),
            ("log.file.name", Some(log)),
        ]),
    })
}

fn attributes(pairs: &[(&str, Option<&str>)]) -> Vec<Value> {
    let told = pairs.iter().filter_map(|(key, value)| Some((key, value.filter(|text| !text.is_empty())?)));
    told.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

/// A value as OTLP's JSON writes it: 64-bit numbers are strings.
fn any(value: &Value) -> Value {
    match value {
        Value::Bool(truth) => json!({"boolValue": truth}),
        Value::Number(number) if number.is_i64() => json!({"intValue": number.to_string()}),
        Value::Number(number) if number.is_u64() => json!({"stringValue": number.to_string()}),
        Value::Number(number) => json!({"doubleValue": number}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::outgoing;
    use super::super::{made, plan};
    use super::*;

    #[test]
    fn a_crash_and_each_line_of_the_logs_is_a_record() {
        let mut zip = outgoing(&[("logs/journal", b"one\ntwo\n"), ("minidump.dmp", b"MDMP")]);
        let plan = plan(Protocol::Otlp, &mut zip, "").unwrap();
        assert_eq!(plan.pieces[0].classes.to_string(), "summary,stack,trail,logs");
        let body: Value = serde_json::from_slice(made(&plan).next().unwrap().1).unwrap();
        let records = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0]["timeUnixNano"], "1795210200500000000");
        assert_eq!(records[2]["body"]["stringValue"], "two");
        let stack = records[0]["attributes"].as_array().unwrap();
        let stack = stack.iter().find(|pair| pair["key"] == "exception.stacktrace").unwrap();
        assert!(stack["value"]["stringValue"].as_str().unwrap().contains("in paint at paint.c:7"));
    }
}
