//! Submissions put together by hand, and the reports in them.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use foretrace_report::bundle::BundleWriter;
use foretrace_report::{Report, ReportId};
use serde_json::{Value, json};

use crate::server::{Answer, Server};

pub const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=limit");
pub const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// The id that is made of one number.
pub fn id(number: u8) -> String {
    ReportId::from_random([number; 16]).to_string()
}

/// A `report.json` of a crash, changed by `changes`.
pub fn report(number: u8, changes: Value) -> Value {
    let mut report = json!({
        "schema": 1, "id": id(number), "kind": "crash", "time": "2026-01-01T00:00:00Z",
        "program": {"name": "hello", "exe": "/usr/bin/hello", "pid": 4321,
            "package": {"name": "hello", "version": "2.10-3"}},
        "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x0"},
        "system": {"os": "Debian GNU/Linux 12 (bookworm)", "kernel": "6.1.0-30-amd64", "arch": "x86_64"},
        "signature": "hello::work | main",
        "threads": [{"tid": 4321, "name": "hello", "crashed": true, "frames": [
            {"ip": "0x55e0001139", "module": "/usr/bin/hello", "build_id": "abcdef", "function": "hello::work",
             "file": "/build/hello/src/main.rs", "line": 12, "trust": "context"},
            {"ip": "0x55e0001200", "module": "/usr/bin/hello", "function": "main", "trust": "cfi"}]}],
    });
    report.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    report
}

/// The bundle of a report with these other entries.
pub fn bundle(report: &Value, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let report: Report = serde_json::from_value(report.clone()).unwrap();
    let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
    entries.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
    writer.finish(report).unwrap().0.into_inner()
}

/// A part of a body: name, file name, content.
pub type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// A multipart body with the boundary of [`MULTIPART`].
pub fn body(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        write!(body, "--limit\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").unwrap();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--limit--\r\n");
    body
}

/// The body that our own client sends.
pub fn usual_body(bundle: &[u8]) -> Vec<u8> {
    body(&[
        ("extra", None, br#"{"ProductName": "hello", "Version": "2.10-3"}"#),
        ("upload_file_foretrace", Some("outgoing.zip"), bundle),
    ])
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Sends a bundle as our own client does and returns the answer.
pub fn send(server: &Server, bundle: &[u8]) -> Answer {
    server.post(&[MULTIPART, GZIP], &gzip(&usual_body(bundle)))
}

/// Sends a report that must be taken.
pub fn sent(server: &Server, report: &Value, entries: &[(&str, &[u8])]) {
    let answer = send(server, &bundle(report, entries));
    assert_eq!(answer.status, 200, "{}", answer.text());
}
