//! Delivery: how many pending reports a second reach a server on this machine, beside curl with the same bodies, and
//! how much memory a large one takes on its way, and how much of one is sent twice over a line that breaks.
//!
//! Bodies are noise, so that nothing gets smaller on the way; the server is ours and stores every one durably.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use foretrace_tests::line::Line;

use super::table::{Bar, Row};
use crate::build::{self, say};
use crate::interrupt;
use crate::pending::{self, Pending};

const REPORTS: usize = 1000;
const BYTES: usize = 200_000;
/// Transfers at a time, the same for both.
const AT_A_TIME: usize = 4;
/// Entries of the large report; one alone may have no more than 256 MiB.
const LARGE: [usize; 5] = [205 << 20; 5];
/// The report that is cut, and how often.
const CUT_BYTES: usize = 24 << 20;
const CUTS: usize = 100;

/// What is measured, and how often.
#[derive(Args)]
pub struct Options {
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How often the thousand reports are sent, each time beside curl
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Reports a second, beside curl
    Rate,
    /// Memory while a large report is sent
    Memory,
    /// What is sent twice over a line that breaks
    Line,
}

/// Measures all three, or the one that is asked for.
///
/// # Errors
/// A build, a server or a sending that fails.
pub fn measure(options: &Options) -> Result<Vec<Row>> {
    if std::env::var_os("FORETRACE_BIN_DIR").is_none() {
        build::cargo(["build", "--release", "--package", "foretrace-cli", "--package", "foretrace-server"])?;
    }
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if wanted(Part::Rate) {
        rows.extend(rates(options.runs)?);
    }
    if wanted(Part::Memory) {
        say("one report of 1 GiB");
        let resident = vec![resident_while_large()?];
        rows.push(Row::from_samples(
            "resident while sending 1 GiB",
            "MiB",
            Some(Bar::AtMost(32.0)),
            resident,
        ));
    }
    if wanted(Part::Line) {
        say(&format!("one report of {} MiB over a line that breaks {CUTS} times", CUT_BYTES >> 20));
        let name = "24 MiB over a line that breaks 100 times, sent twice, with headers";
        rows.push(Row::from_samples(name, "%", Some(Bar::AtMost(5.0)), vec![sent_twice()?]));
    }
    Ok(rows)
}

/// How many reports a second arrive, and how many by curl.
fn rates(runs: usize) -> Result<[Row; 3]> {
    let (mut ours, mut curls, mut ratios) = (vec![], vec![], vec![]);
    for run in 1..=runs {
        interrupt::check()?;
        say(&format!("run {run} of {runs}: {REPORTS} reports of {BYTES} bytes, by foretrace and by curl"));
        let world = Pending::new(BYTES, REPORTS)?;
        let server = Server::start(&world.programs, world.root().join("ours"))?;
        world.grant(&reports(&server.address))?;
        // Neither pays for what is still to be written of the other, or of the reports themselves.
        let settled = || nix::unistd::sync();
        let (mine, theirs);
        if run % 2 == 1 {
            settled();
            mine = world.time_foretrace(&server)?;
            settled();
            theirs = world.time_curl()?;
        } else {
            settled();
            theirs = world.time_curl()?;
            settled();
            mine = world.time_foretrace(&server)?;
        }
        ours.push(REPORTS as f64 / mine.as_secs_f64());
        curls.push(REPORTS as f64 / theirs.as_secs_f64());
        ratios.push(theirs.as_secs_f64() / mine.as_secs_f64());
    }
    Ok([
        Row::from_samples("foretrace send, 1,000 reports of 200 kB", "reports/s", None, ours),
        Row::from_samples("curl --parallel, the same bodies", "reports/s", None, curls),
        Row::from_samples("foretrace ÷ curl", "×", Some(Bar::AtLeast(0.7)), ratios),
    ])
}

impl Pending {
    fn time_foretrace(&self, server: &Server) -> Result<Duration> {
        let began = Instant::now();
        let done = self.command(&["send", "--all"]).stdout(Stdio::null()).output()?;
        let took = began.elapsed();
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        server.holds(self.ids.len())?;
        Ok(took)
    }

    /// Sends the very files that foretrace sends.
    fn time_curl(&self) -> Result<Duration> {
        let server = Server::start(&self.programs, self.root().join("curls"))?;
        let mut config = String::new();
        for body in self.ids.iter().map(|id| self.outgoing(*id)) {
            let length = fs::metadata(&body)?.len();
            write!(
                config,
                "url = \"http://{}/reports\"\nheader = \"Tus-Resumable: 1.0.0\"\nheader = \"Upload-Length: {length}\"\n\
                 header = \"Content-Type: application/offset+octet-stream\"\nheader = \"Expect:\"\n\
                 data-binary = \"@{}\"\noutput = /dev/null\nfail\nnext\n",
                server.address,
                body.display()
            )?;
        }
        let path = self.root().join("curl.conf");
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
        server.holds(self.ids.len())?;
        Ok(took)
    }
}

/// The most that a sender had in memory, in MiB.
fn resident_while_large() -> Result<f64> {
    let world = Pending::large(&LARGE)?;
    let server = Server::start(&world.programs, world.root().join("large"))?;
    world.grant(&reports(&server.address))?;
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

/// How much went over the line more than once, in percent, where it breaks at random offsets.
fn sent_twice() -> Result<f64> {
    let pending = Pending::new(CUT_BYTES, 1)?;
    let server = Server::start(&pending.programs, pending.root().join("cut"))?;
    let line = Line::to(&server.address, pending::cuts(CUT_BYTES, CUTS))?;
    pending.grant(&reports(&line.address().to_string()))?;
    let twice = pending.send_over(&line, CUTS)?;
    server.holds(1)?;
    Ok(twice)
}

fn reports(address: &str) -> String {
    format!("http://{address}/reports")
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
