//! `cargo xtask soak`: proofs that take minutes, because they are about what happens once in a million.
//!
//! Each proof is a row: what was looked at, how often, and how often it was wrong. Any wrong one fails the command.

mod evidence;
mod faults;
mod memory;
mod power;
mod recorder;
mod silence;
mod uploader;
mod victim;

use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::build::{self, say};

/// Prove for minutes.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kill, crash, snapshot and overload programs that record, and hold each ring against their ledgers
    Recorder(Recorder),
    /// Make each writing system call of the handler fail, and kill its processes at each, while it handles a crash
    Faults {
        /// Only the faults whose name contains this, as ENOSPC or Kill
        filter: Option<String>,
        /// Only at this system call
        #[arg(long)]
        call: Option<String>,
    },
    /// Kill the sender at random instants, and hold what the servers have against what was to be sent
    Uploader(Uploader),
    /// Let the power of the store's disk fail at random instants while programs crash, somebody answers and reports are sent
    Power {
        /// How often
        #[arg(long, default_value_t = 200)]
        cuts: u32,
    },
    /// Crash real programs and answer in every way, where every packet is seen: none before a yes, and after it none that
    /// outgoing.zip does not make
    Silence {
        /// Programs to crash
        #[arg(long, default_value_t = 200)]
        crashes: usize,
    },
}

/// How often.
#[derive(Args)]
pub struct Uploader {
    /// Senders to kill, half of them on the way to foretrace-server and half to a collector that knows no report again
    #[arg(long, default_value_t = 1000)]
    kills: u64,
}

/// How long.
#[derive(Args)]
pub struct Recorder {
    /// Processes to kill at a random instant
    #[arg(long, default_value_t = 10_000)]
    rounds: u64,
    /// Events to write while another process takes snapshots
    #[arg(long, default_value_t = 1_000_000_000)]
    events: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What a proof found.
pub struct Row {
    /// What was held against what.
    pub what: String,
    /// How many times.
    pub looked: u64,
    /// Of what.
    pub unit: &'static str,
    /// What was wrong, one sentence each.
    pub wrong: Vec<String>,
    /// What else there is to say.
    pub remark: String,
}

/// Runs the proofs.
///
/// # Errors
/// A proof that fails, or cannot be made.
pub fn run(options: &Options) -> Result<()> {
    let recorder = match &options.what {
        What::Recorder(recorder) => recorder,
        What::Faults { filter, call } => {
            return faults::prove(filter.as_deref().unwrap_or_default(), call.as_deref());
        }
        What::Uploader(uploader) => return uploader::prove(uploader.kills),
        What::Power { cuts } => return power::prove(*cuts),
        What::Silence { crashes } => return silence::prove(*crashes),
    };
    if cfg!(debug_assertions) {
        return again_optimised();
    }
    let rows = recorder::prove(recorder.rounds, recorder.events)?;
    print(&rows, recorder.json);
    match rows.iter().filter(|row| !row.wrong.is_empty()).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} proofs failed", rows.len()),
    }
}

/// Most of the time goes into checking what was read: this program has to be optimised itself.
fn again_optimised() -> Result<()> {
    say("building this command and the victims (release)");
    build::cargo(["build", "--release", "--package", "xtask"])?;
    build::cargo(["build", "--release", "--package", "foretrace-victims", "--bin", "soak-writer"])?;
    build::run(Command::new(build::release_folder().join("xtask")).args(std::env::args_os().skip(1)))
}

fn print(rows: &[Row], as_json: bool) {
    if !as_json {
        println!("{:<66} {:>13} {:<10} {:>6}  remark", "what", "looked at", "", "wrong");
    }
    for row in rows {
        if as_json {
            println!(
                "{}",
                json!({"what": row.what, "looked": row.looked, "unit": row.unit, "wrong": row.wrong,
                       "remark": row.remark})
            );
            continue;
        }
        let wrong = row.wrong.len();
        println!("{:<66} {:>13} {:<10} {wrong:>6}  {}", row.what, row.looked, row.unit, row.remark);
        row.wrong.iter().take(5).for_each(|why| println!("    {why}"));
    }
}
