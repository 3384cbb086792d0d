//! Senders killed at random instants: what `uploader/tests/sending/killed.rs` does in little.

use std::process::Command;

use anyhow::Result;

use crate::build;

/// Kills that many senders.
///
/// # Errors
/// A report that was lost, stored twice where the server knows it again, or came twice without being counted.
pub fn prove(kills: u64) -> Result<()> {
    build::cargo(["build", "--package", "foretrace-server"])?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--package", "foretrace-cli", "--test", "sending", "killed", "--", "--nocapture"]);
    build::run(command.env("FORETRACE_KILLS", kills.div_ceil(2).to_string()))
}
