//! A `soak-writer` at work: started, watched through its ledger, ended; its ring is held beyond its death.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use foretrace_ring::layout::Geometry;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::evidence::{LANES, Numbers, THREADS};
use super::memory::{Held, Mapped};
use crate::build;

/// The rate at which a writer records nothing.
const PAUSE: u64 = u64::MAX;
/// Longer than this no writer takes for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a writer does.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// How many threads.
    pub threads: u64,
    /// `steps`, `packets`, `churn`, `handlers`.
    pub work: &'a str,
    /// How it ends: `wait` is by our hand.
    pub death: &'a str,
    /// The pool's size; `None` is the usual one.
    pub pool: Option<u64>,
}

impl Order<'_> {
    /// What its events' numbers are.
    pub fn numbers(&self) -> Numbers {
        if self.work == "steps" && self.death == "wait" { Numbers::OfSlot } else { Numbers::OfLane }
    }

    /// Whether the lane's last event is certain to be there.
    pub fn keeps_last(&self, lane: usize) -> bool {
        self.work != "churn" && (lane < THREADS || self.work != "handlers")
    }
}

/// A writer, and what it leaves.
pub struct Writer {
    child: Child,
    threads: usize,
    ledger: Mapped,
    /// Its ring, as the crash handler reads it.
    pub held: Held,
    /// Its ring, as another process shares it.
    pub mapped: Mapped,
}

impl Writer {
    /// Starts a writer and takes hold of its ring.
    pub fn start(order: &Order<'_>) -> Result<Writer> {
        let file = File::from(memfd_create(c"soak-ledger", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(4096)?;
        let ledger = Mapped::writable(&file)?;
        let mut command = Command::new(build::release_folder().join("soak-writer"));
        command.arg(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        command.arg(order.threads.to_string()).args([order.work, order.death]);
        command.args(order.pool.map(|pool| pool.to_string()));
        let mut child = command.spawn().context("cannot run soak-writer")?;
        let begun = Instant::now();
        let descriptor = loop {
            if let Some(descriptor) = ledger.word(0).load(Ordering::Acquire).checked_sub(1) {
                break descriptor;
            }
            ensure!(begun.elapsed() < PATIENCE, "soak-writer made no ring");
            thread::yield_now();
        };
        // The process stays, as a zombie at least, but a dead one's descriptors are gone.
        let ring = match File::open(format!("/proc/{}/fd/{descriptor}", child.id())) {
            Ok(ring) => ring,
            Err(error) => {
                child.kill()?;
                let status = child.wait()?;
                bail!("the ring of soak-writer cannot be opened: {error} ({status})");
            }
        };
        let wanted = Geometry::of_pool(order.pool.unwrap_or(foretrace_ring::layout::DEFAULT_POOL)).size;
        let size = ring.metadata()?.len();
        ensure!(size == wanted, "the ring has {size} bytes instead of {wanted}");
        let mapped = Mapped::read_only(&ring)?;
        ledger.word(2).store(1, Ordering::Relaxed);
        Ok(Writer { child, threads: order.threads as usize, ledger, held: Held(ring), mapped })
    }

    /// What each lane noted.
    pub fn noted(&self) -> Vec<u64> {
        (0..LANES).map(|lane| self.ledger.word(8 * (lane + 1)).load(Ordering::Acquire)).collect()
    }

    /// Sets the rate of each thread, in bytes a second; 0 is full speed.
    pub fn set_rate(&self, rate: u64) {
        self.ledger.word(1).store(rate, Ordering::Relaxed);
    }

    /// Stops the recording and waits until every thread rests.
    pub fn pause(&self) -> Result<()> {
        let pause = self.ledger.word(3).fetch_add(1, Ordering::Relaxed) + 1;
        self.ledger.word(1).store(PAUSE, Ordering::Release);
        let begun = Instant::now();
        let rests = |lane: usize| self.ledger.word(8 * (lane + 1) + 1).load(Ordering::Acquire) == pause;
        while !(0..self.threads).all(rests) {
            ensure!(begun.elapsed() < PATIENCE, "soak-writer does not stop");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its death by a signal of its own.
    pub fn wait_for_death(&mut self, signal: i32) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.signal() == Some(signal), "soak-writer ended with {status}");
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "soak-writer does not die");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Keeps ring and ledger for whoever is to find out what went wrong.
    pub fn keep_evidence(&self, name: &str) -> Result<PathBuf> {
        let path = std::env::temp_dir().join(format!("foretrace-soak-{name}"));
        let mut source = &self.held.0;
        let mut copy = File::create(path.with_extension("ring"))?;
        std::io::Seek::rewind(&mut source)?;
        std::io::copy(&mut source, &mut copy)?;
        fs::write(path.with_extension("ledger"), format!("{:?}\n", self.noted()))?;
        Ok(path.with_extension("ring"))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // One that is dead already gives errors that nobody needs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
