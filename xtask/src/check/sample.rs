//! A report that nobody's crash made, for checks of what becomes of one.

use std::path::Path;

use anyhow::Result;
use foretrace_report::ReportId;
use foretrace_report::bundle::BundleWriter;
use foretrace_store::{Incoming, Owner, Places, StoreKind, random_id};

/// Puts a report of a program into the store below `root`, with these parts.
///
/// # Errors
/// A store that cannot be written.
pub fn publish(root: &Path, program: &str, parts: &[(&str, &[u8])]) -> Result<ReportId> {
    let id = random_id()?;
    let report = serde_json::json!({
        "schema": 1, "id": id, "kind": "crash", "time": "2026-01-01T00:00:00Z",
        "program": {"name": program, "pid": 1},
        "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x0"},
        "threads": [{"tid": 1, "crashed": true, "frames": [
            {"ip": "0x1", "module": "/usr/bin/x", "function": "main", "trust": "context"}]}],
        "signature": "main",
    });
    let incoming = Incoming::begin(&Places::system(root), StoreKind::System)?;
    let mut writer = BundleWriter::new(incoming.bundle()?);
    for (name, content) in parts {
        writer.add(name, content)?;
    }
    writer.finish(serde_json::from_value(report)?)?;
    incoming.publish(id, Owner::current())?;
    Ok(id)
}
