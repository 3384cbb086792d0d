//! From the fault to the complete report and to the end of the process, by resident size, beside plain SIGKILL.
//!
//! t0 is taken by the victim itself just before it faults and read from its ledger; the end of the process is its
//! pidfd becoming readable; the report is complete when its directory appears under its final name.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use foretrace_tests::ledger;
use foretrace_tests::world::Installed;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use super::table::{Bar, Row};
use crate::build::{self, say};
use crate::interrupt;

const RUNS: usize = 9;
const MEBIBYTES: [u64; 3] = [16, 256, 1024];

/// Measures all sizes.
///
/// # Errors
/// Not root, or a victim that leaves no report.
pub fn measure() -> Result<Vec<Row>> {
    let programs = build::programs()?;
    let world = Installed::new()?;
    let victim = programs.join("weight");
    let mut rows = Vec::new();
    for size in MEBIBYTES {
        say(&format!("{size} MiB resident, {RUNS} kills and {RUNS} crashes, alternating"));
        let (mut killed, mut gone, mut ready, mut excess) = (vec![], vec![], vec![], vec![]);
        for _ in 0..RUNS {
            interrupt::check()?;
            let kill = time_kill(&victim, &world.work("ledger"), size)?;
            let crash = time_crash(&world, &victim, size)?;
            killed.push(kill);
            gone.push(crash.gone);
            ready.push(crash.ready);
            excess.push(crash.gone - 1.05 * kill);
        }
        let name = |what: &str| format!("{what}, {size} MiB resident");
        rows.push(Row::from_samples(name("SIGKILL to process gone"), "ms", None, killed));
        rows.push(Row::from_samples(name("fault to process gone"), "ms", None, gone));
        rows.push(Row::from_samples(
            name("… less 1.05 × SIGKILL of the same round"),
            "ms",
            Some(Bar::AtMost(25.0)),
            excess,
        ));
        rows.push(Row::from_samples(name("fault to report complete and synced"), "ms", None, ready));
    }
    let median = |size: u64, what: &str| {
        rows.iter()
            .find(|row| row.what == format!("{what}, {size} MiB resident"))
            .map_or(f64::NAN, |row| row.median)
    };
    let what = "fault to report complete and synced";
    let growth = median(1024, what) / median(16, what);
    rows.push(Row::from_samples(
        "report complete: 1024 MiB ÷ 16 MiB",
        "×",
        Some(Bar::AtMost(1.5)),
        vec![growth],
    ));
    Ok(rows)
}

struct Crash {
    gone: f64,
    ready: f64,
}

fn time_kill(victim: &Path, ledger_file: &Path, size: u64) -> Result<f64> {
    let mut child = start(victim, ledger_file, size, "wait")?;
    let handle = open_pidfd(&child)?;
    wait_until_touched(ledger_file)?;
    let t0 = now();
    child.kill()?;
    wait_for_end(&handle)?;
    let t1 = now();
    child.wait()?;
    Ok((t1 - t0) * 1e3)
}

fn time_crash(world: &Installed, victim: &Path, size: u64) -> Result<Crash> {
    let ledger_file = world.work("ledger");
    let reports = world.root().join("var/lib/foretrace/reports/0");
    let before = count(&reports);
    let mut child = start(victim, &ledger_file, size, "crash")?;
    let handle = open_pidfd(&child)?;
    let watcher = {
        let reports: PathBuf = reports.clone();
        thread::spawn(move || {
            for _ in 0..60_000 {
                if count(&reports) > before {
                    return Some(now());
                }
                thread::sleep(Duration::from_micros(250));
            }
            None
        })
    };
    wait_for_end(&handle)?;
    let gone = now();
    child.wait()?;
    let ready = watcher.join().ok().flatten().context("no report appeared within 15 s")?;
    let t0 = ledger::read(&ledger_file)?.first().context("the victim kept no ledger")?.recorded as f64 / 1e9;
    Ok(Crash { gone: (gone - t0) * 1e3, ready: (ready - t0) * 1e3 })
}

fn start(victim: &Path, ledger_file: &Path, size: u64, mode: &str) -> Result<Child> {
    ledger::create(ledger_file, 1)?;
    Command::new(victim)
        .arg(size.to_string())
        .arg(ledger_file)
        .arg(mode)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", victim.display()))
}

fn wait_until_touched(ledger_file: &Path) -> Result<()> {
    for _ in 0..30_000 {
        if !ledger::read(ledger_file)?.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("the victim did not fill its memory within 30 s")
}

fn open_pidfd(child: &Child) -> Result<OwnedFd> {
    // The child is ours and not waited for yet, so its pid cannot have been reused.
    let pid = nix::libc::pid_t::try_from(child.id())?;
    pidfd(pid)
}

#[allow(unsafe_code)]
fn pidfd(pid: nix::libc::pid_t) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers; the kernel checks them.
    let descriptor = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error()).context("pidfd_open failed");
    }
    // SAFETY: the kernel just returned this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor)?) })
}

fn wait_for_end(handle: &OwnedFd) -> Result<()> {
    let mut waits = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut waits, PollTimeout::try_from(30_000)?)?;
    if ready == 0 {
        bail!("the victim did not end within 30 s");
    }
    Ok(())
}

fn count(reports: &Path) -> usize {
    fs::read_dir(reports).map_or(0, Iterator::count)
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC always answers");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}
