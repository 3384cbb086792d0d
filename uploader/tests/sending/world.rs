//! A place to try the command in: a root directory of its own, settings, a report.

use std::io::Cursor;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use foretrace_report::bundle::BundleWriter;
use foretrace_report::receipt::Delivery;
use foretrace_report::{Report, ReportId};
use foretrace_store::Places;
use foretrace_store::incoming::{Incoming, Owner, StoreKind};

/// Noise that does not compress, so that large means large on the wire.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

/// The smallest minidump that is one: a header without streams.
pub const MINIDUMP: &[u8; 32] = b"MDMP\x93\xa7\0\0\0\0\0\0 \0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0";

/// A root directory with reports in it.
pub struct World {
    root: tempfile::TempDir,
}

impl World {
    /// With these settings.
    pub fn new(settings: &str) -> World {
        let world = World { root: tempfile::tempdir().unwrap() };
        world.set(settings);
        world
    }

    /// The same in a folder.
    pub fn within(folder: &Path, settings: &str) -> World {
        let world = World { root: tempfile::tempdir_in(folder).unwrap() };
        world.set(settings);
        world
    }

    /// With a server as the only setting.
    pub fn with_server(url: &str) -> World {
        World::new(&format!("[Upload]\nProtocol=socorro\nUrl={url}\n"))
    }

    /// Replaces the settings.
    pub fn set(&self, settings: &str) {
        std::fs::create_dir_all(self.root.path().join("etc")).unwrap();
        std::fs::write(self.root.path().join("etc/foretrace.conf"), settings).unwrap();
    }

    /// Puts a report of a program into this user's store.
    pub fn report(&self, number: u8, program: &str, parts: &[(&str, &[u8])]) -> ReportId {
        let id = ReportId::from_random([number; 16]);
        self.publish(id, program, parts, StoreKind::User, Owner::current())
    }

    /// Puts a report with an ID of its own choice into this user's store.
    pub fn numbered(&self, number: u64, program: &str, parts: &[(&str, &[u8])]) -> ReportId {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        self.publish(ReportId::from_random(bytes), program, parts, StoreKind::User, Owner::current())
    }

    /// Puts a report into the system's store that belongs to another user.
    pub fn handed_to(&self, uid: u32, program: &str) -> ReportId {
        // The user's own reads go through the root directory.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.root.path(), open).unwrap();
        let id = ReportId::from_random([8; 16]);
        self.publish(id, program, &[], StoreKind::System, Owner { uid, gid: uid })
    }

    fn publish(
        &self,
        id: ReportId,
        program: &str,
        parts: &[(&str, &[u8])],
        kind: StoreKind,
        owner: Owner,
    ) -> ReportId {
        let json = serde_json::json!({
            "schema": 1, "id": id, "kind": "crash", "time": "2026-01-01T00:00:00Z", "signature": "main",
            "program": {"name": program, "pid": 77, "exe": "/home/marianne/painter"},
            "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x0"},
            "threads": [{"tid": 77, "name": "t", "crashed": true, "frames": [{"ip": "0x1", "function": "main", "trust": "cfi"}]}],
            "message": "it hurts",
        });
        let report: Report = serde_json::from_value(json).unwrap();
        let mut writer = BundleWriter::new(Cursor::new(Vec::new()));
        parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
        let bytes = writer.finish(report).unwrap().0.into_inner();
        let incoming = Incoming::begin(&self.places(), kind).unwrap();
        std::io::Write::write_all(&mut incoming.bundle().unwrap(), &bytes).unwrap();
        incoming.publish(id, owner).unwrap();
        id
    }

    /// The usual report: a minidump, logs, no trail.
    pub fn painter(&self) -> ReportId {
        self.report(7, "painter", &[("minidump.dmp", MINIDUMP), ("logs/journal", b"a line\n")])
    }

    /// The usual report's ID.
    pub fn painter_id(&self) -> ReportId {
        ReportId::from_random([7; 16])
    }

    /// The report's directory.
    pub fn directory(&self, id: ReportId) -> PathBuf {
        let uid = Owner::current().uid.to_string();
        self.places().user_state().join("reports").join(uid).join(id.to_string())
    }

    /// A file of the report's directory.
    pub fn file(&self, id: ReportId, name: &str) -> PathBuf {
        self.directory(id).join(name)
    }

    /// The secret half of this user's key.
    pub fn identity(&self) -> PathBuf {
        self.places().identity()
    }

    /// What `delivery.json` says.
    pub fn delivery(&self, id: ReportId) -> Delivery {
        self.delivered(id).unwrap()
    }

    /// What `delivery.json` says, if the report was ever to be sent.
    pub fn delivered(&self, id: ReportId) -> Option<Delivery> {
        let content = std::fs::read(self.file(id, "delivery.json")).ok()?;
        Some(serde_json::from_slice(&content).unwrap())
    }

    /// The command, ready to run; nobody types anything.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foretrace"));
        command.env("LC_ALL", "C");
        command.arg("--root").arg(self.root.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the command.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    /// Runs the command, which must succeed.
    pub fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        said
    }

    /// A path in the root directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn places(&self) -> Places {
        Places::from_environment(Some(Path::new(self.root.path())))
    }
}

/// What the command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output, then standard error.
    pub text: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("panicked"), "{text}");
        Said { code: ended(output.status), text: text.into_owned() }
    }
}

fn ended(status: ExitStatus) -> Option<i32> {
    assert_ne!(status.signal(), Some(6), "it aborted");
    status.code()
}
