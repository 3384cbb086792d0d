//! Delivery: how many pending reports a second reach a server on this machine, beside curl with the same bodies, and
//! how much memory a large one takes on its way.
//!
//! Bodies are noise, so that nothing gets smaller on the way; the server is ours and stores every one durably.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use foretrace_report::bundle::BundleWriter;
use foretrace_report::{Report, ReportId};
use foretrace_store::Places;
use foretrace_store::incoming::{Incoming, Owner, StoreKind};
use serde_json::json;

use super::table::{Bar, Row};
use crate::build::{self, say};
use crate::interrupt;

const REPORTS: usize = 1000;
const BYTES: usize = 200_000;
const RUNS: usize = 3;
/// Transfers at a time, the same for both.
const AT_A_TIME: usize = 4;
/// Entries of the large report; one alone may have no more than 256 MiB.
const LARGE: [usize; 5] = [205 << 20; 5];

/// Measures both.
///
/// # Errors
/// A build, a server or a sending that fails.
pub fn measure() -> Result<Vec<Row>> {
    build::cargo(["build", "--release", "--package", "foretrace-cli", "--package", "foretrace-server"])?;
    let (mut ours, mut curls, mut ratios) = (vec![], vec![], vec![]);
    for run in 1..=RUNS {
        interrupt::check()?;
        say(&format!("run {run} of {RUNS}: {REPORTS} reports of {BYTES} bytes, foretrace and then curl"));
        let world = World::new(BYTES, REPORTS)?;
        let bodies = world.bodies()?;
        let mine = world.time_foretrace()?;
        let theirs = world.time_curl(&bodies)?;
        ours.push(REPORTS as f64 / mine.as_secs_f64());
        curls.push(REPORTS as f64 / theirs.as_secs_f64());
        ratios.push(theirs.as_secs_f64() / mine.as_secs_f64());
    }
    say("one report of 1 GiB");
    let resident = resident_while_large()?;
    Ok(vec![
        Row::from_samples("foretrace send, 1,000 reports of 200 kB", "reports/s", None, ours),
        Row::from_samples("curl --parallel, the same bodies", "reports/s", None, curls),
        Row::from_samples("foretrace ÷ curl", "×", Some(Bar::AtLeast(0.7)), ratios),
        Row::from_samples("resident while sending 1 GiB", "MiB", Some(Bar::AtMost(32.0)), vec![resident]),
    ])
}

/// Reports that somebody has agreed to send.
struct World {
    root: tempfile::TempDir,
    programs: PathBuf,
    ids: Vec<ReportId>,
}

impl World {
    fn new(bytes: usize, count: usize) -> Result<World> {
        let world = World::empty()?;
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
        let mut ids = Vec::new();
        for number in 0..count {
            let part = noise.take(bytes);
            ids.push(world.publish(number, &[("core/0".to_owned(), part)])?);
        }
        Ok(World { ids, ..world })
    }

    fn empty() -> Result<World> {
        Ok(World { root: tempfile::tempdir()?, programs: build::release_folder(), ids: Vec::new() })
    }

    fn publish(&self, number: usize, parts: &[(String, Vec<u8>)]) -> Result<ReportId> {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
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
        Ok(id)
    }

    fn set(&self, url: &str) -> Result<()> {
        fs::create_dir_all(self.root.path().join("etc"))?;
        let settings = format!("[Upload]\nUrl={url}\nProtocol=foretrace\n");
        Ok(fs::write(self.root.path().join("etc/foretrace.conf"), settings)?)
    }

