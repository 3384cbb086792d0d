//! The machine's core-dump settings: taken under one lock, put back on every exit.
//!
//! A watchdog process in a process group of its own holds the old values and writes them back as soon as the taker's end
//! of a pipe closes: after a normal end, a panic, Ctrl-C and SIGKILL alike. It never touches a setting that nobody
//! took. Of a taker that was killed it also ends what ran in its world: a handler that lives on would hold one of the
//! kernel's slots for dumps, and later tests would want for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

const LOCK: &str = "/run/lock/foretrace-kernel-settings.lock";
const SETTINGS: [&str; 3] =
    ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/core_pipe_limit", "/proc/sys/fs/suid_dumpable"];

// Waits for the pipe's end, then restores. Each line names a folder; an empty one says that the taker ends in good order.
// The folder is no argument of any program here, or they would find themselves. Its standard output is the lock's file
// and is never written to.
const WATCHDOG: &str = r#"world=
while read -r line; do world=$line; done
printf '%s\n' "$1" >/proc/sys/kernel/core_pattern
printf '%s\n' "$2" >/proc/sys/kernel/core_pipe_limit
printf '%s\n' "$3" >/proc/sys/fs/suid_dumpable
end() {
    kill -STOP "$1" 2>/dev/null
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do end "$child"; done
    kill -KILL "$1" 2>/dev/null
}
[ -z "$world" ] || for found in $(printf %s "$world" | grep -slF -f - /proc/[0-9]*/cmdline); do
    found=${found#/proc/}
    end "${found%/cmdline}"
done
:"#;

static ONE_TAKER: Mutex<()> = Mutex::new(());

/// Exclusive use of the core-dump settings; dropping it puts them back.
pub struct KernelSettings {
    watchdog: Child,
    saved: Vec<String>,
    // Dropped last, in this order: other takers wait until everything is back.
    _lock: Flock<File>,
    _one_taker: MutexGuard<'static, ()>,
}

impl KernelSettings {
    /// Waits for the lock, notes the present values and starts the watchdog.
    ///
    /// # Errors
    /// Not root, or settings that cannot be read.
    pub fn take() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the kernel's core-dump settings can only be taken by root"
        );
        let one_taker = ONE_TAKER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let file = File::create(LOCK).with_context(|| format!("cannot create {LOCK}"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))
            .with_context(|| format!("cannot lock {LOCK}"))?;
        let saved = SETTINGS
            .iter()
            .map(|path| {
                let value = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
                Ok(value.trim_end_matches('\n').to_owned())
            })
            .collect::<Result<Vec<_>>>()?;
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "restore-kernel-settings"]).args(&saved);
        // The watchdog shares the lock by holding its file, so that the next taker waits for it too.
        command.stdin(Stdio::piped()).stdout(Stdio::from(lock.try_clone()?));
        command.process_group(0);
        let watchdog = command.spawn().context("cannot start the watchdog that restores the settings")?;
        Ok(KernelSettings { watchdog, saved, _lock: lock, _one_taker: one_taker })
    }

    /// Names the folder in which everything runs that must not outlive a killed taker: processes whose command line
    /// contains it, and all below them.
    ///
    /// # Errors
    /// A watchdog that is gone.
    pub fn watch(&mut self, folder: &Path) -> Result<()> {
        let line = [folder.as_os_str().as_bytes(), b"\n"].concat();
        let pipe = self.watchdog.stdin.as_mut().context("the watchdog has no pipe")?;
        pipe.write_all(&line).context("the watchdog that restores the settings is gone")
    }

    /// What `core_pattern` was when the settings were taken.
    pub fn saved_core_pattern(&self) -> &str {
        &self.saved[0]
    }

    /// Sets `core_pattern` and checks that the kernel holds it.
    ///
    /// # Errors
    /// A pattern that the kernel refuses or changes.
    pub fn set_core_pattern(&self, pattern: &str) -> Result<()> {
        fs::write(SETTINGS[0], pattern).with_context(|| format!("cannot set core_pattern to '{pattern}'"))?;
        let held = fs::read_to_string(SETTINGS[0])?;
        ensure!(
            held.trim_end() == pattern,
            "core_pattern reads '{}' after '{pattern}' was written",
            held.trim_end()
        );
        Ok(())
    }

    /// Sets how many pipe handlers may run at once; above 0 the kernel waits for each.
    ///
    /// # Errors
    /// A write that failed.
    pub fn set_core_pipe_limit(&self, limit: u32) -> Result<()> {
        fs::write(SETTINGS[1], limit.to_string()).context("cannot set core_pipe_limit")
    }

    /// Sets what happens to dumps of set-uid programs.
    ///
    /// # Errors
    /// A write that failed.
    pub fn set_suid_dumpable(&self, mode: u32) -> Result<()> {
        fs::write(SETTINGS[2], mode.to_string()).context("cannot set suid_dumpable")
    }
}

impl Drop for KernelSettings {
    fn drop(&mut self) {
        // A watchdog that is gone has an exit status that says so.
        let _ = self.watchdog.stdin.take().map(|mut pipe| pipe.write_all(b"\n"));
        let restored = self.watchdog.wait().is_ok_and(|status| status.success());
        if !restored {
            let _ = writeln!(
                io::stderr(),
                "the core-dump settings could not be put back; write these to {SETTINGS:?}: {:?}",
                self.saved
            );
        }
    }
}
