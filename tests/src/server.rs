//! A real foretrace-server on a free loopback port, ended by its own pid.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running server; dropping it ends it.
pub struct Server {
    child: Child,
    /// Such as `http://127.0.0.1:41234`.
    pub address: String,
}

impl Server {
    /// Starts `program` on `listen` with its data in `data`, and waits until it listens.
    ///
    /// # Errors
    /// A server that does not start; what it said goes to standard error.
    pub fn start(program: &Path, listen: &str, data: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--listen", listen, "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut first = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut first)?;
        match first.trim_end().strip_prefix("listening on ") {
            Some(address) => Ok(Server { address: address.to_owned(), child }),
            None => {
                child.kill()?;
                child.wait()?;
                anyhow::bail!("the server did not say where it listens, but '{}'", first.trim_end())
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