    fn grant(&self, server: &Server) -> Result<()> {
        self.set(&format!("http://{}/reports", server.address))?;
        for id in &self.ids {
            let done = self.command(&["consent", &id.to_string(), "--grant", "everything"]).output()?;
            ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// The bodies that leave, as files.
    fn bodies(&self) -> Result<Vec<PathBuf>> {
        let server = Server::start(&self.programs, self.root.path().join("first"))?;
        self.grant(&server)?;
        let folder = self.root.path().join("bodies");
        fs::create_dir_all(&folder)?;
        let uid = Owner::current().uid.to_string();
        let reports = self.places().user_state().join("reports").join(uid);
        let mut bodies = Vec::new();
        for id in &self.ids {
            let body = folder.join(id.to_string());
            fs::copy(reports.join(id.to_string()).join("outgoing.zip"), &body)?;
            bodies.push(body);
        }
        Ok(bodies)
    }

    fn time_foretrace(&self) -> Result<Duration> {
        let server = Server::start(&self.programs, self.root.path().join("ours"))?;
        self.grant(&server)?;
        let began = Instant::now();
        let done = self.command(&["send", "--all"]).stdout(Stdio::null()).output()?;
        let took = began.elapsed();
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        server.holds(self.ids.len())?;
        Ok(took)
    }

    fn time_curl(&self, bodies: &[PathBuf]) -> Result<Duration> {
        let server = Server::start(&self.programs, self.root.path().join("curls"))?;
        let mut config = String::new();
        for body in bodies {
            let length = fs::metadata(body)?.len();
            write!(
                config,
                "url = \"http://{}/reports\"\nheader = \"Tus-Resumable: 1.0.0\"\nheader = \"Upload-Length: {length}\"\n\
                 header = \"Content-Type: application/offset+octet-stream\"\nheader = \"Expect:\"\n\
                 data-binary = \"@{}\"\noutput = /dev/null\nfail\nnext\n",
                server.address,
                body.display()
            )?;
        }
        let path = self.root.path().join("curl.conf");
        fs::write(&path, config.trim_end().trim_end_matches("next"))?;
        let most = AT_A_TIME.to_string();
        let began = Instant::now();
        let done = Command::new("curl")
            .args(["--silent", "--show-error", "--parallel", "--parallel-max", &most, "--config"])
            .arg(&path)
            .output()
            .context("cannot run curl")?;
        let took = began.elapsed();
        ensure!(done.status.success(), "curl: {}", String::from_utf8_lossy(&done.stderr));
        server.holds(bodies.len())?;
        Ok(took)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("foretrace"));
        command.arg("--root").arg(self.root.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn places(&self) -> Places {
        Places::from_environment(Some(self.root.path()))
    }
}

/// The most that a sender had in memory, in MiB.
fn resident_while_large() -> Result<f64> {
    let mut world = World::empty()?;
    let mut noise = Noise(88_172_645_463_325_252);
    let parts: Vec<_> =
        LARGE.iter().enumerate().map(|(n, bytes)| (format!("core/{n}"), noise.take(*bytes))).collect();
    world.ids.push(world.publish(0, &parts)?);
    drop(parts);
    let server = Server::start(&world.programs, world.root.path().join("large"))?;
    world.grant(&server)?;
    let mut sender = world.command(&["send", "--all"]).stdout(Stdio::null()).spawn()?;
    let mut most = 0;
    let status = loop {
        most = most.max(high_water(sender.id()).unwrap_or(0));
        if let Some(status) = sender.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(10));
    };
    ensure!(status.success(), "the large report was not sent");
    server.holds(1)?;
    Ok(most as f64 / 1024.0)
}

/// The high-water mark of a process's resident memory, in KiB.
fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(programs: &Path, data: PathBuf) -> Result<Server> {
        let mut child = Command::new(programs.join("foretrace-server"))
            .args(["--listen", "127.0.0.1:0", "--max-body", "2G", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").context("the server did not start")?;
        Ok(Server { address: address.to_owned(), child })
    }

    fn holds(&self, reports: usize) -> Result<()> {
        let answer =
            Command::new("curl").args(["--silent", &format!("http://{}/healthz", self.address)]).output()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
        match answer["reports"].as_u64() == Some(reports as u64) {
            true => Ok(()),
            false => bail!("the server holds {} reports and not {reports}", answer["reports"]),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
