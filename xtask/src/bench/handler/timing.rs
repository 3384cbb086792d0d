//! One crash or one kill of a victim of known size, timed.
//!
//! t0 is taken by the victim itself just before it faults and read from its ledger; the end of the process is its pidfd
//! becoming readable; the report is complete when its directory appears under its final name.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use foretrace_tests::command::run;
use foretrace_tests::ledger;
use foretrace_tests::world::Installed;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

/// What a victim is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// Memory that it touches, in MiB.
    pub resident: u64,
    /// Memory that it reserves besides, of which it touches a page, in MiB.
    pub reserved: u64,
    /// Threads besides the first, with stacks of 8 MiB.
    pub threads: u64,
}

/// From the fault on, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// To the process's end.
    pub gone: f64,
    /// To the complete report.
    pub ready: f64,
}

/// A victim that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// From SIGKILL to its end, in milliseconds.
    pub gone: f64,
    /// From the start to the end of a program that has nothing to do with it, while it had its memory, in milliseconds: what
    /// the machine itself has become slower by.
    pub other: f64,
}

/// From SIGKILL to the process's end.
///
/// # Errors
/// A victim that cannot be started or does not end.
pub fn time_kill(world: &Installed, victim: &Path, shape: Shape) -> Result<Kill> {
    let ledger_file = &world.work("ledger");
    let mut child = start(victim, ledger_file, shape, "wait")?;
    let handle = open_pidfd(&child)?;
    wait_until_touched(ledger_file)?;
    let begun = now();
    run(world.coredump().arg("--version"))?.success()?;
    let other = (now() - begun) * 1e3;
    let t0 = now();
    child.kill()?;
    wait_for_end(&handle)?;
    let t1 = now();
    child.wait()?;
    Ok(Kill { gone: (t1 - t0) * 1e3, other })
}

/// From the fault to the process's end and to its report.
///
/// # Errors
/// A victim that leaves no report.
pub fn time_crash(world: &Installed, victim: &Path, shape: Shape) -> Result<Crash> {
    let ledger_file = world.work("ledger");
    let reports = world.root().join("var/lib/foretrace/reports/0");
    let before = count(&reports);
    let mut child = start(victim, &ledger_file, shape, "crash")?;
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
    let t0 = fault(&ledger_file)?;
    Ok(Crash { gone: (gone - t0) * 1e3, ready: (ready - t0) * 1e3 })
}

/// When the victim noted that it was about to fault, in seconds of CLOCK_MONOTONIC.
///
/// # Errors
/// A victim that noted nothing.
pub fn fault(ledger_file: &Path) -> Result<f64> {
    Ok(ledger::read(ledger_file)?.first().context("the victim kept no ledger")?.recorded as f64 / 1e9)
}

/// Starts a victim.
///
/// # Errors
/// It cannot be started.
pub fn start(victim: &Path, ledger_file: &Path, shape: Shape, mode: &str) -> Result<Child> {
    ledger::create(ledger_file, 1)?;
    Command::new(victim)
        .arg(shape.resident.to_string())
        .arg(ledger_file)
        .arg(mode)
        .args([shape.reserved, shape.threads].map(|number| number.to_string()))
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", victim.display()))
}

fn wait_until_touched(ledger_file: &Path) -> Result<()> {
    for _ in 0..60_000 {
        if !ledger::read(ledger_file)?.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("the victim did not fill its memory within a minute")
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
    // The largest victim takes seconds to fill its memory.
    let ready = poll(&mut waits, PollTimeout::try_from(60_000)?)?;
    if ready == 0 {
        bail!("the victim did not end within a minute");
    }
    Ok(())
}

fn count(reports: &Path) -> usize {
    fs::read_dir(reports).map_or(0, Iterator::count)
}

/// Seconds of CLOCK_MONOTONIC.
pub fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC always answers");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}
