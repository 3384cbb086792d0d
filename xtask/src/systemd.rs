//! systemd-coredump as Debian has it, without a system manager: its socket is held by systemd-socket-activate.
//!
//! Owns how it is started and ended; its package is not installed by the tests, for it makes itself the kernel's handler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foretrace_tests::machine::KernelSettings;

const PROGRAM: &str = "/lib/systemd/systemd-coredump";
const SOCKET: &str = "/run/systemd/coredump";
/// Where it keeps its entries.
pub const ENTRIES: &str = "/var/lib/systemd/coredump";

/// It gets the kernel's crashes. Dropping it ends that.
pub struct Systemd {
    // Dropped first: no crash may wait for a listener that is gone.
    kernel: KernelSettings,
    listener: Child,
}

impl Systemd {
    /// Takes the machine's settings and starts it.
    ///
    /// # Errors
    /// Not root, or it is not installed.
    pub fn start() -> Result<Systemd> {
        ensure!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing; apt-get install systemd-coredump");
        let kernel = KernelSettings::take()?;
        fs::create_dir_all("/run/systemd")?;
        fs::create_dir_all(ENTRIES)?;
        let listener = Command::new("systemd-socket-activate")
            .args(["--accept", "--seqpacket", "-l", SOCKET, PROGRAM])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start systemd-socket-activate")?;
        let systemd = Systemd { kernel, listener };
        for _ in 0..200 {
            if Path::new(SOCKET).exists() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        systemd.kernel.set_core_pipe_limit(16)?;
        systemd.kernel.set_core_pattern(&format!("|{PROGRAM} %P %u %g %s %t 9223372036854775808 %h %d"))?;
        Ok(systemd)
    }

    /// Lets the kernel give it set-uid programs' crashes too.
    ///
    /// # Errors
    /// The setting cannot be written.
    pub fn dump_set_uid(&self) -> Result<()> {
        self.kernel.set_suid_dumpable(2)
    }

    /// The process that starts it for each crash.
    pub fn listener(&self) -> u32 {
        self.listener.id()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
        let _ = fs::remove_file(SOCKET);
    }
}

/// The files in its directory.
///
/// # Errors
/// The directory cannot be read.
pub fn entries() -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(ENTRIES)?.flatten().map(|entry| entry.path()).collect())
}
