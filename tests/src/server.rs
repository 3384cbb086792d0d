//! A real foretrace-server on a free loopback port, ended by its own pid.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
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

    /// How many reports it has stored, as it says itself.
    ///
    /// # Errors
    /// An answer that is no list of problems.
    pub fn stored_reports(&self) -> Result<u64> {
        let answer = self.get("/api/problems")?;
        let problems: serde_json::Value = serde_json::from_str(&answer).context("the answer is no JSON")?;
        let rows =
            problems.as_array().or_else(|| problems["problems"].as_array()).context("no list of problems")?;
        Ok(rows.iter().filter_map(|row| row["count"].as_u64()).sum())
    }

    /// The body of a page.
    ///
    /// # Errors
    /// No answer, or another than 200.
    fn get(&self, path: &str) -> Result<String> {
        let host = self.address.strip_prefix("http://").context("no http address")?;
        let mut connection = TcpStream::connect(host)?;
        write!(connection, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
