//! systemd's own journal, with a `/run` of the test's.
#![allow(unsafe_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Group;
use serde_json::Value;

use crate::command::run;

const PATIENCE: Duration = Duration::from_secs(20);
/// What marks an entry about a crash.
const CRASH: &str = "MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1";

/// A running journal, until it is dropped.
pub struct Journal {
    daemon: Child,
    run: PathBuf,
}

impl Journal {
    /// Starts it with `run` as its `/run`, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(run: PathBuf) -> Result<Journal> {
        for folder in ["systemd/journal", "log/journal", "udev"] {
            fs::create_dir_all(run.join(folder))?;
        }
        // As systemd makes it: what is written there is its readers' group's.
        let readers = Group::from_name("systemd-journal")?.map(|group| group.gid.as_raw());
        let journal = Journal { daemon: Journal::daemon(run.clone(), readers)?, run };
        let began = Instant::now();
        while !journal.socket().exists() {
            ensure!(began.elapsed() < PATIENCE, "systemd-journald does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(journal)
    }

    fn daemon(run: PathBuf, readers: Option<u32>) -> Result<Child> {
        let folder = run.join("log/journal");
        chown(&folder, None, readers)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o2755))?;
        let mut daemon = Command::new("/lib/systemd/systemd-journald");
        let none: Option<&'static str> = None;
        let enter = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some(&run), "/run", none, MsFlags::MS_BIND, none)?;
            Ok(())
        };
        // SAFETY: the closure makes system calls alone, on values that were made before the fork.
        unsafe { daemon.pre_exec(enter) };
        Ok(daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Where it takes entries.
    pub fn socket(&self) -> PathBuf {
        self.run.join("systemd/journal/socket")
    }

    /// Where it keeps them.
    pub fn folder(&self) -> PathBuf {
        self.run.join("log/journal")
    }

    /// The entry of a report, which comes after it.
    ///
    /// # Errors
    /// None after 20 s.
    pub fn entry_of(&self, report: &str) -> Result<Value> {
        self.entry(CRASH, report)
    }

    /// The entry among those that fit `matches` that contains `text`.
    ///
    /// # Errors
    /// None after 20 s.
    pub fn entry(&self, matches: &str, text: &str) -> Result<Value> {
        let mut read = Command::new("journalctl");
        read.arg("--directory").arg(self.folder());
        read.args(["--output=json", "--all", "--no-pager", matches]);
        let began = Instant::now();
        loop {
            let said = run(&mut read)?.text();
            match said.lines().find(|line| line.contains(text)) {
                Some(line) => return Ok(serde_json::from_str(line)?),
                None if began.elapsed() > PATIENCE => bail!("no entry: {said}"),
                None => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
