//! One attempt at a report: a worker and its broker, watched from the supervisor.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::channel::{Channel, Stage};
use super::child::Child;

/// A running worker and what belongs to it.
pub struct Attempt {
    /// The worker; killed when the attempt is over.
    pub worker: Child,
    /// The connection to it.
    pub channel: Channel,
    /// How far it says it is.
    pub stage: Stage,
    /// Killed when the attempt is over, however it ends.
    pub broker: Option<Killed>,
    /// Whether the broker's death ends it: the first attempt has others behind it, the later ones do without.
    pub needs_broker: bool,
}

/// A child that ends with its owner.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.worker.kill();
    }
}

impl Attempt {
    /// How the broker failed, where that matters: a worker that has lost it goes on and reports next to nothing.
    pub fn broker_failed(&self) -> Option<String> {
        self.broker.as_ref().filter(|_| self.needs_broker)?.0.failed()
    }

    /// The same, waiting a little for its end: who has lost the connection to it knows earlier.
    pub fn broker_failing(&self, wait: Duration) -> Option<String> {
        wait_for(&self.broker.as_ref().filter(|_| self.needs_broker)?.0, wait);
        self.broker_failed()
    }

    /// How the worker ended, waiting a little for it.
    pub fn ending(&self, wait: Duration) -> String {
        wait_for(&self.worker, wait);
        self.worker.ended().unwrap_or_else(|| "closed its connection and went on running".into())
    }

    /// Waits for the worker's end: until then it could still write to its report.
    ///
    /// # Errors
    /// It goes on running.
    pub fn end(self, until: Instant) -> anyhow::Result<()> {
        let mut source = [PollFd::new(self.worker.as_fd(), PollFlags::POLLIN)];
        let until = until.max(Instant::now() + Duration::from_millis(200));
        if poll(&mut source, patience(until))? == 0 {
            bail!("it said that it was done and did not end");
        }
        self.worker.ended();
        Ok(())
    }
}

fn wait_for(child: &Child, wait: Duration) {
    let mut source = [PollFd::new(child.as_fd(), PollFlags::POLLIN)];
    // A failing poll leaves only the question how it ended.
    let _ = poll(&mut source, patience(Instant::now() + wait));
}

/// How long a poll may wait.
pub fn patience(until: Instant) -> PollTimeout {
    // Rounded up: a wait of nothing at all would be a busy loop until the deadline.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
