//! Reports full of noise that somebody has agreed to send, and nothing else in a root directory of their own.
//!
//! Noise does not get smaller on the way. Used by the uploader's benchmark and where real servers are tried.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use foretrace_report::bundle::BundleWriter;
use foretrace_report::{Report, ReportId};
use foretrace_store::Places;
use foretrace_store::incoming::{Incoming, Owner, StoreKind};
use foretrace_tests::line::Line;
use foretrace_tests::world::built_programs;
use serde_json::json;

/// The reports.
pub struct Pending {
    root: tempfile::TempDir,
    /// The folder with the programs under test.
    pub programs: PathBuf,
    /// Oldest first.
    pub ids: Vec<ReportId>,
}

impl Pending {
    /// So many reports of so many bytes.
    ///
    /// # Errors
    /// A report that cannot be written.
    pub fn new(bytes: usize, count: usize) -> Result<Pending> {
        let mut pending = Pending::empty()?;
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
        for _ in 0..count {
            pending.publish(&[("core/0".to_owned(), noise.take(bytes))])?;
        }
        Ok(pending)
    }

    /// One report whose entries have these sizes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn large(entries: &[usize]) -> Result<Pending> {
        let mut pending = Pending::empty()?;
        let mut noise = Noise(88_172_645_463_325_252);
        let entry = |(number, bytes): (usize, &usize)| (format!("core/{number}"), noise.take(*bytes));
        let parts: Vec<_> = entries.iter().enumerate().map(entry).collect();
        pending.publish(&parts)?;
        Ok(pending)
    }

    fn empty() -> Result<Pending> {
        Ok(Pending { root: tempfile::tempdir()?, programs: built_programs()?, ids: Vec::new() })
    }

    fn publish(&mut self, parts: &[(String, Vec<u8>)]) -> Result<()> {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&(self.ids.len() as u64).to_be_bytes());
        let id = ReportId::from_random(bytes);
        let report: Report = serde_json::from_value(json!({
            "schema": 1, "id": id, "kind": "crash", "time": "2026-01-01T00:00:00Z", "signature": "main",
            "program": {"name": "painter", "pid": 77},
        }))?;
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        for (name, content) in parts {
            writer.add(name, content)?;
        }
        let bundle = writer.finish(report)?.0.into_inner();
        let incoming = Incoming::begin(&self.places(), StoreKind::User)?;
        incoming.bundle()?.write_all(&bundle)?;
        incoming.publish(id, Owner::current())?;
        self.ids.push(id);
        Ok(())
    }

    /// Agrees to send all of every report to this address, in our own dialect.
    ///
    /// # Errors
    /// An answer that is not taken.
    pub fn grant(&self, url: &str) -> Result<()> {
        fs::create_dir_all(self.root().join("etc"))?;
        fs::write(self.root().join("etc/foretrace.conf"), format!("[Upload]\nUrl={url}\n"))?;
        for id in &self.ids {
            let done = self.command(&["consent", &id.to_string(), "--grant", "everything"]).output()?;
            ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// Sends all of them over a line that breaks, in at most so many runs; returns how much went over it more than
    /// once, with every head, in percent.
    ///
    /// # Errors
    /// They do not arrive, or the line breaks far less often than it is to.
    pub fn send_over(&self, line: &Line, breaks: usize) -> Result<f64> {
        let mut said = Vec::new();
        for _ in 0..=breaks {
            let sent = self.command(&["send", "--all", "--now"]).output()?;
            said = sent.stdout;
            if sent.status.success() {
                let broken = line.broken();
                ensure!(broken >= breaks as u64 * 9 / 10, "the line broke {broken} times only");
                let lengths = self.ids.iter().map(|id| Ok(fs::metadata(self.outgoing(*id))?.len()));
                let length = lengths.sum::<Result<u64>>()?;
                return Ok(line.seen().saturating_sub(length) as f64 / length as f64 * 100.0);
            }
        }
        bail!("it does not arrive in {} runs: {}", breaks + 1, String::from_utf8_lossy(&said))
    }

    /// The bytes that leave of a report.
    pub fn outgoing(&self, id: ReportId) -> PathBuf {
        let uid = Owner::current().uid.to_string();
        self.places().user_state().join("reports").join(uid).join(id.to_string()).join("outgoing.zip")
    }

    /// The person's command in this root directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("foretrace"));
        command.arg("--root").arg(self.root()).args(arguments).stdin(Stdio::null());
        command
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    fn places(&self) -> Places {
        Places::from_environment(Some(self.root()))
    }
}

/// Random offsets at which a line is to break so often under a body of this size: up to four thirds of a fair share.
pub fn cuts(bytes: usize, count: usize) -> Vec<u64> {
    let random = Noise(2_685_821_657_736_338_717).take(count * 8);
    let number = |offset: &[u8]| offset.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    random.chunks_exact(8).map(|offset| number(offset) % (bytes / count * 4 / 3) as u64).collect()
}

/// Bytes that do not compress.
struct Noise(u64);

impl Noise {
    fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend_from_slice(&self.0.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
