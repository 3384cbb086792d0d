//! `cargo xtask check`: proofs with tools of their own, which need more than a test run has: every interleaving, undefined
//! behaviour, inputs that nobody thought of.

mod containers;
mod desktop;
mod follow;
mod fuzz;
mod gdb;
mod python;
mod redaction;
mod sample;
mod servers;
mod signature;

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use crate::build::{self, say};
use crate::setup;

/// Prove with a tool.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Explore every interleaving of the recorder's protocol, and the stale values that the memory model allows
    Loom {
        /// Only the proofs whose name contains this
        filter: Option<String>,
    },
    /// Run the reader's tests in Miri, which sees undefined behaviour (needs a nightly toolchain with miri and rust-src)
    Miri {
        /// Only the tests whose name contains this
        filter: Option<String>,
    },
    /// Crash a program in containers of podman and systemd-nspawn (installs both)
    Containers,
    /// Let Debian's systemd-coredump keep crashes, and make reports of what it keeps (needs the package systemd-coredump)
    Follow,
    /// Feed what reads strangers' bytes with inputs that nobody thought of
    Fuzz(fuzz::Options),
    /// Ask on a desktop with a real notification daemon, in both languages, and keep pictures of it
    Desktop,
    /// Hold the rules for text against those of Sentry's Relay, on the same texts (installs it from the package index)
    Redaction,
    /// Hold signatures' names of functions against Socorro's siggen (installs it from the package index)
    Signature,
    /// Crash programs of seven languages in all ways, and hold the backtraces of all their threads against gdb's
    Gdb(gdb::Options),
    /// Send a real crash to servers of other projects, installed from their registries: the reference tus server, Bugsink,
    /// OpenTelemetry's published definitions
    Servers,
}

/// Makes the proof.
///
/// # Errors
/// A proof that fails, or a tool that is missing.
pub fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    match &options.what {
        What::Loom { filter } => loom(filter.as_deref())?,
        What::Miri { filter } => miri(filter.as_deref())?,
        What::Containers => {
            setup::install_missing(&[setup::TO_BUILD, setup::TO_TEST, setup::TO_CONTAIN])?;
            containers::run()?;
        }
        What::Follow => follow::run()?,
        What::Desktop => desktop::run()?,
        What::Servers => servers::run()?,
        What::Redaction => redaction::run()?,
        What::Signature => signature::run()?,
        What::Fuzz(options) => return fuzz::run(options),
        What::Gdb(options) => return gdb::run(options),
    }
    say(&format!("held, in {} s", began.elapsed().as_secs()));
    Ok(())
}

fn loom(filter: Option<&str>) -> Result<()> {
    say("the recorder's protocol under loom");
    // Loom's atomics take the machine's place in the tests alone; a folder of its own keeps the usual build.
    let mut command = Command::new(cargo());
    command.args(["test", "--package", "foretrace", "--test", "protocol"]);
    // Optimised, but without the link-time work that releases take.
    command.args(["--config", "profile.dev.opt-level=2"]);
    command.arg("--target-dir").arg(build::release_folder().with_file_name("loom")).arg("--");
    // The controls fail on purpose, with a page each where backtraces are on.
    command.args(["--test-threads=1", "--nocapture"]).args(filter);
    build::run(command.env("RUSTFLAGS", "--cfg loom").env("RUST_BACKTRACE", "0"))
}

fn miri(filter: Option<&str>) -> Result<()> {
    let there = Command::new("cargo")
        .args(["+nightly", "miri", "--version"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    ensure!(there, "Miri is missing; run: rustup toolchain install nightly --component miri,rust-src");
    say("the reader's tests under Miri");
    let mut command = Command::new("cargo");
    command.args(["+nightly", "miri", "test", "--package", "foretrace-ring", "--target-dir"]);
    command.arg(build::release_folder().with_file_name("miri")).arg("--").args(filter);
    // Where cargo itself was started by rustup, its choice of a toolchain would come before ours.
    build::run(command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC"))
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
