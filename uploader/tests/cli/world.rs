//! A root directory with reports in it, and the command that reads them. The trail is put together by hand from the
//! format's description, so that the command is not judged by its own code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use foretrace_report::ReportId;
use foretrace_report::bundle::BundleWriter;
use foretrace_store::{Incoming, Owner, Places, StoreKind};
use serde_json::{Value, json};

/// 2.5 GHz; tick 0 is 2023-11-14T22:13:20.1Z.
const PREAMBLE: &str = include_str!("../../../sdk/ring/tests/trail/preamble.tsdl");
const STEP: &str = concat!(
    "event { name = \"app::net:step\"; id = 7; stream_id = 0; loglevel = 6; fields := struct { uint32_t _number; ",
    "uint16_t __text_length; char8_t _text[__text_length]; secret_t _token; }; };\n"
);
const TICKS_PER_SECOND: u64 = 2_500_000_000;

pub struct World {
    root: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        World { root: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub fn configure(&self, settings: &str) {
        fs::create_dir_all(self.path("etc")).unwrap();
        fs::write(self.path("etc/foretrace.conf"), settings).unwrap();
    }

    /// Puts a report into the system's store; `changes` go over the usual `report.json`.
    pub fn add(&self, id: &str, changes: Value, parts: &[(&str, &[u8])]) -> PathBuf {
        let mut report = json!({
            "schema": 1, "id": id, "kind": "crash", "time": "2026-01-02T03:04:05Z",
            "program": {"name": "victim", "exe": "/usr/bin/victim", "pid": 4242,
                        "package": {"name": "victims", "version": "1.2-3"}},
            "signal": {"number": 11, "name": "SIGSEGV", "code": 1, "address": "0x8"},
            "signature": "victim::crash",
            "threads": [
                {"tid": 100, "name": "main", "crashed": true, "frames": [
                    {"ip": "0x401000", "module": "/usr/bin/victim", "function": "victim::crash",
                     "file": "src/main.rs", "line": 12, "trust": "context"},
                    {"ip": "0x401100", "module": "/usr/bin/victim", "offset": "0x1100", "function": null, "trust": "scan"}]},
                {"tid": 101, "name": "worker", "crashed": false, "frames": [
                    {"ip": "0x7f00", "module": "/lib/libc.so.6", "function": "poll", "trust": "cfi"}]},
                {"tid": 102, "name": "worker", "crashed": false, "frames": [
                    {"ip": "0x7f00", "module": "/lib/libc.so.6", "function": "poll", "trust": "cfi"}]},
            ],
            "problems": [{"part": "logs", "what": "there is no journal"}],
        });
        for (key, value) in changes.as_object().unwrap() {
            report[key] = value.clone();
        }
        self.publish(id, report, parts, Owner::current())
    }

    /// Puts a report of another user into the system's store.
    pub fn add_for(&self, id: &str, uid: u32) {
        let report = json!({"schema": 1, "id": id, "kind": "crash", "time": "2026-01-02T03:04:05Z",
            "program": {"name": "theirs", "pid": 1}});
        self.publish(id, report, &[], Owner { uid, gid: uid });
    }

    fn publish(&self, id: &str, report: Value, parts: &[(&str, &[u8])], owner: Owner) -> PathBuf {
        let id: ReportId = id.parse().unwrap();
        let incoming = Incoming::begin(&Places::system(self.root.path()), StoreKind::System).unwrap();
        let mut writer = BundleWriter::new(incoming.bundle().unwrap());
        parts.iter().for_each(|(name, content)| writer.add(name, content).unwrap());
        writer.finish(serde_json::from_value(report).unwrap()).unwrap();
        incoming.publish(id, owner).unwrap().path
    }

    /// A report with a trail of `events`, one a second.
    pub fn add_with_trail(&self, id: &str, events: u32) {
        let (metadata, stream) = trail(events);
        let losses = json!({"losses": {"recorded": events + 5, "overwritten": 5, "discarded": 0}});
        self.add(
            id,
            losses,
            &[("trace/ring-4242/metadata", metadata.as_bytes()), ("trace/ring-4242/slot-0.ctf", &stream)],
        );
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foretrace"));
        command.env("LC_ALL", "C");
        command.arg("--root").arg(self.root.path()).args(arguments).stdin(Stdio::null());
        command.env_remove("FORETRACE_ROOT").env_remove("XDG_STATE_HOME").env("TZ", "UTC");
        command
    }

    /// Lets other users reach the world, and the command in it.
    pub fn open_to_everybody(&self) {
        fs::set_permissions(self.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_foretrace"), self.path("foretrace")).unwrap();
    }

    pub fn run_as(&self, uid: u32, arguments: &[&str]) -> Ended {
        let home = self.path("home");
        let mut command = Command::new(self.path("foretrace"));
        command.arg("--root").arg(self.root.path()).args(arguments).env_clear().env("HOME", "/home");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
        Ended(command.current_dir("/").uid(uid).gid(uid).stdin(Stdio::null()).output().unwrap())
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended(self.command(arguments).output().unwrap())
    }
}

pub struct Ended(Output);

impl Ended {
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.0.status.code(), Some(code), "stdout: {}\nstderr: {}", self.out(), self.err());
        self
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0.stdout
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn json(&self) -> Vec<Value> {
        self.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Metadata and one stream of one packet with `events`, one a second, on thread 100.
pub fn trail(events: u32) -> (String, Vec<u8>) {
    let mut packet = vec![0; 96];
    packet[0..4].copy_from_slice(&[0xc1, 0x1f, 0xfc, 0xc1]);
    packet[4..20].copy_from_slice(b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
    packet[92..96].copy_from_slice(&100u32.to_le_bytes());
    for number in 0..events {
        let text = format!("step \"{number}\"\x1b[2J");
        packet.resize(packet.len().next_multiple_of(8), 0);
        packet.extend(7u16.to_le_bytes());
        packet.extend(&(u64::from(number) * TICKS_PER_SECOND).to_le_bytes()[..6]);
        packet.extend(number.to_le_bytes());
        packet.extend((text.len() as u16).to_le_bytes());
        packet.extend(text.as_bytes());
        packet.push(0);
    }
    let newest = u64::from(events.saturating_sub(1)) * TICKS_PER_SECOND;
    let content = packet.len() as u32 * 8;
    packet[40..48].copy_from_slice(&newest.to_le_bytes());
    packet.resize(packet.len().next_multiple_of(8), 0);
    let size = packet.len() as u64 * 8;
    packet[48..52].copy_from_slice(&content.to_le_bytes());
    packet[52..56].copy_from_slice(&events.to_le_bytes());
    packet[56..64].copy_from_slice(&size.to_le_bytes());
    (format!("{PREAMBLE}{STEP}"), packet)
}

pub fn id(digit: char) -> String {
    std::iter::repeat_n(digit, 32).collect()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
