//! Running programs under a deadline, with everything they said. Never waits for ever, never goes through a shell.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub took: Duration,
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Itself, if the program ended with exit code 0.
    ///
    /// # Errors
    /// Any other end, with what the program said.
    pub fn success(self) -> Result<Finished> {
        ensure!(self.status.success(), "{self}");
        Ok(self)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nstdout: {}\nstderr: {}", self.status, self.text(), self.errors())
    }
}

/// Runs `command` with `input`, at most for `limit`.
///
/// # Errors
/// A program that cannot be started, or that was killed at the limit.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Result<Finished> {
    let said = format!("{command:?}");
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {said}"))?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let mut stderr = child.stderr.take().context("no stderr")?;
    let input = input.to_vec();
    // A program that ends without reading its input is no failure of ours.
    let feeder = thread::spawn(move || stdin.write_all(&input).ok());
    let out = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let err = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{said} did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let took = began.elapsed();
    feeder.join().ok();
    let collect = |reader: thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("a reader panicked"))?
            .context("cannot read the program's output")
    };
    Ok(Finished { status, stdout: collect(out)?, stderr: collect(err)?, took })
}

/// Runs `command` without input, at most for a minute.
///
/// # Errors
/// As [`run_with_input`].
pub fn run(command: &mut Command) -> Result<Finished> {
    run_with_input(command, b"", Duration::from_secs(60))
}
