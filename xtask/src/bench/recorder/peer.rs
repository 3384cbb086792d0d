//! LTTng-UST in turns with ours: the same program in C, compiled for either.
//!
//! Owns a session daemon for the while: with a home of its own, and ended by its process ID. One that is already
//! running is somebody else's, and left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::startup::{self, Taken};
use super::{Programs, number, ratios};
use crate::bench::table::{Bar, Row};
use crate::build::say;

const ROUNDS: usize = 11;

/// Measures.
///
/// # Errors
/// A session daemon that cannot be started, or events that it never switches on.
pub fn measure(programs: &Programs) -> Result<Vec<Row>> {
    say("measuring LTTng-UST in turns with ours");
    let _daemon = Daemon::start(programs.folder.path())?;
    let mut rows = Vec::new();
    for (name, what, events, threads, least) in [
        ("number", "u64, 1 thread", "1000000", "1", Some(5.5)),
        ("number", "u64, 2 threads", "1000000", "2", Some(5.5)),
        ("text", "u64 + 16-byte string, 1 thread", "1000000", "1", None),
        ("cold", "u64, caches cold", "40", "1", Some(7.0)),
    ] {
        let (mut theirs, mut ours) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            theirs.push(number(&programs.c("bench-lttng"), &[name, events, threads])?);
            ours.push(number(&programs.c("bench"), &[name, events, threads])?);
        }
        let ratio = ratios(&theirs, &ours);
        rows.push(Row::from_samples(format!("LTTng-UST, {what}"), "ns", None, theirs));
        rows.push(Row::from_samples(format!("ours from C, {what}"), "ns", None, ours));
        let bar = least.map(Bar::AtLeast);
        rows.push(Row::from_samples(format!("LTTng-UST ÷ ours, {what}"), "×", bar, ratio));
    }
    rows.extend(cold_in_rust(programs)?);
    let (mut without, mut theirs) = (Taken::default(), Taken::default());
    let plain = programs.c("start-without");
    startup::beside(&plain, &mut without, &programs.c("start-lttng"), &mut theirs, 9)?;
    let ratio = ratios(&theirs.passed, &without.passed);
    rows.push(Row::from_samples("start-up, LTTng-UST ÷ without", "×", None, ratio));
    Ok(rows)
}

/// The peer has no Rust of its own: its events are C's.
fn cold_in_rust(programs: &Programs) -> Result<[Row; 2]> {
    let (mut theirs, mut ours) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        theirs.push(number(&programs.c("bench-lttng"), &["cold", "40", "1"])?);
        ours.push(number(&programs.rust, &["cold", "40"])?);
    }
    let ratio = ratios(&theirs, &ours);
    let bar = Some(Bar::AtLeast(7.0));
    Ok([
        Row::from_samples("ours from Rust, u64, caches cold", "ns", None, ours),
        Row::from_samples("LTTng-UST ÷ ours from Rust, u64, caches cold", "×", bar, ratio),
    ])
}

/// A session daemon that records into memory.
struct Daemon {
    home: PathBuf,
    pid: Pid,
}

impl Daemon {
    fn start(folder: &Path) -> Result<Daemon> {
        let home = folder.join("lttng");
        fs::create_dir(&home)?;
        let file = home.join("pid");
        let mut command = Command::new("lttng-sessiond");
        command.args(["--no-kernel", "--daemonize", "--pidfile"]).arg(&file).env("LTTNG_HOME", &home);
        let status = command.status().context("cannot run lttng-sessiond")?;
        ensure!(status.success(), "lttng-sessiond does not start; is one already running? ({status})");
        let text = fs::read_to_string(&file).context("lttng-sessiond left no pidfile")?;
        let daemon = Daemon { home, pid: Pid::from_raw(text.trim().parse()?) };
        let traces = daemon.home.join("traces").display().to_string();
        daemon.lttng(&["create", "--snapshot", "foretrace-bench", "--output", &traces])?;
        daemon.lttng(&[
            "enable-event",
            "--session",
            "foretrace-bench",
            "--userspace",
            "foretrace_bench:*",
        ])?;
        daemon.lttng(&["start", "foretrace-bench"])?;
        Ok(daemon)
    }

    fn lttng(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("lttng");
        let output = command.args(["--no-sessiond"]).args(arguments).env("LTTNG_HOME", &self.home).output();
        let output = output.context("cannot run lttng")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lttng {arguments:?} ended with {}: {said}", output.status);
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.lttng(&["destroy", "foretrace-bench"]) {
            say(&format!("{error:#}"));
        }
        // It is no child of ours: it ends when its process ID is gone.
        for _ in 0..100 {
            if kill(self.pid, Signal::SIGTERM) == Err(Errno::ESRCH) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        say(&format!("the session daemon {} does not end", self.pid));
    }
}
